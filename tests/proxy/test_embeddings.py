"""`/v1/embeddings` over sockets: the official SDK in front of every kind of target, and what the books say."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from array import array
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from proxy.backends.demo import MOST_NUMBERS
from proxy.embedding import pack, unpack
from proxy.stored import Stored
from tests.proxy.conftest import Serve
from tests.proxy.serving import KEY, QUICK, SECOND_KEY, Served, failing, provider, route
from tests.replay import Answer, Asked, Upstream
from translators.embeddings import demo_vector
from translators.losses import Loss
from translators.neutral import Response, Usage

JSON = {"content-type": "application/json"}


def sdk(server: Served) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{server.url}/v1", api_key="mine", max_retries=0)


def vector(text: str, size: int = 3) -> list[float]:
    """What these upstreams say of *text*: numbers that are exact in 32 bits."""
    return [len(text) + place / 4 for place in range(size)]


def in_base64(numbers: list[float]) -> str:
    return base64.b64encode(array("f", numbers).tobytes()).decode()


def texts_of(body: dict[str, Any]) -> list[str]:
    found = body["input"]
    return [str(item) for item in (found if isinstance(found, list) else [found])]


def openai_answer(asked: Asked, **more: Any) -> Answer:
    """OpenAI's: a token for each input; the form and size that are asked for."""
    body = asked.json
    size = body.get("dimensions") or 3
    vectors = [vector(text, size) for text in texts_of(body)]
    in_form: list[Any] = [in_base64(each) for each in vectors] if body.get("encoding_format") == "base64" else vectors
    entries = [{"object": "embedding", "index": at, "embedding": each} for at, each in enumerate(in_form)]
    usage = {"prompt_tokens": len(vectors), "total_tokens": len(vectors)}
    return Answer.json({"object": "list", "data": entries, "model": "m-2026", "usage": usage, **more})


def gemini_answer(asked: Asked) -> Answer:
    """Gemini's: no usage."""
    asked_for = asked.json["requests"]
    return Answer.json(
        {
            "embeddings": [
                {"values": vector(each["content"]["parts"][0]["text"], each.get("outputDimensionality", 3))}
                for each in asked_for
            ]
        }
    )


def cohere_answer(asked: Asked) -> Answer:
    texts = asked.json["texts"]
    return Answer.json(
        {
            "id": "e1",
            "embeddings": {"float": [vector(text, asked.json.get("output_dimension", 3)) for text in texts]},
            "meta": {"billed_units": {"input_tokens": 2 * len(texts)}},
        }
    )


async def ask(server: Served, headers: dict[str, str] | None = None, **body: Any) -> Any:
    whole = {"model": "one/m", "input": "hello", **body}
    return await server.request("POST", "/v1/embeddings", json.dumps(whole).encode(), {**JSON, **(headers or {})})


COHERE = 'embeddings = { dialect = "cohere", max_inputs = 2 }'
GEMINI = "embeddings = { max_inputs = 2 }"
TARGETS = {
    "openai_chat": ("openai_chat", "", openai_answer),
    "gemini": ("gemini", GEMINI, gemini_answer),
    "cohere": ("openai_chat", COHERE, cohere_answer),
}


@pytest.mark.parametrize("target", [*TARGETS, "demo"])
@pytest.mark.parametrize("size", [None, 5])
@pytest.mark.parametrize("form", [None, "float", "base64"])
async def test_the_sdk_gets_a_vector_for_each_text(serve: Serve, target: str, size: int | None, form: Any) -> None:
    """The SDK asks for base64 unless told otherwise and decodes it; both forms say the same."""
    texts = ["a", "bb", "ccc"]
    given: dict[str, Any] = {}
    if size:
        given["dimensions"] = size
    if form:
        given["encoding_format"] = form
    dialect, more, script = TARGETS.get(target, ("openai_chat", "", openai_answer))
    with Upstream(script) as upstream:
        server = await serve(provider("one", upstream, dialect, more=more))
        model = "demo/echo" if target == "demo" else "one/m"

        async with sdk(server) as client:
            answer = await client.embeddings.create(model=model, input=texts, **given)

    expected = [demo_vector(text, size or 1536) if target == "demo" else vector(text, size or 3) for text in texts]
    found = [entry.embedding for entry in answer.data]
    if form == "base64":
        found = [array("f", base64.b64decode(str(each))).tolist() for each in found]
    assert found == [pytest.approx(each) for each in expected]
    assert [entry.index for entry in answer.data] == [0, 1, 2]
    assert answer.object == "list"
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0


async def test_an_openai_server_gets_the_clients_bytes_and_the_client_the_servers(serve: Serve) -> None:
    """Key order, unknown fields and spelling of numbers survive; the name and the key are exchanged."""
    said = b'{"data":[{"embedding":[1.50,2],"index":0,"object":"embedding"}],"new":1,"object":"list","usage":null}'
    with Upstream(lambda _asked: Answer.json(said)) as upstream:
        server = await serve(provider("one", upstream))
        sent = b'{"input":"hello","new_field":{"x":1.50},"model":"one/m","modelport":{"tags":{"team":"a"}}}'

        reply = await server.request("POST", "/v1/embeddings", sent, {**JSON, "authorization": "Bearer mine"})

        assert reply.body == said
        assert upstream.requests[0].path == "/v1/embeddings"
        assert upstream.requests[0].body == b'{"input":"hello","new_field":{"x":1.50},"model":"m"}'
        assert upstream.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_the_books_headers_and_health_know_of_it(serve: Serve) -> None:
    """Usage and price are the vendor's and the catalogue's: 2 tokens at a dollar a million."""
    with Upstream(openai_answer) as upstream:
        server = await serve(provider("one", upstream))

        reply = await ask(server, {"x-modelport-tags": "team=a"}, input=["a", "b"])

        row = await server.row(reply.id)
        assert (row["status"], row["dialect"], row["target"], row["tags"]) == (
            "ok", "embeddings", "one/m", {"team": "a"},
        )  # fmt: skip
        assert (row["input_tokens"], row["output_tokens"], row["estimated"]) == (2, 0, False)
        assert [(made["status"], made["raw_usage"]) for made in row["attempts"]] == [
            ("ok", {"prompt_tokens": 2, "total_tokens": 2})
        ]
        assert row["cost_usd"] == "0.000002000" == reply.headers["x-modelport-cost-usd"]
        assert reply.headers["x-modelport-target"] == reply.headers["x-modelport-route"] == "one/m"
        assert reply.headers["x-modelport-attempts"] == "1"
        assert reply.headers["x-modelport-cache"] == "miss"
        assert "x-modelport-losses" not in reply.headers
        health = (await server.get("/health")).json["providers"]
        assert [(each["status"], each["requests"]) for each in health if each["name"] == "one"] == [("healthy", 1)]


@pytest.mark.parametrize(("target", "calls"), [("gemini", [2, 2, 1]), ("cohere", [2, 2, 1])])
async def test_a_long_list_goes_in_as_many_calls_as_it_takes(serve: Serve, target: str, calls: list[int]) -> None:
    """Each call is an attempt with its own usage; what the vendor does not count is estimated and flagged."""
    dialect, more, script = TARGETS[target]
    texts = ["x" * size for size in range(1, 6)]
    with Upstream(script) as upstream:
        server = await serve(provider("one", upstream, dialect, more=more))

        reply = await ask(server, input=texts)

        sizes = [len(asked.json.get("requests") or asked.json.get("texts")) for asked in upstream.requests]
        assert sorted(sizes, reverse=True) == calls
        assert [entry["embedding"] for entry in reply.json["data"]] == [vector(text) for text in texts]
        row = await server.row(reply.id)
        assert [made["status"] for made in row["attempts"]] == ["ok"] * 3
        assert reply.headers["x-modelport-attempts"] == "3"
        assert [made["estimated"] for made in row["attempts"]] == [target == "gemini"] * 3
        assert (
            row["input_tokens"]
            == reply.json["usage"]["prompt_tokens"]
            == sum(made["input_tokens"] for made in row["attempts"])
        )
        if target == "cohere":
            assert row["input_tokens"] == 10
        assert row["cost_usd"] == f"0.{row['input_tokens'] * 1000:09d}"


async def test_no_more_than_four_calls_run_side_by_side(serve: Serve) -> None:
    held = Answer.json({"embeddings": [{"values": [1.0]}]}, hold_at=5)
    with Upstream(lambda _asked: held) as upstream:
        server = await serve(provider("one", upstream, "gemini", more="embeddings = { max_inputs = 1 }"))
        asking = asyncio.create_task(ask(server, input=["a"] * 6))
        for wave in (4, 6):
            await asyncio.to_thread(upstream.wait_asked, "m", wave)
            assert len(upstream.requests) == wave
            for asked in upstream.requests[wave - 4 if wave == 4 else 4 :]:
                asked.release()
        reply = await asking

        assert len(reply.json["data"]) == 6


async def test_the_next_target_takes_over(serve: Serve) -> None:
    """Both attempts are in the books, and only the one that answered costs."""
    with Upstream() as upstream:
        upstream.script("a", failing(503))
        upstream.script("b", openai_answer)
        server = await serve(provider("one", upstream), route("fast", "one/a", "one/b"), QUICK)

        reply = await ask(server, model="fast")

        assert reply.status == 200
        assert reply.headers["x-modelport-target"] == "one/b"
        row = await server.row(reply.id)
        assert [(made["status"], made["http_status"]) for made in row["attempts"]] == [("failed", 503), ("ok", 200)]
        assert row["cost_usd"] == "0.000001000"


async def test_a_batch_that_fails_ends_the_others_and_the_next_target_does_all(serve: Serve) -> None:
    """What was answered for nothing is booked as such: aborted, with its cost."""

    def script(asked: Asked) -> Answer:
        if asked.json["texts"] == ["bad"]:
            return failing(500)
        return cohere_answer(asked)

    with Upstream(script) as upstream, Upstream(openai_answer) as other:
        server = await serve(
            provider("one", upstream, more='embeddings = { dialect = "cohere", max_inputs = 1 }'),
            provider("two", other),
            route("fast", "one/m", "two/m"),
            QUICK,
        )

        reply = await ask(server, model="fast", input=["a", "bad", "c"])

        assert [entry["embedding"] for entry in reply.json["data"]] == [vector("a"), vector("bad"), vector("c")]
        row = await server.row(reply.id)
        statuses = [made["status"] for made in row["attempts"]]
        assert statuses.count("failed") == 1
        assert statuses.count("ok") == 1
        assert {made["status"] for made in row["attempts"]} <= {"failed", "ok", "aborted"}
        assert all(made["cost_usd"] is not None for made in row["attempts"])
        assert row["status"] == "ok"


ERRORS: dict[str, tuple[Answer, int, str]] = {
    "unknown model": (failing(404, "no such model", code="model_not_found"), 404, "no such model"),
    "wrong key": (failing(401, "bad key"), 502, "bad key"),
    "too long": (failing(400, "maximum context length is 8192 tokens"), 400, "8192"),
    "limited": (failing(429, "slow down"), 429, "slow down"),
    "no JSON": (Answer.json(b"<html>"), 502, "not valid JSON"),
    "an error with status 200": (
        Answer.json({"error": {"message": "model loading", "type": "server"}}),
        502,
        "loading",
    ),
    "too few vectors": (Answer.json({"object": "list", "data": []}), 502, "expected 1"),
    "no numbers": (Answer.json({"data": [{"embedding": "***"}]}), 502, "base64"),
}


@pytest.mark.parametrize("case", ERRORS)
async def test_what_goes_wrong_upstream_is_told_in_openais_envelope(serve: Serve, case: str) -> None:
    answer, status, words = ERRORS[case]
    with Upstream(lambda _asked: answer) as upstream:
        server = await serve(provider("one", upstream), QUICK)

        with pytest.raises(openai.APIStatusError) as raised:
            async with sdk(server) as client:
                await client.embeddings.create(model="one/m", input="hello", encoding_format="float")

        assert raised.value.status_code == status
        assert words in raised.value.message
        assert raised.value.response.headers["x-should-retry"] == "false"
        (row,) = await server.rows()
        assert row["status"] == "failed"
        assert row["cost_usd"] == "0.000000000"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no input": ({"input": None}, "input"),
    "an empty list": ({"input": []}, "input"),
    "an empty text": ({"input": ["a", ""]}, "input[1]"),
    "too many": ({"input": ["a"] * 2049}, "input"),
    "an unknown form": ({"encoding_format": "int8"}, "encoding_format"),
    "no size": ({"dimensions": 0}, "dimensions"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_request_is_a_400_that_names_the_field_and_costs_nothing(serve: Serve, case: str) -> None:
    fields, param = WRONG[case]
    with Upstream(openai_answer) as upstream:
        server = await serve(provider("one", upstream))

        reply = await ask(server, **fields)

        assert (reply.status, reply.error["param"]) == (400, param)
        assert upstream.requests == []
        assert await server.rows() == []


async def test_a_target_without_embeddings_is_named(serve: Serve) -> None:
    with Upstream() as upstream:
        server = await serve(
            provider("one", upstream, "anthropic"),
            provider("two", upstream, more='embeddings = { dialect = "none" }'),
            route("both", "one/m", "two/m"),
        )

        reply = await ask(server, model="both")

        assert (reply.status, reply.error["code"]) == (400, "no_embeddings")
        assert reply.error["message"] == "one/m: one has no embeddings; two/m: two has no embeddings"
        assert upstream.requests == []


async def test_a_target_without_embeddings_is_passed_over(serve: Serve) -> None:
    with Upstream(openai_answer) as upstream:
        server = await serve(
            provider("one", upstream, "anthropic"), provider("two", upstream), route("both", "one/m", "two/m")
        )

        reply = await ask(server, model="both")

        assert reply.headers["x-modelport-target"] == "two/m"
        assert reply.headers["x-modelport-attempts"] == "1"


async def test_a_local_chat_model_is_no_embedder(serve: Serve, tmp_path: Path) -> None:
    server = await serve(f"[providers.local]\ndialect = 'llamacpp'\nmodels = {{ tiny = {{ path = '{tmp_path}/t' }} }}")

    reply = await ask(server, model="local/tiny")

    assert (reply.status, reply.error["code"]) == (400, "no_embeddings")
    assert "embedding = true" in reply.error["message"]


LOSSES: dict[str, tuple[str, dict[str, Any], str]] = {
    "refused": ("openai_chat", {"user": "u1"}, "user"),
    "no such field": ("cohere", {"user": "u1"}, "user"),
    "another size": ("openai_chat", {"dimensions": 7}, "dimensions"),
}
STUBBORN = 'embeddings = { refuses = ["user", "dimensions"] }'


@pytest.mark.parametrize("case", LOSSES)
async def test_what_is_lost_is_told_and_can_be_refused(serve: Serve, case: str) -> None:
    target, fields, lost = LOSSES[case]
    dialect, more, script = TARGETS[target]
    with Upstream(script) as upstream:
        server = await serve(provider("one", upstream, dialect, more=more or STUBBORN))

        told = await ask(server, **fields)
        refused = await ask(server, {"x-modelport-losses": "reject"}, **fields)
        silent = await ask(server, {"x-modelport-losses": "ignore"}, **fields)

        assert told.headers["x-modelport-losses"].startswith(f"{lost}=")
        assert (await server.row(told.id))["losses"][0]["field"] == lost
        assert (refused.status, refused.error["code"], refused.error["param"]) == (400, "loss_rejected", lost)
        assert "one/m" in refused.error["message"]
        assert (silent.status, "x-modelport-losses" in silent.headers) == (200, False)


async def test_a_server_that_ignores_dimensions_is_found_out(serve: Serve) -> None:
    """The answer has been paid for, so that a refusal costs, too, and the books say so."""

    def ignoring(asked: Asked) -> Answer:
        return openai_answer(Asked(asked.method, asked.path, {}, b'{"input":"hello"}', 0.0))

    with Upstream(ignoring) as upstream:
        server = await serve(provider("one", upstream))

        told = await ask(server, {"x-modelport-cache": "no-store"}, dimensions=2)
        refused = await ask(server, {"x-modelport-losses": "reject"}, dimensions=2)

        assert told.headers["x-modelport-losses"].startswith("dimensions=")
        assert (refused.status, refused.error["param"]) == (400, "dimensions")
        row = await server.row(refused.id)
        assert (row["status"], row["cost_usd"]) == ("failed", "0.000001000")


@pytest.mark.parametrize(
    ("first", "fields", "headers", "asked"),
    [
        ("openai_chat", {"user": "u"}, {"x-modelport-losses": "reject"}, 0),
        ("gemini", {"input": [[1, 2]]}, {}, 0),
        ("short", {"dimensions": 2}, {"x-modelport-losses": "reject"}, 1),
    ],
)
async def test_what_one_target_cannot_take_another_is_asked_for(
    serve: Serve, first: str, fields: dict[str, Any], headers: dict[str, str], asked: int
) -> None:
    """A refused loss and token ids that nobody can read are no word on the next target. What was paid is booked."""

    def short(_asked: Asked) -> Answer:
        return openai_answer(Asked("POST", "", {}, b'{"input":"hello"}', 0.0))

    dialect, more, script = {**TARGETS, "short": ("openai_chat", "", short)}[first]
    with Upstream(script) as picky, Upstream(openai_answer) as other:
        server = await serve(
            QUICK,
            provider("one", picky, dialect, more=more or ("" if first == "short" else STUBBORN)),
            provider("two", other),
            route("both", "one/m", "two/m"),
        )

        reply = await ask(server, headers, model="both", **fields)

        assert (reply.status, reply.headers["x-modelport-target"]) == (200, "two/m")
        assert (len(picky.requests), len(other.requests)) == (asked, 1)
        row = await server.row(reply.id)
        assert [made["status"] for made in row["attempts"]] == ["ok"] * (asked + 1)
        assert row["cost_usd"] == f"0.00000{asked + 1}000"


async def test_headers_and_query_for_openai_go_along(serve: Serve) -> None:
    """To a server of its dialect, not to others; vectors of two projects are not one in the cache."""
    said = {"openai-project": "p1", "anthropic-beta": "b", "openai-api-key": "sk-mine"}
    with Upstream(openai_answer) as upstream, Upstream(cohere_answer) as foreign:
        server = await serve(provider("one", upstream), provider("two", foreign, more=COHERE))

        for headers in (said, said, {**said, "openai-project": "p2"}):
            raw = json.dumps({"model": "one/m", "input": "hello"}).encode()
            await server.request("POST", "/v1/embeddings?api-version=3&key=mine", raw, {**JSON, **headers})
        await ask(server, said, model="two/m")

        assert [asked.headers.get("openai-project") for asked in upstream.requests] == ["p1", "p2"]
        assert {asked.path for asked in upstream.requests} == {"/v1/embeddings?api-version=3"}
        for asked in (*upstream.requests, *foreign.requests):
            assert not {"anthropic-beta", "openai-api-key"} & asked.headers.keys()
        assert "openai-project" not in foreign.requests[0].headers


async def test_a_server_may_call_fields_otherwise(serve: Serve) -> None:
    with Upstream(openai_answer) as upstream:
        more = 'embeddings = { rename = { dimensions = "output_dimension" }, refuses = ["user"] }'
        server = await serve(provider("one", upstream, more=more))

        await ask(server, dimensions=3, user="u")

        assert upstream.requests[0].json == {"model": "m", "input": "hello", "output_dimension": 3}


async def test_token_ids_become_text_where_the_target_takes_only_text(serve: Serve) -> None:
    """langchain-openai sends them; the model's name tells the tokenizer."""
    with Upstream() as upstream:
        upstream.script("text-embedding-3-small", cohere_answer)
        server = await serve(provider("one", upstream, more=COHERE))

        reply = await ask(server, model="one/text-embedding-3-small", input=[[15339, 1917]])

        assert upstream.requests[0].json["texts"] == ["hello world"]
        assert "emulated" in reply.headers["x-modelport-losses"]


async def test_embeddings_may_have_an_address_of_their_own(serve: Serve) -> None:
    with Upstream() as chat, Upstream(openai_answer) as vectors:
        more = f'embeddings = {{ base_url = "{vectors.url}/other", path = "/v9/{{model}}/embed" }}'
        server = await serve(provider("one", chat, more=more))

        reply = await ask(server, model="one/a/b?c")

        assert reply.status == 200
        assert vectors.requests[0].path == "/other/v9/a%2Fb%3Fc/embed"
        assert vectors.requests[0].headers["authorization"] == f"Bearer {KEY}"
        assert chat.requests == []


async def test_a_model_name_cannot_lead_to_another_method_of_gemini(serve: Serve) -> None:
    with Upstream(gemini_answer) as upstream:
        server = await serve(provider("one", upstream, "gemini"))

        await ask(server, model="one/m:generateContent?x=")

        path = upstream.requests[0].path
        assert path.endswith(":batchEmbedContents")
        assert "?" not in path


async def test_a_second_key_is_tried(serve: Serve) -> None:
    def script(asked: Asked) -> Answer:
        return openai_answer(asked) if SECOND_KEY in asked.headers["authorization"] else failing(401)

    with Upstream(script) as upstream:
        server = await serve(provider("one", upstream, keys=(KEY, SECOND_KEY)))

        assert (await ask(server)).status == 200


# --- the cache -----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
async def test_the_same_request_is_answered_from_the_cache(serve: Serve, target: str) -> None:
    """Vectors do not change: they are kept whenever the cache is on, and cost nothing the second time."""
    dialect, more, script = TARGETS[target]
    with Upstream(script) as upstream:
        server = await serve(provider("one", upstream, dialect, more=more))

        first = await ask(server, user="u")
        second = await ask(server, user="u")

        assert len(upstream.requests) == 1
        assert (second.headers["x-modelport-cache"], second.body) == ("hit", first.body)
        assert second.headers.get("x-modelport-losses") == first.headers.get("x-modelport-losses")
        row = await server.row(second.id)
        assert (row["cache"], row["cost_usd"], row["saved_usd"]) == (
            "hit", "0.000000000", first.headers["x-modelport-cost-usd"],
        )  # fmt: skip
        assert row["input_tokens"] == (await server.row(first.id))["input_tokens"]


OTHERS: list[dict[str, Any]] = [{"input": "other"}, {"dimensions": 2}, {"encoding_format": "base64"}, {"user": "u"}]


@pytest.mark.parametrize("other", OTHERS)
async def test_what_changes_the_answer_changes_the_key(serve: Serve, other: dict[str, Any]) -> None:
    with Upstream(openai_answer) as upstream:
        server = await serve(provider("one", upstream))

        await ask(server)
        reply = await ask(server, **other)

        assert reply.headers["x-modelport-cache"] == "miss"


@pytest.mark.parametrize(
    ("config", "headers", "cache"),
    [
        ("[cache]\nmode = 'off'", {}, "bypass"),
        ("", {"x-modelport-cache": "no-cache"}, "miss"),
        ("", {"x-modelport-cache": "no-cache, no-store"}, "bypass"),
        ("[cache]\nmode = 'off'", {"idempotency-key": "k1"}, "hit"),
    ],
)
async def test_who_wants_no_cache_gets_none(serve: Serve, config: str, headers: dict[str, str], cache: str) -> None:
    with Upstream(openai_answer) as upstream:
        server = await serve(provider("one", upstream), config)

        await ask(server, headers)
        reply = await ask(server, headers)

        assert reply.headers["x-modelport-cache"] == cache
        assert len(upstream.requests) == (1 if cache == "hit" else 2)


def test_what_is_kept_is_read_again_and_damaged_bytes_are_a_miss() -> None:
    response = Response("", "", 0, (), Usage(input_tokens=3))
    stored = Stored("one/m", 5, response, (Loss("user", "dropped", "no"),), "embeddings", b'{"data":\n[]}')

    assert unpack(pack(stored)) == stored
    assert [unpack(damaged) for damaged in (None, b"", pack(stored)[:20], b"[]\n{}", b'[3,"one/m"]\n{}')] == [None] * 5


async def test_equal_requests_at_the_same_time_are_one_call(serve: Serve) -> None:
    held = Answer.json({"data": [{"embedding": [1.0]}], "usage": {"prompt_tokens": 1}}, hold_at=5)
    with Upstream(lambda _asked: held) as upstream:
        server = await serve(provider("one", upstream))

        asking = [asyncio.create_task(ask(server)) for _ in range(5)]
        asked = await asyncio.to_thread(upstream.wait_asked, "m")
        while server.services.in_flight < 5:
            await asyncio.sleep(0)
        asked.release()
        replies = await asyncio.gather(*asking)

        assert len(upstream.requests) == 1
        assert sorted(reply.headers["x-modelport-cache"] for reply in replies) == ["hit"] * 4 + ["miss"]


async def test_a_client_that_leaves_ends_the_calls_and_is_booked(serve: Serve) -> None:
    with Upstream(lambda _asked: Answer(hang=True)) as upstream:
        server = await serve(provider("one", upstream, "gemini", more="embeddings = { max_inputs = 1 }"))

        asking = asyncio.create_task(ask(server, input=["a", "b"]))
        await asyncio.to_thread(upstream.wait_asked, "m", 2)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

        assert [await asyncio.to_thread(asked.wait_left, 5) for asked in upstream.requests] == [True, True]
        while (row := (await server.rows())[0])["status"] == "open":
            await asyncio.sleep(0)
        assert row["status"] == "aborted"
        assert row["estimated"]


# --- size ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["openai_chat", "gemini"])
async def test_large_answers_arrive_whole(serve: Serve, target: str) -> None:
    """More than a quarter of a megabyte is read and written in a thread."""
    dialect, _, script = TARGETS[target]
    texts = [f"text {number}" for number in range(90)]
    with Upstream(script) as upstream:
        server = await serve(provider("one", upstream, dialect))

        async with sdk(server) as client:
            answer = await client.embeddings.create(model="one/m", input=texts, dimensions=1000)

    assert [len(entry.embedding) for entry in answer.data] == [1000] * 90
    assert answer.data[89].embedding[:4] == vector(texts[89], 4)


async def test_the_simulation_bounds_its_work(serve: Serve) -> None:
    server = await serve()

    reply = await ask(server, model="demo/echo", input=["a"] * 2048, dimensions=MOST_NUMBERS // 2048 + 1)

    assert reply.status == 400
    assert "simulation" in reply.error["message"]


async def test_the_simulation_says_that_it_is_one(serve: Serve) -> None:
    server = await serve()

    assert "simulation" in (await ask(server, model="demo/echo")).json["model"]
    assert (await ask(server, model="demo/fail-429")).status == 429


async def test_the_documentation_shows_what_is_answered(serve: Serve) -> None:
    page = (Path(__file__).parents[2] / "docs/embeddings.md").read_text("utf-8")
    shown = re.findall(r"^\$ curl -s http://127\.0\.0\.1:4100(\S+) -d '(.*)'\n(.*)$", page, re.MULTILINE)
    server = await serve()

    said = [(await server.request("POST", path, body.encode())).body.decode() for path, body, _ in shown]

    assert said == [answer for _, _, answer in shown]
    assert len(shown) == 2
