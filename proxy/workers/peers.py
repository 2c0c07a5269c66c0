"""A worker's line to the others: `tell` them something, or `ask` and wait for what each of them says."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, cast

from typing_extensions import override

from proxy.workers.lines import KEEPER, Line, Lines, framed

log = logging.getLogger("modelport.workers")

ASK_S: Final = 0.5
"""How long answers are waited for: a worker that is busy for longer does not hold up the others."""

Gone = Callable[[int], None]
Heard = Callable[[str, Any], Awaitable[Any]]
"""(topic, what was said) -> what is answered, where it was asked."""


@dataclass(slots=True)
class _Question:
    """Who was *reached* (None: not known yet) and what they answered."""

    done: asyncio.Event = field(default_factory=asyncio.Event)
    reached: set[int] | None = None
    answers: dict[int, Any] = field(default_factory=dict)

    def look(self) -> None:
        """Whether all who were reached have answered."""
        if self.reached is not None and self.reached <= self.answers.keys():
            self.done.set()


class Peers(asyncio.Protocol):
    """The line. *heard* takes what others say, *gone* the number of one that died, *alone* that the keeper did."""

    def __init__(self, heard: Heard, gone: Gone, alone: Callable[[], None]) -> None:
        self._heard = heard
        self._gone = gone
        self._alone = alone
        self._lines = Lines()
        self._transport: asyncio.WriteTransport | None = None
        self._questions: dict[int, _Question] = {}
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, line: socket.socket) -> None:
        """Take hold of *line*."""
        await asyncio.get_running_loop().create_connection(lambda: self, sock=line)

    async def close(self) -> None:
        """Let go of it."""
        self._alone = _nothing
        for task in tuple(self._tasks):
            task.cancel()
        if self._transport is not None:
            self._transport.close()

    def tell(self, topic: str, said: Any = None, to: int | None = None) -> None:
        """Say something to the worker *to*, None: to all others. They hear of it soon, if they live."""
        self._send({"topic": topic, "said": said, "to": to})

    def tell_keeper(self, topic: str, said: Any = None) -> None:
        """Say something to the keeper itself."""
        self._send({"topic": topic, "said": said, "to": KEEPER})

    async def ask(self, topic: str, said: Any = None, to: int | None = None, wait_s: float = ASK_S) -> dict[int, Any]:
        """What each of the others, or the worker *to*, answers: of those that do so within *wait_s*, by number."""
        number = next(self._numbers)
        question = self._questions[number] = _Question()
        self._send({"topic": topic, "said": said, "to": to, "ask": number})
        try:
            async with asyncio.timeout(wait_s):
                await question.done.wait()
        except TimeoutError:
            missing = (question.reached or set()) - question.answers.keys()
            log.warning("workers %s did not answer in %g s (%s)", sorted(missing), wait_s, topic)
        finally:
            del self._questions[number]
        return question.answers

    # --- the line

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._alone()

    def data_received(self, data: bytes) -> None:
        """Lines, or parts of them, from the keeper."""
        for line in self._lines.feed(data):
            self._take(line)

    def _take(self, line: Line) -> None:
        if (number := line.get("answer")) is not None:
            if question := self._questions.get(number):
                question.answers[line["from"]] = line["said"]
                question.look()
        elif (number := line.get("reached_for")) is not None:
            if question := self._questions.get(number):
                question.reached = set(line["reached"])
                question.look()
        elif line["topic"] == "gone":
            for question in self._questions.values():
                if question.reached is not None:
                    question.reached.discard(line["said"])
                    question.look()
            self._gone(line["said"])
        else:
            task = asyncio.create_task(self._answer(line))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, line: Line) -> None:
        said = None
        try:
            said = await self._heard(line["topic"], line["said"])
        except Exception:  # whatever it is: the one who asks must not wait for nothing
            log.exception("what another worker said could not be taken in: %s", line["topic"])
        if (number := line.get("ask")) is not None:
            self._send({"answer": number, "said": said, "to": line["from"]})

    def _send(self, line: Line) -> None:
        if self._transport is not None:
            self._transport.write(framed(line))


def _nothing() -> None:
    """Nobody needs to know."""
