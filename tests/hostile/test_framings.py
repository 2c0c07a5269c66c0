"""Framings that two readers might read differently, over raw sockets: refused, or read as everybody reads them.

A row stands between an ordinary request, whose head and shape the fast lane has learnt, and a canary. Whatever becomes
of the row, the canary is answered as itself or not at all, and what is hidden in the row is never asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.hostile.framings import FRAMINGS, HIDDEN_MODEL, KEY, Framing, asking, post
from tests.hostile.wire import Answer, Wire
from tests.proxy.serving import says
from tests.replay import Answer as Scripted
from tests.replay import Asked, Upstream
from tests.running import Modelport

FAMILIES: Final = tuple(dict.fromkeys(framing.name.partition(":")[0] for framing in FRAMINGS))
ORDINARY, CANARY = "ordinary", "canary"
LAST: Final = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
"""After the canary, so that the server closes."""
ALIVE: Final = b'{"status":"ok"}'


def echo(asked: Asked) -> Scripted:
    """A provider that repeats what it is asked."""
    return says(asked.json["messages"][0]["content"])


@contextmanager
def served(folder: Path, *, lane: bool) -> Iterator[tuple[Modelport, Upstream]]:
    """A server whose lane, if it has one, knows the ordinary request."""
    with Upstream(echo) as upstream:
        config = (
            f"[server]\nfast_lane = {str(lane).lower()}\n[logging]\nlevel = 'debug'\n"
            f'[providers.one]\ndialect = "openai_chat"\nbase_url = "{upstream.url}/v1"\n'
            'keys = ["sk-upstream-0123456789"]\nmodels = ["m", "hidden"]\nprice = { input = "1", output = "2" }\n'
        )
        with Modelport(folder, config) as modelport:
            with Wire(modelport.port) as wire:
                for _ in range(3):
                    wire.send(post(body=asking(ORDINARY)))
                    assert wire.one().status == 200
            yield modelport, upstream
        assert KEY not in modelport.log
        assert "Traceback" not in modelport.log
        assert KEY not in str([(asked.headers, asked.body) for asked in upstream.requests])


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Modelport, Upstream]]:
    with served(tmp_path_factory.mktemp("fast"), lane=True) as running:
        yield running


@pytest.fixture(scope="module")
def careful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Modelport, Upstream]]:
    with served(tmp_path_factory.mktemp("careful"), lane=False) as running:
        yield running


def said(answer: Answer) -> str:
    """What a provider has said in *answer*; nothing where it is none of a provider's."""
    told = json.loads(answer.body) if answer.status == 200 else {}
    return str(told["choices"][0]["message"]["content"]) if "choices" in told else ""


def tried(port: int, framing: Framing, *, at_once: bool) -> str:
    """What is wrong with what becomes of *framing*; empty: nothing."""
    ordinary, canary = post(body=asking(ORDINARY)), post(body=asking(CANARY)) + LAST
    with Wire(port) as wire:
        if at_once:
            wire.send(ordinary + framing.sent + canary)
        else:
            wire.send(ordinary)
        try:
            first = wire.one()
            if said(first) != ORDINARY:
                return f"the request before was answered {first}"
            if framing.outcome == "left":
                wire.send(framing.sent)
                return ""
            answers = list(follow(wire, framing, b"" if at_once else canary))
        except AssertionError as error:
            return f"{type(error).__name__}: {error}"
        if KEY.encode() in wire.came:
            return "the caller's key is in an answer"
        return judged(framing, answers, at_once=at_once)


def follow(wire: Wire, framing: Framing, canary: bytes) -> Iterator[Answer]:
    """The answers to *framing* and, where it was not sent yet, to *canary*."""
    alone = canary and framing.outcome in {"declined", "served", "ends"}
    if alone:
        wire.send(framing.sent)
    elif canary:
        wire.send(framing.sent, canary)
    for answer in wire.answers("HEAD" if framing.sent.startswith(b"HEAD") else "POST"):
        if answer.status == 100:
            continue
        yield answer
        if framing.outcome == "told":
            return
        if alone:
            wire.send(canary)
            alone = False


def judged(framing: Framing, answers: list[Answer], *, at_once: bool) -> str:
    """What is wrong with *answers*; empty: nothing."""
    own, rest = answers[:1], answers[1:]
    told = [(each.status, said(each)) for each in answers]
    if any(each.status >= 500 for each in answers):
        return f"an error of the server's: {told}"
    if own and said(own[0]) == CANARY:
        return f"was passed over: {told}"
    if rest and (len(rest) != 2 or said(rest[0]) != CANARY or rest[1].body != ALIVE):
        return f"what follows was not answered as itself: {told}"
    if any("x-request-id" not in each.headers for each in answers):
        return f"an answer without its id: {answers}"
    match framing.outcome:
        case "closed" if rest or any(not 400 <= each.status < 500 for each in own):
            return f"not refused, or not closed: {told}"
        case "told" if not own or not 400 <= own[0].status < 500 or own[0].headers.get("connection") != "close":
            return f"not refused, or not closed: {told}"
        case "declined" if not own or not 400 <= own[0].status < 500:
            return f"not declined: {told}"
        case "served" if not own or own[0].status != 200:
            return f"not served: {told}"
        case "ends" if rest or not own or not (own[0].status == 200 or (at_once and 400 <= own[0].status < 500)):
            return f"not served, or not closed: {told}"
        case _:
            return ""


@pytest.mark.parametrize("at_once", [False, True], ids=["in turn", "at once"])
@pytest.mark.parametrize("family", FAMILIES)
def test_on_a_connection_of_the_fast_lane(fast: tuple[Modelport, Upstream], family: str, at_once: bool) -> None:
    check(fast, family, at_once=at_once)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_the_fast_lane(careful: tuple[Modelport, Upstream], family: str) -> None:
    check(careful, family, at_once=False)


def check(running: tuple[Modelport, Upstream], family: str, *, at_once: bool) -> None:
    modelport, upstream = running
    rows = [each for each in FRAMINGS if each.name.startswith(f"{family}:")]

    wrong = [(each.name, found) for each in rows if (found := tried(modelport.port, each, at_once=at_once))]

    assert wrong == []
    assert upstream.asked(HIDDEN_MODEL) == []
    assert modelport.get("/health/live").status == 200


def test_the_rows_went_where_the_lane_was_at_work(fast: tuple[Modelport, Upstream]) -> None:
    modelport, _ = fast
    with Wire(modelport.port) as wire:
        wire.send(post(body=asking(ORDINARY)))
        assert said(wire.one()) == ORDINARY

    ridden = re.search(rb"^modelport_fast_lane_answers_total ([0-9.]+)", modelport.get("/metrics").body, re.MULTILINE)

    assert ridden
    assert float(ridden[1]) > 0


def test_the_rows_are_named_apart() -> None:
    assert len({framing.name for framing in FRAMINGS}) == len(FRAMINGS) >= 300
