"""A server in the test's own event loop, and short ways to say what a vendor answers.

server = await serve(provider("one", upstream))
reply = await server.ask(model="one/m")
reply.status, reply.headers, reply.json, await server.row(reply.id)
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from proxy.app import App, new_server, opened
from proxy.config import load
from proxy.services import Services
from tests.replay import Answer, Upstream

KEY = "sk-upstream-0123456789abcdef"
SECOND_KEY = "sk-secondary-fedcba9876543210"
BASE = {"openai_chat": "/v1", "openai_responses": "/v1", "anthropic": "", "gemini": ""}
LANE = {name: value for name, value in os.environ.items() if name == "MODELPORT__SERVER__FAST_LANE"}
"""The whole suite passes without the fast lane, too: `make test-careful`."""
QUICK = "[retry]\nattempts = 1\nbackoff_s = 0\n"
"""No pauses: each target is asked once."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["x-request-id"]

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json["error"]
        return found

    @property
    def frames(self) -> list[str]:
        """The blocks of an event stream."""
        return [block for block in self.body.decode().replace("\r\n", "\n").split("\n\n") if block]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """What the `data:` frames say, `[DONE]` left out."""
        texts = [frame.removeprefix("data:").strip() for frame in self.frames if frame.startswith("data:")]
        return [json.loads(text) for text in texts if text != "[DONE]"]

    @property
    def text(self) -> str:
        """The content of choice 0, whole or streamed."""
        if self.headers["content-type"].startswith("application/json"):
            return str(self.json["choices"][0]["message"]["content"])
        return self.texts().get(0, "")

    def texts(self) -> dict[int, str]:
        """The content of a stream by choice."""
        found: dict[int, str] = {}
        for chunk in self.chunks:
            for choice in chunk.get("choices", ()):
                found[choice["index"]] = found.get(choice["index"], "") + (choice["delta"].get("content") or "")
        return found

    @property
    def receipt(self) -> dict[str, Any]:
        """What the closing comment says."""
        comments = [frame for frame in self.frames if frame.startswith(": modelport ")]
        assert len(comments) == 1, self.body
        found: dict[str, Any] = json.loads(comments[0].removeprefix(": modelport "))
        return found

    @property
    def done(self) -> bool:
        return self.frames[-1:] == ["data: [DONE]"]


@dataclass(slots=True)
class Served:
    """One running server."""

    services: Services
    port: int
    session: aiohttp.ClientSession
    database: Path
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with every request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        sent = {**self.headers, **(headers or {})}
        async with self.session.request(method, self.url + path, data=body, headers=sent) as answer:
            named = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status, named, await answer.read())

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        return await self.request("GET", path, headers=headers)

    async def ask(self, headers: Mapping[str, str] | None = None, **body: Any) -> Reply:
        """A chat completion."""
        return await self.request("POST", "/v1/chat/completions", json.dumps(question(**body)).encode(), headers)

    @asynccontextmanager
    async def asking(
        self, headers: Mapping[str, str] | None = None, **body: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The same, read by the caller."""
        sent = {**self.headers, **(headers or {})}
        async with self.session.post(f"{self.url}/v1/chat/completions", json=question(**body), headers=sent) as answer:
            yield answer

    async def raw(self, data: bytes, *, expect_close: bool = True) -> bytes:
        """*data* on a connection of its own; all that comes back until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            await writer.drain()
            if not expect_close:
                return await asyncio.wait_for(reader.read(65536), 5)
            return await asyncio.wait_for(reader.read(-1), 5)
        finally:
            writer.close()

    async def row(self, request_id: str) -> dict[str, Any]:
        """The ledger's row of one request, with its attempts."""
        await self.services.drain()
        found = await self.services.accounts.exchange(request_id)
        assert found is not None, f"no row {request_id}"
        return found

    async def rows(self) -> list[dict[str, Any]]:
        """All rows, oldest first."""
        await self.services.drain()
        found, _ = await self.services.accounts.exchanges(limit=1000)
        return found[::-1]


def question(**body: Any) -> dict[str, Any]:
    """A small request; None removes a field."""
    whole = {"messages": [{"role": "user", "content": "Say hello"}], **body}
    return {name: value for name, value in whole.items() if value is not None}


@asynccontextmanager
async def serving(folder: Path, config: str, environ: Mapping[str, str] | None = None) -> AsyncIterator[Served]:
    """Storage, app and listener as `proxy.app` puts them together, on a free port."""
    path = folder / "modelport.toml"
    path.write_text(config, "utf-8")
    home = {"XDG_DATA_HOME": str(folder / "share"), "HOME": str(folder), **LANE, **(environ or {})}
    loaded = load(path, environ=home, folder=folder)
    async with opened(loaded) as services, aiohttp.ClientSession() as session:
        server = new_server(App(services), services)
        listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        try:
            yield Served(services, port, session, loaded.settings.storage.path)
        finally:
            await session.close()
            listener.close()
            await server.shutdown(0.5)
            await services.drain()


def provider(
    name: str, upstream: Upstream | str, dialect: str = "openai_chat", more: str = "", keys: tuple[str, ...] = (KEY,)
) -> str:
    """The section of a provider at *upstream*, priced at 1 and 2 dollars per million tokens."""
    base = upstream if isinstance(upstream, str) else upstream.url + BASE[dialect]
    price = "" if "price" in more else 'price = { input = "1", output = "2" }\n'
    clocks = "" if "timeouts" in more else "timeouts = { connect_s = 2, first_event_s = 10, idle_s = 10 }\n"
    return (
        f'[providers.{name}]\ndialect = "{dialect}"\nbase_url = "{base}"\nkeys = {json.dumps(list(keys))}\n'
        f"{price}{clocks}{more}\n"
    )


def route(name: str, *targets: str, more: str = "") -> str:
    """A failover route."""
    return f"[routes.{name}]\ntargets = {json.dumps(targets)}\n{more}\n"


# --- what vendors say ------------------------------------------------------------------------------


def completion(text: str | None = "Hello there", *, reason: str = "stop", **message: Any) -> dict[str, Any]:
    """A whole answer of OpenAI's: 10 tokens in, 5 out."""
    return {
        "id": "chatcmpl-upstream",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None, **message},
                "logprobs": None,
                "finish_reason": reason,
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def says(text: str | None = "Hello there", **how: Any) -> Answer:
    """*text*, whole."""
    return Answer.json(completion(text, **how))


def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> str:
    """One chunk of OpenAI's, as a frame."""
    head = {"id": "chatcmpl-upstream", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": "m"}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return f"data: {json.dumps({**head, 'choices': [choice], **more})}\n\n"


USAGE_CHUNK = (
    'data: {"id":"chatcmpl-upstream","object":"chat.completion.chunk","created":1790000000,"model":"m","choices":[],'
    '"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}\n\n'
)
OPENING = chunk({"role": "assistant", "content": ""})
DONE = "data: [DONE]\n\n"


def stream_text(*words: str, usage: bool = True) -> str:
    """A whole event stream of OpenAI's."""
    spoken = "".join(chunk({"content": word}) for word in words)
    return OPENING + spoken + chunk({}, "stop") + (USAGE_CHUNK if usage else "") + DONE


def streams(*words: str, usage: bool = True, **how: Any) -> Answer:
    """*words*, streamed."""
    return Answer.sse(stream_text(*(words or ("Hello", " there")), usage=usage), **{"split": "events", **how})


def by_form(whole: Answer, streamed: Answer) -> Any:
    """A script that answers as it is asked: whole or streamed."""
    return lambda asked: streamed if asked.json.get("stream") else whole


BOTH = by_form(says(), streams())


def message(text: str = "Hello there", **more: Any) -> dict[str, Any]:
    """A whole answer of Anthropic's: 10 tokens in, 5 out."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
        **more,
    }


def failing(status: int, text: str = "no", headers: Mapping[str, str] | None = None, **error: Any) -> Answer:
    """An error in OpenAI's envelope."""
    return Answer.json({"error": {"message": text, "type": "error", **error}}, status, headers)
