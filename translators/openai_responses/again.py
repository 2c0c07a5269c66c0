"""A whole response as the stream that it may have come in, for a client that asks for it again.

The events are those of `renderer`; the items, the heads and the last event repeat the response as it is. They are the
same whenever they are asked for, so that `sequence_number` says what a client has had already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from translators.assemble import replay
from translators.codec import dumps, loads_object
from translators.dialect import ReplyTo
from translators.neutral import Request
from translators.openai_responses.items import DIALECT
from translators.openai_responses.renderer import StreamRenderer
from translators.openai_responses.response import parse_response
from translators.sse import SseDecoder, frame

_LAST: Final[Mapping[str, str]] = {
    "completed": "response.completed",
    "failed": "response.failed",
    "incomplete": "response.incomplete",
    "cancelled": "response.incomplete",  # the API has no event of its own for it; the status tells
}
_HEADS: Final = frozenset({"response.created", "response.in_progress"})
_NOT_YET: Final[Mapping[str, Any]] = {
    "status": "in_progress",
    "completed_at": None,
    "error": None,
    "incomplete_details": None,
    "output": [],
    "usage": None,
}

Json = dict[str, Any]


def streamed_again(body: Mapping[str, Any], after: int = -1) -> bytes:
    """The frames of *body*, a Response object that has ended, behind the event number *after*.

    Raises:
        BadAnswer: it is no Response object.
    """
    events = enumerate(_events(body))
    return b"".join(
        frame(dumps({**event, "sequence_number": number}), event["type"]) for number, event in events if number > after
    )


def _events(body: Mapping[str, Any]) -> Iterator[Json]:
    rendered = _rendered(body)
    output = body["output"]
    whole = sum(event["type"] == "response.output_item.done" for event in rendered) == len(output)
    for event in rendered if whole else [event for event in rendered if event["type"] in _HEADS]:
        match event["type"]:
            case kind if kind in _HEADS:
                yield {**event, "response": {**body, **_NOT_YET}}
            case "response.output_item.done":
                yield {**event, "item": output[event["output_index"]]}
            case _:
                yield event
    for position, item in enumerate(output if not whole else ()):
        yield {"type": "response.output_item.added", "output_index": position, "item": item}
        yield {"type": "response.output_item.done", "output_index": position, "item": item}
    yield {"type": _LAST.get(str(body.get("status")), _LAST["incomplete"]), "response": dict(body)}


def _rendered(body: Mapping[str, Any]) -> list[Json]:
    """The renderer's events, without the last."""
    response = replace(parse_response(body), failure=None)
    made = response.id.removeprefix("resp_")
    renderer = StreamRenderer(ReplyTo(Request(DIALECT, response.model, ()), {}, made, response.created))
    decoder = SseDecoder()
    frames = renderer.render(list(replay(response))) + renderer.close(None)
    decoded = [*decoder.feed(frames), *decoder.close()]
    return [loads_object(event.data) for event in decoded if event.data][:-1]
