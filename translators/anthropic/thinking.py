"""How much Claude is to think: an effort word, a token budget, or nothing, by the rules of the model.

budget     `thinking: enabled` with `budget_tokens`, which must be >= 1024 and below `max_tokens`   (Claude <= 4.5)
adaptive   `thinking: adaptive` with `output_config.effort`                                         (Claude >= 4.6)
effort     `output_config.effort` alone                                             (models that always think)

What a client of this dialect said beyond the neutral form stands in `native["anthropic"]` of its Reasoning: the `type`
where no effort tells it, an `effort` beside a budget or beside thinking that is off, and unknown fields of `thinking`.
An empty one says that there was an effort and no `thinking`.

Source: anthropic.types.ThinkingConfigParam, OutputConfigParam.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from translators.anthropic.response import NAME
from translators.dialect import Rules
from translators.losses import Loss, field_of
from translators.neutral import Effort, Reasoning, Request

MIN_BUDGET_TOKENS: Final = 1024
_WORDS: Final[tuple[Effort, ...]] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_WIRE_WORDS: Final = frozenset({"low", "medium", "high", "xhigh", "max"})
# The vendor publishes no such table; each step about doubles, within what 64k-output models take.
_BUDGETS: Final[Mapping[Effort, int]] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
    "max": 49152,
}


@dataclass(frozen=True, slots=True)
class ThinkingPlan:
    """Body fields for thinking, whether it is on, and the `max_tokens` that leave room for it."""

    max_tokens: int
    on: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)


def plan_thinking(
    request: Request, rules: Rules, max_tokens: int, unsigned_turn: bool, losses: list[Loss]
) -> ThinkingPlan:
    """The plan for *request*; *unsigned_turn* says that a tool turn without signed thinking is being continued."""
    reasoning = request.reasoning
    name = field_of(request, "reasoning")
    if reasoning is None or not _says_something(reasoning):
        return ThinkingPlan(max_tokens)
    if rules.thinking == "none":
        if reasoning.effort != "none" and reasoning.budget_tokens != 0:
            losses.append(Loss(name, "dropped", "the model does not think"))
        return ThinkingPlan(max_tokens)
    if "none" in rules.efforts and (reasoning.effort == "none" or reasoning.budget_tokens == 0):
        return ThinkingPlan(max_tokens, fields=_disabled(reasoning, rules, name, losses))
    if reasoning.effort is not None and reasoning.native.get(NAME) == {}:
        alone = _effort_alone(reasoning.effort, rules, name, losses)
        return ThinkingPlan(max_tokens, on=rules.thinking == "effort", fields=alone)
    if rules.thinking == "budget":
        if not unsigned_turn:
            return _budget_plan(request, reasoning, rules, max_tokens, losses)
        # With a budget, a turn that continues tool calls must begin with the thinking that led to them.
        losses.append(Loss(name, "dropped", "the tool turn being continued has no signed thinking"))
        return ThinkingPlan(max_tokens)
    return ThinkingPlan(max_tokens, on=True, fields=_effort_fields(reasoning, rules, name, losses))


def _says_something(reasoning: Reasoning) -> bool:
    said = reasoning.effort is not None or reasoning.budget_tokens is not None or reasoning.visible
    return bool(said or reasoning.native.get(NAME))


def _disabled(reasoning: Reasoning, rules: Rules, name: str, losses: list[Loss]) -> dict[str, Any]:
    fields: dict[str, Any] = {"thinking": {"type": "disabled", **_unknown(reasoning)}}
    effort = reasoning.native.get(NAME, {}).get("effort")
    cap = rules.effort_cap_without_thinking
    if effort in _WIRE_WORDS:
        if cap is not None and _WORDS.index(effort) > _WORDS.index(cap):
            losses.append(Loss(name, "clamped", f"without thinking the model takes no effort above {cap}"))
            effort = cap
        fields["output_config"] = {"effort": effort}
    return fields


def _effort_fields(reasoning: Reasoning, rules: Rules, name: str, losses: list[Loss]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if rules.thinking == "effort":
        if reasoning.visible is not None:
            losses.append(Loss(name, "dropped", "the model does not let its thoughts be shown or hidden"))
        losses.extend(Loss(f"{name}.{field}", "dropped", "the model always thinks") for field in _unknown(reasoning))
    elif reasoning.native.get(NAME, {}).get("type") == "between_tools":
        fields["thinking"] = {"type": "between_tools", **_unknown(reasoning)}
    else:
        fields["thinking"] = {"type": "adaptive", **_display(reasoning)}
    wanted = reasoning.effort or _effort_beside(reasoning)
    if reasoning.budget_tokens is not None and wanted is not None:
        losses.append(Loss(name, "dropped", f"the model takes no token budget; effort {wanted} is asked for"))
    elif reasoning.budget_tokens is not None:
        wanted = _word_for(reasoning.budget_tokens)
        losses.append(Loss(name, "emulated", f"the model takes no token budget; effort {wanted} stands for it"))
    if wanted is not None:
        fields |= _effort_alone(wanted, rules, name, losses)
    return fields


def _effort_alone(wanted: Effort, rules: Rules, name: str, losses: list[Loss]) -> dict[str, Any]:
    word = _nearest(wanted, rules)
    if word != wanted:
        losses.append(Loss(name, "clamped", f"the model has no effort {wanted}; {word or 'its own'} is used"))
    return {} if word is None else {"output_config": {"effort": word}}


def _effort_beside(reasoning: Reasoning) -> Effort | None:
    """The word that a client of this dialect gave beside a budget."""
    word = reasoning.native.get(NAME, {}).get("effort")
    return word if word in _WIRE_WORDS else None


def _unknown(reasoning: Reasoning) -> dict[str, Any]:
    """Fields of `thinking` that are not known here."""
    return {name: value for name, value in reasoning.native.get(NAME, {}).items() if name not in ("type", "effort")}


def _display(reasoning: Reasoning) -> dict[str, Any]:
    shown = {None: {}, True: {"display": "summarized"}, False: {"display": "omitted"}}[reasoning.visible]
    return {**_unknown(reasoning), **shown}


def _nearest(wanted: Effort, rules: Rules) -> Effort | None:
    """The word of the model that is nearest to *wanted*, the lower one of two; None when it has none."""
    at = _WORDS.index(wanted)
    allowed = [word for word in _WORDS if word in rules.efforts and word in _WIRE_WORDS]
    return min(allowed, key=lambda word: abs(_WORDS.index(word) - at), default=None)


def _word_for(budget_tokens: int) -> Effort:
    """The lowest effort whose own budget holds *budget_tokens*."""
    if budget_tokens < 0:
        return "medium"
    return next((word for word, budget in _BUDGETS.items() if budget_tokens <= budget and word in _WIRE_WORDS), "max")


def _budget_plan(
    request: Request,
    reasoning: Reasoning,
    rules: Rules,
    max_tokens: int,
    losses: list[Loss],
) -> ThinkingPlan:
    """A budget within `max_tokens`, which is raised first and only then limits the budget."""
    name = field_of(request, "reasoning")
    if max_tokens == 0:
        losses.append(Loss(name, "dropped", "a request for no tokens leaves no room to think"))
        return ThinkingPlan(max_tokens)
    wanted = reasoning.budget_tokens
    if wanted is None or wanted < 0:
        effort = reasoning.effort or "medium"
        wanted = _BUDGETS.get(effort, MIN_BUDGET_TOKENS)
        if effort == "none":
            losses.append(Loss(name, "clamped", "the model cannot be told not to think"))
    budget = max(wanted, MIN_BUDGET_TOKENS)
    ceiling = rules.max_output_tokens
    raised = max_tokens
    if max_tokens <= budget:
        raised = budget + max_tokens if ceiling is None else min(budget + max_tokens, ceiling)
    if budget >= raised:
        budget = max(MIN_BUDGET_TOKENS, raised // 2)
    if budget >= raised:
        losses.append(Loss(name, "dropped", f"the model's {raised} output tokens leave no room to think"))
        return ThinkingPlan(max_tokens)
    if budget != wanted:
        losses.append(Loss(name, "clamped", f"the budget must be at least {MIN_BUDGET_TOKENS} and below max_tokens"))
    if raised != max_tokens and request.max_output_tokens is not None:
        limit = field_of(request, "max_output_tokens")
        losses.append(Loss(limit, "emulated", f"thinking counts within it: raised by the budget to {raised}"))
    fields: dict[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": budget, **_display(reasoning)}}
    if (effort_beside := _effort_beside(reasoning)) is not None:
        fields |= _effort_alone(effort_beside, rules, name, losses)
    return ThinkingPlan(raised, on=True, fields=fields)
