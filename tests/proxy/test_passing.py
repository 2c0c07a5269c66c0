"""Endpoints without translation: bytes go through, keys and names are exchanged, the books are kept."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

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
