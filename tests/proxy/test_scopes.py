"""What a key with a scope may have passed on: only what its globs allow at the provider that is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.keyed import KEYS_ONLY, bearer, make
from tests.proxy.serving import Served, provider, route
from tests.replay import Answer, Upstream

BOUNDARY = "----form"
AT_BIG = {"x-modelport-provider": "big"}
AT_SMALL = {"x-modelport-provider": "small"}
DRAW = "/v1/images/generations"
FIELD = '--{b}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'


async def _two(serve: Serve, upstream: Upstream) -> Served:
    """`small` has a model whose name looks like one of `big`'s."""
    return await serve(
        KEYS_ONLY,
        provider("big", upstream, more='models = ["draw", "fine"]'),
        provider("small", upstream, more='models = ["draw", "big/draw", "lab/draw"]'),
        route("both", "big/draw", "small/draw"),
    )


CASES: list[tuple[dict[str, Any], str, dict[str, str], dict[str, Any], int]] = [
    # the key's scope, path, headers, body, status
    ({"models": ["big/draw"]}, DRAW, {}, {"model": "big/draw"}, 200),
    ({"models": ["big/draw"]}, DRAW, AT_BIG, {"model": "draw"}, 200),
    ({"models": ["big/draw"]}, DRAW, AT_BIG, {"model": "big/draw"}, 200),
    ({"models": ["big/draw"]}, DRAW, AT_SMALL, {"model": "big/draw"}, 403),
    ({"models": ["big/draw"]}, DRAW, {}, {"model": "small/big/draw"}, 403),
    ({"models": ["b?g/draw"]}, DRAW, AT_SMALL, {"model": "big/draw"}, 403),
    ({"models": ["openai/draw"]}, DRAW, AT_SMALL, {"model": "openai/draw"}, 403),
    ({"models": ["lab/*"]}, DRAW, AT_SMALL, {"model": "lab/draw"}, 200),
    ({"models": ["draw"]}, DRAW, AT_SMALL, {"model": "draw"}, 200),
    ({"models": ["big/draw"]}, DRAW, AT_BIG, {}, 403),
    ({"models": ["big/draw"]}, DRAW, AT_BIG, {"model": "draw", "models": ["fine"]}, 403),
    ({"models": ["big/draw"]}, f"{DRAW}?model=fine", AT_BIG, {"model": "draw"}, 403),
    ({"models": ["big/draw"]}, "/v1//images/generations", AT_BIG, {"model": "draw"}, 403),
    ({"models": ["big/draw"]}, "/v1//chat/completions", AT_BIG, {"model": "draw"}, 403),
    ({"models": ["big/draw"]}, "/v1/batches", AT_BIG, {"model": "draw"}, 403),
    ({"models": ["big/draw"]}, "/v1/batches", {}, {"model": "big/draw"}, 403),
    ({"models": ["big/draw"]}, "/v1/fine_tuning/jobs", AT_BIG, {"model": "draw"}, 403),
    ({"models": ["big/draw"]}, "/v1/tomorrow", AT_BIG, {"model": "draw"}, 403),
    ({"models": ["big/*"]}, "/v1/batches", AT_BIG, {"model": "draw"}, 200),
    ({"models": ["big/*"]}, "/v1/batches", {}, {"model": "big/draw"}, 200),
    ({"models": ["big/*"]}, "/v1/batches", AT_SMALL, {"model": "draw"}, 403),
    ({"models": ["big/d*"]}, "/v1/batches", AT_BIG, {}, 403),
    ({"models": ["*"]}, "/v1/batches", AT_SMALL, {}, 200),
    ({"models": ["big/-"]}, "/v1/batches", AT_BIG, {}, 403),
    ({"routes": ["both"]}, DRAW, {}, {"model": "both"}, 200),
    ({"routes": ["both"]}, "/v1/batches", {}, {"model": "both"}, 403),
    ({"endpoints": ["/v1/*"]}, "/v1/batches", AT_BIG, {}, 200),
    ({}, "/v1/batches", AT_BIG, {}, 200),
]


@pytest.mark.parametrize(("scope", "path", "headers", "body", "status"), CASES)
async def test_a_key_has_passed_on_what_its_scope_allows_at_that_provider(
    serve: Serve, scope: dict[str, Any], path: str, headers: dict[str, str], body: dict[str, Any], status: int
) -> None:
    with Upstream(lambda _asked: Answer.json({})) as upstream:
        server = await _two(serve, upstream)
        key = bearer((await make(server, **scope))["key"])
        sent = {**key, **headers, "content-type": "application/json"}
        reply = await server.request("POST", path, json.dumps(body).encode(), sent)

        assert (reply.status, len(upstream.requests)) == (status, int(status == 200)), reply.body
        if status == 403:
            assert reply.error["code"] == "model_not_allowed"


async def test_a_refusal_says_which_scope_would_do(serve: Serve) -> None:
    with Upstream(lambda _asked: Answer.json({})) as upstream:
        server = await _two(serve, upstream)
        key = bearer((await make(server, models=["big/draw"]))["key"])
        reply = await server.request("GET", "/v1/files", headers={**key, **AT_BIG})

        assert reply.status == 403
        assert "GET /v1/files" in reply.error["message"]
        assert "the models big/draw" in reply.error["message"]
        assert "needs big/*" in reply.error["message"]


def _form(**fields: str) -> bytes:
    written = "".join(FIELD.format(b=BOUNDARY, name=name, value=value) for name, value in fields.items())
    return f"{written}--{BOUNDARY}--\r\n".encode()


@pytest.mark.parametrize(
    ("headers", "query", "fields", "status"),
    [
        (AT_BIG, "", {"model": "draw", "prompt": "x"}, 200),
        ({}, "", {"model": "big/draw", "prompt": "x"}, 200),
        (AT_BIG, "", {"model": "fine", "prompt": "x"}, 403),
        (AT_BIG, "", {"prompt": "x"}, 403),
        (AT_BIG, "?model=draw", {"model": "fine"}, 403),
        (AT_BIG, "?model=draw", {"prompt": "x"}, 403),
    ],
)
async def test_a_forms_own_model_counts_also_where_a_provider_is_named(
    serve: Serve, headers: dict[str, str], query: str, fields: dict[str, str], status: int
) -> None:
    """The provider reads the form, and neither the proxy's header nor a word of the address."""
    with Upstream(lambda _asked: Answer.json({})) as upstream:
        server = await _two(serve, upstream)
        key = bearer((await make(server, models=["big/draw"]))["key"])
        sent = {**key, **headers, "content-type": f"multipart/form-data; boundary={BOUNDARY}"}
        reply = await server.request("POST", f"/v1/images/edits{query}", _form(**fields), sent)

        assert (reply.status, len(upstream.requests)) == (status, int(status == 200)), reply.body


async def test_a_body_that_nobody_reads_has_no_model_of_its_own(serve: Serve) -> None:
    with Upstream(lambda _asked: Answer.json({})) as upstream:
        server = await _two(serve, upstream)
        key = bearer((await make(server, models=["big/draw"]))["key"])
        sent = {**key, **AT_BIG, "content-type": "text/plain"}
        reply = await server.request("POST", f"{DRAW}?model=draw", b'{"model": "fine"}', sent)

        assert (reply.status, upstream.requests) == (403, [])


async def test_asking_a_model_goes_by_the_provider_as_well(serve: Serve) -> None:
    """Not only what is passed on: `small/big/draw` is no model of `big`."""
    with Upstream(lambda _asked: Answer.json({})) as upstream:
        server = await _two(serve, upstream)
        key = bearer((await make(server, models=["big/draw"]))["key"])
        listed = [each["id"] for each in (await server.get("/v1/models", key)).json["data"]]

        assert (await server.ask(key, model="small/big/draw")).status == 403
        assert "small/big/draw" not in listed
        assert (await server.get("/v1/models/small/big/draw", key)).status == 403
