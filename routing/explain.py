"""Why a request goes where it goes: every target of a route with its place, its score and the reason in words.

`score` is in the policy's own terms, see SCORES; targets that are out have none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from routing.abilities import SOFT, Fit
from routing.affinity import Kept
from routing.breaker import State
from routing.latency import HALF_LIFE_S
from routing.policies import balanced
from routing.policies.latency import untouched
from routing.policies.sticky import caller_of
from routing.policies.view import View
from routing.targets import Target
from translators.neutral import Request

Reason = tuple[float | None, str]
"""A score and its reason."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One target. *place* is 1 for the one that is asked first, None for one that is out.

    Money is in nano-dollars, times in milliseconds; None is unknown. *held_up*: why it would be passed over now.
    """

    target: Target
    place: int | None
    why: str
    score: float | None = None
    cost_nanousd: float | None = None
    input_tokens: int = 0
    output_tokens: float = 0.0
    latency_ms: float | None = None
    reliability: float = 1.0
    lacks: tuple[str, ...] = ()
    loses: tuple[str, ...] = ()
    saving_nanousd: float | None = None
    breaker: State = "closed"
    held_up: str = ""


def explain(policy: str, request: Request, fits: Sequence[Fit], kept: Kept, view: View) -> list[Candidate]:
    """Every target of *fits*, in the order in which they are asked, those that are out at the end."""
    targets = list(kept.order)
    by_target = {each.target: each for each in fits}
    reasons = SCORES.get(policy, _unexplained)(request, targets, view)
    found = []
    for place, (target, (score, why)) in enumerate(zip(targets, reasons, strict=True), 1):
        each = by_target.get(target, Fit(target))
        notes = [why, *_notes(each)]
        if place == 1 and kept.moved:
            notes.insert(0, "it holds the conversation in its cache")
        found.append(
            Candidate(
                target,
                place,
                "; ".join(filter(None, notes)),
                score,
                view.cost_nanousd(request, target, targets),
                view.tokens_in(request),
                view.tokens_out(request, target, targets),
                view.pace(request, target).ms,
                view.latencies.reliability(target),
                each.lacks,
                each.loses,
                kept.savings.get(target.name),
                view.breakers.of(target).state,
                _held_up(target, view),
            )
        )
    out = [each for each in fits if each.target not in set(targets)]
    return [*found, *(Candidate(each.target, None, why_out(each), lacks=each.lacks, loses=each.loses) for each in out)]


def why_out(fit: Fit) -> str:
    """Why a target cannot take the request."""
    hard = [name for name in fit.lacks if name not in SOFT and name != "context"]
    told = [f"takes no {', '.join(hard)}"] if hard else []
    if "context" in fit.lacks:
        told.append(f"takes {fit.room:,} tokens, the request has about {fit.tokens:,}")
    return "; ".join(told) or "is not asked"


def _notes(fit: Fit) -> list[str]:
    """What it does not do as asked."""
    told = [f"behind the others: {', '.join(fit.lacks)}"] if fit.lacks else []
    return [*told, f"would lose {', '.join(fit.loses)}"] if fit.loses else told


def _held_up(target: Target, view: View) -> str:
    breaker, ring = view.breakers.of(target), view.key_rings.get(target.provider)
    if not breaker.ready:
        return f"its breaker is open for {breaker.cooldown_s:.0f} s"
    if ring is not None and (wait_s := ring.free_in_s(target.model)) > 0:
        return f"every key rests, the first for {wait_s:.0f} s"
    return ""


# --- one function for each policy ---------------------------------------------------------------------


def _written(_request: Request, targets: Sequence[Target], _view: View) -> list[Reason]:
    return [(None, "as written") for _ in targets]


def _together(_request: Request, targets: Sequence[Target], _view: View) -> list[Reason]:
    return [(None, "asked beside the others") for _ in targets]


def _racing(_request: Request, targets: Sequence[Target], _view: View) -> list[Reason]:
    return [
        (None, "asked at once" if place == 0 else "asked when those before are late") for place in range(len(targets))
    ]


def _unexplained(_request: Request, targets: Sequence[Target], _view: View) -> list[Reason]:
    return [(None, "") for _ in targets]


def _weighted(_request: Request, targets: Sequence[Target], _view: View) -> list[Reason]:
    total = sum(target.weight for target in targets) or 1.0
    return [(target.weight / total, f"goes first for {target.weight / total:.0%} of requests") for target in targets]


def _cost(request: Request, targets: Sequence[Target], view: View) -> list[Reason]:
    return [(view.cost_nanousd(request, target, targets), _bill(request, target, targets, view)) for target in targets]


def _bill(request: Request, target: Target, targets: Sequence[Target], view: View) -> str:
    cost = view.cost_nanousd(request, target, targets)
    if cost is None:
        return "no price is known"
    sent, received = view.tokens_in(request), view.tokens_out(request, target, targets)
    return f"about ${cost / 1e9:.6f} for {sent:,} tokens in and {received:,.0f} out"


def _latency(request: Request, targets: Sequence[Target], view: View) -> list[Reason]:
    return [(view.pace(request, target).ms, _speed(request, target, view)) for target in targets]


def _speed(request: Request, target: Target, view: View) -> str:
    pace = view.pace(request, target)
    if pace.ms is None:
        known = "was not asked of late" if untouched(pace) else f"gave no answer in the last {HALF_LIFE_S / 60:.0f} min"
        return f"{known}: its speed is not known"
    what = "first content" if request.stream else "an answer"
    return f"{what} after about {pace.ms:,.0f} ms{'' if pace.fresh else ', measured long ago'}"


def _balanced(request: Request, targets: Sequence[Target], view: View) -> list[Reason]:
    return [
        (
            marks.score,
            f"cost {marks.cost:.2f}, latency {marks.latency:.2f}, quality {marks.quality:.2f},"
            f" reliability {marks.reliability:.2f}",
        )
        for marks in balanced.marks(request, targets, view)
    ]


def _sticky(request: Request, targets: Sequence[Target], view: View) -> list[Reason]:
    total = sum(target.weight for target in targets) or 1.0
    by = caller_of(request, view).partition(b" ")[0].decode()
    return [
        (target.weight / total, f"split by {by}; goes first for {target.weight / total:.0%} of callers")
        for target in targets
    ]


def _auto(request: Request, targets: Sequence[Target], view: View) -> list[Reason]:
    worths = {name: pair for decision in view.decisions for name, pair in decision.worths.items()}
    together = view.decisions[0].together if view.decisions else ()
    if not worths:
        return _balanced(request, targets, view)
    found: list[Reason] = []
    for target in targets:
        quality, worth = worths.get(target.name, (None, None))
        notes = ["one of the cheapest two, asked first"] if target in together else []
        notes += [] if quality is None else [f"expected quality {quality:.2f}"]
        found.append((worth, "; ".join(notes)))
    return found


Scores = Callable[[Request, Sequence[Target], View], list[Reason]]

SCORES: Final[Mapping[str, Scores]] = {
    "failover": _written,
    "weighted": _weighted,
    "cost": _cost,
    "latency": _latency,
    "balanced": _balanced,
    "sticky": _sticky,
    "race": _racing,
    "consensus": _together,
    "best_match": _together,
    "auto": _auto,
}
"""Policy -> the scores of targets in their order: shares, nano-dollars, milliseconds or marks."""
