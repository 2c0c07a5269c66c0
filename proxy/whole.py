"""A whole answer of a backend, read: one object, a stream nobody asked for, or an error in disguise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proxy.asked import Asked
from proxy.prepare import Prepared
from routing.errors import AttemptFailed
from translators.assemble import collect
from translators.codec import JsonError, loads_object
from translators.custom_tools import Restorer
from translators.errors import BadAnswer
from translators.neutral import Choice, Failure, Response, Usage
from translators.openai_chat.think_tags import thinking_apart


def read_whole(raw: bytes, prepared: Prepared, asked: Asked) -> tuple[Response, bytes | None]:
    """A whole answer in the neutral form and, when it can be relayed, as bytes for the client.

    Raises:
        AttemptFailed: it is an error in disguise, or not an answer of the dialect.
    """
    try:
        if _is_stream(raw):
            return _collected(raw, prepared), None
        body = loads_object(raw)
        if failure := prepared.dialect.error_in(body):
            raise AttemptFailed(failure)
        if prepared.verbatim:
            payload, response = asked.dialect.relay_response(raw, prepared.rules, asked.reply_to(), body)
            return response, payload
        response = prepared.dialect.parse_response(body)
        if prepared.rules.think_tags:
            response = thinking_apart(response)
    except (JsonError, BadAnswer) as error:
        raise AttemptFailed(Failure("invalid_response", str(error), 502)) from error
    if response.failure:
        raise AttemptFailed(response.failure)
    return Restorer(prepared.tool_names, prepared.custom).response(response), None


def usage_seen(raw: bytes, prepared: Prepared) -> Usage | None:
    """The tokens that *raw* tells, the body of an error or of what should have been an answer."""
    if _is_stream(raw):
        return _streamed(raw, prepared).usage
    try:
        return prepared.dialect.usage_in(loads_object(raw))
    except JsonError:
        return None


def _is_stream(raw: bytes) -> bool:
    return raw.lstrip()[:5] in {b"data:", b"event"}


def _streamed(raw: bytes, prepared: Prepared) -> Response:
    parser = prepared.dialect.StreamParser(prepared.rules)
    return collect([*parser.feed(raw), *parser.close()])


def _collected(raw: bytes, prepared: Prepared) -> Response:
    """The whole answer of a server that streams whether asked to or not."""
    response = _streamed(raw, prepared)
    if response.failure:
        raise AttemptFailed(response.failure)
    return Restorer(prepared.tool_names, prepared.custom).response(response)


def joined(responses: Sequence[Response]) -> Response:
    """Several answers of one choice as one answer of several; usage is summed."""
    choices: list[Choice] = [
        replace(choice, index=index) for index, response in enumerate(responses) for choice in response.choices[:1]
    ]
    usages = [response.usage for response in responses if response.usage]
    usage = summed(usages) if len(usages) == len(responses) else None
    return replace(responses[0], choices=tuple(choices), usage=usage)


def summed(usages: Sequence[Usage]) -> Usage:
    """The tokens of several calls; there is no raw object of them all."""
    return Usage(
        input_tokens=sum(each.input_tokens for each in usages),
        output_tokens=sum(each.output_tokens for each in usages),
        cached_input_tokens=sum(each.cached_input_tokens for each in usages),
        cache_write_tokens=sum(each.cache_write_tokens for each in usages),
        reasoning_tokens=sum(each.reasoning_tokens for each in usages),
        audio_input_tokens=sum(each.audio_input_tokens for each in usages),
        audio_output_tokens=sum(each.audio_output_tokens for each in usages),
        estimated=any(each.estimated for each in usages),
    )
