"""What pages in a browser may do: nothing by default, and what CORS lets those of the configured origins do."""

from __future__ import annotations

import json

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.keyed import KEYS_ONLY, MASTER
from tests.proxy.serving import Reply, Served, provider, question, says, streams
from tests.replay import Upstream

PAGE = "https://app.example"
ALLOWED = f'[server]\nallowed_origins = ["{PAGE}", "http://localhost:5173"]\n'
ASKS_FIRST = {"origin": PAGE, "access-control-request-method": "POST"}
CHAT = "/v1/chat/completions"
KEYED_PAGE = ALLOWED + KEYS_ONLY


def cors(reply: Reply) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name.startswith("access-control-")}


async def answers(server: Served, headers: dict[str, str]) -> dict[str, Reply]:
    """One of every way in which answers are made: whole, streamed, refused, unknown, administrative, passed on."""
    raw, headers = json.dumps(question(model="one/m")).encode(), {"content-type": "application/json", **headers}
    return {
        "whole": await server.request("POST", CHAT, raw, headers),
        "whole, again": await server.request("POST", CHAT, raw, headers),
        "on the lane": await server.request("POST", CHAT, raw, headers),
        "stream": await server.request("POST", CHAT, json.dumps(question(model="s", stream=True)).encode(), headers),
        "refused": await server.request("POST", CHAT, b"{", headers),
        "unknown": await server.request("GET", "/nowhere", None, headers),
        "passed on": await server.request("POST", "/v1/images/generations", raw, headers),
        "costs": await server.request("GET", "/costs", None, headers),
        "export": await server.request("GET", "/api/v1/ledger/export", None, headers),
    }


@pytest.fixture
def two(upstream: Upstream) -> str:
    upstream.script("m", says())
    upstream.script("s", streams())
    return provider("one", upstream, more='models = ["m", "s"]\n')


@pytest.mark.parametrize("origin", [None, "http://localhost:3000", "http://127.0.0.1:8080", "http://localhost:5173"])
async def test_by_default_no_answer_lets_a_page_read_it(serve: Serve, two: str, origin: str | None) -> None:
    server = await serve(two)

    found = await answers(server, {"origin": origin} if origin else {})

    assert {name: cors(reply) for name, reply in found.items() if cors(reply)} == {}


async def test_a_page_of_an_allowed_origin_reads_every_answer(serve: Serve, two: str) -> None:
    server = await serve(ALLOWED, two)

    found = await answers(server, {"origin": PAGE})

    told = {"access-control-allow-origin": PAGE, "access-control-expose-headers": "*"}
    assert [name for name, reply in found.items() if cors(reply) != told or reply.headers["vary"] != "Origin"] == []
    assert [
        name for name in ("whole", "on the lane", "stream", "passed on", "costs") if found[name].status != 200
    ] == []


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://app.example", "https://app.example:8443", "https://app.example.evil"]
)
async def test_a_page_of_another_origin_is_refused_and_reads_nothing(
    serve: Serve, two: str, upstream: Upstream, origin: str
) -> None:
    server = await serve(ALLOWED, two)

    found = await answers(server, {"origin": origin})

    assert {reply.status for reply in found.values()} == {403}
    assert {reply.error["code"] for reply in found.values()} == {"foreign_origin"}
    assert [cors(reply) for reply in found.values() if cors(reply)] == []
    assert upstream.requests == []


@pytest.mark.parametrize("config", [ALLOWED, KEYED_PAGE], ids=["open", "keys required"])
async def test_a_browser_that_asks_first_is_answered_without_a_key(serve: Serve, config: str) -> None:
    server = await serve(config)
    wanted = {**ASKS_FIRST, "access-control-request-headers": "authorization, content-type,x-stainless-os"}

    reply = await server.request("OPTIONS", CHAT, None, wanted)

    assert (reply.status, reply.body) == (204, b"")
    assert cors(reply) == {
        "access-control-allow-origin": PAGE,
        "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE",
        "access-control-allow-headers": "authorization, content-type,x-stainless-os",
        "access-control-expose-headers": "*",
        "access-control-max-age": "600",
    }


REFUSED_FIRST = {
    "a foreign page": (ALLOWED, {**ASKS_FIRST, "origin": "https://evil.example"}, 403),
    "a foreign page, keys required": (KEYED_PAGE, {**ASKS_FIRST, "origin": "https://evil.example"}, 405),
    "nobody is allowed": ("", {**ASKS_FIRST, "origin": "http://localhost:3000"}, 405),
    "no question": (ALLOWED, {"origin": PAGE}, 405),
    "no page": (ALLOWED, {"access-control-request-method": "POST"}, 405),
}


@pytest.mark.parametrize("case", REFUSED_FIRST)
async def test_no_other_browser_is_told_what_it_may_send(serve: Serve, case: str) -> None:
    config, headers, status = REFUSED_FIRST[case]
    server = await serve(config)

    reply = await server.request("OPTIONS", CHAT, None, headers)

    assert reply.status == status
    assert set(cors(reply)) <= {"access-control-allow-origin", "access-control-expose-headers"}
    assert "access-control-allow-methods" not in reply.headers


async def test_a_public_page_that_may_ask_may_ask_a_private_network(serve: Serve) -> None:
    server = await serve(ALLOWED)

    told = await server.request("OPTIONS", CHAT, None, {**ASKS_FIRST, "access-control-request-private-network": "true"})
    plain = await server.request("OPTIONS", CHAT, None, ASKS_FIRST)

    assert told.headers["access-control-allow-private-network"] == "true"
    assert "access-control-allow-private-network" not in plain.headers


async def test_names_of_headers_that_are_none_are_not_repeated(serve: Serve) -> None:
    server = await serve(ALLOWED)
    wanted = {**ASKS_FIRST, "access-control-request-headers": "x-a; evil=1"}

    reply = await server.request("OPTIONS", CHAT, None, wanted)

    assert (reply.status, "access-control-allow-headers" in reply.headers) == (204, False)


async def test_a_page_that_may_ask_still_needs_a_key_where_one_is_required(serve: Serve) -> None:
    """And it can read why it was refused."""
    server = await serve(KEYED_PAGE)

    without = await server.request("GET", "/v1/models", None, {"origin": PAGE})
    with_key = await server.request("GET", "/v1/models", None, {"origin": PAGE, **MASTER})

    assert (without.status, with_key.status) == (401, 200)
    assert cors(without)["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize(
    ("hosts", "statuses"), [("", [200, 200]), ('[server]\nallowed_hosts = ["box.lan"]\n', [421, 200])]
)
async def test_where_keys_are_required_named_hosts_are_the_only_ones(
    serve: Serve, hosts: str, statuses: list[int]
) -> None:
    """Without a list of names every name is fine there: nobody gets in by one."""
    server = await serve(hosts + KEYS_ONLY)

    found = [
        (await server.request("GET", "/v1/models", None, {**MASTER, "Host": h})).status for h in ("a.b", "box.lan")
    ]

    assert found == statuses
