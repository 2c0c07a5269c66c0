"""Who gets in: every route, every kind of key, every way to configure them."""

from __future__ import annotations

import itertools
import json
from typing import Any, Final

import pytest

from proxy.auth import Gate, presented_key
from proxy.errors import Refused, UnknownKey
from proxy.identity import MASTER, Identity
from proxy.keyring import Entry
from proxy.routes import ROUTES
from proxy.server import Access
from storage.keys import Key, Settings
from tests.proxy.conftest import Serve
from tests.proxy.keyed import bearer, make, make_places, send
from tests.proxy.serving import Served, question

MASTER_KEY = "mp-master-0123456789"
KEYS = {"none": None, "wrong": "mp-wrong-0123456789", "master": MASTER_KEY}
MANY = "wrong_keys_per_minute = 1000000"
"""Each route is asked with a wrong key, too."""
CONFIGS = {
    "open, no master": "",
    "open, master": f'[auth]\n{MANY}\nmaster_key = "{MASTER_KEY}"',
    "required, no master": "[auth]\nrequired = true",
    "required, master": f'[auth]\n{MANY}\nrequired = true\nmaster_key = "{MASTER_KEY}"',
}
IN = 0
ASKING = {
    # configuration: (no key, wrong key, master key)
    "open, no master": (IN, IN, IN),
    "open, master": (IN, IN, IN),
    "required, no master": (401, 401, 401),
    "required, master": (401, 401, IN),
}
LOOKING = {**ASKING, "open, master": (401, 401, IN)}
MANAGING = {**LOOKING, "open, no master": (403, 403, 403)}
EXPECTED: dict[Access, dict[str, tuple[int, int, int]]] = {
    "open": dict.fromkeys(CONFIGS, (IN, IN, IN)),
    "member": ASKING,
    "client": ASKING,
    "viewer": LOOKING,
    "operator": LOOKING,
    "manager": MANAGING,
    "admin": MANAGING,
    "master": {
        "open, no master": (403, 403, 403),
        "open, master": (401, 401, IN),
        "required, no master": (403, 403, 403),
        "required, master": (401, 401, IN),
    },
}
DECLARED: dict[tuple[str, str], Access] = {
    ("POST", "/v1/chat/completions"): "client",
    ("POST", "/v1/completions"): "client",
    ("POST", "/v1/embeddings"): "client",
    ("POST", "/v1/responses"): "client",
    ("POST", "/v1/responses/input_tokens"): "client",
    ("POST", "/v1/responses/compact"): "client",
    ("GET", "/v1/responses/{}"): "client",
    ("DELETE", "/v1/responses/{}"): "client",
    ("POST", "/v1/responses/{}"): "client",
    ("POST", "/v1/messages"): "client",
    ("POST", "/v1/messages/count_tokens"): "client",
    ("POST", "/v1beta/models/{}"): "client",
    ("POST", "/v1beta/{}"): "client",
    ("POST", "/v1alpha/models/{}"): "client",
    ("POST", "/v1/models/{}"): "client",
    ("GET", "/v1beta/models"): "member",
    ("GET", "/v1beta/models/{}"): "member",
    ("GET", "/v1/models"): "member",
    ("GET", "/v1/models/{}"): "member",
    ("GET", "/health"): "member",
    ("GET", "/health/live"): "open",
    ("GET", "/health/ready"): "open",
    ("GET", "/costs"): "viewer",
    ("GET", "/metrics"): "operator",
    ("GET", "/api/v1/exchanges"): "viewer",
    ("GET", "/api/v1/exchanges/{}"): "viewer",
    ("POST", "/api/v1/feedback"): "member",
    ("GET", "/api/v1/log-levels"): "operator",
    ("PUT", "/api/v1/log-levels/{}"): "operator",
    ("DELETE", "/api/v1/log-levels/{}"): "operator",
    ("GET", "/api/v1/cache"): "operator",
    ("DELETE", "/api/v1/cache"): "operator",
    ("POST", "/api/v1/catalog/refresh"): "operator",
    ("GET", "/api/v1/catalog"): "operator",
    ("DELETE", "/api/v1/catalog/learned"): "operator",
    ("POST", "/api/v1/keys"): "manager",
    ("GET", "/api/v1/keys"): "manager",
    ("GET", "/api/v1/keys/{}"): "manager",
    ("PATCH", "/api/v1/keys/{}"): "manager",
    ("DELETE", "/api/v1/keys/{}"): "manager",
    ("POST", "/api/v1/keys/{}"): "manager",
    ("POST", "/api/v1/organisations"): "admin",
    ("GET", "/api/v1/organisations"): "manager",
    ("GET", "/api/v1/organisations/{}"): "manager",
    ("PATCH", "/api/v1/organisations/{}"): "admin",
    ("DELETE", "/api/v1/organisations/{}"): "admin",
    ("POST", "/api/v1/teams"): "manager",
    ("GET", "/api/v1/teams"): "manager",
    ("GET", "/api/v1/teams/{}"): "manager",
    ("PATCH", "/api/v1/teams/{}"): "manager",
    ("DELETE", "/api/v1/teams/{}"): "manager",
    ("GET", "/api/v1/credentials"): "operator",
    ("POST", "/api/v1/credentials"): "admin",
    ("GET", "/api/v1/credentials/{}"): "operator",
    ("PATCH", "/api/v1/credentials/{}"): "admin",
    ("DELETE", "/api/v1/credentials/{}"): "admin",
    ("POST", "/api/v1/credentials/{}"): "admin",
    ("GET", "/api/v1/secrets"): "operator",
    ("POST", "/api/v1/secrets/rotate"): "admin",
    ("GET", "/api/v1/routes"): "operator",
    ("GET", "/api/v1/routes/{}"): "operator",
    ("POST", "/api/v1/routes/{}"): "operator",
    ("DELETE", "/api/v1/routes/{}"): "operator",
    ("GET", "/api/v1/audit"): "operator",
    ("GET", "/api/v1/audit/verify"): "operator",
    ("GET", "/openapi.json"): "open",
    ("GET", "/api/v1/llm/providers"): "operator",
    ("POST", "/api/v1/llm/providers"): "admin",
    ("GET", "/api/v1/llm/providers/{}"): "operator",
    ("PUT", "/api/v1/llm/providers/{}"): "admin",
    ("DELETE", "/api/v1/llm/providers/{}"): "admin",
    ("POST", "/api/v1/llm/query"): "client",
    ("POST", "/api/v1/llm/query/stream"): "client",
    ("GET", "/api/v1/llm/query/{}"): "client",
    ("DELETE", "/api/v1/llm/query/{}"): "client",
    ("*", "/v1/{}"): "client",
    ("GET", "/api/v1/ledger/export"): "viewer",
    ("POST", "/api/v1/ledger/prune"): "operator",
    ("POST", "/api/v1/ledger/verify"): "operator",
    ("GET", "/api/v1/logs"): "viewer",
    ("GET", "/api/v1/logs/export"): "viewer",
    ("GET", "/api/v1/logs/{}"): "viewer",
    ("DELETE", "/api/v1/logs"): "operator",
    ("GET", "/api/v1/prices"): "operator",
    ("GET", "/api/v1/prices/unpriced"): "operator",
    ("POST", "/api/v1/prices/reprice"): "operator",
    ("POST", "/api/v1/budgets"): "admin",
    ("GET", "/api/v1/budgets"): "viewer",
    ("GET", "/api/v1/budgets/{}"): "viewer",
    ("PATCH", "/api/v1/budgets/{}"): "admin",
    ("DELETE", "/api/v1/budgets/{}"): "admin",
}
"""A route that is not here has not been thought about."""
# Keys required and no key that gets in: such a server does not start; the gate is tested with it all the same.


def test_every_route_is_declared() -> None:
    assert {(route.method, route.path): route.access for route in ROUTES} == DECLARED


@pytest.mark.parametrize("config", [name for name in CONFIGS if name != "required, no master"])
async def test_every_route_lets_in_whom_it_should(serve: Serve, config: str) -> None:
    server = await serve(CONFIGS[config])
    wrong: list[Any] = []

    for route, (position, (name, key)) in itertools.product(ROUTES, enumerate(KEYS.items())):
        path = route.path.replace("{}", "demo/echo" if "models" in route.path else "req_unknown")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        body = json.dumps(question(model="demo/echo")).encode() if route.method == "POST" else None
        reply = await server.request(route.method.replace("*", "GET"), path, body, headers)
        expected = EXPECTED[route.access][config][position]
        came = reply.status if reply.status in {401, 403} else IN
        if came != expected:
            wrong.append((route.method, route.path, name, reply.status, expected))
        if came == 401:
            assert any(word in reply.body for word in (b"invalid_api_key", b"authentication_error", b"UNAUTHENTICATED"))

    assert wrong == []


PEOPLE: dict[str, dict[str, Any]] = {
    "viewer": {"roles": ["viewer"]},
    "developer": {"roles": ["developer"]},
    "operator": {"roles": ["operator"]},
    "admin": {"roles": ["admin"]},
    "viewer of acme": {"roles": ["viewer"], "organisation": "acme"},
    "developer of red": {"roles": ["developer"], "team": "red"},
    "operator of acme": {"roles": ["operator"], "organisation": "acme"},
    "admin of acme": {"roles": ["admin"], "organisation": "acme"},
    "admin of red": {"roles": ["admin"], "team": "red"},
    "viewer and developer": {"roles": ["viewer", "developer"]},
}
HOUSE = {"operator", "admin"}
ASKS = {name for name in PEOPLE if name.partition(" of")[0] != "viewer"}
REACH: dict[Access, set[str]] = {
    "open": set(PEOPLE),
    "member": set(PEOPLE),
    "client": ASKS,
    "viewer": set(PEOPLE),
    "operator": HOUSE,
    "manager": {"admin", "admin of acme", "admin of red"},
    "admin": {"admin"},
    "master": set(),
}
"""Whose key reaches which routes; everybody else's is answered with 403."""


@pytest.mark.parametrize("config", ["open, master", "required, master"])
async def test_every_role_reaches_just_the_routes_of_its_access(serve: Serve, config: str) -> None:
    server = await serve(CONFIGS[config])
    await make_places(server)
    keys = {name: (await make(server, name=name, **body))["key"] for name, body in PEOPLE.items()}
    keys["revoked"] = await _revoked(server)
    keys["expired"] = (await make(server, roles=["admin"], expires_at="1h"))["key"]
    server.services.keyring.now = lambda: 4e9  # the others have no end
    wrong: list[Any] = []

    for route, (name, key) in itertools.product(ROUTES, keys.items()):
        path = route.path.replace("{}", "demo/echo" if "models" in route.path else "unknown")
        body = json.dumps(question(model="demo/echo")).encode() if route.method in {"POST", "PATCH"} else None
        reply = await server.request(route.method.replace("*", "GET"), path, body, bearer(key))
        expected = IN if name in REACH[route.access] else 403
        if name in {"revoked", "expired"}:
            expected = IN if route.access == "open" else 401
        of_role = reply.status == 403 and any(words in reply.body for words in (b"this needs", b"whole server"))
        came = reply.status if reply.status == 401 or of_role else IN
        if came != expected:
            wrong.append((route.method, route.path, name, reply.status, reply.body[:200], expected))

    assert wrong == []


async def _revoked(server: Served) -> str:
    made = await make(server, roles=["admin"])
    await send(server, "DELETE", f"/api/v1/keys/{made['id']}")
    return str(made["key"])


async def test_who_runs_the_house_closes_it_to_whoever_has_no_key(serve: Serve) -> None:
    """Without a master key: open until the first operator's or admin's key, and again once it is gone."""
    server = await serve("")
    ring = server.services.keyring
    key = Key("key_1", "first", "mp-first…", None, None, "master", ("operator",), Settings(), 1)
    before = (await server.get("/costs")).status
    await ring.store.create(key, ring.digest("mp-first"))
    await ring.renew()
    during = [(await server.get("/costs", headers)).status for headers in ({}, bearer("mp-first"))]
    asks = (await server.ask(model="demo/echo")).status
    await ring.store.revoke("key_1")
    await ring.renew()

    assert (before, during, asks) == (200, [401, 200], 200)
    assert (await server.get("/costs")).status == 200


@pytest.mark.parametrize("access", EXPECTED)
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(("position", "name"), list(enumerate(KEYS)))
def test_the_gate_alone(access: Access, config: str, position: int, name: str) -> None:
    """Also for accesses that no route has yet."""
    gate = Gate(required="required" in config, master_key=None if "no master" in config else MASTER_KEY)
    headers = {"Authorization": f"Bearer {KEYS[name]}"} if KEYS[name] else {}
    expected = EXPECTED[access][config][position]

    try:
        tenant: str | None = gate.admit(headers, access).tenant
        status = IN
    except Refused as error:
        tenant, status = None, error.failure.status

    assert status == expected
    if status == IN:
        known = name == "master" and "no master" not in config and access != "open"
        assert tenant == (MASTER if known else "")


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, None),
        ({"Authorization": "Bearer k"}, "k"),
        ({"Authorization": "bearer  k "}, "k"),
        ({"Authorization": "Basic k"}, None),
        ({"Authorization": "Basic k", "x-api-key": "a"}, "a"),
        ({"x-api-key": "a"}, "a"),
        ({"x-goog-api-key": "g"}, "g"),
        ({"api-key": "z"}, "z"),
        ({"Authorization": "Bearer k", "x-api-key": "a"}, "k"),
    ],
)
def test_every_spelling_of_the_key_header(headers: dict[str, str], key: str | None) -> None:
    assert presented_key(headers) == key


SEND: Final = "is needed: send it as Authorization: Bearer KEY"
NO_MASTER: Final = "this needs the master key and none is configured; set [auth] master_key"
NO_ADMIN: Final = "this needs an admin's key and there is none; make one: modelport keys create --name me --role admin"
WORDS: Final[dict[str, tuple[Access, dict[str, Any], str | None, tuple[int, str, str, str]]]] = {
    # name: (access, of the gate, the key that is sent, (status, kind, code, message))
    "no key": (
        "client",
        {"required": True},
        None,
        (401, "authentication", "invalid_api_key", f"a valid key {SEND}"),
    ),
    "a wrong key": (
        "client",
        {"required": True},
        "mp-wrong",
        (401, "authentication", "invalid_api_key", f"the key is not known; a valid key {SEND}"),
    ),
    "none of every role": (
        "viewer",
        {"required": True},
        None,
        (401, "authentication", "invalid_api_key", f"a valid key {SEND}"),
    ),
    "none of two roles": (
        "operator",
        {"required": True},
        None,
        (401, "authentication", "invalid_api_key", f"a key with the role operator or admin {SEND}"),
    ),
    "none of one role": (
        "admin",
        {"required": False, "master_key": MASTER_KEY},
        None,
        (401, "authentication", "invalid_api_key", f"a key with the role admin {SEND}"),
    ),
    "not the master key": (
        "master",
        {"required": False, "master_key": MASTER_KEY},
        None,
        (401, "authentication", "invalid_api_key", f"the master key {SEND}"),
    ),
    "no master key at all": (
        "master",
        {"required": False},
        None,
        (403, "permission", "master_key_missing", NO_MASTER),
    ),
    "no admin at all": (
        "admin",
        {"required": False},
        None,
        (403, "permission", "admin_key_missing", NO_ADMIN),
    ),
}
ROLES_WORDS: Final[dict[str, tuple[Access, Identity, str]]] = {
    "one role of three": (
        "client",
        Identity("k", frozenset({"viewer"}), "k"),
        "this needs a key with the role developer or operator or admin; the key's roles: viewer",
    ),
    "two roles of one": (
        "manager",
        Identity("k", frozenset({"developer", "viewer"}), "k"),
        "this needs a key with the role admin; the key's roles: developer, viewer",
    ),
    "no role": (
        "member",
        Identity("k", frozenset(), "k"),
        "this needs a key with the role admin or operator or developer or viewer; the key's roles: none",
    ),
    "not the master": (
        "master",
        Identity("k", frozenset({"admin"}), "k"),
        "this needs the master key; the key's roles: admin",
    ),
    "of an organisation": (
        "admin",
        Identity("k", frozenset({"admin"}), "k", organisation="acme"),
        "this is about the whole server, and the key belongs to an organisation",
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_who_is_not_let_in_is_told_what_is_needed(name: str) -> None:
    access, how, key, wanted = WORDS[name]
    gate = Gate(**{"master_key": None, **how})

    with pytest.raises(Refused) as refusal:
        gate.let_in(key, access)

    failure = refusal.value.failure
    assert (failure.status, failure.kind, failure.code, failure.message) == wanted
    assert isinstance(refusal.value, UnknownKey) is (key is not None), "wrong keys are counted, missing ones are not"


@pytest.mark.parametrize("name", ROLES_WORDS)
def test_a_key_without_the_role_is_told_both(name: str) -> None:
    access, identity, message = ROLES_WORDS[name]
    key = Key("k", "k", "mp-k", None, None, "master", (), Settings(), 0)

    with pytest.raises(Refused) as refusal:
        Gate(required=True, master_key=None).let_in("mp-k", access, Entry(key, identity, (), None))

    failure = refusal.value.failure
    assert (failure.status, failure.kind, failure.code) == (403, "permission", "role_missing")
    assert failure.message == message


@pytest.mark.parametrize("given", ["", MASTER_KEY + "x", MASTER_KEY[:-1], MASTER_KEY.upper(), "\udcff", "\u00e9"])
def test_only_the_whole_master_key_is_the_master_key(given: str) -> None:
    gate = Gate(required=True, master_key=MASTER_KEY)

    with pytest.raises(Refused):
        gate.admit({"x-api-key": given}, "client")
