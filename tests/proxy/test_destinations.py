"""Where a call goes, with which key, and what runs for it is the configuration's alone: no request says it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.proxy.conftest import Serve
from tests.proxy.serving import KEY, Served, failing, message, provider, says
from tests.replay import Answer, Asked, Upstream
from tests.running import Modelport

JSON = {"content-type": "application/json"}
SAID = [{"role": "user", "content": "Say hello"}]


@pytest.fixture
def trap() -> Iterator[Upstream]:
    """Whoever is asked here was named by a request."""
    with Upstream() as running:
        yield running


def vendor(asked: Asked) -> Answer:
    """Answers in whichever dialect it is asked."""
    if asked.path.endswith("/messages"):
        return Answer.json(message())
    if "embeddings" in asked.path:
        vector = {"object": "embedding", "index": 0, "embedding": [0.5, 0.5]}
        return Answer.json({"object": "list", "model": "m", "data": [vector], "usage": {"prompt_tokens": 1}})
    if asked.method == "POST" and "chat/completions" in asked.path:
        return says()
    return failing(404, "nothing here")


def named(at: str) -> dict[str, Any]:
    """Fields by which other proxies and SDKs are told of destinations, keys, code and templates."""
    words = (
        *("api_base", "base_url", "api_url", "url", "endpoint", "host", "custom_host", "target_url", "server_url"),
        *("proxy", "webhook", "callback_url", "azure_endpoint", "vertex_api_endpoint", "aws_bedrock_runtime_endpoint"),
    )
    return {
        **dict.fromkeys(words, at),
        "api_key": "sk-of-the-request-0123456789",
        "headers": {"authorization": "Bearer sk-of-the-request-0123456789", "host": at},
        "extra_headers": {"x-extra": at},
        "extra_body": {"base_url": at},
        "extra_query": {"base_url": at},
        "litellm_params": {"api_base": at},
        "user_config": {"model_list": [{"model_name": "m", "litellm_params": {"api_base": at, "model": "m"}}]},
        "model_list": [{"model_name": "m", "api_base": at}],
        "provider": {"base_url": at},
        "providers": {"one": {"base_url": at}},
        "fallbacks": [{"model": "m", "api_base": at}],
        "callbacks": ["os.system"],
        "success_callback": [at],
        "guardrails": ["os.system"],
        "custom_llm_provider": "evil",
        "prompt_template": "{{ ''.__class__ }}",
        "chat_template": "{{ ''.__class__ }}",
        "mock_response": "evil",
    }


def said_in_headers(at: str) -> dict[str, str]:
    """The same in headers."""
    names = (
        *("x-modelport-base-url", "x-api-base", "x-base-url", "x-target-url", "helicone-target-url", "x-proxy-url"),
        *(
            "x-portkey-custom-host",
            "x-litellm-api-base",
            "x-forwarded-host",
            "x-original-host",
            "x-upstream",
            "forwarded",
        ),
    )
    return {**dict.fromkeys(names, at), "cookie": "to=evil", "x-portkey-config": json.dumps({"custom_host": at})}


ENDPOINTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"model": "one/m", "messages": SAID}),
    "chat, streamed": ("/v1/chat/completions", {"model": "one/m", "messages": SAID, "stream": True}),
    "chat, translated": ("/v1/chat/completions", {"model": "claude/m", "messages": SAID}),
    "messages": ("/v1/messages", {"model": "claude/m", "messages": SAID, "max_tokens": 5}),
    "messages, translated": ("/v1/messages", {"model": "one/m", "messages": SAID, "max_tokens": 5}),
    "responses": ("/v1/responses", {"model": "one/m", "input": "Say hello"}),
    "gemini": ("/v1beta/models/one%2Fm:generateContent", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
    "completions": ("/v1/completions", {"model": "one/m", "prompt": "Say hello"}),
    "embeddings": ("/v1/embeddings", {"model": "one/m", "input": "hello"}),
    "passed on": ("/v1/images/generations", {"model": "one/m", "prompt": "hello"}),
    "query": ("/api/v1/llm/query", {"model": "one/m", "prompt": "hello"}),
}


async def started(serve: Serve, upstream: Upstream) -> Served:
    upstream.script("m", vendor)
    return await serve(provider("one", upstream), provider("claude", upstream, "anthropic"))


def at_the_configured_place(asked: Asked, upstream: Upstream) -> bool:
    key = asked.headers.get("authorization", "").removeprefix("Bearer ") or asked.headers.get("x-api-key")
    told = {*asked.headers} & {"cookie", "x-extra", "proxy-authorization", *said_in_headers("")}
    return (asked.headers["host"], key, told) == (f"127.0.0.1:{upstream.port}", KEY, set())


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_no_field_of_a_request_names_another_server_or_key(
    serve: Serve, upstream: Upstream, trap: Upstream, endpoint: str
) -> None:
    """All at once, each alone, and in headers; with and without an answer, nobody else is asked."""
    path, body = ENDPOINTS[endpoint]
    server = await started(serve, upstream)
    fields = {name: value for name, value in named(trap.url).items() if name not in body}

    for more in (fields, *({name: value} for name, value in fields.items())):
        await server.request("POST", path, json.dumps({**body, **more}).encode(), JSON)
    plain = await server.request("POST", path, json.dumps(body).encode(), {**JSON, **said_in_headers(trap.url)})
    control = json.dumps({**body, "modelport": {"base_url": trap.url}}).encode()
    refused = await server.request("POST", path, control, JSON)

    assert trap.requests == []
    assert plain.status < 500
    assert refused.status == 400
    assert upstream.requests
    assert [dict(asked.headers) for asked in upstream.requests if not at_the_configured_place(asked, upstream)] == []


NAMES = (
    "http://{}/m",
    "//{}/m",
    "one/http://{}/m",
    "one/../../m",
    "one/m?at={}",
    "one/m#{}",
    "one/m@{}",
    "@{}/m",
    "{}/m",
)


@pytest.mark.parametrize("dialect", ["openai_chat", "gemini"])
async def test_no_name_of_a_model_leads_elsewhere(
    serve: Serve, upstream: Upstream, trap: Upstream, dialect: str
) -> None:
    """Gemini has it in the path of a call."""
    server = await serve(provider("one", upstream, dialect))
    for name in NAMES:
        model = name.format(f"127.0.0.1:{trap.port}")
        await server.ask(model=model)
        await server.request("POST", f"/v1beta/models/{model}:generateContent", b'{"contents": []}')
        await server.request("POST", "/v1/images/generations", json.dumps({"model": model}).encode(), JSON)

    begin = "/v1beta/models/" if dialect == "gemini" else "/v1/"
    paths = [asked.path.partition("?")[0] for asked in upstream.requests]
    assert trap.requests == []
    assert [path for path in paths if not path.startswith(begin) and "images" not in path] == []
    assert [path for path in paths if ".." in path.split("/") or "//" in path] == []


PATHS = (
    "/v1/../admin",
    "/v1/%2e%2e/admin",
    "/v1/x/..%2f..%2fadmin",
    "/v1//{}/x",
    "/v1/\\{}\\x",
    "/v1/@{}/x",
    "/v1/x;/../y",
)


async def test_no_path_that_is_passed_on_leads_elsewhere(serve: Serve, upstream: Upstream, trap: Upstream) -> None:
    server = await serve(provider("one", upstream))
    for path in (*PATHS, "http://{}/v1/x"):
        target = path.format(f"127.0.0.1:{trap.port}")
        line = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nx-modelport-provider: one\r\nConnection: close\r\n\r\n"
        await server.raw(line.encode())
    await server.raw(f"CONNECT 127.0.0.1:{trap.port} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())

    assert trap.requests == []
    assert [asked.path for asked in upstream.requests if not asked.path.startswith("/v1/")] == []
    assert [asked.path for asked in upstream.requests if "admin" in asked.path] == []


async def test_a_vendors_cookie_reaches_no_client_and_comes_back_to_no_vendor(serve: Serve, upstream: Upstream) -> None:
    cookie = {"set-cookie": "tenant=first; Path=/"}
    upstream.script("m", Answer.json(json.loads(says().body), headers=cookie))
    server = await serve(provider("one", f"http://localhost:{upstream.port}/v1"))

    replies = [await server.ask(model="one/m") for _ in range(4)]
    replies.append(await server.request("POST", "/v1/images/generations", b'{"model": "one/m"}', JSON))

    assert [reply.headers.get("set-cookie") for reply in replies] == [None] * 5
    assert [asked.headers.get("cookie") for asked in upstream.requests] == [None] * 5


# --- who can ask ------------------------------------------------------------------------------------

EXPOSED = {
    "no keys": ("[server]\nhost = '0.0.0.0'\n", "auth.required = true"),
    "a key that is not required": (
        "[server]\nhost = '0.0.0.0'\n[auth]\nmaster_key = 'mp-master-0123456789'\n",
        "auth.required = true",
    ),
    "a key that is not there": (
        "[server]\nhost = '0.0.0.0'\n[auth]\nrequired = true\nmaster_key = 'env:NOWHERE'\n",
        "modelport keys create",
    ),
}


@pytest.mark.parametrize("case", EXPOSED)
def test_beyond_this_machine_it_serves_nobody_without_a_key(case: str, tmp_path: Any) -> None:
    """It does not start, with exit status 2 and a line that says what would be right."""
    config, told = EXPOSED[case]

    with pytest.raises(AssertionError, match="ended with 2") as ended:
        Modelport(tmp_path, config).start()

    assert told in str(ended.value)
    assert "Traceback" not in str(ended.value)
