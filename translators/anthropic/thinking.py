"""How much Claude is to think: an effort word, a token budget, or nothing, by the rules of the model.

budget     `thinking: enabled` with `budget_tokens`, which must be >= 1024 and below `max_tokens`   (Claude <= 4.5)
adaptive   `thinking: adaptive` with `output_config.effort`                                         (Claude >= 4.6)
effort     `output_config.effort` alone                                             (models that always think)

What a client of this dialect said beyond the neutral form stands in `native["anthropic"]` of its Reasoning: the `type`
where no effort tells it, the `budget_tokens` beside an effort, which decides, and unknown fields of `thinking`.
An empty one says that there was an effort and no `thinking`. An effort beside thinking that is off stands in
`output_config` of the request's own native fields.

Source: anthropic.types.ThinkingConfigParam, OutputConfigParam.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from translators.anthropic.response import NAME
from translators.dialect import Rules
from translators.losses import Loss, field_of
from translators.neutral import Effort, Reasoning, Request
from translators.values import NOTHING, value

MIN_BUDGET_TOKENS: Final = 1024
_EFFORT: Final = "output_config.effort"
"""Only clients of this dialect have it beside thinking that is off."""
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


@value(frozen=True, slots=True)
class ThinkingPlan:
    """Body fields for thinking, whether it is on, and the `max_tokens` that leave room for it."""

    max_tokens: int
    on: bool = False
    fields: Mapping[str, Any] = NOTHING


def plan_thinking(
    request: Request, rules: Rules, max_tokens: int, unsigned_turn: Callable[[], bool], losses: list[Loss]
) -> ThinkingPlan:
    """The plan for *request*; *unsigned_turn* tells whether a tool turn without signed thinking is being continued."""
    reasoning = request.reasoning
    if reasoning is None or not _says_something(reasoning):
        return ThinkingPlan(max_tokens)
    off = is_off(reasoning)
    if rules.thinking == "none":
        if not off:
            losses.append(Loss(field_of(request, "reasoning"), "dropped", "the model does not think"))
        elif effort_while_off(request) is not None:
            losses.append(Loss(_EFFORT, "dropped", "the model does not think"))
        return ThinkingPlan(max_tokens)
    if "none" in rules.efforts and off:
        return ThinkingPlan(max_tokens, fields=_disabled(request, reasoning, rules, losses))
    if reasoning.effort is not None and reasoning.native.get(NAME) == {}:
        alone = _effort_alone(request, reasoning.effort, rules, losses)
        return ThinkingPlan(max_tokens, on=rules.thinking == "effort", fields=alone)
    if rules.thinking == "budget":
        if not unsigned_turn():
            return _budget_plan(request, reasoning, rules, max_tokens, losses)
        # With a budget, a turn that continues tool calls must begin with the thinking that led to them.
        reason = "the tool turn being continued has no signed thinking"
        losses.append(Loss(field_of(request, "reasoning"), "dropped", reason))
        return ThinkingPlan(max_tokens)
    return ThinkingPlan(max_tokens, on=True, fields=_effort_fields(request, reasoning, rules, losses))


def is_off(reasoning: Reasoning) -> bool:
    """Whether *reasoning* asks for no thinking."""
    return reasoning.effort == "none" or reasoning.budget_tokens == 0


def effort_while_off(request: Request) -> Effort | None:
    """The effort that a client of this dialect asks for although it turns thinking off."""
    if request.reasoning is None or not is_off(request.reasoning):
        return None
    config = request.native.get(NAME, {}).get("output_config")
    word = config.get("effort") if isinstance(config, dict) else None
    return word if word in _WIRE_WORDS else None


def _says_something(reasoning: Reasoning) -> bool:
    said = reasoning.effort is not None or reasoning.budget_tokens is not None or reasoning.visible
    return bool(said or reasoning.native.get(NAME))


def _disabled(request: Request, reasoning: Reasoning, rules: Rules, losses: list[Loss]) -> dict[str, Any]:
    fields: dict[str, Any] = {"thinking": {"type": "disabled", **_unknown(reasoning)}}
    effort = effort_while_off(request)
    cap = rules.effort_cap_without_thinking
    if effort is not None:
        if cap is not None and _WORDS.index(effort) > _WORDS.index(cap):
            losses.append(Loss(_EFFORT, "clamped", f"without thinking the model takes no effort above {cap}"))
            effort = cap
        fields["output_config"] = {"effort": effort}
    return fields


def _effort_fields(request: Request, reasoning: Reasoning, rules: Rules, losses: list[Loss]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    name = field_of(request, "reasoning")
    if rules.thinking == "effort":
        if reasoning.visible is not None:
            losses.append(Loss(name, "dropped", "the model does not let its thoughts be shown or hidden"))
        losses.extend(Loss(f"{name}.{field}", "dropped", "the model always thinks") for field in _unknown(reasoning))
    elif reasoning.native.get(NAME, {}).get("type") == "between_tools":
        fields["thinking"] = {"type": "between_tools", **_unknown(reasoning)}
    else:
        fields["thinking"] = {"type": "adaptive", **_display(reasoning)}
    wanted = reasoning.effort
    if (while_off := effort_while_off(request)) is not None:
        reason = f"the model cannot be told not to think; effort {while_off} is asked for"
        losses.append(Loss(field_of(request, "reasoning.effort"), "clamped", reason))
        wanted = while_off
    budget = _budget_of(reasoning)
    if budget is not None:
        place = field_of(request, "reasoning.budget_tokens")
        if wanted is not None:
            losses.append(Loss(place, "dropped", f"the model takes no token budget; effort {wanted} is asked for"))
        else:
            wanted = _word_for(budget)
            losses.append(Loss(place, "emulated", f"the model takes no token budget; effort {wanted} stands for it"))
    if wanted is not None:
        fields |= _effort_alone(request, wanted, rules, losses)
    return fields


def _effort_alone(request: Request, wanted: Effort, rules: Rules, losses: list[Loss]) -> dict[str, Any]:
    word = _nearest(wanted, rules)
    if word != wanted:
        reason = f"the model has no effort {wanted}; {word or 'its own'} is used"
        losses.append(Loss(field_of(request, "reasoning.effort"), "clamped", reason))
    return {} if word is None else {"output_config": {"effort": word}}


def _budget_of(reasoning: Reasoning) -> int | None:
    """The budget that the client gave, alone or beside an effort."""
    beside = reasoning.native.get(NAME, {}).get("budget_tokens")
    return beside if isinstance(beside, int) else reasoning.budget_tokens


def _unknown(reasoning: Reasoning) -> dict[str, Any]:
    """Fields of `thinking` that are not known here."""
    own = reasoning.native.get(NAME, {})
    return {name: value for name, value in own.items() if name not in ("type", "budget_tokens")}


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
    wanted = _budget_of(reasoning)
    effort = reasoning.effort if reasoning.budget_tokens is None and wanted is not None else effort_while_off(request)
    if wanted is None or wanted < 0:
        wanted = _budget_for(request, reasoning, losses)
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
    if effort is not None:
        fields |= _effort_alone(request, effort, rules, losses)
    return ThinkingPlan(raised, on=True, fields=fields)


def _budget_for(request: Request, reasoning: Reasoning, losses: list[Loss]) -> int:
    """The budget that stands for an effort; what this dialect's clients call adaptive is not the same."""
    effort = reasoning.effort or "medium"
    wanted = _BUDGETS.get(effort, MIN_BUDGET_TOKENS)
    if effort == "none":
        reason = "the model cannot be told not to think"
        losses.append(Loss(field_of(request, "reasoning"), "clamped", reason))
    elif request.dialect == NAME:
        kind = reasoning.native.get(NAME, {}).get("type", "adaptive")
        losses.append(Loss("thinking.type", "emulated", f"the model is not {kind}; a budget of {wanted} stands for it"))
    return wanted
