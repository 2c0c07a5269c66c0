"""Google's embedContent and batchEmbedContents over sockets: its SDK in front of every kind of target."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google import genai

from tests.proxy.conftest import Serve
from tests.proxy.serving import Served, provider
from tests.proxy.test_embeddings import JSON, TARGETS, openai_answer, vector
from tests.replay import Upstream
from translators.embeddings import demo_vector

TEXTS = ["a", "bb", "ccc"]


async def ask(server: Served, method: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
    path = f"/v1beta/models/one/m:{method}"
    return await server.request("POST", path, json.dumps(body).encode(), {**JSON, **(headers or {})})


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"content": {"parts": [{"text": text}]}, **more}


@pytest.mark.parametrize("target", [*TARGETS, "demo"])
@pytest.mark.parametrize("size", [None, 5])
async def test_the_sdk_gets_a_vector_for_each_text(serve: Serve, target: str, size: int | None) -> None:
    dialect, more, script = TARGETS.get(target, ("openai_chat", "", openai_answer))
    with Upstream(script) as upstream:
        server = await serve(provider("one", upstream, dialect, more=more))
        client = genai.Client(api_key="mine", http_options={"base_url": server.url})
        async with client.aio as google:
            answer = await google.models.embed_content(
                model="demo/echo" if target == "demo" else "one/m",
                contents=TEXTS,
                config={"output_dimensionality": size} if size else None,
            )
        client.close()

    expected = [demo_vector(text, size or 1536) if target == "demo" else vector(text, size or 3) for text in TEXTS]
    assert [each.values for each in answer.embeddings or []] == [pytest.approx(each) for each in expected]


async def test_a_lone_text_has_a_lone_vector(serve: Serve) -> None:
    with Upstream(openai_answer) as upstream:
        server = await serve(provider("one", upstream))

        reply = await ask(server, "embedContent", said("hello"))

        assert reply.json == {"embedding": {"values": vector("hello")}, "usageMetadata": {"promptTokenCount": 1}}
        assert upstream.requests[0].json == {"model": "m", "input": ["hello"]}
        row = await server.row(reply.id)
        assert (row["dialect"], row["status"], row["input_tokens"]) == ("embeddings", "ok", 1)


async def test_google_gets_its_clients_own_words(serve: Serve) -> None:
    """Unknown fields and titles of their own; only the model's name changes. What is too much for a call makes two."""
    dialect, more, script = TARGETS["gemini"]
    requests = [
        {"model": "models/one/m", "new": {"x": 1}, **said("a", title="A")},
        {"content": {"parts": [{"text": "bb", "later": 2}]}},
        said("ccc"),
    ]
    with Upstream(script) as upstream:
        server = await serve(provider("one", upstream, dialect, more=more))

        body = {"requests": requests, "newer": [1], "modelport": {"losses": "reject"}}
        reply = await ask(server, "batchEmbedContents", body)

        sent = [each for asked in upstream.requests for each in asked.json["requests"]]
        assert reply.status == 200
        assert sorted(sent, key=json.dumps) == sorted(
            [{**each, "model": "models/m"} for each in requests], key=json.dumps
        )
        assert len(upstream.requests) == 2
        assert [set(asked.json) for asked in upstream.requests] == [{"requests", "newer"}] * 2


async def test_what_only_google_has_is_a_loss_elsewhere(serve: Serve) -> None:
    requests = [said("a", taskType="RETRIEVAL_QUERY", title="A"), said("b", task_type="RETRIEVAL_QUERY", new=1)]
    with Upstream(openai_answer) as upstream:
        server = await serve(provider("one", upstream))

        told = await ask(server, "batchEmbedContents", {"requests": requests, "newer": [1]})
        refused = await ask(server, "batchEmbedContents", {"requests": requests}, {"x-modelport-losses": "reject"})

        row = await server.request("GET", f"/api/v1/exchanges/{told.id}")
        assert upstream.requests[0].json == {"model": "m", "input": ["a", "b"]}
        assert {loss["field"] for loss in row.json["losses"]} == {
            "requests[0].taskType", "requests[0].title", "requests[1].taskType", "requests[1].new", "newer",
        }  # fmt: skip
        assert (refused.status, refused.error["status"]) == (400, "INVALID_ARGUMENT")
        assert "one/m" in refused.error["message"]
        assert len(upstream.requests) == 1


async def test_a_purpose_is_said_in_the_targets_words(serve: Serve) -> None:
    dialect, more, script = TARGETS["cohere"]
    with Upstream(script) as upstream:
        server = await serve(provider("one", upstream, dialect, more=more))

        await ask(server, "embedContent", said("a", taskType="RETRIEVAL_QUERY", outputDimensionality=4))

        assert upstream.requests[0].json["input_type"] == "search_query"
        assert upstream.requests[0].json["output_dimension"] == 4


PICTURE = {"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}]}}
ELSEWHERE = {"content": {"parts": [{"fileData": {"fileUri": "http://127.0.0.1/x.png"}}]}}
WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "no content": ("embedContent", {}, "content: missing"),
    "no requests": ("batchEmbedContents", {}, "requests: missing"),
    "an empty text": ("embedContent", said(""), "content.parts: an empty text"),
    "an empty list": ("batchEmbedContents", {"requests": []}, "requests: expected an array with at least one"),
    "a picture for a target of texts": ("embedContent", PICTURE, "content: the target embeds texts only"),
    "an address": ("embedContent", ELSEWHERE, "content.parts[0].fileData.fileUri: expected a file that Google keeps"),
    "another model": (
        "batchEmbedContents",
        {"requests": [said("a", model="models/other")]},
        "requests[0].model: expected the address's, models/one/m",
    ),
    "two sizes": (
        "batchEmbedContents",
        {"requests": [said("a", outputDimensionality=2), said("b", outputDimensionality=3)]},
        "requests[1].outputDimensionality: differs",
    ),
    "a size in words": ("embedContent", said("a", outputDimensionality="2"), "outputDimensionality: expected a number"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_is_wrong_is_said_in_googles_envelope(serve: Serve, case: str) -> None:
    method, body, message = WRONG[case]
    with Upstream(openai_answer) as upstream:
        server = await serve(provider("one", upstream))

        reply = await ask(server, method, body)

        assert (reply.status, reply.error["status"]) == (400, "INVALID_ARGUMENT")
        assert message in reply.error["message"]
        assert upstream.requests == []


async def test_one_client_never_gets_the_form_of_another(serve: Serve) -> None:
    """The answers to both are kept, each under its own key."""
    with Upstream(openai_answer) as upstream:
        server = await serve(provider("one", upstream))
        one = said("a")

        first = await ask(server, "embedContent", one)
        batch = await ask(server, "batchEmbedContents", {"requests": [one]})
        openai = await server.request(
            "POST", "/v1/embeddings", json.dumps({"model": "one/m", "input": "a", **one}).encode(), JSON
        )
        google = await ask(server, "embedContent", {"model": "one/m", "input": "a", **one})
        again = await ask(server, "embedContent", one)

        assert list(first.json) == list(google.json) == ["embedding", "usageMetadata"]
        assert list(batch.json) == ["embeddings", "usageMetadata"]
        assert openai.json["object"] == "list"
        assert again.headers["x-modelport-cache"] == "hit"
        assert again.body == first.body
