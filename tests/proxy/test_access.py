"""Who reaches what, over the whole table: every method and spelling of a path, and what belongs to somebody else."""

from __future__ import annotations

import ast
import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from proxy.errors import Refused
from proxy.routes import ROUTES
from proxy.server import Table
from tests.proxy.conftest import Serve
from tests.proxy.keyed import KEYS_ONLY, bearer, make, make_places, send
from tests.proxy.serving import Reply, Served, question

ROOT = Path(__file__).resolve().parents[2]
NOBODY = "[auth]\nrequired = true\nmaster_key = 'mp-master-0123456789'\nwrong_keys_per_minute = 1000000\n"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get")
PATHS = list(dict.fromkeys(route.path for route in ROUTES))
OPEN = {(route.method, route.path) for route in ROUTES if route.access == "open"}
TABLE = Table(ROUTES)
KEPT_OUT = {400, 401, 403, 404, 405}

# --- every method, every spelling -------------------------------------------------------------------


async def statuses(server: Served, lines: list[tuple[str, str]]) -> list[int]:
    """What each request line without a key is answered with; each on a connection of its own, some at a time."""
    several = asyncio.Semaphore(16)

    async def one(method: str, target: str) -> int:
        sent = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        async with several:
            answer = await server.raw(sent.encode("latin-1"))
        return int(answer.split(b" ", 2)[1])

    return list(await asyncio.gather(*(one(*line) for line in lines)))


async def test_no_method_of_any_path_gets_in_without_a_key(serve: Serve) -> None:
    server = await serve(NOBODY)
    lines = [(method, path.replace("{}", "x")) for path in PATHS for method in METHODS]
    wanted = [(method, path) for path in PATHS for method in METHODS]

    came = await statuses(server, lines)

    let_in = {case for case, status in zip(wanted, came, strict=True) if status not in KEPT_OUT}
    assert let_in == OPEN


def spellings(path: str) -> Iterator[str]:
    """Other ways to write *path* that some server somewhere takes for it."""
    yield f"{path}/"
    yield f"/{path}"
    yield path.upper()
    yield f"{path};x=1"
    yield f"{path}%00"
    yield f"{path}%20"
    yield f"{path}?key=mp-x&access=open"
    yield f"{path}#open"
    yield path.replace("/", "%2f")
    yield path.replace("/", "\\")
    yield f"/health/live/..{path}"
    yield f"/health/live/%2e%2e{path}"
    yield f"/health/live?{path}"
    yield f"/.{path}"
    yield f"http://localhost{path}"
    yield f"http://localhost/health/live{path}"
    yield path.replace("e", "%65")
    yield f"{path}/health/live"
    yield f"{path}/../../../health/live"
    yield f"{path}/openapi.json"


def expected(method: str, target: str) -> set[int]:
    """What is answered to nobody: access follows from the row that the path as written matches, and from that alone."""
    path = target.removeprefix("http://localhost").partition("#")[0].partition("?")[0]
    try:
        route, _ = TABLE.find(method, path)
    except Refused:
        return {400, 404, 405}
    return {200} if route.access == "open" else {401, 400}  # 400: aiohttp reads no such target


async def test_no_spelling_of_any_path_gets_in_without_a_key(serve: Serve) -> None:
    server = await serve(NOBODY)
    lines = [
        ("GET" if route.method == "*" else route.method, spelled)
        for route in {route.path: route for route in ROUTES}.values()
        for spelled in spellings(route.path.replace("{}", "x"))
    ]

    came = await statuses(server, lines)

    assert [(*line, got) for line, got in zip(lines, came, strict=True) if got not in expected(*line)] == []
    assert came.count(401) > len(lines) / 3


async def test_no_header_or_query_makes_a_path_another(serve: Serve) -> None:
    """What other servers believe: overridden methods, rewritten paths, internal callers, forwarded addresses."""
    server = await serve(NOBODY)
    believed = {
        "x-http-method-override": "GET",
        "x-original-url": "/health/live",
        "x-rewrite-url": "/health/live",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-host": "localhost",
        "x-forwarded-user": "admin",
        "x-real-ip": "127.0.0.1",
        "x-modelport-route": "/health/live",
        "x-remote-user": "admin",
        "forwarded": "for=127.0.0.1;host=localhost",
        "cookie": "token=mp-master-0123456789",
        "proxy-authorization": "Bearer mp-master-0123456789",
    }
    found = {}
    for name, value in believed.items():
        for path in ("/costs", "/api/v1/keys", "/v1/models"):
            found[name, path] = (await server.request("GET", path, None, {name: value})).status
    for path in ("/costs", "/api/v1/keys", "/v1/models"):
        found["key in the query", path] = (await server.get(f"{path}?key=mp-master-0123456789&api_key=x")).status

    assert set(found.values()) == {401}


def test_one_function_reads_the_clients_key() -> None:
    """Wherever a header of that name is looked up in a request it is there, or only to tell dialects apart."""
    names = {"authorization", "x-api-key", "x-goog-api-key", "api-key"}
    readers = set()
    for path in sorted((ROOT / "proxy").rglob("*.py")):
        text = path.read_text("utf-8")
        if not any(name in text.lower() for name in names):
            continue
        tree = ast.parse(text)
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                looked_up: ast.expr | None = None
                if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
                    looked_up = node.slice
                elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                    looked_up = node.args[0] if node.func.attr in {"get", "getall", "getone", "pop"} else None
                if isinstance(looked_up, ast.Constant) and str(looked_up.value).lower() in names:
                    readers.add(f"{path.relative_to(ROOT)}::{function.name}")

    assert readers == {"proxy/auth.py::presented_key"}


# --- what belongs to somebody else ------------------------------------------------------------------

MARK = "the-word-that-only-red-has-said"
STRANGERS = {
    "developer of nobody": {"roles": ["developer"]},
    "developer of other": {"roles": ["developer"], "organisation": "other"},
    "viewer of other": {"roles": ["viewer"], "organisation": "other"},
    "operator of other": {"roles": ["operator"], "organisation": "other"},
    "admin of other": {"roles": ["admin"], "organisation": "other"},
    "developer of blue": {"roles": ["developer"], "team": "blue"},
    "viewer of blue": {"roles": ["viewer"], "team": "blue"},
    "admin of blue": {"roles": ["admin"], "team": "blue"},
}
OF_THE_SAME_ORGANISATION = {"GET /api/v1/organisations/{}"}
"""What those of the team blue may see of what is red's, too."""


async def red_has_asked(server: Served) -> dict[str, list[str]]:
    """A key of the team red with something of everything that is kept; its ids, by the beginning of their paths."""
    made = await make(server, name=MARK, team="red", roles=["developer"], budget={"limit_usd": "5", "window": "day"})
    key = bearer(made["key"])

    async def post(path: str, **body: object) -> Reply:
        reply = await server.request("POST", path, json.dumps(body).encode(), key)
        assert reply.status in {200, 202}, reply.body
        return reply

    chat = await post("/v1/chat/completions", **question(model="demo/echo", temperature=0, user=MARK))
    response = await post("/v1/responses", model="demo/echo", input=MARK)
    query = await post("/api/v1/llm/query", model="demo/echo", prompt=MARK)
    return {
        "/v1/responses/": [response.json["id"]],
        "/api/v1/exchanges/": [chat.id, response.id],
        "/api/v1/logs/": [chat.id, response.id],
        "/api/v1/keys/": [made["id"], f"{made['id']}/rotate"],
        "/api/v1/budgets/": [f"budget_{made['id']}"],
        "/api/v1/llm/query/": [query.json["query_id"], f"{query.json['query_id']}/result"],
        "/api/v1/teams/": ["red"],
        "/api/v1/organisations/": ["acme"],
    }


async def test_what_a_team_has_is_nobody_elses(serve: Serve) -> None:
    """Every route with every id of it, and every list, as keys of elsewhere: neither a word of it nor a change."""
    server = await serve(KEYS_ONLY, "[request_log]\nenabled = true\n")
    await make_places(server)
    ids = await red_has_asked(server)
    keys = {name: bearer((await make(server, name=name, **body))["key"]) for name, body in STRANGERS.items()}
    own = {each for found in ids.values() for each in found} - {"red", "acme"}
    wrong: list[tuple[str, str, int, bytes]] = []

    for route, (who, key) in itertools.product(ROUTES, keys.items()):
        prefix = route.path.removesuffix("{}")
        things = ids.get(prefix, []) if route.path.endswith("{}") else [""]
        body = b"{}" if route.method in {"POST", "PATCH", "PUT"} else None
        for thing in things:
            reply = await server.request(route.method.replace("*", "GET"), prefix + thing, body, key)
            case = f"{route.method} {route.path}"
            shared = "blue" in who and case in OF_THE_SAME_ORGANISATION
            told = MARK.encode() in reply.body or (not thing and any(each.encode() in reply.body for each in own))
            reached = bool(thing) and reply.status < 400 and not shared
            if told or reached:
                wrong.append((who, f"{case} {thing}", reply.status, reply.body[:200]))

    assert wrong == []
    still = (await send(server, "GET", f"/api/v1/keys/{ids['/api/v1/keys/'][0]}")).json
    assert (still["name"], still["status"]) == (MARK, "active")
