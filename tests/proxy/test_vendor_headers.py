"""Headers and query that speak to a vendor reach those who speak its dialect, and nobody else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import KEY, QUICK, failing, provider, says
from tests.replay import Answer, Upstream

ASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai_chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
    "openai_responses": ("/v1/responses", {"input": "x"}),
    "anthropic": ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}),
    "gemini": ("/v1beta/models/one%2Fm:generateContent", {"contents": [{"parts": [{"text": "x"}]}]}),
}
SAID = {
    "OpenAI-Organization": "org-1",
    "openai-project": "proj_1",
    "openai-beta": "assistants=v2",
    "anthropic-version": "2099-01-01",
    "anthropic-beta": "a-1,b-2",
    "anthropic-workspace-id": "w",
    "anthropic-user-profile-id": "p",
    "anthropic-tomorrow": "t",
    "anthropic-dangerous-direct-browser-access": "true",
    "openai-api-key": "sk-client",
    "anthropic-auth-token": "sk-client",
    "cookie": "c=1",
    "te": "trailers",
    "x-forwarded-for": "192.0.2.1",
    "x-stainless-lang": "python",
}
OPENAI = {"openai-organization": "org-1", "openai-project": "proj_1", "openai-beta": "assistants=v2"}
ANTHROPIC = {name.lower(): SAID[name] for name in SAID if name.startswith("anthropic-")} | {
    "anthropic-version": "2099-01-01"
}
ANTHROPIC = {name: value for name, value in ANTHROPIC.items() if "dangerous" not in name and "auth" not in name}
FRAMES = {"host", "accept", "accept-encoding", "content-type", "content-length", "user-agent", "connection"}
KEYS = {"authorization", "x-api-key", "x-goog-api-key"}


def vendors(asked: Any) -> dict[str, str]:
    """What was said to the vendor beside what every call has."""
    return {name: value for name, value in asked.headers.items() if name not in FRAMES | KEYS}


@pytest.mark.parametrize(
    ("client", "backend", "query", "expected", "address"),
    [
        ("openai_chat", "openai_chat", "?beta=true&key=mine", OPENAI, "?beta=true"),
        ("openai_responses", "openai_responses", "?a=1&%24httpHeaders=x", OPENAI, "?a=1"),
        ("openai_chat", "openai_responses", "?beta=true", OPENAI, ""),
        ("anthropic", "anthropic", "?beta=true&api_key=mine", ANTHROPIC, "?beta=true"),
        ("gemini", "gemini", "?prettyPrint=false&key=mine&alt=json&fields=x", {}, "?prettyPrint=false"),
        ("openai_chat", "anthropic", "?beta=true", {"anthropic-version": "2023-06-01"}, ""),
        ("anthropic", "openai_chat", "?beta=true", {}, ""),
        ("openai_chat", "gemini", "?beta=true", {}, ""),
    ],
)
async def test_a_question_takes_along_what_it_says_to_its_own_vendor(
    serve: Serve, client: str, backend: str, query: str, expected: dict[str, str], address: str
) -> None:
    path, body = ASKS[client]
    with Upstream(lambda _asked: failing(400, "no")) as upstream:
        server = await serve(QUICK, provider("one", upstream, backend, more='models = ["m"]'))
        raw = json.dumps({**body, "model": "one/m"} if client != "gemini" else body).encode()
        await server.request("POST", f"{path}{query}", raw, {"content-type": "application/json", **SAID})

        asked = upstream.requests[0]
        assert vendors(asked) == expected
        assert asked.path.partition("?")[2] == address.removeprefix("?")
        assert KEY in "".join(asked.headers.get(name, "") for name in KEYS)


@pytest.mark.parametrize(("backend", "expected"), [("openai_chat", OPENAI), ("anthropic", ANTHROPIC), ("gemini", {})])
async def test_what_is_passed_on_takes_it_along_too(serve: Serve, backend: str, expected: dict[str, str]) -> None:
    with Upstream(lambda _asked: Answer.json({})) as upstream:
        server = await serve(provider("one", upstream, backend, more='models = ["m"]'))
        said = {**SAID, "x-modelport-provider": "one"}
        await server.request("GET", "/v1/files?alt=x&key=mine&access_token=mine", headers=said)

        asked = upstream.requests[0]
        assert vendors(asked) == expected
        assert asked.path.partition("?")[2] == "alt=x"


async def test_a_header_in_several_lines_goes_as_one(serve: Serve) -> None:
    with Upstream(lambda _asked: failing(400, "no")) as upstream:
        server = await serve(QUICK, provider("one", upstream, "anthropic", more='models = ["m"]'))
        path, body = ASKS["anthropic"]
        lines = [("anthropic-beta", "a"), ("anthropic-beta", "b")]
        async with server.session.post(server.url + path, json={**body, "model": "one/m"}, headers=lines) as answer:
            await answer.read()

        assert upstream.requests[0].headers["anthropic-beta"] == "a, b"


@pytest.mark.parametrize("value", ["org-\xe9", "x" * 5000])
async def test_a_value_that_no_header_can_have_is_refused(serve: Serve, value: str) -> None:
    with Upstream(lambda _asked: says()) as upstream:
        server = await serve(provider("one", upstream, more='models = ["m"]'))
        reply = await server.ask({"openai-organization": value}, model="one/m")

        assert (reply.status, reply.error["param"], upstream.requests) == (400, "openai-organization", [])


async def test_the_account_that_a_row_names_stays(serve: Serve) -> None:
    """Whoever configured the key knows whose it is; a version is the client's to choose."""
    row = 'models = ["m"]\nheaders = { OpenAI-Organization = "ours", openai-beta = "old" }'
    with Upstream(lambda _asked: says()) as upstream:
        server = await serve(provider("one", upstream, more=row))
        await server.ask(OPENAI, model="one/m")

        sent = vendors(upstream.requests[0])
        assert (sent["openai-organization"], sent["openai-beta"]) == ("ours", "assistants=v2")


async def test_a_clients_wrong_organisation_does_not_rest_the_key(serve: Serve) -> None:
    """The vendor's 401 is about that header: the next client is answered."""
    told = {"message": "OpenAI-Organization header should match organization for API key"}
    wrong = Answer.json({"error": {**told, "type": "invalid_request_error", "code": "mismatched_organization"}}, 401)

    with Upstream(lambda asked: wrong if "openai-organization" in asked.headers else says()) as upstream:
        server = await serve(QUICK, provider("one", upstream, more='models = ["m"]'))
        first = await server.ask({"openai-organization": "theirs"}, model="one/m")
        second = await server.ask(model="one/m")

        assert (first.status, first.error["code"], second.status) == (400, "mismatched_organization", 200)
        assert "OpenAI-Organization" in first.error["message"]


async def test_cached_answers_are_for_one_account(serve: Serve) -> None:
    with Upstream(lambda _asked: says()) as upstream:
        server = await serve('[cache]\nmode = "all"\n', provider("one", upstream, more='models = ["m"]'))
        for account in ("a", "b", "a"):
            await server.ask({"openai-project": account}, model="one/m")

        assert [asked.headers["openai-project"] for asked in upstream.requests] == ["a", "b"]


async def test_the_fast_lane_leaves_them_to_the_careful_way(serve: Serve) -> None:
    """The same question again and again, from clients that say different things to the vendor."""
    with Upstream(lambda _asked: says()) as upstream:
        server = await serve(provider("one", upstream, more='models = ["m"]'))
        for said in ({}, {}, {}, OPENAI, OPENAI, OPENAI, {}, {}):
            await server.ask(said, model="one/m")

        assert [vendors(asked) for asked in upstream.requests] == [{}, {}, {}, OPENAI, OPENAI, OPENAI, {}, {}]
