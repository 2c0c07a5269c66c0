"""Arguments of a function call that Vertex streams piece by piece, each with the JSON path where it belongs."""

from __future__ import annotations

import re
from typing import Any, Final

_STEP: Final = re.compile(r"""\.([^.\[\]]+)|\[(\d+)\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""")
_MAX_INDEX: Final = 10_000


class PartialArgs:
    """Collects pieces; *value* is the object so far."""

    def __init__(self) -> None:
        self.value: dict[str, Any] = {}
        self._continued: set[str] = set()

    def add(self, args: Any, pieces: Any) -> None:
        """Take in whole *args*, or *pieces* such as `{"jsonPath": "$.city", "stringValue": "Par"}`."""
        if isinstance(args, dict):
            self.value.update(args)
        for piece in pieces if isinstance(pieces, list) else ():
            if isinstance(piece, dict) and isinstance(piece.get("jsonPath"), str):
                self._piece(piece, piece["jsonPath"])

    def _piece(self, piece: dict[str, Any], path: str) -> None:
        steps = _steps(path)
        if not steps:
            return
        for key in ("stringValue", "numberValue", "boolValue"):
            if key in piece:
                value = piece[key]
                break
        else:
            if "nullValue" not in piece:
                return
            value = None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        _put(self.value, steps, value, append=path in self._continued and isinstance(value, str))
        if piece.get("willContinue"):
            self._continued.add(path)
        else:
            self._continued.discard(path)


def _steps(path: str) -> list[str | int]:
    """`$.a.b[0]['c d']` as keys and indexes; empty when it is not such a path."""
    steps: list[str | int] = []
    at = 1 if path.startswith("$") else 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            return []
        name, index, single, double = match.groups()
        if index is not None:
            if int(index) > _MAX_INDEX:
                return []
            steps.append(int(index))
        else:
            quoted = single if single is not None else double
            steps.append(name if name is not None else re.sub(r"\\(.)", r"\1", quoted))
        at = match.end()
    return steps


def _put(root: dict[str, Any], steps: list[str | int], value: Any, append: bool) -> None:
    """Set or append *value* at *steps*, building objects and arrays on the way; a contradicting path is left out."""
    node: Any = root
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if isinstance(step, int):
            if not isinstance(node, list):
                return
            node.extend([None] * (step + 1 - len(node)))
        elif not isinstance(node, dict):
            return
        old = node[step] if isinstance(step, int) else node.get(step)
        if following is None:
            node[step] = old + value if append and isinstance(old, str) else value
            return
        if not isinstance(old, dict | list):
            node[step] = old = [] if isinstance(following, int) else {}
        node = old
