"""One large question keeps nobody else waiting: what looks at all of it does so in a thread, and once.

The processor time of the loop's own thread is measured, so that a busy machine changes nothing.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.hostile.conftest import Running
from tests.hostile.vendors import answer, providers
from tests.hostile.wire import PATIENCE_S
from tests.proxy.conftest import Serve
from tests.proxy.conftest import serve as serve  # noqa: PLC0414  a fixture of the neighbours
from tests.replay import Upstream
from translators.arguments import MOST_REPAIRED, object_of
from translators.codec import JsonError
from translators.neutral import ToolCall
from translators.vault_keys import is_unique

STALL_S: Final = 0.25
LOOK_S: Final = 0.005


def turns(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hi"}, *messages], **more}


def calling(arguments: str, count: int = 1) -> dict[str, Any]:
    calls = [
        {"id": f"c{at}", "type": "function", "function": {"name": "weather", "arguments": arguments}}
        for at in range(count)
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


LARGE: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "a text of 8 MB": lambda: turns({"role": "user", "content": "x y " * 2_000_000}),
    "a text of 60 MB": lambda: turns({"role": "user", "content": "x y " * 15_000_000}),
    "30,000 parts": lambda: turns({"role": "user", "content": [{"type": "text", "text": "a"}] * 30_000}),
    "10,000 calls": lambda: turns(calling("{}", 10_000), *[{"role": "tool", "tool_call_id": "c1", "content": "y"}]),
    "9,000 messages": lambda: turns(*[{"role": "user", "content": "ab cd " * 50}] * 9_000),
    "broken arguments": lambda: turns(calling("[{" * 450_000), {"role": "tool", "tool_call_id": "c0", "content": "y"}),
}


class Lag:
    """The longest that the loop's thread was at work in one go, in seconds of the processor."""

    worst_s = 0.0

    async def look(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(LOOK_S)
            self.worst_s = max(self.worst_s, time.thread_time() - before)


@asynccontextmanager
async def measured() -> AsyncIterator[Lag]:
    lag = Lag()
    looking = asyncio.create_task(lag.look())
    try:
        yield lag
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def posted(port: int, body: bytes) -> tuple[int, bytes]:
    """The answer to *body*, asked for by another thread than the server's."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("POST", "/v1/chat/completions", body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("target", ["openai_chat", "anthropic"])
async def test_the_loop_goes_on_turning(serve: Serve, target: str) -> None:
    with Upstream(answer) as upstream:
        server = await serve(providers(upstream.url))
        await server.ask(model=f"{target}/m")
        stalls = {}
        for name, made in LARGE.items():
            body = json.dumps({"model": f"{target}/m", **made()}).encode()
            async with measured() as lag:
                status, told = await asyncio.to_thread(posted, server.port, body)
            assert status in {200, 400}, told[:300]
            stalls[name] = lag.worst_s

    assert {name: worst for name, worst in stalls.items() if worst > STALL_S} == {}


@pytest.mark.parametrize("target", ["openai_chat", "anthropic"])
async def test_a_long_answer_holds_up_nobody(serve: Serve, target: str) -> None:
    """It is read in a thread, and written as its client takes it; also where the lane has asked for it."""
    text = "x y " * 10_000_000
    with Upstream(lambda asked: answer(asked, text if b"long" in asked.body else "short")) as upstream:
        server = await serve(providers(upstream.url))
        stalls, sizes = [], []
        for content in ("short", "short", "long", "long"):
            body = json.dumps({"model": f"{target}/m", "messages": [{"role": "user", "content": content}]}).encode()
            async with measured() as lag:
                status, told = await asyncio.to_thread(posted, server.port, body)
            assert status == 200, told[:300]
            stalls.append(lag.worst_s)
            sizes.append(len(json.loads(told)["choices"][0]["message"]["content"]))

    assert sizes == [5, 5, len(text), len(text)]
    assert [stall for stall in stalls if stall > STALL_S] == []


@pytest.mark.parametrize("made", ["x" * 300_000, "7" * 300_000, "a1" * 150_000, "-" * 300_000, "call_" * 60_000])
def test_a_long_id_is_looked_at_once(made: str) -> None:
    """It took the square of its length, which for 70,000 letters was minutes."""
    began = time.process_time()

    assert is_unique(ToolCall(made, "weather", "{}")) is (made == "a1" * 150_000)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("broken", ["[{" * 50_000, '{"a":[' * 20_000, "[" * 100_000 + "," * 100_000])
def test_broken_arguments_are_looked_at_once(broken: str) -> None:
    began = time.process_time()
    with pytest.raises(JsonError):
        object_of(broken)

    assert time.process_time() - began < 5


def test_only_what_a_model_may_have_written_is_repaired() -> None:
    assert object_of('{"a": "' + "x" * (MOST_REPAIRED - 7)) == ({"a": "x" * (MOST_REPAIRED - 7)}, True)
    with pytest.raises(JsonError):
        object_of('{"a": "' + "x" * (MOST_REPAIRED - 6))


def test_nothing_is_left_behind(running: Running) -> None:
    """After the first few, another twenty hostile bodies cost no memory."""

    def resident_mb() -> float:
        pages = Path(f"/proc/{running.modelport.pid}/statm").read_text("ascii").split()[1]
        return int(pages) * 4096 / 2**20

    bodies = [
        b"[" * 2_000_000,
        b'{"model":"openai_chat/m","messages":[{"role":"user","content":"' + b"x" * 2_000_000 + b'"}]}',
        b'{"model":"openai_chat/m","x":[' + b"[]," * 600_000 + b"[]]}",
        b'{"model":"openai_chat/m","messages":5,"x":"' + b"\\u0041" * 300_000 + b'"}',
    ]

    def all_of_them(rounds: int) -> float:
        for _ in range(rounds):
            for body in bodies:
                assert running.modelport.post("/v1/chat/completions", body).status in {200, 400}
        return resident_mb()

    before = all_of_them(3)

    assert all_of_them(5) - before < 32
