"""What is kept of a consensus: what everybody said, how it was counted, and enough to learn from a later verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.runners.agreement import Agreement
from proxy.runners.job import Job
from proxy.runners.panel import Heard
from routing.consensus import Answer, Merged, Options
from routing.targets import Target
from translators.codec import dumps

MOST_BYTES: Final = 1024 * 1024
"""Larger minutes are kept without what was said, and so are those of a request whose answer must not be stored."""


def of(job: Job, heard: Sequence[Heard], found: Agreement, passed_over: Mapping[Target, str]) -> dict[str, Any]:
    """The minutes, as JSON. *passed_over* says of targets that were not asked why."""
    merged, group = found.merged, found.group
    in_group = {answer.target: answer for answer in group.answers}
    votes = [_vote(one, found, in_group.get(one.target.name)) for one in heard]
    votes += [{"target": target.name, "status": "not asked", "why": why} for target, why in passed_over.items()]
    kept = {
        "policy": job.route.policy,
        "form": str(group.form),
        "tools": list(group.form.tools),
        "method": merged.method,
        "confidence": round(merged.confidence, 4),
        "reason": merged.reason,
        "agreeing": found.agreeing,
        "source": merged.source,
        "value": merged.value,
        "fields": _fields(merged),
        "votes": votes,
        "options": _options(found.options),
    }
    if not job.asked.controls.store or len(dumps(kept)) > MOST_BYTES:
        return _without_values(kept)
    return kept


def _fields(merged: Merged) -> list[dict[str, Any]]:
    return [
        {
            "path": path,
            "value": found.value,
            "confidence": round(found.confidence, 4),
            "settled_by": found.settled_by,
            "votes": dict(found.votes),
        }
        for path, found in merged.fields.items()
    ]


def _vote(one: Heard, found: Agreement, answer: Answer | None) -> dict[str, Any]:
    vote: dict[str, Any] = {
        "target": one.target.name,
        "status": one.fate,
        "attempts": [attempt.number for attempt in one.lane.branch.attempts],
    }
    if one.why:
        vote["why"] = one.why
    if one.reading is not None and not one.reading.trouble:
        reading = one.reading
        own = dict(reading.calls) if reading.calls else reading.value
        vote |= {
            "form": str(reading.form),
            "agrees": one.target.name not in found.losers,
            "value": own if answer is None else answer.value,
            "weight": one.target.weight or 1.0,
            "logprob": reading.logprob,
            "valid": reading.valid,
            "counted": answer is not None,
        }
    return vote


def _options(options: Options) -> dict[str, Any]:
    return {
        "threshold": options.threshold,
        "schema": options.schema,
        "plain": options.plain,
        "confidence_field": options.confidence_field,
    }


def _without_values(kept: dict[str, Any]) -> dict[str, Any]:
    votes = [{name: said for name, said in vote.items() if name not in {"value", "counted"}} for vote in kept["votes"]]
    return {**kept, "value": None, "fields": [], "votes": votes, "options": None, "cut": True}


def answers(kept: Mapping[str, Any]) -> list[Answer]:
    """The answers that were merged, as they stand in the minutes."""
    return [
        Answer(vote["target"], vote["value"], vote["weight"], vote["logprob"], vote["valid"])
        for vote in kept["votes"]
        if vote.get("counted")
    ]


def options(kept: Mapping[str, Any]) -> Options:
    """The options that they were merged with."""
    stored = kept["options"] or {}
    return Options(
        stored.get("threshold", 0.85), None, stored.get("schema"), stored.get("plain"), stored.get("confidence_field")
    )


def merged_value(kept: Mapping[str, Any]) -> Any:
    """What came out."""
    return kept["value"]
