"""Endpoints without translation: bytes go through, keys and names are exchanged, the books are kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from proxy.asking import MAX_ERROR_BYTES
from proxy.passing import SLOWEST, Meter, grown, model_field
from tests.proxy.conftest import Serve
from tests.proxy.serving import KEY, QUICK, failing, provider, route
from tests.replay import Answer, Asked, Upstream

BOUNDARY = "----form"


def form(model: str | None, file: bytes = b"RIFF\x00\xff", *, file_first: bool = False) -> bytes:
    """A form as httpx writes it: fields, then files."""
    field = (
        b""
        if model is None
        else (f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}\r\n'.encode())
    )
    sound = (
        (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
            "Content-Type: audio/wav\r\n\r\n"
        ).encode()
        + file
        + b"\r\n"
    )
    parts = sound + field if file_first else field + sound
    return parts + f"--{BOUNDARY}--\r\n".encode()


FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
JSON = {"content-type": "application/json"}


async def test_json_goes_to_the_provider_of_its_model_with_only_the_name_changed(serve: Serve) -> None:
    """Key order and unknown fields survive; the client's key stays here, the provider's goes out."""
    with Upstream(lambda _asked: Answer.json({"data": [{"b64_json": "eA=="}]})) as upstream:
        server = await serve(provider("one", upstream, more="models = ['draw']"))
        body = b'{"prompt": "a cat" , "new_field":{"x":1}, "model" : "one/draw","modelport":{"tags":{"team":"a"}}}'

        reply = await server.request("POST", "/v1/images/generations", body, {**JSON, "authorization": "Bearer mine"})

        asked = upstream.requests[0]
        assert (asked.method, asked.path) == ("POST", "/v1/images/generations")
        assert asked.body == b'{"prompt": "a cat" , "new_field":{"x":1}, "model" : "draw"}'
        assert asked.headers["authorization"] == f"Bearer {KEY}"
        assert reply.status == 200
        assert reply.body == b'{"data": [{"b64_json": "eA=="}]}'
        assert reply.headers["x-modelport-target"] == "one/draw"
        row = await server.row(reply.id)
        assert (row["status"], row["dialect"], row["target"], row["tags"]) == (
            "ok", "passthrough", "one/draw", {"team": "a"},
        )  # fmt: skip
        assert row["cost_usd"] is None


@pytest.mark.parametrize("file_first", [False, True])
async def test_a_form_goes_where_its_field_model_says(serve: Serve, file_first: bool) -> None:
    with Upstream(lambda _asked: Answer.json({"text": "hi"})) as upstream:
        server = await serve(provider("one", upstream, more="models = ['ear']"))

        reply = await server.request("POST", "/v1/audio/transcriptions", form("one/ear", file_first=file_first), FORM)

        assert reply.status == 200
        assert upstream.requests[0].body == form("ear", file_first=file_first)
        assert upstream.requests[0].headers["content-type"] == FORM["content-type"]


@pytest.mark.parametrize("padding", [b"", b"x" * 700_000])
@pytest.mark.parametrize("spelling", [b'name="model"', b"name=model", b' name = "model" ; x=y'])
async def test_a_form_with_two_models_is_refused(serve: Serve, padding: bytes, spelling: bytes) -> None:
    """Some servers read the first and some the last: the second one would have been checked by nobody."""
    mark = BOUNDARY.encode() if isinstance(BOUNDARY, str) else BOUNDARY
    parts = [
        b'Content-Disposition: form-data; name="model"\r\n\r\none/ear',
        b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + padding,
        b"Content-Disposition: form-data;" + spelling + b"\r\n\r\none/dear",
    ]
    body = b"".join(b"--" + mark + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + mark + b"--\r\n"
    with Upstream(lambda _asked: Answer.json({"text": "hi"})) as upstream:
        server = await serve(provider("one", upstream, more="models = ['ear', 'dear']"))

        reply = await server.request("POST", "/v1/audio/transcriptions", body, FORM)

        assert (reply.status, reply.error["param"]) == (400, "model")


async def test_a_named_provider_gets_a_large_upload_as_it_comes(serve: Serve) -> None:
    """Nothing in it needs to be read."""
    sent = form(None, b"x" * 900_000)
    with Upstream(lambda _asked: Answer.json({"id": "file-1"})) as upstream:
        server = await serve(provider("one", upstream))

        reply = await server.request("POST", "/v1/files?x=1", sent, {**FORM, "x-modelport-provider": "one"})

        assert reply.status == 200
        assert upstream.requests[0].path == "/v1/files?x=1"
        assert upstream.requests[0].body == sent
        row = await server.row(reply.id)
        assert row["cost_usd"] == "0.000000000"


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH"])
async def test_every_method_passes(serve: Serve, method: str) -> None:
    with Upstream(lambda _asked: Answer.json({"ok": True})) as upstream:
        server = await serve(provider("one", upstream))

        reply = await server.request(method, "/v1/batches/b_1", headers={"x-modelport-provider": "one"})

        assert reply.json == {"ok": True}
        assert (upstream.requests[0].method, upstream.requests[0].path) == (method, "/v1/batches/b_1")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/chat/completions?limit=2"), ("DELETE", "/v1/models/ft:gpt-4.1:me::1"), ("GET", "/v1/completions")],
)
async def test_another_method_of_a_path_of_ours_passes_to_the_provider_that_is_named(
    serve: Serve, method: str, path: str
) -> None:
    """OpenAI lists stored chats and deletes fine-tuned models there. Who names nobody is told what is ours."""
    with Upstream(lambda _asked: Answer.json({"data": []})) as upstream:
        server = await serve(provider("one", upstream))

        named = await server.request(method, path, None, {"x-modelport-provider": "one"})
        nobody = await server.request(method, path)

        assert (named.status, named.json) == (200, {"data": []})
        assert [(asked.method, asked.path) for asked in upstream.requests] == [(method, path)]
        assert nobody.status == 405


async def test_bytes_come_back_as_they_are_and_while_they_come(serve: Serve) -> None:
    """The first piece is there before the last has been sent."""
    sound = bytes(range(256)) * 400
    answer = Answer(200, {"content-type": "audio/mpeg"}, sound, split=1000, hold_at=50_000)
    with Upstream(lambda _asked: answer) as upstream:
        server = await serve(provider("one", upstream, more="models = ['voice']"))
        url = f"{server.url}/v1/audio/speech"

        async with server.session.post(url, json={"model": "voice", "input": "hi"}) as reply:
            first = await reply.content.readany()
            upstream.requests[0].release()
            rest = await reply.read()

        assert reply.headers["content-type"] == "audio/mpeg"
        assert first + rest == sound


@pytest.mark.parametrize(
    ("answer", "tokens"),
    [
        pytest.param(Answer.json({"results": [], "usage": {"total_tokens": 7}}), (7, 0), id="reranker"),
        pytest.param(
            Answer.sse('data: {"type":"a"}\n\ndata: {"type":"done","usage":{"input_tokens":3,"output_tokens":4}}\n\n'),
            (3, 4),
            id="stream",
        ),
    ],
)
async def test_usage_is_booked_and_priced(serve: Serve, answer: Answer, tokens: tuple[int, int]) -> None:
    """1 and 2 dollars per million tokens."""
    with Upstream(lambda _asked: answer) as upstream:
        server = await serve(provider("one", upstream, more="models = ['sort']"))

        reply = await server.request("POST", "/v1/rerank", b'{"model":"sort"}', JSON)

        row = await server.row(reply.id)
        assert (row["input_tokens"], row["output_tokens"]) == tokens
        assert row["cost_usd"] == f"0.{tokens[0] + 2 * tokens[1]:06d}000"


async def test_another_target_takes_over(serve: Serve) -> None:
    with (
        Upstream(lambda _asked: failing(500)) as broken,
        Upstream(lambda _asked: Answer.json({"results": [1]})) as good,
    ):
        config = provider("bad", broken) + provider("good", good) + route("sorting", "bad/a", "good/b")
        server = await serve(QUICK + config)

        reply = await server.request("POST", "/v1/moderations", b'{"model":"sorting","input":"x"}', JSON)

        assert reply.json == {"results": [1]}
        assert reply.headers["x-modelport-attempts"] == "2"
        assert json.loads(good.requests[0].body) == {"model": "b", "input": "x"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "code"),
    [
        ("GET", "/v1/files", {}, None, 404, "unknown_url"),
        ("POST", "/v1/images/edits", JSON, b'{"prompt":"x"}', 404, "unknown_url"),
        ("GET", "/v1/files", {"x-modelport-provider": "nobody"}, None, 404, "no_provider"),
        ("POST", "/v1/rerank", JSON, b'{"model":"nothing"}', 404, "model_not_found"),
        ("GET", "/v1/files/%2e%2e%5cadmin", {"x-modelport-provider": "one"}, None, 400, "invalid_path"),
        ("GET", "/v1/files/..%2fadmin", {"x-modelport-provider": "one"}, None, 400, "invalid_path"),
        ("GET", "/v1/files/..;x/admin", {"x-modelport-provider": "one"}, None, 400, "invalid_path"),
        ("GET", "/v1/files/a%0d%0ax", {"x-modelport-provider": "one"}, None, 400, "invalid_path"),
        ("GET", "/v1/files", {"x-modelport-provider": "demo"}, None, 404, "model_not_found"),
    ],
)  # fmt: skip
async def test_what_cannot_be_passed_on_is_said(
    serve: Serve, method: str, path: str, headers: dict[str, str], body: bytes | None, status: int, code: str
) -> None:
    with Upstream(lambda _asked: Answer.json({})) as upstream:
        server = await serve(provider("one", upstream, more="models = ['draw']"))

        reply = await server.request(method, path, body, headers)

        assert (reply.status, reply.error["code"]) == (status, code)
        assert upstream.requests == []


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", b'{"prompt":"x"}')])
async def test_who_names_nobody_is_told_both_ways_to_choose(serve: Serve, method: str, body: bytes | None) -> None:
    with Upstream(lambda _asked: Answer.json({})) as upstream:
        server = await serve(provider("one", upstream))

        reply = await server.request(method, "/v1/images/edits", body, JSON if body else {})

        told = reply.error["message"]
        assert f"nothing at {method} /v1/images/edits" in told
        assert "`model` in the JSON body, the form or the query" in told
        assert "x-modelport-provider: one of one, demo" in told


EVENTS = 'data: {"type":"a"}\n\ndata: {"type":"done","usage":{"input_tokens":3,"output_tokens":4}}\n\n'


@pytest.mark.parametrize(
    ("answer", "stream"),
    [
        pytest.param(Answer.sse(EVENTS), True, id="declared"),
        pytest.param(Answer(200, {"content-type": "application/json"}, EVENTS.encode(), split=3), True, id="as JSON"),
        pytest.param(Answer(200, {}, b"\n" + EVENTS.encode()), True, id="undeclared"),
        pytest.param(Answer.json({"usage": {"input_tokens": 3, "output_tokens": 4}}), False, id="no stream"),
    ],
)
async def test_the_ledger_says_whether_the_answer_was_a_stream(serve: Serve, answer: Answer, stream: bool) -> None:
    """Whatever was asked for; and its usage is read all the same."""
    with Upstream(lambda _asked: answer) as upstream:
        server = await serve(provider("one", upstream, more="models = ['sort']"))

        reply = await server.request("POST", "/v1/rerank", b'{"model":"sort","stream":false}', JSON)

        row = await server.row(reply.id)
        assert reply.body == answer.body
        assert (row["stream"], row["input_tokens"], row["output_tokens"]) == (stream, 3, 4)


INSIDE = b'\r\n--other\r\nContent-Disposition: form-data; name="model"\r\n\r\nevil\r\n--other'


@pytest.mark.parametrize("file_first", [False, True])
async def test_a_file_cannot_say_where_it_goes(serve: Serve, file_first: bool) -> None:
    """What looks like the field within a file is not one, and the file stays as it is."""
    with Upstream(lambda _asked: Answer.json({"text": "hi"})) as upstream:
        server = await serve(provider("one", upstream, more="models = ['ear', 'evil']"))

        sent = form("one/ear", INSIDE, file_first=file_first)
        reply = await server.request("POST", "/v1/audio/transcriptions", sent, FORM)

        assert reply.headers["x-modelport-target"] == "one/ear"
        assert upstream.requests[0].body == form("ear", INSIDE, file_first=file_first)


@pytest.mark.parametrize(
    ("kind", "head", "found"),
    [
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n', True),
        ('multipart/form-data; boundary="b"', b"--b\r\ncontent-disposition: form-data; name=model\r\n\r\nm\r\n", True),
        (
            "multipart/form-data; boundary=b",
            b'x\r\n--b\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; name="model"\r\n'
            b"Content-Length: 1\r\n\r\nm\r\n",
            True,
        ),
        ("multipart/form-data; boundary=b", b'--c\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n', False),
        ("multipart/form-data; boundary=b", b'--b\r\nX: y; name="model"\r\n\r\nm\r\n', False),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="; name="model""\r\n\r\nm\r\n',
            False,
        ),
    ],
)
def test_the_field_model_is_found_where_a_form_has_it(kind: str, head: bytes, found: bool) -> None:
    pattern = model_field(kind)

    assert pattern is not None
    assert bool(pattern.search(head)) is found


def test_a_form_in_many_small_pieces_is_not_searched_for_each() -> None:
    """A megabyte that comes in 50,000 pieces; the field may stand at the end of each look."""
    looks, searched = 0, 0
    for size in range(20, 1_000_000, 20):
        if grown(size, searched):
            looks, searched = looks + 1, size

    assert looks < 120


async def test_a_form_in_small_pieces_is_found_its_model_and_passed_on(serve: Serve) -> None:
    """The field comes last, after a file."""
    whole = form("one/ear", b"x" * 5000, file_first=True)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(whole), 20):
            yield whole[start : start + 20]

    with Upstream(lambda _asked: Answer.json({"text": "hi"})) as upstream:
        server = await serve(provider("one", upstream, more="models = ['ear']"))

        url = f"{server.url}/v1/audio/transcriptions"
        async with server.session.post(url, data=pieces(), headers=FORM) as reply:
            assert reply.status == 200

        assert upstream.requests[0].body == form("ear", b"x" * 5000, file_first=True)


async def test_a_key_in_the_address_stays_here(serve: Serve) -> None:
    with Upstream(lambda _asked: Answer.json({})) as upstream:
        server = await serve(provider("one", upstream))

        await server.get("/v1/files?key=mp-secret&limit=2&%6bey=x&order=", {"x-modelport-provider": "one"})

        assert upstream.requests[0].path == "/v1/files?limit=2&order="


async def test_a_browser_runs_nothing_of_an_answer(serve: Serve) -> None:
    page = Answer(200, {"content-type": "text/html"}, b"<script>x</script>")
    with Upstream(lambda _asked: page) as upstream:
        server = await serve(provider("one", upstream))

        reply = await server.get("/v1/files/1/content", {"x-modelport-provider": "one"})

        assert reply.headers["content-security-policy"] == "sandbox; default-src 'none'"
        assert reply.headers["x-content-type-options"] == "nosniff"


async def test_an_error_without_end_is_not_read_to_its_end(serve: Serve) -> None:
    """Its beginning tells enough."""
    endless = Answer(400, {"content-type": "application/json"}, b" " * (MAX_ERROR_BYTES + 1), end="hang")
    with Upstream(lambda _asked: endless) as upstream:
        server = await serve(QUICK + provider("one", upstream))

        reply = await asyncio.wait_for(server.get("/v1/files", {"x-modelport-provider": "one"}), 5)

        assert reply.status == 400


@pytest.mark.parametrize(
    ("late_s", "elapsed_s", "received", "slow"),
    [(-1, 600, 0, False), (1, 600, 1000, True), (1, 600, 600 * SLOWEST, False), (1, 600, 600 * SLOWEST - 1, True)],
)
def test_an_answer_whose_time_is_over_may_go_on_while_it_is_quick(
    late_s: float, elapsed_s: float, received: int, slow: bool
) -> None:
    meter = Meter("audio/mpeg")
    meter.add(b"x" * received)

    assert meter.too_slow(late_s, elapsed_s) is slow


async def test_an_answer_that_dribbles_is_broken_off(serve: Serve) -> None:
    dribbles = Answer(200, {"content-type": "audio/mpeg"}, b"x" * 1000, split=1, delay_between_s=0.02)
    with Upstream(lambda _asked: dribbles) as upstream:
        server = await serve(provider("one", upstream, more="models = ['voice']"))
        asked = server.request(
            "POST", "/v1/audio/speech", b'{"model":"voice"}', {**JSON, "x-modelport-timeout-s": "0.2"}
        )

        with pytest.raises(aiohttp.ClientError):
            await asyncio.wait_for(asked, 5)

        assert (await server.rows())[-1]["status"] == "interrupted"


async def test_a_vendors_error_comes_in_our_words(serve: Serve) -> None:
    """A refused key is not the client's fault; what the vendor finds wrong keeps its status, without secrets."""

    def refuses(asked: Asked) -> Answer:
        if asked.path.endswith("secret"):
            return failing(400, f"bad file, key {KEY}", param="file")
        return failing(401, "no such key")

    with Upstream(refuses) as upstream:
        server = await serve(QUICK + provider("one", upstream))
        named = {"x-modelport-provider": "one"}

        wrong = await server.get("/v1/files/secret", named)
        refused = await server.get("/v1/files", named)

        assert (wrong.status, wrong.error["param"]) == (400, "file")
        assert KEY not in wrong.body.decode()
        assert (refused.status, refused.error["code"]) == (502, "upstream_auth")


@pytest.mark.parametrize("status", [405, 409, 410, 412, 415, 416, 423, 428])
@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "gemini"])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_what_a_vendor_says_of_a_thing_keeps_its_status(
    serve: Serve, status: int, dialect: str, method: str
) -> None:
    """And is the last word: neither the provider nor another is asked again."""
    with Upstream(lambda _asked: failing(status, "already cancelled")) as upstream:
        server = await serve(
            provider("one", upstream, dialect, more="models = ['m']"),
            provider("two", upstream, dialect, more="models = ['m']"),
            route("both", "one/m", "two/m"),
        )
        reply = await server.request(method, "/v1/batches", b'{"model":"both"}', JSON)

        assert (reply.status, reply.error["message"]) == (status, "one: already cancelled")
        assert len(upstream.requests) == 1
        assert (await server.rows())[-1]["status"] == "failed"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize(("status", "body"), [(500, b"<html>"), (503, b"busy"), (409, b"{}")])
async def test_what_may_have_made_something_is_not_to_be_sent_again(
    serve: Serve, method: str, status: int, body: bytes
) -> None:
    """SDKs repeat 409 and 5xx by themselves, unless they are told not to: that would make a second batch."""
    broken = Answer(status, {"content-type": "text/html"}, body)
    with Upstream(lambda _asked: broken) as upstream:
        server = await serve(QUICK + provider("one", upstream))

        reply = await server.request(method, "/v1/batches", b"{}", {**JSON, "x-modelport-provider": "one"})

        assert len(upstream.requests) == 1
        assert reply.headers["x-should-retry"] == "false"
        assert reply.headers["x-modelport-attempts"] == "1"
        assert reply.headers["x-modelport-target"] == "one/-"
        assert len(reply.error["message"]) > len("one: ")


@pytest.mark.parametrize(
    ("dialect", "base", "sent"),
    [
        ("gemini", "", "/v1/rerank"),
        ("gemini", "/v1beta", "/v1beta/rerank"),
        ("gemini", "/v1alpha", "/v1alpha/rerank"),
        ("anthropic", "", "/v1/rerank"),
        ("anthropic", "/v1", "/v1/rerank"),
        ("anthropic", "/v2", "/v2/rerank"),
        ("openai_chat", "/v1", "/v1/rerank"),
        ("openai_chat", "/api", "/api/rerank"),
    ],
)
async def test_no_version_is_doubled(serve: Serve, dialect: str, base: str, sent: str) -> None:
    with Upstream(lambda _asked: Answer.json({})) as upstream:
        server = await serve(provider("one", upstream.url + base, dialect, more="models = ['m']"))
        await server.request("POST", "/v1/rerank", b'{"model":"one/m"}', JSON)

        assert [asked.path for asked in upstream.requests] == [sent]


async def test_a_broken_answer_breaks_off_for_the_client_too(serve: Serve) -> None:
    """And is booked as interrupted."""
    cut = Answer(200, {"content-type": "audio/mpeg"}, b"x" * 90_000, split=1000, stop_at=50_000, end="reset")
    with Upstream(lambda _asked: cut) as upstream:
        server = await serve(provider("one", upstream, more="models = ['voice']"))

        with pytest.raises(aiohttp.ClientError):
            await server.request("POST", "/v1/audio/speech", b'{"model":"voice"}', JSON)

        row = (await server.rows())[-1]
        assert row["status"] == "interrupted"


async def test_the_official_sdk_reaches_files_and_speech(serve: Serve) -> None:
    """With the provider in a default header, or by the model's name."""
    from openai import AsyncOpenAI

    def vendor(asked: Asked) -> Answer:
        if asked.path == "/v1/files":
            return Answer.json(
                {"id": "file-1", "object": "file", "bytes": 3, "created_at": 1, "filename": "a.jsonl",
                 "purpose": "batch", "status": "processed"}
            )  # fmt: skip
        return Answer(200, {"content-type": "audio/mpeg"}, b"ID3")

    with Upstream(vendor) as upstream:
        server = await serve(provider("one", upstream, more="models = ['voice']"))
        headers: dict[str, Any] = {"x-modelport-provider": "one"}
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x") as client:
            file = await client.files.create(file=("a.jsonl", b"{}\n"), purpose="batch", extra_headers=headers)
            sound = await client.audio.speech.create(model="voice", voice="alloy", input="hi")

        assert file.id == "file-1"
        assert sound.content == b"ID3"
