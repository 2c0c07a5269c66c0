"""`POST /api/v1/feedback`: what a caller found out about an answer, later.

A verdict is about an exchange that the caller may see. What it teaches depends on its kind:

| kind        | about                                  | teaches                                                  |
| ----------- | -------------------------------------- | -------------------------------------------------------- |
| `consensus` | an answer that several targets made    | the route whom to believe, and by which method to merge  |
| `outcome`   | the answer of one target               | the route's policy `auto` whom to ask, where it learns   |
| `cache`     | an answer to another question          | the cache never to take the two for one again            |

Without a kind it is `consensus` where the exchange has votes, else `outcome`. Every verdict is kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from proxy.errors import refused
from proxy.ingress.bodies import read_model
from proxy.ingress.json import json_response
from proxy.runners import minutes
from proxy.runners.verdicts import full_path, label_of, places_in
from proxy.server import Incoming
from proxy.services import Services


class Verdict(BaseModel):
    """The body. At least one of *correct*, *value*, *fields* and *score* is given.

    *value* is the right answer; *fields* the right values by path (`items[0].price`), the rest of the answer being
    right. *correct* and *score* (0 to 1) judge the answer, or that of *target* alone.
    """

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    exchange_id: str = Field(min_length=1, max_length=128)
    kind: str | None = None
    correct: bool | None = None
    value: Any = None
    fields: dict[str, Any] | None = None
    target: str | None = Field(None, max_length=512)
    score: float | None = Field(None, ge=0, le=1)

    @property
    def said(self) -> dict[str, Any]:
        """What was given, without what it is about."""
        return {name: getattr(self, name) for name in self.model_fields_set - {"exchange_id", "kind"}}


@dataclass(frozen=True, slots=True)
class About:
    """A verdict with what it is about: the exchange's row, and the minutes of its consensus, if it has any."""

    said: Mapping[str, Any]
    exchange: Mapping[str, Any]
    minutes: Mapping[str, Any] | None


Handler = Callable[[Services, About], Awaitable[Mapping[str, Any]]]
"""Checks and learns; what the answer says besides. Raises Refused for a verdict that is none of its kind."""


async def feedback(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Keep a verdict and learn from it."""
    verdict = await read_model(incoming, Verdict, tell_values=True)
    row = await services.accounts.exchange(verdict.exchange_id, incoming.identity.view)
    if row is None:
        told = f"no exchange has the id {verdict.exchange_id[:80]!r}"
        raise refused(404, told, kind="not_found", code="not_found", param="exchange_id")
    kept = await services.history.minutes(verdict.exchange_id)
    kind = ("consensus" if kept else "outcome") if verdict.kind is None else verdict.kind
    handler = KINDS.get(kind)
    if handler is None:
        names = ", ".join(KINDS)
        raise refused(
            400, f"kind: there is no {kind[:40]!r}; there are {names}", param="kind", code="invalid_parameter"
        )
    learnt = await handler(services, About(verdict.said, row, kept))
    await services.history.add_feedback(verdict.exchange_id, kind, verdict.said, incoming.identity.key_id)
    return json_response({"exchange_id": verdict.exchange_id, "kind": kind, **learnt}, incoming.id)


async def _of_consensus(services: Services, about: About) -> Mapping[str, Any]:
    """Teach the route, with everything that was said of the exchange so far."""
    if about.minutes is None:
        raise refused(
            404,
            "the votes of this exchange are not kept (any more), so that nothing can be learnt from the verdict",
            kind="not_found",
            code="no_votes",
            param="exchange_id",
        )
    _check_verdict(about.said)
    answers = minutes.answers(about.minutes)
    target = about.said.get("target")
    if target is not None and target not in {answer.target for answer in answers}:
        names = ", ".join(answer.target for answer in answers) or "none"
        raise refused(400, f"target: no answer of {target[:80]!r} was counted; there are {names}", param="target")
    places = places_in(about.minutes)
    unknown = [path for path in about.said.get("fields") or {} if full_path(path, about.minutes) not in places]
    if unknown:
        names = ", ".join(sorted(filter(None, places))[:20]) or "none"
        raise refused(400, f"fields: the answer has no {unknown[0][:80]!r}; it has {names}", param="fields")
    before = await services.history.feedback(about.exchange["id"])
    told = [each.said for each in before if each.kind == "consensus"] + [about.said]
    route = about.exchange["route"]
    label = label_of(told, about.minutes)
    await services.lessons.learn(route, about.exchange["id"], answers, label, minutes.options(about.minutes))
    return {"route": route, "learnt": bool(answers)}


async def _of_outcome(services: Services, about: About) -> Mapping[str, Any]:
    """Teach the route whom to ask, where its policy is `auto` and learns."""
    _check_verdict(about.said)
    target = about.said.get("target") or about.exchange["target"]
    quality = quality_of(about.said)
    learnt = False
    if quality is not None and target == about.exchange["target"]:
        learnt = await services.learned_routing.outcome(about.exchange["id"], quality)
    return {"target": target, "learnt": learnt}


def quality_of(said: Mapping[str, Any]) -> float | None:
    """How good an answer was, 0 to 1; None where the verdict tells only what would have been right."""
    score = said.get("score")
    if isinstance(score, int | float):
        return float(score)
    return float(said["correct"]) if isinstance(said.get("correct"), bool) else None


async def _of_cache(services: Services, about: About) -> Mapping[str, Any]:
    """Keep the question apart from the one that it was taken for; that it was right teaches nothing."""
    if not isinstance(about.said.get("correct"), bool):
        told = "expected correct: false (it was the answer to another question) or true"
        raise refused(400, told, param="correct", code="invalid_parameter")
    return {} if about.said["correct"] else await _of_false_hit(services, about)


async def _of_false_hit(services: Services, about: About) -> Mapping[str, Any]:
    """A hit of the semantic cache that was none."""
    if not await services.semantic.report_false(about.exchange["id"]):
        raise refused(
            404,
            "this exchange was not answered by a question in other words, or it is too long ago",
            kind="not_found",
            code="no_similar_hit",
            param="exchange_id",
        )
    return {"kept_apart": True}


def _check_verdict(said: Mapping[str, Any]) -> None:
    """*said* has to judge something; only the right value may be null."""
    judges = "value" in said or any(said.get(name) is not None for name in ("correct", "score")) or said.get("fields")
    if not judges or said.get("correct", True) is None:
        raise refused(
            400, "expected a verdict: correct, value, fields or score", param="correct", code="invalid_parameter"
        )


KINDS: Final[Mapping[str, Handler]] = {
    "consensus": _of_consensus,
    "outcome": _of_outcome,
    "cache": _of_cache,
    "false_hit": _of_false_hit,
}
"""`false_hit` is `cache` with `correct: false`."""
