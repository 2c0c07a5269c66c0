"""One provider that answers in every dialect, and says what it is told to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from tests.proxy.serving import DONE, OPENING, USAGE_CHUNK, chunk, completion, message
from tests.replay import Answer, Asked

DIALECTS: Final = ("openai_chat", "openai_responses", "anthropic", "gemini")
BASE: Final = {"openai_chat": "/v1", "openai_responses": "/v1", "anthropic": "", "gemini": ""}


def providers(url: str) -> str:
    """A provider for each dialect, named after it."""
    return "".join(
        f'[providers.{dialect}]\ndialect = "{dialect}"\nbase_url = "{url}{BASE[dialect]}"\n'
        'keys = ["sk-up-0123456789"]\nmodels = ["m"]\nprice = { input = "1", output = "2" }\n'
        for dialect in DIALECTS
    )


def answer(asked: Asked, text: str = "Hello") -> Answer:
    """*text*, as *asked* wants it."""
    body = json.loads(asked.body) if asked.body.startswith(b"{") else {}
    streamed = body.get("stream") is True or "streamGenerateContent" in asked.path
    match asked.path.partition("?")[0].rpartition("/")[2]:
        case "embeddings":
            data = [{"object": "embedding", "index": at, "embedding": [0.5, 0.5]} for at in range(_inputs(body))]
            return Answer.json({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 2}})
        case "completions" if "chat" not in asked.path:
            choice = {"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}
            return Answer.json(
                {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}
            )
        case "responses":
            return _sse(_response_events(text)) if streamed else Answer.json(_response(text))
        case "messages":
            return _sse(_message_events(text)) if streamed else Answer.json(message(text))
        case "completions":
            spoken = OPENING + chunk({"content": text}) + chunk({}, "stop") + USAGE_CHUNK + DONE
            return Answer.sse(spoken) if streamed else Answer.json(completion(text))
        case _:
            return (
                Answer.sse(f"data: {json.dumps(_candidate(text))}\n\n") if streamed else Answer.json(_candidate(text))
            )


def _inputs(body: Any) -> int:
    given = body.get("input")
    return len(given) if isinstance(given, list) and not (given and isinstance(given[0], int)) else 1


def _sse(events: Iterator[dict[str, Any]]) -> Answer:
    return Answer.sse("".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events))


def _candidate(text: str) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": text}]}
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    return {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}], "usageMetadata": usage}


def _item(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}


def _response(text: str, status: str = "completed") -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    made = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status}
    return {**made, "output": [_item(text)], "usage": usage}


def _response_events(text: str) -> Iterator[dict[str, Any]]:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part = _item(text)["content"][0]
    yield {"type": "response.created", "response": {**_response("", "in_progress"), "output": [], "usage": None}}
    yield {"type": "response.output_item.added", "output_index": 0, "item": {**_item(""), "content": []}}
    yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
    yield {"type": "response.output_text.delta", **place, "delta": text}
    yield {"type": "response.output_text.done", **place, "text": text}
    yield {"type": "response.content_part.done", **place, "part": part}
    yield {"type": "response.output_item.done", "output_index": 0, "item": _item(text)}
    yield {"type": "response.completed", "response": _response(text)}


def _message_events(text: str) -> Iterator[dict[str, Any]]:
    yield {"type": "message_start", "message": {**message(""), "content": [], "stop_reason": None}}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    yield {"type": "content_block_stop", "index": 0}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 5},
    }
    yield {"type": "message_stop"}
