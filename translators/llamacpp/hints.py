"""What a reader of an answer must know of its request; travels as `modelport` in the body and back.

calls   what the text may hold
none    nothing: it is all text
auto    text, calls in one of the forms of `calls`, or both
one     exactly one call as JSON: the grammar allows nothing else
named   the arguments of a call to `name`, and nothing else
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

HINTS: Final = "modelport"
Calls = Literal["none", "auto", "one", "named"]


@dataclass(frozen=True, slots=True)
class Hints:
    """*tools* are the offered names. *constrained*: a grammar holds the text, so it cannot begin with reasoning.

    *thinking*, told by the backend alone: the chat template has opened `<think>` already.
    """

    calls: Calls = "none"
    tools: tuple[str, ...] = ()
    constrained: bool = False
    thinking: bool = False

    def wire(self) -> dict[str, Any]:
        """As the request carries them."""
        return {"calls": self.calls, "tools": list(self.tools), "constrained": self.constrained}


def hints_in(body: Mapping[str, Any]) -> Hints | None:
    """The hints that came back in *body*; None when it has none."""
    value = body.get(HINTS)
    if not isinstance(value, dict):
        return None
    calls, tools = value.get("calls"), value.get("tools")
    return Hints(
        calls=next((known for known in get_args(Calls) if known == calls), "none"),
        tools=tuple(str(name) for name in tools) if isinstance(tools, list) else (),
        constrained=bool(value.get("constrained")),
        thinking=bool(value.get("thinking")),
    )
