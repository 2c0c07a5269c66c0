"""What clients send back of earlier answers, fitted to the server that comes next.

A client that returns an answer as it came returns reasoning and signatures with it, also to another vendor. Groq and
Mistral refuse whole requests for a field that they do not know; a signature is worth something to its maker alone.
The same goes for ids of tool calls: one vendor's are too long for OpenAI, and hardly any suits Mistral.

`rules.takes_back` names what the server reads, `rules.reasoning_replay` when it demands its reasoning back,
`rules.call_ids` the form of ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import is_not
from typing import Any, Final

from translators.dialect import Rules
from translators.losses import Loss
from translators.openai_chat.outgoing import call_id
from translators.openai_chat.parts import details_only_opaque, reasoning_text

READABLE: Final = ("reasoning_content", "reasoning")
SEALED: Final = ("reasoning_details", "thinking_blocks", "extra_content")
"""Fields that hold signatures and encrypted reasoning."""
_REASONING: Final = frozenset({*READABLE, *SEALED})


def fitted_messages(
    messages: Sequence[Mapping[str, Any]], rules: Rules
) -> tuple[list[Mapping[str, Any]] | None, list[Loss]]:
    """*messages* as the server takes them back, None when they may stay as they are; and what that cost."""
    fitted = [_fitted(message, rules) for message in messages]
    if not any(map(is_not, messages, fitted)):
        return None, []
    lost: dict[str, Loss] = {}
    for index, (message, kept) in enumerate(zip(messages, fitted, strict=True)):
        for loss in _losses(message, kept, f"messages[{index}]") if kept is not message else ():
            lost.setdefault(loss.reason, loss)
    return fitted, list(lost.values())


def _fitted(message: Mapping[str, Any], rules: Rules) -> Mapping[str, Any]:
    """One message; the same object when nothing has to change."""
    if message.get("role") == "tool":
        return _identified(message, "tool_call_id", rules)
    if message.get("role") != "assistant":
        return message
    kept: Mapping[str, Any] = message
    if not _REASONING.isdisjoint(message):
        kept = {name: value for name, value in message.items() if name in rules.takes_back or name not in _REASONING}
    calls = kept.get("tool_calls")
    if calls:
        kept = {**kept, "tool_calls": [_fitted_call(call, rules) for call in calls]}
    demanded = rules.reasoning_replay == "always" or (rules.reasoning_replay == "tool_turns" and bool(calls))
    name = next((name for name in READABLE if name in rules.takes_back), None) if demanded else None
    if name and not any(kept.get(known) is not None for known in (*READABLE, SEALED[0])):
        text = reasoning_text(message)
        # DeepSeek wants the key on tool turns even where nothing was thought.
        if text or calls:
            kept = {**kept, name: text}
    return message if kept == message else kept


def _fitted_call(call: Mapping[str, Any], rules: Rules) -> Mapping[str, Any]:
    if "extra_content" in call and "extra_content" not in rules.takes_back:
        call = {name: value for name, value in call.items() if name != "extra_content"}
    return _identified(call, "id", rules)


def _identified(fields: Mapping[str, Any], name: str, rules: Rules) -> Mapping[str, Any]:
    """*fields* with the id at *name* in the server's form, the same for a call and its result."""
    found = fields.get(name)
    if rules.call_ids == "any" or not isinstance(found, str) or (safe := call_id(found, rules)) == found:
        return fields
    return {**fields, name: safe}


def _losses(message: Mapping[str, Any], kept: Mapping[str, Any], place: str) -> list[Loss]:
    """What of *message* is not in *kept*; reasoning that stands there under another name is not lost."""
    losses: list[Loss] = []
    name = next((name for name in READABLE if message.get(name)), None)
    if name and not any(kept.get(other) for other in READABLE):
        losses.append(Loss(f"{place}.{name}", "dropped", "the target takes no earlier reasoning back"))
    gone = [name for name in SEALED if message.get(name) and name not in kept]
    sealed = next((name for name in gone if name != SEALED[0] or details_only_opaque(message[name])), None)
    signed = any("extra_content" in call for call in message.get("tool_calls") or ())
    if sealed is None and signed and not any("extra_content" in call for call in kept["tool_calls"]):
        sealed = "tool_calls"
    if sealed:
        losses.append(Loss(f"{place}.{sealed}", "dropped", "only the vendor that made them can read signatures"))
    return losses
