"""Fields that ask for what happens anyway.

SDK wrappers send `n: 1`, `logprobs: false` or empty objects with every request. For a target of another dialect they
are as good as not said: nothing is lost when they are left out, so nothing is reported.

Two more of them are found out where the target's rules are at hand: a reasoning effort of `none` asks a model that
cannot reason for what it does anyway, and renderers leave it out without a word; and a verbosity of `medium` is every
model's own, so it is left out unless the target's vendor is known to have the field.
"""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import Any, Final

from translators.dialect import Rules
from translators.neutral import Request

IDLE_NATIVE: Final[dict[str, dict[str, Any]]] = {
    "openai_chat": {"store": False, "logit_bias": {}, "stream_options": {}},
    # `object` and `written` mark what the proxy does by itself; see proxy.ingress.completions.
    "openai_completions": {"object": "text_completion", "written": "before"},
}
"""Dialect -> unknown fields with the value that asks for nothing."""


_MAY_BE_IDLE: Final = (
    "n",
    "logprobs",
    "top_logprobs",
    "metadata",
    "logit_bias",
    "verbosity",
    "service_tier",
    "presence_penalty",
    "frequency_penalty",
    "tool_choice",
    "parallel_tool_calls",
)
"""The fields that `_idle_fields` looks at."""
_said: Final = attrgetter(*_MAY_BE_IDLE)
_NONE_SAID: Final = (None,) * len(_MAY_BE_IDLE)
_HAVE_VERBOSITY: Final = frozenset({"openai_chat", "openai_responses"})


def real_wishes(request: Request, rules: Rules | None = None) -> Request:
    """*request* without the fields that ask for nothing of a target with *rules*, or of any where they are unknown."""
    changes = {} if _said(request) == _NONE_SAID else _idle_fields(request, rules)
    if request.native and (native := _real_native(request)):
        changes["native"] = native
    return replace(request, **changes) if changes else request


def _idle_fields(request: Request, rules: Rules | None) -> dict[str, Any]:
    """The fields that ask for nothing, each with the value of one that is not said."""
    changes: dict[str, Any] = {}
    if request.n == 1:
        changes["n"] = None
    if request.logprobs is False:
        changes["logprobs"] = None
    if request.top_logprobs == 0 and not request.logprobs:
        changes["top_logprobs"] = None
    if request.metadata is not None and not request.metadata:
        changes["metadata"] = None
    if request.logit_bias is not None and not request.logit_bias:
        changes["logit_bias"] = None
    if request.verbosity == "medium" and not (rules and _takes_verbosity(rules)):
        changes["verbosity"] = None
    if request.service_tier == "auto":
        changes["service_tier"] = None
    for penalty in ("presence_penalty", "frequency_penalty"):
        if getattr(request, penalty) == 0:
            changes[penalty] = None
    if request.tool_choice is not None and request.tool_choice.kind in {"auto", "none"} and not request.tools:
        changes["tool_choice"] = None
    if request.parallel_tool_calls is not None and not request.tools:
        changes["parallel_tool_calls"] = None
    return changes


def _takes_verbosity(rules: Rules) -> bool:
    """Whether the target is the vendor's own and has the field; compatible servers refuse whole requests for it."""
    return rules.conformant and rules.dialect in _HAVE_VERBOSITY and "verbosity" not in rules.refuses


def _real_native(request: Request) -> dict[str, dict[str, Any]]:
    """The unknown fields without the idle ones; empty when none of them is idle."""
    idle = [
        (dialect, name)
        for dialect, fields in request.native.items()
        for name, value in IDLE_NATIVE.get(dialect, {}).items()
        if name in fields and fields[name] == value
    ]
    if not idle:
        return {}
    native = {dialect: dict(fields) for dialect, fields in request.native.items()}
    for dialect, name in idle:
        del native[dialect][name]
    return native
