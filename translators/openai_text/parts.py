"""Pieces that whole answers and chunks share: finish words, log probabilities, the text of a choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from translators.dialect import ReplyTo
from translators.neutral import FinishReason, Native, Request, Text, TokenLogprob
from translators.openai_chat.parts import parse_logprobs as parse_chat_logprobs

DIALECT: Final = "openai_completions"
MAX_CHOICES: Final = 100_000
"""Many prompts times `n`; a larger index is a mistake of the server."""
ANSWER_FIELDS: Final = frozenset({"id", "object", "created", "model", "choices", "usage", "obfuscation", "p"})
CHOICE_FIELDS: Final = frozenset({"index", "text", "delta", "message", "logprobs", "finish_reason"})


def choice_index(value: Any, default: int) -> int:
    """A choice's index, or *default* where the server gave none that can be."""
    return value if type(value) is int and 0 <= value < MAX_CHOICES else default


def choice_text(choice: Mapping[str, Any]) -> str:
    """The text of a choice; some servers put it where chat completions have it (Mistral's fill-in-the-middle)."""
    text = choice.get("text")
    if isinstance(text, str):
        return text
    for name in ("delta", "message"):
        spoken = choice.get(name)
        if isinstance(spoken, dict) and isinstance(spoken.get("content"), str):
            return str(spoken["content"])
    return ""


def unknown(value: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """The fields of *value* that are not *known*."""
    return {name: item for name, item in value.items() if name not in known and item is not None}


def answer_native(rest: Mapping[str, Any]) -> Native:
    """The mark that a completions server wrote the answer, with its unknown fields."""
    return {DIALECT: {"object": "text_completion", **rest}}


def outward_reason(reason: FinishReason | None) -> str:
    """The finish word: this API has three."""
    return reason if reason in ("length", "content_filter") else "stop"


def prompt_text(request: Request) -> str:
    """The prompt; empty where it is token ids that could not be decoded."""
    return "".join(part.text for message in request.messages for part in message.parts if isinstance(part, Text))


def echo_text(to: ReplyTo) -> str:
    """What is written before an answer that came from another dialect: the prompt, if the client asked for it."""
    return prompt_text(to.request) if to.body.get("echo") is True and not to.request.logprobs else ""


def first_offset(to: ReplyTo) -> int:
    """Where `text_offset` begins: the prompt counts."""
    return 0 if to.body.get("echo") is True else len(prompt_text(to.request))


def parse_logprobs(logprobs: Any) -> tuple[TokenLogprob, ...] | None:
    """`{tokens, token_logprobs, top_logprobs}`, or chat's form (llama-server). None when there are none.

    An echoed prompt's first token has no probability and counts as certain.
    """
    if not isinstance(logprobs, dict):
        return None
    tokens, chances = logprobs.get("tokens"), logprobs.get("token_logprobs")
    if not isinstance(tokens, list) or not isinstance(chances, list):
        return parse_chat_logprobs(logprobs)
    tops = logprobs.get("top_logprobs")
    found: list[TokenLogprob] = []
    for at, (token, chance) in enumerate(zip(tokens, chances, strict=False)):
        top = tops[at] if isinstance(tops, list) and at < len(tops) else None
        alternatives = tuple(
            TokenLogprob(other, float(value))
            for other, value in (top.items() if isinstance(top, dict) else ())
            if isinstance(value, int | float)
        )
        found.append(
            TokenLogprob(str(token), float(chance) if isinstance(chance, int | float) else 0.0, top=alternatives)
        )
    return tuple(found) or None


def render_logprobs(logprobs: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
    """The reverse of `parse_logprobs`; the first token stands at *offset*."""
    offsets: list[int] = []
    for entry in logprobs:
        offsets.append(offset)
        offset += len(entry.token)
    tops = [{top.token: top.logprob for top in entry.top} for entry in logprobs]
    return {
        "tokens": [entry.token for entry in logprobs],
        "token_logprobs": [entry.logprob for entry in logprobs],
        "top_logprobs": tops if any(tops) else None,
        "text_offset": offsets,
    }
