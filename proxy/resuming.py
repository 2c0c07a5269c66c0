"""Streams that break off in mid-answer and are gone on with by another target, where that was asked for.

broken off --text so far, and the question once more--> another target --first content--> the same stream goes on
                                                              `--none answers--> the error that there was

Text only: a call of a tool that was begun, or anything that is no text, ends as it did before. The next target is
given the text so far as its own unfinished turn where its kind of server goes on with one, else it is told to; where
there were only thoughts so far it is asked as the first one was. What it repeats of that text is cut off. Every call is
an attempt of the exchange, and the answer says that it was patched.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from proxy.asking import Committed
from proxy.chain import walked
from proxy.errors import Refused, failure_of
from proxy.exchange import Exchange
from proxy.services import Services
from proxy.setup import Key, Setup
from proxy.tally import Resumed
from routing.errors import ChainExhausted, NotSent, Unfit
from routing.targets import Route, Target
from storage.errors import LedgerUnavailable
from translators.dialect import Relayed, Rules
from translators.errors import BadRequest
from translators.losses import Loss
from translators.neutral import (
    Event,
    Failure,
    Finish,
    Message,
    PartDelta,
    PartEnd,
    PartStart,
    Request,
    Response,
    Text,
    Thinking,
)

log = logging.getLogger("modelport")

MOST: Final = 2
"""How often one answer is patched."""
PLACE: Final = "answer"
GOING_ON: Final = (
    "Your answer was cut off by a technical fault after the text above. Continue it exactly where it stopped: "
    "do not repeat anything, do not apologise, do not add an introduction. Begin with the very next character."
)
GO_ON_BY_THEMSELVES: Final = frozenset({"anthropic", "gemini"})
"""Dialects whose servers continue an assistant's turn that stands last; others begin a new one."""
LEAST_OVERLAP: Final = 8
"""Fewer characters that happen to be the same are no repetition, unless they are blanks."""
TAIL: Final = 16_384
"""Characters of what was said within which a repetition is looked for."""


def resumable(so_far: Response) -> str | None:
    """The text of *so_far* if it can be gone on with, empty while it only thinks; None where it is something else."""
    if len(so_far.choices) != 1:
        return None
    parts = so_far.choices[0].parts
    if not parts or not all(isinstance(part, Text | Thinking) for part in parts):
        return None
    text = "".join(part.text for part in parts if isinstance(part, Text))
    if isinstance(parts[-1], Thinking):
        return None if text else ""
    return text if text.strip() else None


def question(request: Request, text: str, rules: Rules) -> Request:
    """*request* with *text*, the answer so far, for a server that takes requests by *rules*.

    While nothing was said the question is asked as it was: thoughts are of no use to another model.
    """
    if not text:
        return request
    turn = Message("assistant", (Text(text),), place=PLACE)
    continues = rules.prefill and rules.dialect in GO_ON_BY_THEMSELVES and request.reasoning is None
    more = (turn,) if continues else (turn, Message("user", (Text(GOING_ON),), place=PLACE))
    return replace(request, messages=(*request.messages, *more))


class Overlap:
    """Cuts off what a continuation repeats of the end of *said*; the first text of a stream passes through here.

    Text is held back only as long as it is, word for word, something that was said before.
    """

    def __init__(self, said: str) -> None:
        self._said = said[-TAIL:]
        self._held = ""
        self._part: tuple[int, int] | None = None
        self._done = False

    def events(self, events: Sequence[Event]) -> Sequence[Event]:
        """*events* without the repetition."""
        if self._done:
            return events
        passed: list[Event] = []
        for event in events:
            self._pass(event, passed)
        return passed

    def _pass(self, event: Event, passed: list[Event]) -> None:
        match event:
            case PartStart(part=Text() as part) if self._part is None:
                self._part = (event.index, event.choice)
                passed.append(replace(event, part=replace(part, text="")))
                self._take(part.text, passed)
            case PartDelta() if not self._done and (event.index, event.choice) == self._part:
                self._take(event.text, passed)
            case PartEnd() | Finish() if not self._done:
                self._let_go(passed)
                passed.append(event)
            case _:
                passed.append(event)

    def _take(self, text: str, passed: list[Event]) -> None:
        self._held += text
        if self._held and self._held not in self._said:
            self._let_go(passed)

    def _let_go(self, passed: list[Event]) -> None:
        rest = self._held[repeated(self._said, self._held) :]
        if self._part is None:
            return
        self._held, self._done = "", True
        if rest:
            passed.append(PartDelta(self._part[0], rest, self._part[1]))


def repeated(said: str, more: str) -> int:
    """How many characters at the beginning of *more* repeat the end of *said*."""
    for size in range(min(len(said), len(more)), 0, -1):
        if said.endswith(more[:size]):
            return size if size >= LEAST_OVERLAP or more[:size].isspace() else 0
    return 0


class GoesOn(Protocol):
    """What asks a target for the rest; see `proxy.attempt.Attempter`."""

    def rules_of(self, target: Target) -> Rules:
        """What *target* takes."""

    async def go_on(
        self, target: Target, key: Key | None, deadline: float, request: Request, onto: Committed
    ) -> Committed:
        """The rest of *onto*'s stream."""


@dataclass(slots=True)
class Resumer:
    """Called when the stream of *committed* has broken off; see `proxy.live.Live.rescue`."""

    services: Services
    setup: Setup
    route: Route
    exchange: Exchange
    request: Request
    targets: Sequence[Target]
    attempter: GoesOn
    committed: Committed
    _broken: list[Target] = field(default_factory=list)

    def watch(self) -> None:
        """Be called when it breaks off."""
        live = self.committed.live
        if live is not None and self.committed.continued is not None:
            live.rescue = self
            live.more = live.more or self._end

    async def __call__(self, failure: Failure) -> Relayed | None:
        """The beginning of what goes on; None when nothing does."""
        committed = self.committed
        live, wire = committed.live, committed.continued
        if live is None or wire is None:
            return None
        if len(self._broken) >= MOST:
            self._came_to("too_often")
            return None
        so_far = live.collector.response()
        if (text := resumable(so_far)) is None:
            self._came_to("not_text")
            return None
        broken = committed.attempts[-1].target
        self._broken.append(broken)
        await committed.close()
        await self._book(so_far, failure)
        wire.seam.cut()
        try:
            await self._asked(text)
        except (ChainExhausted, NotSent, LedgerUnavailable) as error:
            log.warning(
                "%s: the answer of %s broke off, and nobody went on with it: %s", self.exchange.id, broken.name, error
            )
            denied = isinstance(error, ChainExhausted) and not error.attempts
            self._came_to("denied" if denied else "nobody")
            return None
        self._came_to("went_on")
        live.more = self._end
        then = committed.attempts[-1].target.name
        how = f"after {len(text)} characters; {then} went on with it" if text else f"in its thoughts; {then} began anew"
        committed.said.append(Loss("stream", "emulated", f"the answer of {broken.name} broke off {how}"))
        self.exchange.losses = (*self.exchange.losses, *committed.said)
        self.exchange.remarks["resumed"] = [target.name for target in self._broken]
        return Relayed(live.held, ())

    def _came_to(self, outcome: Resumed) -> None:
        """Count what came of one break."""
        self.services.tally.resume(self.setup, self.route.name, outcome)

    async def _asked(self, text: str) -> None:
        """Ask the other targets for the rest, the broken ones last."""
        others = [target for target in self.targets if target not in self._broken]

        async def attempt(target: Target, key: Key | None, deadline: float) -> Committed:
            wire = self.committed.continued
            if wire is not None:
                wire.trim = Overlap(text)
            asked = question(self.request, text, self.attempter.rules_of(target))
            try:
                return await self.attempter.go_on(target, key, deadline, asked, self.committed)
            except (Refused, BadRequest) as error:
                raise Unfit(failure_of(error)) from error

        await walked(
            self.services,
            self.setup,
            self.route,
            self.committed.deadline,
            targets=[*self.services.steered(others), *self._broken],
            attempt=attempt,
            doors=self.exchange.doors,
            again=True,
        )

    async def _book(self, so_far: Response, failure: Failure) -> None:
        """Close the row of the attempt that broke off, with what it took."""
        broken = self.committed.attempts[-1]
        share = self.committed.shares(so_far)[-1]
        broken.usage = await self.services.partial_usage(self.exchange, broken, share)
        await self.services.price(broken, share)
        self.exchange.broke_off(broken, failure)

    async def _end(self) -> Relayed | None:
        """What the wire held back at the end of the last call: nothing follows it."""
        wire = self.committed.continued
        return wire.release() if wire is not None and wire.seam.finish is not None else None
