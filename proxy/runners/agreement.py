"""From what several targets say to one answer. Pure: no waiting, no chance.

Answers of different forms (calls of other tools, JSON, text, a refusal) are not merged: the form with the most
reliability behind it wins, and the other answers have lost. Within a form `routing.consensus.merge` decides. A merged
value that does not hold against the client's schema gives way to the most probable answer that does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from proxy.config.model import ConsensusSettings
from proxy.runners.readings import Committee, Form, Reading, committee, fits, written
from routing.consensus import Answer, Learned, Merged, Options, merge
from translators.losses import Loss, field_of
from translators.neutral import Request, Response


@dataclass(frozen=True, slots=True)
class Agreement:
    """The one answer, how it came about, and *base*: the answer that it is, or in whose place it stands.

    *readings* are of the form that won. *as_came*: it is *base*'s answer, word for word.
    """

    group: Committee
    readings: tuple[Reading, ...]
    options: Options
    merged: Merged
    base: Reading
    response: Response
    losers: frozenset[str]
    as_came: bool
    losses: tuple[Loss, ...] = field(default=())

    @property
    def agreeing(self) -> int:
        """How many targets say what came out."""
        return sum(not one.trouble and one.target.name not in self.losers for one in self.readings)

    @property
    def is_unanimous(self) -> bool:
        """Whether at least two targets have answered, all of them the same."""
        return self.agreeing > 1 and not self.losers

    def overruled(self, reading: Reading, confidence: float) -> Agreement:
        """*reading*, the answer of a target that was asked because the others disagree."""
        name = reading.target.name
        losers = {one.target.name for one in self.readings if not _is_same(one, reading)} | {
            loser for loser in self.losers if loser not in {one.target.name for one in self.readings}
        }
        merged = Merged(
            reading.value if reading.form.kind != "calls" else dict(reading.calls),
            confidence,
            self.merged.fields,
            "escalated",
            f"the targets disagree ({self.merged.reason}), so that {name} was asked and its answer taken",
            tuple(losers),
            name,
        )
        return replace(
            self,
            readings=(*self.readings, reading),
            merged=merged,
            base=reading,
            response=_trimmed(reading.response),
            losers=frozenset(losers),
            as_came=True,
        )

    def taking(self, at: int, method: str, reason: str) -> Agreement:
        """The answer of the *at*-th of the readings, whatever came out before."""
        base = self.readings[at]
        value = self.group.answers[at].value
        losers = [one.target.name for one in self.readings if one.trouble or one.value != value]
        merged = replace(
            self.merged, value=value, method=method, reason=reason, losers=tuple(losers), source=base.target.name
        )
        others = self.losers - {one.target.name for one in self.readings}
        return replace(
            self,
            merged=merged,
            base=base,
            response=_trimmed(base.response),
            losers=others | frozenset(losers),
            as_came=True,
        )


def agree(
    readings: Sequence[Reading],
    request: Request,
    learned: Learned,
    settings: ConsensusSettings,
    method: str | None = None,
    *,
    asked: int,
) -> Agreement:
    """What *readings*, at least one, come to; *method* None: the configured one, or the one that was learnt.

    *asked* is how many targets there were to be asked.
    """
    form = _form(readings, learned)
    own = tuple(one for one in readings if one.form == form)
    group = committee(form, own, request)
    options = Options(
        settings.threshold, method or settings.method, group.schema, group.is_plain, settings.confidence_field
    )
    merged = _fitting(group, merge(group.answers, learned, options), request, learned, options)
    values: Mapping[str, Any] = {answer.target: answer.value for answer in group.answers}
    losers = frozenset(merged.losers) | {one.target.name for one in readings if one.form != form}
    base = _base(own, merged, losers)
    as_came = bool(base.trouble) or values[base.target.name] == merged.value
    others = len(readings) - len(own)
    if merged.method == "single":
        reason = f"of {asked} targets only {merged.source} gave an answer that can be read; a consensus takes two"
        merged = replace(merged, reason=reason)
    if others:
        reason = f"{merged.reason}; {others} of {len(readings)} answers are of another form than {form}"
        merged = replace(merged, reason=reason)
    response = _trimmed(base.response) if as_came else written(base, group, merged.value)
    losses = tuple(_losses(request, base.response, as_came=as_came))
    return Agreement(group, own, options, merged, base, response, losers, as_came, losses)


def _is_same(one: Reading, other: Reading) -> bool:
    return not one.trouble and (one.form, one.value, one.calls) == (other.form, other.value, other.calls)


def _form(readings: Sequence[Reading], learned: Learned) -> Form:
    """The form with the most reliability behind it; ties go to the answer that stands first."""
    support: dict[Form, float] = {}
    for one in readings:
        trust = 0.0 if one.trouble else learned.reliability.of(one.target.name) * (one.target.weight or 1.0)
        support[one.form] = support.get(one.form, 0.0) + trust
    return max(support, key=lambda form: round(support[form], 9))


def _fitting(group: Committee, merged: Merged, request: Request, learned: Learned, options: Options) -> Merged:
    """*merged*, or where the client's schema rules it out, what comes of the answers that hold against it."""
    if merged.value is None or merged.source is not None or fits(group, merged.value, request):
        return merged
    valid: list[Answer] = [answer for answer in group.answers if answer.valid]
    if not valid:
        return merged
    whole = merge(valid, learned, replace(options, method="whole"))
    lost = {answer.target for answer in group.answers if not answer.valid} | set(whole.losers)
    return replace(
        whole,
        reason=f"what the vote on single fields gave does not fit the schema; {whole.reason}",
        losers=tuple(answer.target for answer in group.answers if answer.target in lost),
    )


def _base(own: Sequence[Reading], merged: Merged, losers: frozenset[str]) -> Reading:
    readable = [one for one in own if not one.trouble] or list(own)
    for one in readable:
        if one.target.name == merged.source:
            return one
    return next((one for one in readable if one.target.name not in losers), readable[0])


def _trimmed(response: Response) -> Response:
    return replace(response, choices=response.choices[:1])


def _losses(request: Request, response: Response, *, as_came: bool) -> list[Loss]:
    """What the client asked for and one answer out of several cannot have."""
    found: list[Loss] = []
    if (request.n or 1) > 1:
        found.append(Loss(field_of(request, "n"), "clamped", "several targets are asked and one answer comes out"))
    if request.logprobs and not as_came and response.choices and response.choices[0].logprobs:
        found.append(Loss(field_of(request, "logprobs"), "dropped", "no model wrote the merged answer"))
    return found
