"""Labelled outcomes, read from JSON Lines: requests, and how well targets did with them.

One object in a line: `{"text": ..., "outcomes": {"provider/model": {"quality": 0.9, "cost_usd": 0.01, "seconds": 2}}}`.
An outcome may be the quality alone, from 0 to 1. `system`, `tools` and `turns` may tell more of the request.
The short form names the targets once, `{"meta": {"models": [...]}}` in the first line, and has lists in their order
afterwards: `y` (quality), `c` (millionths of a dollar), `t` (seconds); null is unknown. See docs/router-data.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from routing.auto.errors import BadSamples
from routing.auto.features import Traits
from translators.codec import JsonError, loads

MAX_TARGETS: Final = 128
_KNOWN: Final = frozenset({"quality", "cost_usd", "seconds"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How well a target did: *quality* from 0 to 1; what is None is unknown."""

    quality: float
    cost_usd: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """A request, and the outcomes that are known of it, by the name of the target."""

    traits: Traits
    outcomes: Mapping[str, Outcome]


def read_samples(lines: Iterable[str | bytes]) -> list[Sample]:
    """The samples in *lines*.

    Raises:
        BadSamples: a line is not in one of the two forms.
    """
    found: list[Sample] = []
    models: Sequence[str] = ()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"line {number}"
        item = _object(line, place)
        if "meta" in item:
            models = _models(item["meta"], place)
            continue
        outcomes = _short(item, models, place) if "y" in item else _long(item, place)
        if len(outcomes) > MAX_TARGETS:
            raise BadSamples(f"{place}: {len(outcomes)} targets; at most {MAX_TARGETS}")
        if outcomes:
            found.append(Sample(_traits(item, place), outcomes))
    return found


def _object(line: str | bytes, place: str) -> Mapping[str, Any]:
    try:
        item = loads(line)
    except JsonError as error:
        raise BadSamples(f"{place}: no JSON ({error})") from error
    if not isinstance(item, dict):
        raise BadSamples(f"{place}: expected an object")
    return item


def _models(meta: Any, place: str) -> Sequence[str]:
    models = meta.get("models") if isinstance(meta, dict) else None
    if not isinstance(models, list) or not all(isinstance(name, str) and name for name in models):
        raise BadSamples(f"{place}: meta.models: expected the names of the targets")
    return models


def _traits(item: Mapping[str, Any], place: str) -> Traits:
    text, system, tools, turns = item.get("text"), item.get("system", ""), item.get("tools") or [], item.get("turns", 1)
    if not isinstance(text, str):
        raise BadSamples(f"{place}: text: expected a text")
    if not isinstance(system, str):
        raise BadSamples(f"{place}: system: expected a text")
    if not isinstance(tools, list) or not all(isinstance(tool, str) for tool in tools):
        raise BadSamples(f"{place}: tools: expected a list of names")
    if not isinstance(turns, int) or turns < 1:
        raise BadSamples(f"{place}: turns: expected a number of at least 1")
    return Traits(text, system, tuple(tools), turns)


def _long(item: Mapping[str, Any], place: str) -> dict[str, Outcome]:
    told = item.get("outcomes")
    if not isinstance(told, dict) or not told:
        raise BadSamples(f"{place}: outcomes: expected an object from targets to outcomes")
    found = {}
    for name, outcome in told.items():
        where = f"{place}: outcomes.{name}"
        parts = outcome if isinstance(outcome, dict) else {"quality": outcome}
        if parts.keys() - _KNOWN:
            raise BadSamples(f"{where}: there are quality, cost_usd and seconds")
        quality = _number(parts.get("quality"), f"{where}.quality")
        if quality is None or quality > 1:
            raise BadSamples(f"{where}.quality: expected a number from 0 to 1")
        cost, seconds = (_number(parts.get(key), f"{where}.{key}") for key in ("cost_usd", "seconds"))
        found[name] = Outcome(quality, cost, seconds)
    return found


def _short(item: Mapping[str, Any], models: Sequence[str], place: str) -> dict[str, Outcome]:
    lists = []
    for key in ("y", "c", "t"):
        values = item.get(key)
        if values is None and key != "y":
            values = [None] * len(models)
        if not isinstance(values, list) or len(values) != len(models):
            raise BadSamples(f"{place}: {key}: expected {len(models)} values, as meta.models has names")
        lists.append([_number(value, f"{place}: {key}[{at}]") for at, value in enumerate(values)])
    found = {}
    for name, quality, cost, seconds in zip(models, *lists, strict=True):
        if quality is not None:
            if quality > 1:
                raise BadSamples(f"{place}: y: expected numbers from 0 to 1")
            found[name] = Outcome(quality, None if cost is None else cost / 1e6, seconds)
    return found


def _number(value: Any, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise BadSamples(f"{place}: expected a number of at least 0")
    return float(value)
