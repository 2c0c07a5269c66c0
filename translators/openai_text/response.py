"""Whole completions, read from any server that has the endpoint and written as OpenAI would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from translators.codec import type_name
from translators.dialect import ReplyTo
from translators.errors import BadAnswer
from translators.neutral import NO_NATIVE, Choice, Part, Refusal, Response, Text
from translators.openai_chat.parts import created_s
from translators.openai_chat.response import finish_reason
from translators.openai_chat.usage import render_usage, usage_in
from translators.openai_text.parts import (
    ANSWER_FIELDS,
    CHOICE_FIELDS,
    DIALECT,
    answer_native,
    choice_index,
    choice_text,
    echo_text,
    first_offset,
    outward_reason,
    parse_logprobs,
    render_logprobs,
    unknown,
)


def parse_response(body: Mapping[str, Any]) -> Response:
    """*body* in the neutral form.

    Raises:
        BadAnswer: *body* has no choices.
    """
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise BadAnswer(f"choices: expected an array with a choice, found {type_name(choices)}")
    return Response(
        id=_text(body.get("id")),
        model=_text(body.get("model")),
        created=created_s(body.get("created")),
        choices=tuple(_choice(choice, position) for position, choice in enumerate(choices)),
        usage=usage_in(body),
        native=answer_native(unknown(body, ANSWER_FIELDS)),
    )


def _choice(choice: Any, position: int) -> Choice:
    if not isinstance(choice, dict):
        raise BadAnswer(f"choices[{position}]: expected an object, found {type_name(choice)}")
    text = choice_text(choice)
    logprobs = parse_logprobs(choice.get("logprobs"))
    own = unknown(choice, CHOICE_FIELDS)
    return Choice(
        parts=(Text(text),) if text or logprobs else (),
        finish_reason=finish_reason(choice.get("finish_reason"), has_calls=False),
        index=choice_index(choice.get("index"), position),
        logprobs=logprobs,
        native={DIALECT: own} if own else NO_NATIVE,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def render_response(response: Response, to: ReplyTo) -> dict[str, Any]:
    """*response* as a Completion: the texts alone, for reasoning has no place here."""
    own = response.native.get(DIALECT, {})
    echo = "" if own else echo_text(to)
    body: dict[str, Any] = {
        "id": response.id or f"cmpl-{to.id}",
        "object": "text_completion",
        "created": response.created or to.created,
        "model": response.model or to.request.model,
        "choices": [_render_choice(choice, echo, first_offset(to)) for choice in response.choices],
    }
    if response.usage is not None:
        body["usage"] = render_usage(response.usage)
    fingerprint = response.native.get("openai_chat", {}).get("system_fingerprint")
    if fingerprint is not None:
        body["system_fingerprint"] = fingerprint
    body.update((name, value) for name, value in own.items() if name not in body)
    return body


def _render_choice(choice: Choice, echo: str, offset: int) -> dict[str, Any]:
    rendered: dict[str, Any] = {
        "text": echo + spoken_text(choice.parts),
        "index": choice.index,
        "logprobs": render_logprobs(choice.logprobs, offset) if choice.logprobs else None,
        "finish_reason": outward_reason(choice.finish_reason),
    }
    own = choice.native.get(DIALECT, {})
    rendered.update((name, value) for name, value in own.items() if name not in rendered)
    return rendered


def spoken_text(parts: Sequence[Part]) -> str:
    """What the model said to the reader, its refusal included."""
    return "".join(part.text for part in parts if isinstance(part, Text | Refusal))


def joined(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rendered answers to the prompts of `split`, in order, as the one answer to them all.

    The choices are numbered on, as OpenAI does: all of the first prompt, then all of the second. Usage is summed,
    and left out when one of them has none.
    """
    whole = dict(answers[0])
    whole["choices"] = []
    for answer in answers:
        first = len(whole["choices"])
        whole["choices"].extend(
            {**choice, "index": first + at}
            for at, choice in enumerate(sorted(answer["choices"], key=lambda choice: int(choice["index"])))
        )
    usages = [answer["usage"] for answer in answers if answer.get("usage")]
    whole.pop("usage", None)
    if len(usages) == len(answers):
        whole["usage"] = _summed(usages)
    return whole


def _summed(usages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts and objects of counts, added up name by name."""
    names = dict.fromkeys(name for usage in usages for name in usage)
    summed: dict[str, Any] = {}
    for name in names:
        values = [usage[name] for usage in usages if usage.get(name) is not None]
        if values and all(isinstance(value, dict) for value in values):
            summed[name] = _summed(values)
        else:
            summed[name] = sum(value for value in values if isinstance(value, int | float))
    return summed
