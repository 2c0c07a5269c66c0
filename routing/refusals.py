"""What a vendor's refusal says: its words, wherever they stand, and the parameters that they name.

A name comes as the vendor writes it (`presencePenalty`, `body.store`, `messages[3].name`); `path_of` and `neutral`
bring it into one spelling. A sentence that refuses a combination (`x is not supported when y`) names nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, Final

from translators.codec import JsonError, loads
from translators.dialect import Rules
from translators.neutral import Failure, Request

MAX_WORDS: Final = 4000
"""Characters that are searched."""
_DEPTH: Final = 8

QUOTES: Final = r"[`'\"“”‘’\\]{0,3}"
"""Quotation marks that vendors put around names."""
_NAME: Final = r"(?<![\w.\[\]-])[A-Za-z_][\w.\[\]-]{0,80}+"
_CONDITION: Final = (
    r"(?!\s+(?:when|while|if|unless|without|together|alongside|in (?:combination|conjunction|streaming)|and\b|or\b"
    r"|with (?!this|the\b|your|current|model)))"
)
"""What follows a refusal of a combination: that says nothing of the parameter alone."""
_CONDITIONAL: Final = re.compile(
    r"\b(?:when|whenever|while|unless|together|alongside|in (?:combination|conjunction)|along with|as well as"
    r"|if (?!you|this|your)|both\b|mutually exclusive|without)\b",
    re.IGNORECASE,
)
_SENTENCE: Final = re.compile(r".+?(?:(?<=[.;!?])\s+|\n+|\Z)", re.DOTALL)

_NAMED: Final = tuple(
    re.compile(pattern.replace("<q>", QUOTES).replace("<name>", rf"(?P<name>{_NAME})"), re.IGNORECASE)
    for pattern in (
        # As "Unsupported parameter: 'x'", "Unknown parameter: 'x'." (OpenAI), or "Unsupported parameter(s): `x`",
        # or "unknown field `x`", or "Unrecognized request argument supplied: x" (Azure),
        # or "Unknown name \"x\" at 'generation_config': Cannot find field." (Gemini)
        r"(?:unsupported|unknown|unrecognized|unexpected) (?:request )?(?:parameter|argument|field|property|key|name)"
        rf"(?:s|\(s\))?(?: supplied| received)?:? ?<q><name><q>{_CONDITION}(?: at <q>(?P<path>[\w.\[\]]+))?",
        # As "Argument not supported on this model: presencePenalty", "Argument not supported: x" (xAI)
        r"(?:argument|parameter|property|field) not supported(?: on this model)?: <q><name>",
        # As "Model grok-4.20 does not support parameter reasoningEffort." (xAI)
        rf"does not support (?:the )?(?:parameter|argument|property|field):? <q><name><q>{_CONDITION}",
        rf"does not support (?:the )?<q><name><q> (?:parameter|argument|property|field){_CONDITION}",
        # As "temperature: Extra inputs are not permitted" (Anthropic); "Extra inputs are not permitted, field: 'x'"
        r"(?:^|[\n\s\"'])<q><name><q>: extra inputs are not permitted",
        r"extra inputs are not permitted, field: <q><name>",
        # As "`temperature` is deprecated for this model." (Anthropic), "property 'store' is unsupported" (Groq),
        # "parallel_tool_calls is not supported with this model"
        rf"<q><name><q> (?:parameter |field )?(?:is|are) (?:deprecated|unsupported|not supported|not permitted"
        rf"|not allowed|not enabled|not available|unavailable|not accepted)\b{_CONDITION}",
        # As "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is
        # supported." (OpenAI)
        r"unsupported value: <q><name><q> does not support [^\n]{1,60}only the default",
        # As "invalid temperature: only 1 is allowed for this model" (Moonshot)
        r"invalid <q><name><q>[:,] only [\d.]+ is allowed for this model",
    )
)
_INSIDE_MESSAGES: Final = re.compile(
    rf"messages[.\[]\d[^\n]{{0,80}}property {QUOTES}(?P<name>\w+){QUOTES} is unsupported", re.IGNORECASE
)
_ONLY_VALUE: Final = re.compile(r"supported values are: ['\"`][\w.]+['\"`]\.?\s*$", re.IGNORECASE)
_PARAM_CODES: Final = frozenset({"unsupported_parameter", "unknown_parameter"})

_WIRE_NAMES: Final[Mapping[str, str]] = {
    **{item.name: item.name for item in fields(Request)},
    "stop_sequences": "stop",
    "random_seed": "seed",
    "candidate_count": "n",
    "response_logprobs": "logprobs",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "max_output_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning",
    "reasoning.effort": "reasoning",
    "reasoning.summary": "reasoning.visible",
    "reasoning.generate_summary": "reasoning.visible",
    "include_reasoning": "reasoning",
    "thinking": "reasoning",
    "thinking_config": "reasoning",
    "output_config.effort": "reasoning",
    "response_format": "output",
    "response_schema": "output",
    "response_json_schema": "output",
    "response_mime_type": "output",
    "output_config.format": "output",
    "output_format": "output",
    "text.format": "output",
    "text.verbosity": "verbosity",
    "safety_identifier": "user",
    "metadata.user_id": "user",
    "labels": "metadata",
    "tool_config": "tool_choice",
    "tool_choice.disable_parallel_tool_use": "parallel_tool_calls",
    "stream_options": "stream_options",
    "stream_options.include_usage": "stream_options",
}
"""What the dialects call them, in lower case with underscores."""
_WIRE_NAMES_OF: Final[Mapping[str, Mapping[str, str]]] = {
    "anthropic": {"metadata": "user"},
    "gemini": {"logprobs": "top_logprobs"},
}
_PREFIXES: Final = ("body.", "generation_config.", "parameters.")


def names_in(failure: Failure, words: str) -> Iterator[str]:
    """The parameters that are refused, as the vendor calls them."""
    says_param = failure.code in _PARAM_CODES or _ONLY_VALUE.search(failure.message)
    if failure.param and says_param and unconditional(failure.message) == failure.message:
        yield failure.param
    yield from _forbidden_extras(failure.raw)
    inside = {match["name"] for match in _INSIDE_MESSAGES.finditer(words)}
    yield from (f"messages.{name}" for name in inside)
    for pattern in _NAMED:
        for match in pattern.finditer(unconditional(words)):
            path = match.groupdict().get("path")
            if match["name"] not in inside:
                yield f"{path}.{match['name']}" if path else match["name"]


def sentences(words: str) -> list[str]:
    """What *words* says, one statement each, with the blanks after it; dots within names and numbers end none."""
    return _SENTENCE.findall(words)


def is_conditional(sentence: str) -> bool:
    """Whether it refuses something only beside something else (`x is not supported when y is set`)."""
    return _CONDITIONAL.search(sentence) is not None


def unconditional(words: str) -> str:
    """*words* without the sentences that are conditional."""
    return "".join(each for each in sentences(words) if not is_conditional(each))


def neutral(name: str, rules: Rules) -> str | None:
    """The neutral name of what a server of this dialect calls *name*."""
    path = path_of(name)
    path = next((ours for ours, theirs in rules.rename.items() if theirs == path), path)
    return _WIRE_NAMES_OF.get(rules.dialect, {}).get(path) or _WIRE_NAMES.get(path)


def path_of(name: str) -> str:
    """*name* with underscores for capitals and dots for brackets, without the body's own name before it."""
    path = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name.strip("`'\"\\ ."))
    path = re.sub(r"\[(\w+)\]", r".\1", path).lower()
    for prefix in _PREFIXES:
        path = path.removeprefix(prefix)
    return path


def words_of(failure: Failure) -> str:
    """The message, and what routers put beside it: the words of the vendor behind them."""
    texts = dict.fromkeys([failure.message, *_texts(failure.raw)])
    return "\n".join(texts)[:MAX_WORDS].replace('\\"', '"')


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    if depth > _DEPTH:
        return
    if isinstance(value, str):
        if (inner := _json_in(value)) is None:
            yield value
        else:
            yield from _texts(inner, depth + 1)
    elif isinstance(value, Mapping):
        for name in ("message", "msg", "detail", "error", "raw", "metadata", "body", "text", "details", "description"):
            if name in value:
                yield from _texts(value[name], depth + 1)
    elif isinstance(value, list):
        for item in value[:20]:
            yield from _texts(item, depth + 1)


def _forbidden_extras(value: Any, depth: int = 0) -> Iterator[str]:
    """Pydantic's list: `{"type": "extra_forbidden", "loc": ["body", "store"], "msg": ...}` (Mistral, FastAPI)."""
    if depth > _DEPTH:
        return
    if isinstance(value, str) and (inner := _json_in(value)) is not None:
        yield from _forbidden_extras(inner, depth + 1)
    elif isinstance(value, Mapping):
        place = value.get("loc")
        if value.get("type") == "extra_forbidden" and isinstance(place, list):
            yield ".".join(str(part) for part in place)
        else:
            for inner in value.values():
                yield from _forbidden_extras(inner, depth + 1)
    elif isinstance(value, list):
        for item in value[:50]:
            yield from _forbidden_extras(item, depth + 1)


def _json_in(text: str) -> Any:
    """The object or list that *text* is, None for any other text."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = loads(text)
    except JsonError:
        return None
    return value if isinstance(value, dict | list) else None
