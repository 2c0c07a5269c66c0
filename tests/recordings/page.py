"""docs/recordings.md: what became of the recordings, as a page."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.recordings.asking import CLIENTS, SHORT
from tests.recordings.requests import EXCEPTIONS as UNFIT
from tests.recordings.requests import REFUSED, TARGETS, Outcome

COMMAND: Final = 'make replay ARGS="--split default --write docs/recordings.md"'
PATH: Final = Path(__file__).resolve().parents[2] / "docs" / "recordings.md"

MOST: Final = 12
"""Of what is not right for no named reason so many are listed."""

_HEAD: Final = f"""# Recordings

<!-- Written by the tests: {COMMAND} -->

Recorded traffic of real servers, replayed through a running modelport over sockets.
It is not part of this repository; whoever has a folder of such recordings beside the checkout gets this page with
`{COMMAND}`.

## Answers

For every recording a loopback server answers what the vendor answered, once at a time cut into single bytes or sevens.
A client of each dialect asks, whole or streamed as it was recorded.
Right is an answer that the client's official SDK takes, with the same text, reasoning, tool calls, finish reason,
refusal and usage, or the fitting error, and with the same tokens in the ledger.
A client of the recorded dialect gets the vendor's very bytes, where that vendor keeps to the dialect.
`completions` is asked for text alone: it has no tools.
"""

_REQUESTS: Final = """
## Requests

Every recorded request body, put to a typical model of each other dialect: `gpt-4.1` (chat), `gpt-6-sol` (responses),
`claude-opus-5-5` (messages), `gemini-3.8-flash` (gemini).
Right is a body that fits the types of the vendor's SDK, in which an unknown field is an error, or a refusal for one of
the reasons below that names the place.
Requests that their own vendor had refused count when they are refused or fit.
"""


@dataclass(slots=True)
class Result:
    """How one recording came out for one client at one split."""

    id: str
    provider: str
    client: str
    split: str
    wrong: list[str]
    excepted: str | None = None


def shares(results: Sequence[Result]) -> dict[str, dict[str, tuple[int, int]]]:
    """Provider -> client -> (right, runs); the last row is the total."""
    counted: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for result in results:
        for row in (result.provider, "total"):
            counted[row][result.client][0] += not result.wrong
            counted[row][result.client][1] += 1
    names = sorted(counted, key=lambda name: (name == "total", name))
    return {name: {client: (cell[0], cell[1]) for client, cell in counted[name].items()} for name in names}


def cell(counted: tuple[int, int] | None) -> str:
    """A share in per cent, of which 100 is all; a dash where there was nothing to ask."""
    if counted is None:
        return "–"
    right, runs = counted
    return "100 %" if right == runs else f"{min(99.9, 100 * right / runs):.1f} %"


def text_table(results: Sequence[Result]) -> str:
    """The share that comes out right, by provider and client, for a terminal."""
    clients = [client for client in CLIENTS if any(result.client == client for result in results)]
    rows = [f"{'provider':<26}{'runs':>6}" + "".join(f"{SHORT[client]:>13}" for client in clients)]
    for name, by_client in shares(results).items():
        runs = sum(counted[1] for counted in by_client.values())
        rows.append(f"{name:<26}{runs:>6}" + "".join(f"{cell(by_client.get(client)):>13}" for client in clients))
    return "\n".join(rows)


def page(results: Sequence[Result], outcomes: Sequence[Outcome], skipped: Mapping[str, int]) -> str:
    """The whole page."""
    pieces = [_HEAD, _answers(results), _excepted(results), _skipped(skipped)]
    return "\n".join([*pieces, _REQUESTS, _requests(outcomes), _refused(outcomes), _unfit(outcomes)]).rstrip() + "\n"


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _answers(results: Sequence[Result]) -> str:
    rows = [_row("provider", "runs", *(SHORT[client] for client in CLIENTS)), _row("---", *(["---:"] * 6))]
    for name, by_client in shares(results).items():
        runs = sum(counted[1] for counted in by_client.values())
        cells = [cell(by_client.get(client)) for client in CLIENTS]
        rows.append(_row(*(f"**{each}**" if name == "total" else each for each in (name, runs, *cells))))
    return "\n".join(rows)


def _excepted(results: Sequence[Result]) -> str:
    """The named exceptions, and how many failed beside them."""
    named = {(result.id, result.client): result.excepted for result in results if result.wrong}
    return _listed(
        [f"`{name}`, {SHORT[client]}: {reason}" for (name, client), reason in sorted(named.items()) if reason],
        [f"`{name}` ({SHORT[client]})" for (name, client), reason in sorted(named.items()) if not reason],
    )


def _listed(named: Sequence[str], others: Sequence[str]) -> str:
    """What is not among the right ones, if anything."""
    lines = [f"- {line}" for line in named]
    if others:
        more = f", and {len(others) - MOST} more" if len(others) > MOST else ""
        lines.append(f"- not right yet: {', '.join(others[:MOST])}{more}")
    return "\n".join(["\nNot among the right ones:\n", *lines]) if lines else ""


def _skipped(skipped: Mapping[str, int]) -> str:
    told = ", ".join(f"{reason} ({count})" for reason, count in sorted(skipped.items(), key=lambda item: -item[1]))
    return f"\nNot replayed, for no endpoint here speaks them: {told}."


def _right(outcome: Outcome) -> bool:
    if outcome.refused:
        return outcome.was_refused or outcome.reason is not None
    return not outcome.misfits


def _requests(outcomes: Sequence[Outcome]) -> str:
    rows = [_row("recorded as", *(SHORT[target] for target in TARGETS)), _row("---", *(["---:"] * len(TARGETS)))]
    for dialect in TARGETS:
        cells = []
        for target in TARGETS:
            own = [each for each in outcomes if (each.dialect, each.target) == (dialect, target)]
            refused = sum(bool(each.refused) for each in own)
            share = cell((sum(map(_right, own)), len(own))) if own else "–"
            cells.append(f"{share} of {len(own)}, {refused} refused" if own else share)
        rows.append(_row(SHORT[dialect], *cells))
    return "\n".join(rows)


def _refused(outcomes: Sequence[Outcome]) -> str:
    """Why requests were refused that their own vendor had taken."""
    counted = Counter(each.reason for each in outcomes if each.refused and not each.was_refused)
    rows = [_row("refused, because", "times"), _row("---", "---:")]
    rows += [_row(reason, counted[pattern]) for pattern, reason in REFUSED.items()]
    if counted[None]:
        rows.append(_row("no named reason", counted[None]))
    return "\n" + "\n".join(rows)


def _unfit(outcomes: Sequence[Outcome]) -> str:
    unfit = [(each.id, each.target) for each in outcomes if each.misfits]
    return _listed(
        [f"`{name}` for {SHORT[target]}: {UNFIT[name, target]}" for name, target in unfit if (name, target) in UNFIT],
        [f"`{name}` for {SHORT[target]}" for name, target in unfit if (name, target) not in UNFIT],
    )
