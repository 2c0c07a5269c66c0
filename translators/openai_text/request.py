"""A client's completions request, read into the neutral form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from translators import tokens
from translators.codec import type_name
from translators.errors import BadRequest
from translators.fields import PROXY_FIELDS, Fields
from translators.neutral import NO_NATIVE, Message, Opaque, Part, Request, Text
from translators.openai_text.parts import DIALECT

DEFAULT_MAX_TOKENS: Final = 16
"""This API's own default. (OpenAI, API reference of completions)"""

_Prompt = str | list[int]


def parse_request(body: Mapping[str, Any]) -> Request:
    """*body* in the neutral form; of several prompts the first, all of them in `native["openai_completions"]`.

    Raises:
        BadRequest: a field is missing or has the wrong type; *param* is its place.
    """
    fields = Fields(body)
    for name in PROXY_FIELDS:
        fields.get(name)
    model = fields.needed_text("model")
    if not model:
        raise fields.wrong("model", "a model's name")
    found = _prompts(fields)
    native: dict[str, Any] = {"prompt": body["prompt"]} if len(found) > 1 else {}
    n, alternatives = fields.integer("n", 1), fields.integer("logprobs", 0)
    max_tokens, top_k = fields.integer("max_tokens", 0), fields.integer("top_k")
    stream_options = fields.object("stream_options")
    include_usage = bool(stream_options and stream_options.flag("include_usage"))
    if stream_options and (rest := stream_options.rest()):
        native["stream_options"] = rest
    native.update(_native(fields, n, with_logprobs=alternatives is not None))
    place = "prompt[0]" if len(found) > 1 else "prompt"
    said: dict[str, Any] = {
        "messages": (Message("user", (_part(found[0], model, place),), place=place),),
        "max_output_tokens": DEFAULT_MAX_TOKENS if max_tokens is None else max_tokens,
        "temperature": fields.number("temperature", 0, 2),
        "top_p": fields.number("top_p"),
        # vLLM and llama.cpp take -1 and 0 for "all tokens", which is what leaving it out means.
        "top_k": top_k if top_k is not None and top_k > 0 else None,
        "presence_penalty": fields.number("presence_penalty"),
        "frequency_penalty": fields.number("frequency_penalty"),
        "seed": fields.integer("seed"),
        "stop": _stop(fields),
        "n": n,
        "logprobs": None if alternatives is None else True,
        "top_logprobs": alternatives or None,
        "logit_bias": _logit_bias(fields),
        "user": fields.text("user"),
        "stream": bool(fields.flag("stream")),
        "include_usage": include_usage,
    }
    native.update(fields.rest())
    return Request(dialect=DIALECT, model=model, native={DIALECT: native} if native else NO_NATIVE, **said)


def prompts(body: Mapping[str, Any]) -> list[str]:
    """The prompts as texts, token ids decoded.

    Raises:
        BadRequest: `prompt` has another form, or token ids of a model whose tokenizer is not known.
    """
    fields = Fields(body)
    found = _prompts(fields)
    texts: list[str] = []
    for position, prompt in enumerate(found):
        place = f"prompt[{position}]" if len(found) > 1 else "prompt"
        text = prompt if isinstance(prompt, str) else _decoded(prompt, str(body.get("model")), place)
        if text is None:
            raise BadRequest(
                f"{place}: which tokenizer these token ids are of is not known for {body.get('model')!r}; send text",
                place,
                "invalid_value",
            )
        texts.append(text)
    return texts


def split(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """*body* for a target of another dialect: once for each prompt, in order, with the prompt as text.

    Raises:
        BadRequest: as `prompts`, or a prompt is empty: only a completions server begins from nothing.
    """
    texts = prompts(body)
    for position, text in enumerate(texts):
        if not text:
            place = f"prompt[{position}]" if len(texts) > 1 else "prompt"
            raise BadRequest(f"{place}: empty; the target needs a prompt", place, "invalid_value")
    return [{**body, "prompt": text} for text in texts]


def _prompts(fields: Fields) -> list[_Prompt]:
    """The prompts. Without one the model begins a document: an empty prompt."""
    expected = "a text, a list of texts, a list of token ids, or a list of lists of token ids"
    value = fields.get("prompt")
    if value is None:
        return [""]
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise fields.wrong("prompt", expected)
    if not value:
        raise BadRequest(f"prompt: empty; expected {expected}", "prompt", "invalid_value")
    if type(value[0]) is int:
        return [_token_ids(value, "prompt")]
    found: list[_Prompt] = []
    for position, item in enumerate(value):
        place = f"prompt[{position}]"
        if not isinstance(item, str | list):
            raise BadRequest(f"{place}: expected a text or token ids, found {type_name(item)}", place, "invalid_type")
        found.append(item if isinstance(item, str) else _token_ids(item, place))
    return found


def _token_ids(value: list[Any], place: str) -> list[int]:
    for position, item in enumerate(value):
        if type(item) is not int or item < 0:
            found, place = item if type(item) is int else type_name(item), f"{place}[{position}]"
            raise BadRequest(f"{place}: expected a token id, found {found}", place, "invalid_type")
    return value


def _part(prompt: _Prompt, model: str, place: str) -> Part:
    """The prompt as text; token ids of an unknown tokenizer as what only a completions server can read."""
    text = prompt if isinstance(prompt, str) else _decoded(prompt, model, place)
    return Opaque(DIALECT, "token_ids", {"prompt": prompt}) if text is None else Text(text)


def _decoded(token_ids: list[int], model: str, place: str) -> str | None:
    """The text of *token_ids*; None where the model's name does not tell the tokenizer."""
    if tokens.family(model) != "openai":
        return None
    try:
        return tokens.decode(token_ids, tokens.encoding_name(model))
    except ValueError as error:
        raise BadRequest(f"{place}: {error}", place, "invalid_value") from error


def _native(fields: Fields, n: int | None, *, with_logprobs: bool) -> dict[str, Any]:
    """What only a completions server can do, without what asks for nothing."""
    echo, best_of, suffix = fields.flag("echo"), fields.integer("best_of", 1), fields.text("suffix")
    native: dict[str, Any] = {}
    if echo and with_logprobs:
        native["echo"] = True
    if best_of is not None and best_of != (n or 1):
        native["best_of"] = best_of
    if suffix:
        native["suffix"] = suffix
    return native


def _stop(fields: Fields) -> tuple[str, ...]:
    value = fields.get("stop")
    if isinstance(value, str):
        return (value,)
    if value is not None and not isinstance(value, list):
        raise fields.wrong("stop", "a string or an array of strings")
    return tuple(fields.texts("stop") or ())


def _logit_bias(fields: Fields) -> Mapping[str, float] | None:
    bias = fields.mapping("logit_bias")
    if bias is None:
        return None
    inner = Fields(bias, "logit_bias")
    return {token: value for token in bias if (value := inner.number(token)) is not None}
