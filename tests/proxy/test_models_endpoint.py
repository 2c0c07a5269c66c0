"""`/v1/models` and `/v1beta/models`: the list in pages, and one model, as each vendor's clients ask for them."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from google import genai

from tests.proxy.conftest import Serve
from tests.proxy.serving import KEY, Served

NAMES = [f"one/m{number}" for number in range(5)]
CONFIG = f"""
[providers.one]
dialect = "openai_chat"
base_url = "http://127.0.0.1:9/v1"
keys = ["{KEY}"]
models = ["m0", "m1", "m2", "m3", "m4"]
"""
CLAUDE = {"anthropic-version": "2023-06-01"}


async def page(server: Served, query: str) -> tuple[list[str], Any]:
    """Names on a page, and what leads to the next: of Gemini where *query* names its fields, else of Anthropic."""
    if "page" in query:
        told = (await server.get(f"/v1beta/models?{query}")).json
        return [each["name"].removeprefix("models/") for each in told["models"]], told.get("nextPageToken")
    told = (await server.get(f"/v1/models?{query}", CLAUDE)).json
    names = [each["id"] for each in told["data"]]
    assert [told["first_id"], told["last_id"]] == ([names[0], names[-1]] if names else [None, None])
    return names, told["has_more"]


@pytest.fixture
async def listing(serve: Serve) -> tuple[Served, list[str]]:
    """A server and all that it lists: five models and what is built in."""
    server = await serve(CONFIG)
    names = [each["id"] for each in (await server.get("/v1/models")).json["data"]]
    assert [name for name in names if name.startswith("one/")] == NAMES
    return server, names


async def test_anthropics_pages_go_forth_and_back(listing: tuple[Served, list[str]]) -> None:
    server, names = listing

    assert await page(server, "") == (names, False)
    assert await page(server, "limit=2") == (names[:2], True)
    assert await page(server, f"limit=2&after_id={names[1]}") == (names[2:4], True)
    assert await page(server, f"limit=1000&after_id={names[1]}") == (names[2:], False)
    assert await page(server, f"after_id={names[-1]}") == ([], False)
    assert await page(server, f"limit=2&before_id={names[4]}") == (names[2:4], True)
    assert await page(server, f"limit=2&before_id={names[2]}") == (names[:2], False)


async def test_geminis_pages_follow_their_tokens(listing: tuple[Served, list[str]]) -> None:
    server, names = listing

    found: list[str] = []
    query = "pageSize=2"
    while query:
        some, token = await page(server, query)
        assert 1 <= len(some) <= 2
        found += some
        query = f"pageSize=2&pageToken={token}" if token else ""

    assert found == names
    assert await page(server, "pageSize=0") == (names, None)
    assert await page(server, "pageSize=5000") == (names, None)


async def test_openais_list_has_no_pages(listing: tuple[Served, list[str]]) -> None:
    server, names = listing

    told = (await server.get("/v1/models?limit=1&after=x")).json

    assert [each["id"] for each in told["data"]] == names


async def test_the_vendors_sdks_walk_all_pages(listing: tuple[Served, list[str]]) -> None:
    server, names = listing

    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="unused") as client:
        claude = [model.id async for model in client.models.list(limit=2)]
    options = genai.types.HttpOptions(base_url=server.url)
    google = genai.Client(api_key="unused", http_options=options).aio
    pager = await google.models.list(config={"page_size": 2})
    gemini = [str(model.name).removeprefix("models/") async for model in pager]
    await google.aclose()

    assert claude == names
    assert gemini == names


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=two", "limit"),
        ("limit=", "limit"),
        ("after_id=nobody/m", "after_id"),
        ("before_id=nobody/m", "before_id"),
        ("after_id=one/m1&before_id=one/m3", "before_id"),
        ("pageSize=-1", "pageSize"),
        ("pageSize=many", "pageSize"),
        ("pageToken=nonsense", "pageToken"),
        ("pageToken=bm9ib2R5", "pageToken"),
        ("pageToken=%C3%BC", "pageToken"),
        ("pageToken=%2F%2F%2F%2F", "pageToken"),
    ],
)
async def test_a_page_that_there_cannot_be_is_refused_in_the_dialects_words(
    query: str, field: str, serve: Serve
) -> None:
    server = await serve(CONFIG)
    gemini = field.startswith("page")

    reply = await server.get(f"/v1beta/models?{query}" if gemini else f"/v1/models?{query}", None if gemini else CLAUDE)

    error = reply.json["error"]
    assert reply.status == 400
    assert error["message"].startswith(f"{field}: expected ")
    if gemini:
        assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    else:
        assert (reply.json["type"], error["type"]) == ("error", "invalid_request_error")


@pytest.mark.parametrize(
    ("path", "headers", "key", "name"),
    [
        ("/v1/models/one/m1", None, "id", "one/m1"),
        ("/v1/models/one%2Fm1", CLAUDE, "id", "one/m1"),
        ("/v1beta/models/one/m1", None, "name", "models/one/m1"),
        ("/v1/models/m1", {"x-goog-api-key": "unused"}, "name", "models/m1"),
    ],
)
async def test_one_model_is_told_in_the_clients_shape(
    path: str, headers: dict[str, str] | None, key: str, name: str, serve: Serve
) -> None:
    server = await serve(CONFIG)

    reply = await server.get(path, headers)

    assert (reply.status, reply.json[key]) == (200, name)


@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent", "countTokens"])
async def test_what_is_asked_by_post_is_no_model(method: str, serve: Serve) -> None:
    server = await serve(CONFIG)

    reply = await server.get(f"/v1beta/models/one/m1:{method}")

    assert (reply.status, reply.json["error"]["code"], reply.headers["allow"]) == (405, 405, "POST")
