"""What callers' verdicts on one consensus say together: the label that its route learns from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, Final

from routing.consensus import Label
from routing.consensus.answers import SILENT

RIGHT_FROM: Final = 0.5
"""A score of at least this is a verdict of right."""
_STEP: Final = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def label_of(verdicts: Iterable[Mapping[str, Any]], minutes: Mapping[str, Any]) -> Label:
    """The label of all *verdicts*, the last word counting.

    A right answer goes before a verdict on the merged one, and that before verdicts on single targets.
    """
    merged = minutes["value"]
    expected: Any = SILENT
    right: bool | None = None
    rights: dict[str, bool] = {}
    for said in verdicts:
        if "value" in said:
            expected = _as_merged(said["value"], minutes)
        elif said.get("fields"):
            expected = corrected(merged, {full_path(path, minutes): right for path, right in said["fields"].items()})
        if (verdict := _verdict(said)) is None:
            continue
        if said.get("target"):
            rights[said["target"]] = verdict
        else:
            right = verdict
    if expected is not SILENT:
        return Label(expected)
    if right is True:
        return Label(merged)
    if rights:
        return Label(rights=rights)
    return Label(right=right, merged=merged) if right is not None else Label()


def corrected(merged: Any, fields: Mapping[str, Any]) -> Any:
    """*merged* with the values of *fields* at their paths; what does not lead anywhere is left alone."""
    value = deepcopy(merged)
    for path, right in fields.items():
        steps = steps_of(path)
        if not steps:
            value = deepcopy(right)
            continue
        holder = value
        for step in steps[:-1]:
            holder = _below(holder, step)
        last = steps[-1]
        match holder, last:
            case dict(), str():
                holder[last] = right
            case list(), int() if last < len(holder):
                holder[last] = right
            case _:
                pass
    return value


def steps_of(path: str) -> list[str | int]:
    """`items[0].name` as `items`, 0, `name`."""
    return [int(position) if position else name for position, name in _STEP.findall(path)]


def places_in(minutes: Mapping[str, Any]) -> set[str]:
    """The paths that a verdict can speak of."""
    return {field["path"] for field in minutes["fields"]} | {""}


def full_path(path: str, minutes: Mapping[str, Any]) -> str:
    """*path* as the minutes have it: an argument of the one tool that is called needs no tool before it."""
    tools = minutes["tools"]
    if len(tools) == 1 and path not in places_in(minutes):
        return f"{tools[0]}.{path}" if path else tools[0]
    return path


def _as_merged(value: Any, minutes: Mapping[str, Any]) -> Any:
    """The right *value* in the form of the merged one: arguments alone are those of the one tool that is called."""
    tools = minutes["tools"]
    if len(tools) != 1 or (isinstance(value, dict) and value.keys() == set(tools)):
        return value
    return {tools[0]: value}


def _below(holder: Any, step: str | int) -> Any:
    if isinstance(holder, dict) and isinstance(step, str):
        return holder.get(step)
    if isinstance(holder, list) and isinstance(step, int) and step < len(holder):
        return holder[step]
    return None


def _verdict(said: Mapping[str, Any]) -> bool | None:
    if said.get("correct") is not None:
        return bool(said["correct"])
    score = said.get("score")
    return None if score is None else score >= RIGHT_FROM
