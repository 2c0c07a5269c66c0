"""`/openapi.json` describes every row of the table of routes, is valid, and says what the endpoints really answer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from proxy.controls import _NAMES
from proxy.openapi.document import OPERATIONS, described, document
from proxy.routes import ROUTES
from proxy.server import Table
from tests.proxy.conftest import Serve
from tests.proxy.serving import BOTH, QUICK, Reply, Served, failing, provider, route
from tests.replay import Upstream

MASTER_KEY = "mp-master-0123456789"
MASTER = {"Authorization": f"Bearer {MASTER_KEY}"}
AUTH = f'[auth]\nmaster_key = "{MASTER_KEY}"\n[secrets]\nkey = "{"ab" * 32}"\n'


@cache
def whole() -> dict[str, Any]:
    """The document as clients read it."""
    found: dict[str, Any] = json.loads(json.dumps(document()))
    return found


def operations() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in whole()["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


# --- the document ----------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROUTES, ids=lambda row: f"{row.method} {row.path}")
def test_every_route_is_described(row: Any) -> None:
    """A new row has an entry in proxy/openapi/administration.py or proxy/openapi/dialects.py."""
    assert (row.method, row.path) in OPERATIONS


def test_nothing_is_described_that_there_is_not() -> None:
    assert OPERATIONS.keys() - {(row.method, row.path) for row in ROUTES} == set()


def test_a_described_path_leads_to_the_row_that_it_describes() -> None:
    table = Table(ROUTES)
    for row in ROUTES:
        for path, method, _ in described(row):
            found, _ = table.find(method.upper(), path.replace("{", "a").replace("}", "z"))

            assert found is row, path


def test_the_document_is_valid() -> None:
    errors = [f"{list(error.path)}: {error.message}" for error in OpenAPIV31SpecValidator(whole()).iter_errors()]

    assert errors == []


def test_every_operation_has_a_name_of_its_own_a_summary_and_a_known_tag() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    tags = {tag["name"] for tag in whole()["tags"]}

    assert len(names) == len(set(names))
    for method, path, operation in operations():
        assert operation["summary"], (method, path)
        assert set(operation["tags"]) <= tags, (method, path)
        own = [parameter for parameter in operation["parameters"] if "$ref" not in parameter]
        assert all(parameter["description"] for parameter in own), (method, path)


def test_the_headers_that_are_meant_for_the_proxy_are_described() -> None:
    names = {f"x-modelport-{name.replace('_', '-')}" for name in _NAMES if name != "idempotency_key"}

    assert set(whole()["components"]["parameters"]) == {*names, "idempotency-key"}


def test_the_envelope_of_errors_is_the_dialects() -> None:
    envelopes = {
        path: operation["responses"]["default"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for _, path, operation in operations()
    }

    assert envelopes["/v1/chat/completions"] == "OpenAIError"
    assert envelopes["/v1/messages"] == "AnthropicError"
    assert envelopes["/v1beta/models/{model}:generateContent"] == "GeminiError"
    assert envelopes["/api/v1/keys"] == "OpenAIError"


def test_what_never_is_anonymous_says_so() -> None:
    for method, path, operation in operations():
        access = operation["x-modelport-access"]

        assert ({} in operation["security"]) is (access in {"member", "client", "viewer", "operator"}), (method, path)
        assert (operation["security"] == []) is (access == "open"), (method, path)


@pytest.mark.parametrize(
    "text",
    [content for _, _, each in operations() for content in (each.get("requestBody") or {}).get("content", {}).values()],
)
def test_an_example_is_what_its_endpoint_takes(text: Mapping[str, Any]) -> None:
    if "example" in text:
        _validator(text["schema"]).validate(text["example"])


async def test_it_is_served_to_anybody_and_made_once(serve: Serve) -> None:
    server = await serve(AUTH.replace("[auth]\n", "[auth]\nrequired = true\n"))
    first = await server.get("/openapi.json")
    begun = time.perf_counter()
    second = await server.get("/openapi.json")
    took_s = time.perf_counter() - begun

    assert first.status == 200
    assert first.json == whole()
    assert second.body == first.body
    assert took_s < 0.1  # a fraction of what making it takes


# --- what is really answered -------------------------------------------------------------------------


def _validator(schema: Mapping[str, Any]) -> Any:
    return jsonschema_rs.Draft202012Validator({**schema, "components": whole()["components"]})


def fits(reply: Reply, method: str, path: str) -> Reply:
    """*reply*, which the description of its endpoint has to allow."""
    answers = whole()["paths"][path][method.lower()]["responses"]
    answer = answers.get(str(reply.status)) or answers["default"]
    kind = reply.headers["content-type"].partition(";")[0]
    assert kind in answer["content"], (method, path, kind, reply.body[:300])
    if kind == "application/json":
        errors = [
            f"{error.instance_path}: {error.message}"
            for error in _validator(answer["content"][kind]["schema"]).iter_errors(reply.json)
        ]
        assert errors == [], (method, path, reply.body[:2000])
    return reply


class Asker:
    """Asks, and holds every answer against its description."""

    def __init__(self, server: Served) -> None:
        self.server = server
        self.seen: set[tuple[str, str]] = set()

    async def __call__(
        self, method: str, template: str, body: Any = None, *, status: int = 200, query: str = "", **names: str
    ) -> Any:
        sent = None if body is None else json.dumps(body).encode()
        reply = await self.server.request(method, template.format(**names) + query, sent, MASTER)
        assert reply.status == status, (method, template, reply.body)
        fits(reply, method, template)
        self.seen.add((method.lower(), template))
        return reply.json if reply.headers["content-type"].startswith("application/json") and reply.body else reply.body


async def _ask_keys(ask: Asker) -> None:
    await ask("POST", "/api/v1/organisations", {"name": "Acme", "tags": {"a": "b"}}, status=201)
    await ask("GET", "/api/v1/organisations")
    await ask("GET", "/api/v1/organisations/{id}", id="acme")
    await ask("PATCH", "/api/v1/organisations/{id}", {"name": "Acme Ltd"}, id="acme")
    await ask("POST", "/api/v1/teams", {"name": "Search", "organisation": "acme"}, status=201)
    await ask("GET", "/api/v1/teams")
    await ask("GET", "/api/v1/teams/{id}", id="search")
    await ask("PATCH", "/api/v1/teams/{id}", {"limits": {"concurrent": 3}}, id="search")
    budget = {"limit_usd": "5", "window": "day"}
    made = await ask("POST", "/api/v1/keys", {"name": "one", "budget": budget, "expires_at": "1d"}, status=201)
    await ask("POST", "/api/v1/keys", {"name": "signs", "signing": True}, status=201)
    await ask("GET", "/api/v1/keys")
    await ask("GET", "/api/v1/keys/{id}", id=made["id"])
    await ask("PATCH", "/api/v1/keys/{id}", {"models": ["fast"]}, id=made["id"])
    await ask("POST", "/api/v1/keys/{id}/rotate", {"overlap_s": 5}, id=made["id"])
    await ask("DELETE", "/api/v1/keys/{id}", id=made["id"])
    await ask("DELETE", "/api/v1/teams/{id}", id="search")
    await ask("DELETE", "/api/v1/organisations/{id}", id="acme")


async def _ask_money(ask: Asker, exchange_id: str) -> None:
    await ask("GET", "/costs")
    await ask("GET", "/costs", query="?group_by=day,tag,key&since=7d")
    await ask("GET", "/costs", query="?format=csv")
    await ask("GET", "/api/v1/exchanges")
    await ask("GET", "/api/v1/exchanges/{id}", id=exchange_id)
    await ask("GET", "/api/v1/ledger/export")
    await ask("GET", "/api/v1/ledger/export", query="?format=csv")
    await ask("POST", "/api/v1/ledger/verify", {})
    await ask("POST", "/api/v1/ledger/prune", {"before": "2020-01-01"})
    await ask("GET", "/api/v1/prices", query="?model=one/m")
    await ask("GET", "/api/v1/prices/unpriced")
    await ask("POST", "/api/v1/prices/reprice", {"since": "1d", "all": True})


async def _ask_budgets(ask: Asker) -> None:
    body = {"name": "daily", "limit_usd": "10", "window": "day", "provider": "one"}
    made = await ask("POST", "/api/v1/budgets", body, status=201)
    await ask("GET", "/api/v1/budgets")
    await ask("GET", "/api/v1/budgets/{id}", id=made["id"])
    await ask("PATCH", "/api/v1/budgets/{id}", {"limit_usd": "20"}, id=made["id"])
    await ask("DELETE", "/api/v1/budgets/{id}", id=made["id"])


async def _ask_routes(ask: Asker) -> None:
    await ask("GET", "/api/v1/routes")
    await ask("GET", "/api/v1/routes/{name}", name="fast")
    await ask("POST", "/api/v1/routes/{name}", {"policy": "cost"}, name="fast")
    question = {"messages": [{"role": "user", "content": "Hello"}]}
    await ask("POST", "/api/v1/routes/{name}/explain", question, name="fast")
    await ask("DELETE", "/api/v1/routes/{name}", name="fast")


async def _ask_providers(ask: Asker, base_url: str) -> None:
    await ask("POST", "/api/v1/llm/providers", {"name": "new", "base_url": base_url, "models": ["m"]}, status=201)
    await ask("GET", "/api/v1/llm/providers")
    await ask("GET", "/api/v1/llm/providers/{id}", id="new")
    await ask("GET", "/api/v1/llm/providers/{id}/status", id="one")
    await ask("GET", "/api/v1/llm/providers/{id}/status", id="openai")
    await ask("PUT", "/api/v1/llm/providers/{id}", {"enabled": False, "limits": {"concurrent": 2}}, id="new")
    await ask("DELETE", "/api/v1/llm/providers/{id}", id="new")


async def _ask_queries(ask: Asker) -> None:
    question = {"prompt": "Hello", "model": "one/m"}
    whole_answer = await ask("POST", "/api/v1/llm/query", question)
    told = await ask("POST", "/api/v1/llm/query", {**question, "async": True}, status=202)
    await ask("DELETE", "/api/v1/llm/query/{id}", id=told["query_id"])
    await ask("POST", "/api/v1/llm/query/stream", question)
    for query_id in (whole_answer["query_id"], told["query_id"]):
        await ask("GET", "/api/v1/llm/query/{id}/status", id=query_id)
        await ask("GET", "/api/v1/llm/query/{id}/result", id=query_id)
    await ask("POST", "/api/v1/llm/query", {"prompt": "Hello", "model": "one/bad"}, status=502)


async def _ask_credentials(ask: Asker) -> None:
    stored = await ask("POST", "/api/v1/credentials", {"provider": "one", "key": "sk-canary-0123456789"}, status=201)
    await ask("GET", "/api/v1/credentials")
    await ask("GET", "/api/v1/credentials/{name}", name=stored["name"])
    await ask("PATCH", "/api/v1/credentials/{name}", {"weight": 2}, name=stored["name"])
    await ask("POST", "/api/v1/credentials/{name}/rotate", {"key": "sk-canary-9876543210"}, name=stored["name"])
    await ask("POST", "/api/v1/credentials/{name}/check", name=stored["name"])
    await ask("DELETE", "/api/v1/credentials/{name}", name=stored["name"])
    await ask("GET", "/api/v1/secrets")
    await ask("POST", "/api/v1/secrets/rotate", {})
    await ask("GET", "/api/v1/audit")
    await ask("GET", "/api/v1/audit/verify")


async def _ask_logs(ask: Asker, id_: str) -> None:
    await ask.server.services.request_log.flush()
    await ask("GET", "/api/v1/logs")
    await ask("GET", "/api/v1/logs/{id}", id=id_)
    await ask("GET", "/api/v1/logs/export")
    await ask("DELETE", "/api/v1/logs", query="?before=now")


async def _ask_state(ask: Asker) -> None:
    for path in ("/health", "/health/live", "/health/ready", "/metrics", "/api/v1/cache", "/openapi.json"):
        await ask("GET", path)
    await ask("DELETE", "/api/v1/cache")
    await ask("GET", "/api/v1/log-levels")
    await ask("PUT", "/api/v1/log-levels/{name}", {"level": "info"}, name="modelport.budgets")
    await ask("DELETE", "/api/v1/log-levels/{name}", name="modelport.budgets")
    await ask("GET", "/api/v1/catalog")
    await ask("POST", "/api/v1/catalog/refresh", {"providers": ["one"]})
    await ask("DELETE", "/api/v1/catalog/learned", query="?provider=one")


async def test_every_administrative_answer_is_as_it_is_described(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    upstream.script("bad", failing(500))
    more = 'models = ["m"]\nprice = { input = "1", output = "2" }\n'
    server = await serve(AUTH, QUICK, provider("one", upstream, more=more), route("fast", "one/m", more="log = true"))
    asked = await server.ask({**MASTER, "x-modelport-tags": "team=search"}, model="fast", top_k=4)
    ask = Asker(server)

    await _ask_keys(ask)
    await _ask_money(ask, asked.id)
    await ask("POST", "/api/v1/feedback", {"exchange_id": asked.id, "correct": True})
    await _ask_budgets(ask)
    await _ask_routes(ask)
    await _ask_providers(ask, f"{upstream.url}/v1")
    await _ask_queries(ask)
    await _ask_credentials(ask)
    await _ask_logs(ask, asked.id)
    await _ask_state(ask)

    all_of_them = {
        (method, path) for method, path, _ in operations() if not path.startswith(("/v1/", "/v1beta", "/v1alpha"))
    }
    assert all_of_them - ask.seen == set()


async def test_a_small_answer_of_health_is_described_too(serve: Serve, upstream: Upstream) -> None:
    server = await serve(AUTH, QUICK, provider("one", upstream))
    made = await server.request("POST", "/api/v1/keys", b'{"name": "x", "roles": ["viewer"]}', MASTER)

    reply = await server.get("/health", {"Authorization": f"Bearer {made.json['key']}"})

    assert "in_flight" not in reply.json
    fits(reply, "GET", "/health")


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/v1/chat/completions", {}),
        ("POST", "/v1/messages", {}),
        ("POST", "/v1beta/models/{model}:generateContent", {}),
        ("GET", "/api/v1/exchanges/{id}", MASTER),
        ("POST", "/api/v1/keys", MASTER),
        ("GET", "/api/v1/keys", {}),
    ],
)
async def test_errors_come_in_the_described_envelope(serve: Serve, method: str, path: str, headers: Any) -> None:
    server = await serve(AUTH, QUICK)

    reply = await server.request(
        method, path.replace("{", "a").replace("}", "z"), b"{" if method == "POST" else None, headers
    )

    assert reply.status >= 400
    fits(reply, method, path)
