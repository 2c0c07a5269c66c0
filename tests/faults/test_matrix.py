"""The fault matrix: every row of `table.FAULTS`, whole and streamed, relayed and translated, alone and followed.

One server plays all cells of a row side by side; each has a provider of its own, and so keys and a breaker. A cell
says everything that is wrong with it, not the first thing only.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import pytest

from routing.retry import RetryBudget
from routing.targets import Target
from tests.faults.table import (
    FAULTS,
    INPUT,
    LEISURE,
    PRICE,
    TEXT,
    Breaks,
    Dialect,
    Fails,
    Fault,
    Result,
    Vendor,
    Works,
    page,
)
from tests.proxy.conftest import Serve
from tests.proxy.serving import KEY, LANE, Reply, Served, by_form, provider, route
from tests.replay import Upstream, cassette, free_port
from tests.running import ROOT

PATHS: Final = {"openai_chat": "/v1/chat/completions", "anthropic": "/v1/messages"}
WAYS: Final[tuple[tuple[str, Dialect, tuple[bool, ...]], ...]] = (
    ("openai_chat", "openai_chat", (False, True)),
    ("openai_chat", "anthropic", (False, True)),
    ("openai_chat", "gemini", (False,)),
    ("anthropic", "openai_chat", (False, True)),
    ("anthropic", "anthropic", (False,)),
)
"""The dialects of client and vendor; and whether a successor is tried, which has little to do with them."""
PATIENT: Final = "[retry]\nattempts = 2\nbackoff_s = 0\n[cache]\nmode = 'off'\n"
GOOD: Final = "good/m"


@dataclass(frozen=True, slots=True)
class Cell:
    """One request. *laned*: such requests have been answered before, so that the fast lane takes it."""

    client: str
    vendor: Dialect
    stream: bool
    followed: bool
    """Whether a target that is well comes behind the one that fails."""
    laned: bool = False

    @property
    def name(self) -> str:
        """Of its provider."""
        form = f"{'lane-' if self.laned else ''}{'stream' if self.stream else 'whole'}"
        return f"{self.client}-{self.vendor}-{form}-{'followed' if self.followed else 'alone'}"

    @property
    def target(self) -> str:
        """The one that fails."""
        return f"{self.name}/{self.name}"


def cells(fault: Fault) -> Iterator[Cell]:
    """Every cell of *fault*."""
    for client, vendor, policies in WAYS:
        for stream in (False, True):
            if vendor not in fault.dialects or (fault.stream if stream else fault.whole) is None:
                continue
            for followed in policies:
                yield Cell(client, vendor, stream, followed)
                if client == vendor == "openai_chat" and not LANE and fault.play(Vendor(vendor), stream):
                    yield Cell(client, vendor, stream, followed, laned=True)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_what_becomes_of(serve: Serve, upstream: Upstream, fault: Fault) -> None:
    played, whole = list(cells(fault)), cassette("openai_chat/text")
    nobody = f"http://127.0.0.1:{free_port()}"
    sections = []
    for cell in played:
        answer = fault.play(Vendor(cell.vendor), cell.stream)
        warm = [cassette("openai_chat/text_stream") if cell.stream else whole] * 2 if cell.laned else []
        upstream.script(cell.name, *warm, *([answer] if answer else []))
        at: Any = upstream if answer else nobody
        sections.append(provider(cell.name, at, cell.vendor, more=f"{PRICE}\n{fault.clocks}"))
        if cell.followed:
            sections.append(route(f"r-{cell.name}", cell.target, GOOD))
    upstream.script("m", by_form(whole, cassette("openai_chat/text_stream")))
    server = await serve(PATIENT, *sections, provider("good", upstream, more=LEISURE))
    server.services.retry_budget = RetryBudget(time.monotonic, share=1.0, minimum=1000)

    replies = await asyncio.gather(*(_asked(server, cell) for cell in played))

    await server.services.drain()
    wrong = []
    for cell, reply in zip(played, replies, strict=True):
        judge = Judge(server, upstream, fault, cell, reply)
        wrong += [f"{cell.name}: {each}" for each in await judge.wrong()]
    asked = len(played) + sum(2 for cell in played if cell.laned)
    rows = await server.rows()
    assert not wrong, "\n".join(wrong)
    assert (len(rows), {row["status"] for row in rows} & {"open"}) == (asked, set())


async def _asked(server: Served, cell: Cell) -> Reply:
    model = f"r-{cell.name}" if cell.followed else cell.target
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "Capital of France?"}]}
    if cell.client == "anthropic":
        body["max_tokens"] = 50
    if cell.stream:
        body["stream"] = True
    raw = json.dumps(body).encode()
    for _ in range(2 if cell.laned else 0):
        await server.request("POST", PATHS[cell.client], raw)
    return await server.request("POST", PATHS[cell.client], raw)


@dataclass(slots=True)
class Judge:
    """What is wrong with one reply to *cell*, and with its books."""

    server: Served
    upstream: Upstream
    fault: Fault
    cell: Cell
    reply: Reply
    _found: list[str] = field(default_factory=list)

    @property
    def expected(self) -> Result:
        """What the failing target alone comes to."""
        result = self.fault.stream if self.cell.stream else self.fault.whole
        assert result is not None
        return result

    @property
    def rescued(self) -> bool:
        """Whether the target behind answers."""
        return self.cell.followed and isinstance(self.expected, Fails) and self.expected.then != "stop"

    @property
    def calls(self) -> int:
        """How often the failing target is asked."""
        expected = self.expected
        return 2 if isinstance(expected, Fails) and expected.then == "again" and not self.cell.followed else 1

    async def wrong(self) -> list[str]:
        """Everything."""
        expected = Works() if self.rescued else self.expected
        match expected:
            case Fails():
                self._failure(expected)
            case Breaks():
                self._break(expected)
            case Works():
                self._answer()
        self._is("secrets", KEY in self.reply.body.decode(), False)
        self._calls()
        await self._books(expected)
        return self._found

    def _is(self, what: str, found: object, right: object) -> None:
        if found != right:
            body = "" if self._found else f"; the answer ends in {self.reply.body[-300:]!r}"
            self._found.append(f"{what} is {found!r}, not {right!r}{body}")

    # --- what the client reads

    def _failure(self, expected: Fails) -> None:
        reply = self.reply
        self._is("status", reply.status, expected.status)
        if reply.status == 200:
            return
        right = {
            "content-type": "application/json",
            "x-content-type-options": "nosniff",
            "x-should-retry": "false",
            "x-modelport-attempts": str(self.calls),
            "retry-after": expected.retry_after,
        }
        self._is("head", {name: reply.headers.get(name) for name in right}, right)
        told = reply.json
        error = told.get("error", {})
        if self.cell.client == "anthropic":
            shape = {"type": "error", "error": ["message", "type"], "request_id": reply.id}
            self._is("envelope", {**told, "error": sorted(error)}, shape)
        else:
            shape = {"error": ["code", "message", "param", "type"], "request_id": reply.id}
            self._is("envelope", {**told, "error": sorted(error)}, shape)
            if expected.code is not None:
                self._is("code", error.get("code"), expected.code)
        self._is("target in message", f"{self.cell.target}: " in error.get("message", ""), True)

    def _break(self, expected: Breaks) -> None:
        events, reply = self._events(), self.reply
        self._is("status", reply.status, 200)
        self._is("text", TEXT.startswith(self._text()[:5]) and bool(self._text()), True)
        error = events[-1].get("error") if events else None
        self._is("errors", sum("error" in event for event in events), 1)
        self._is("last event", isinstance(error, dict), True)
        if self.cell.client == "openai_chat" and isinstance(error, dict):
            self._is("code", error.get("code"), expected.code)
        self._is("terminators", self._terminators(), 0)

    def _answer(self) -> None:
        self._is("status", self.reply.status, 200)
        if self.reply.status != 200:
            return
        self._is("text", self._text(), TEXT)
        if self.cell.stream:
            self._is("terminators", self._terminators(), 1)
            last = self.reply.frames[-1].splitlines()[-1]
            self._is("end", "[DONE]" in last or "message_stop" in last, True)
            self._is("receipt", self.reply.receipt["attempts"], self.calls + self.rescued)

    def _events(self) -> list[dict[str, Any]]:
        lines = [line[5:].strip() for frame in self.reply.frames for line in frame.splitlines() if line[:5] == "data:"]
        return [json.loads(line) for line in lines if line != "[DONE]"]

    def _terminators(self) -> int:
        return sum("[DONE]" in frame or "event: message_stop" in frame for frame in self.reply.frames)

    def _text(self) -> str:
        if self.cell.client == "openai_chat":
            return self.reply.text
        if not self.cell.stream:
            return "".join(block["text"] for block in self.reply.json["content"])
        return "".join(event["delta"].get("text", "") for event in self._events() if "delta" in event)

    # --- what the provider and the books saw

    def _calls(self) -> None:
        warm = 2 if self.cell.laned else 0
        if self.fault.play(Vendor(self.cell.vendor), self.cell.stream):
            self._is("calls", len(self.upstream.asked(self.cell.name)) - warm, self.calls)
        expected = self.expected
        ill = isinstance(expected, Breaks) or (isinstance(expected, Fails) and expected.ill)
        breaker = self.server.services.breakers.of(Target.parse(self.cell.target))
        self._is("failures in a row", breaker.failures, self.calls if ill else 0)

    async def _books(self, expected: Result) -> None:
        row = await self.server.services.accounts.exchange(self.reply.id)
        assert row is not None
        failed = self.calls if isinstance(self.expected, Fails) else 0
        status = {Fails: "failed", Breaks: "interrupted", Works: "ok"}[type(expected)]
        last = [] if isinstance(expected, Fails) else [status]
        self._is("row", row["status"], status)
        self._is("attempts", [made["status"] for made in row["attempts"]], ["failed"] * failed + last)
        self._is("cost of failures", {Decimal(made["cost_usd"]) for made in row["attempts"][:failed]} - {0}, set())
        cost, tokens = Decimal(row["cost_usd"]), (row["input_tokens"], row["output_tokens"])
        match expected:
            case Fails():
                self._is("cost", (cost, tokens, row["estimated"]), (0, (0, 0), False))
            case Breaks():
                told = self.cell.vendor != "openai_chat"
                self._is("estimated", (row["estimated"], cost > 0, tokens[1] > 0), (True, True, True))
                self._is("input", tokens[0] == INPUT if told else tokens[0] > 0, True)
            case Works():
                counts = tokens[1] == expected.output if expected.output else tokens[1] > 0
                self._is("books", (row["estimated"], cost > 0, counts), (expected.estimated, True, True))


def test_the_page_says_what_is_tested() -> None:
    """Its table is `page()`, printed."""
    assert page() in (ROOT / "docs/resilience.md").read_text("utf-8")
