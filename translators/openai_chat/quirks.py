"""What one target takes, applied to a request before it is written: refused fields, bounds, efforts, forced tools."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from translators.dialect import Rules
from translators.losses import Loss, field_of
from translators.neutral import Effort, Reasoning, Request, ToolChoice
from translators.openai_chat.parts import DIALECT

EFFORTS: Final[tuple[Effort, ...]] = get_args(Effort)

BUDGET_EFFORTS: Final[tuple[tuple[int, Effort], ...]] = (
    (0, "none"),
    (1024, "minimal"),
    (4096, "low"),
    (16384, "medium"),
    (32768, "high"),
)
"""Upper bounds of thinking budgets, in tokens, and the effort that comes nearest; above the last it is `xhigh`."""

VISIBLE: Final = "reasoning.visible"
"""In `Rules.refuses`: the target gives no summary of its reasoning, or not to this account."""
_NOT_OPENAIS: Final = frozenset({"top_k"})
"""Sampling parameters of compatible servers that OpenAI's own chat completions do not have."""

_DEFAULTS: Final = {
    item.name: item.default for item in dataclasses.fields(Request) if item.default is not dataclasses.MISSING
}


def thinking_is_on(reasoning: Reasoning | None) -> bool:
    """Whether *reasoning* asks for any."""
    if reasoning is None:
        return False
    return reasoning.effort not in (None, "none") or bool(reasoning.budget_tokens)


def thinks(request: Request, rules: Rules) -> bool:
    """Whether the model will reason about *request*: as it says, else as the model does by itself."""
    if rules.thinks_by_default and "none" not in rules.efforts:
        return True
    reasoning = request.reasoning
    if reasoning is not None and (reasoning.effort is not None or reasoning.budget_tokens is not None):
        return thinking_is_on(reasoning)
    # A compatible server's own switch without an amount (DeepSeek: `{"type": "enabled"}`); off is an effort of none.
    switch = request.native.get(DIALECT, {}).get("thinking")
    return rules.thinks_by_default if not isinstance(switch, Mapping) else switch.get("type") != "disabled"


def nearest_effort(wanted: Effort, taken: Sequence[Effort]) -> Effort | None:
    """The strongest effort of *taken* that is not above *wanted*, else the weakest; None when none is taken."""
    known = sorted(taken, key=EFFORTS.index)
    below = [effort for effort in known if EFFORTS.index(effort) <= EFFORTS.index(wanted)]
    # "none" is not a weak way of thinking: whoever asks for some gets the least there is.
    if below and (below[-1] != "none" or wanted == "none"):
        return below[-1]
    above = [effort for effort in known if EFFORTS.index(effort) > EFFORTS.index(wanted)]
    return above[0] if above else below[-1] if below else None


def effort_of_budget(budget_tokens: int) -> Effort:
    """The effort word that comes nearest to a budget."""
    return next((effort for bound, effort in BUDGET_EFFORTS if budget_tokens <= bound), "xhigh")


def fitted(request: Request, rules: Rules) -> tuple[Request, list[Loss]]:
    """*request* within what the target takes, and what that cost."""
    losses: list[Loss] = []
    changes: dict[str, Any] = {}
    refused = rules.refuses
    if rules.refuses_while_thinking and thinks(request, rules):
        refused |= rules.refuses_while_thinking
    unknown = _NOT_OPENAIS if rules.conformant and rules.dialect == DIALECT else frozenset()
    for name in sorted((refused | unknown) & _DEFAULTS.keys()) if refused or unknown else ():
        if getattr(request, name) != _DEFAULTS[name]:
            changes[name] = _DEFAULTS[name]
            reason = "OpenAI's chat completions have no such field" if name in unknown else "the target refuses it"
            losses.append(Loss(field_of(request, name), "dropped", reason))
    if changes:
        request = dataclasses.replace(request, **changes)
        changes = {}
    if rules.one_of_temperature_top_p and request.temperature is not None and request.top_p is not None:
        changes["top_p"] = None
        losses.append(Loss(field_of(request, "top_p"), "dropped", "the target takes either temperature or top_p"))
    if rules.temperature_max is not None and (request.temperature or 0) > rules.temperature_max:
        changes["temperature"] = rules.temperature_max
        place = field_of(request, "temperature")
        losses.append(Loss(place, "clamped", f"the target takes at most {rules.temperature_max}"))
    if rules.max_output_tokens is not None and (request.max_output_tokens or 0) > rules.max_output_tokens:
        changes["max_output_tokens"] = rules.max_output_tokens
        place = field_of(request, "max_output_tokens")
        losses.append(Loss(place, "clamped", f"the model writes at most {rules.max_output_tokens} tokens"))
    if request.reasoning is not None:
        changes["reasoning"] = reasoning = _fitted_reasoning(request, rules, losses)
        if reasoning is not None and reasoning.visible and VISIBLE in refused:
            changes["reasoning"] = _unseen(reasoning)
            losses.append(Loss(field_of(request, VISIBLE), "dropped", "the target shows none of its reasoning"))
    if _is_forced(request.tool_choice) and _cannot_force(request, rules):
        changes["tool_choice"] = ToolChoice("auto")
        place = field_of(request, "tool_choice")
        losses.append(Loss(place, "clamped", "the target cannot be made to call a tool here"))
    return (dataclasses.replace(request, **changes) if changes else request), losses


def _fitted_reasoning(request: Request, rules: Rules, losses: list[Loss]) -> Reasoning | None:
    wanted = request.reasoning
    if wanted is None:
        return None
    place = field_of(request, "reasoning.budget_tokens" if wanted.effort is None else "reasoning.effort")
    if rules.thinking == "none":
        if thinking_is_on(wanted):
            losses.append(Loss(place, "dropped", "the target does not think"))
        if wanted.visible:
            losses.append(Loss(field_of(request, "reasoning.visible"), "dropped", "the target does not think"))
        return None
    if wanted.budget_tokens is not None and wanted.budget_tokens < 0:
        # Gemini's -1: as much as the model likes, which is what it does when nothing is said.
        losses.append(Loss(place, "emulated", "how much to think is left to the target"))
        return dataclasses.replace(wanted, budget_tokens=None)
    if rules.thinking == "budget" and wanted.budget_tokens is not None:
        return wanted
    effort = wanted.effort
    if effort is None:
        if wanted.budget_tokens is None:
            return wanted
        effort = effort_of_budget(wanted.budget_tokens)
        losses.append(Loss(place, "emulated", f"the target takes effort words; sent as {effort}"))
    taken = nearest_effort(effort, rules.efforts)
    if taken is None:
        losses.append(Loss(place, "dropped", "the target takes no effort"))
        return None
    if taken != effort:
        losses.append(Loss(place, "clamped", f"the target takes {', '.join(rules.efforts)}; sent as {taken}"))
    return dataclasses.replace(wanted, effort=taken, budget_tokens=None)


def _unseen(reasoning: Reasoning) -> Reasoning:
    """*reasoning* without the wish to see any of it, in whichever words."""
    native = {
        dialect: {name: value for name, value in own.items() if name not in ("summary", "generate_summary")}
        for dialect, own in reasoning.native.items()
    }
    return dataclasses.replace(reasoning, visible=None, native=native)


def _is_forced(choice: ToolChoice | None) -> bool:
    if choice is None:
        return False
    return choice.kind in ("required", "named") or (choice.kind == "allowed" and choice.mode == "required")


def _cannot_force(request: Request, rules: Rules) -> bool:
    if rules.forced_tools == "not_while_thinking":
        return thinks(request, rules)
    return rules.forced_tools == "never"
