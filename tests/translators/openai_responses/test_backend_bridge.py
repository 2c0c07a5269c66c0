"""A chat client in front of the Responses API: what it is shown, and what of it goes back."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from translators import openai_chat
from translators.assemble import replay
from translators.dialect import ReplyTo, Rules
from translators.openai_chat import client
from translators.openai_responses import parse_response, render_request

RULES = Rules(dialect="openai_responses", conformant=True)
ASKED: dict[str, Any] = {"model": "gpt-6-sol", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
REASONING = [
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "One."}],
        "encrypted_content": "e1",
    },
    {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "e2"},
]
COMMENTARY = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "phase": "commentary",
    "content": [{"type": "output_text", "text": "Let me see. ", "annotations": []}],
}
FINAL = {**COMMENTARY, "id": "msg_2", "phase": "final_answer", "content": [{"type": "output_text", "text": "Done."}]}
CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "f",
    "arguments": "{}",
    "status": "completed",
}


def body(*output: dict[str, Any]) -> dict[str, Any]:
    usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
    known = {"id": "resp_1", "model": "gpt-6-sol", "created_at": 1, "status": "completed", "usage": usage}
    return {**known, "output": list(output)}


def shown_whole(*output: dict[str, Any]) -> dict[str, Any]:
    """The message that a chat client gets as a whole answer, through the official SDK."""
    to = ReplyTo(openai_chat.parse_request(ASKED), ASKED, "1", 1)
    written = client.render_response(parse_response(body(*output)), to)
    return ChatCompletion.model_validate(written).choices[0].message.model_dump(exclude_none=True)


def shown_in_a_stream(*output: dict[str, Any]) -> dict[str, Any]:
    """The same as a stream, joined by the official SDK."""
    renderer = client.StreamRenderer(ReplyTo(openai_chat.parse_request(ASKED), ASKED, "1", 1))
    frames = renderer.render(list(replay(parse_response(body(*output))))) + renderer.close()
    state = ChatCompletionStreamState()
    for line in frames.decode().splitlines():
        if line.startswith("data: {"):
            state.handle_chunk(ChatCompletionChunk.model_validate(orjson.loads(line[6:])))
    return state.get_final_completion().choices[0].message.model_dump(exclude_none=True)


def sent_back(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The items that the client's copy of the answer becomes in its next request."""
    result = {"role": "tool", "tool_call_id": "call_1", "content": "5"}
    messages = [*ASKED["messages"], message, *([result] if message.get("tool_calls") else [])]
    rendered = render_request(openai_chat.parse_request({**ASKED, "messages": messages}), RULES)
    assert {loss.field for loss in rendered.losses} <= {"messages[1].annotations"}
    items: list[dict[str, Any]] = rendered.body["input"]
    return items[1:]


@pytest.mark.parametrize("shown", [shown_whole, shown_in_a_stream])
def test_reasoning_comes_back_as_it_was_before_its_call(shown: Any) -> None:
    """WIRE 109: in `reasoning_details`, which a client returns with the message."""
    message = shown(*REASONING, CALL)

    assert message["reasoning_content"] == "One."
    assert [entry["type"] for entry in message["reasoning_details"]] == [
        "reasoning.summary",
        "reasoning.encrypted",
        "reasoning.encrypted",
    ]
    assert {entry["format"] for entry in message["reasoning_details"]} == {"openai-responses-v1"}
    assert sent_back(message) == [
        *REASONING,
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "5"},
    ]


@pytest.mark.parametrize("shown", [shown_whole, shown_in_a_stream])
@pytest.mark.parametrize("output", [[COMMENTARY, CALL], [FINAL], [COMMENTARY, FINAL]])
def test_the_phase_of_a_message_is_echoed(shown: Any, output: list[dict[str, Any]]) -> None:
    """WIRE 117: also where two messages have become one content."""
    found = [item for item in sent_back(shown(*output)) if item["type"] == "message"]

    assert [(item["phase"], item["content"]) for item in found] == [
        (item["phase"], item["content"][0]["text"]) for item in output if item["type"] == "message"
    ]


def test_a_content_that_the_client_changed_has_the_last_phase() -> None:
    message = {**shown_whole(COMMENTARY, FINAL), "content": "Something else."}

    assert [(item["phase"], item["content"]) for item in sent_back(message)] == [("final_answer", "Something else.")]


@pytest.mark.parametrize("shown", [shown_whole, shown_in_a_stream])
def test_a_plain_answer_has_no_extensions(shown: Any) -> None:
    """WIRE 113: a call is known by its `call_id`; the item's id is nothing to the client."""
    plain = {name: value for name, value in COMMENTARY.items() if name != "phase"}
    message = shown(plain, CALL)

    assert not {"extra_content", "reasoning_details", "annotations"} & message.keys()
    call = message["tool_calls"][0]
    assert (call["id"], "extra_content" in call) == ("call_1", False)


@pytest.mark.parametrize("shown", [shown_whole, shown_in_a_stream])
def test_a_clients_annotations_are_citations_of_pages_alone(shown: Any) -> None:
    """The SDK's type knows no other; citations of files stand in the extension."""
    page = {"type": "url_citation", "start_index": 0, "end_index": 3, "title": "t", "url": "https://example.com"}
    file = {"type": "file_citation", "file_id": "f", "filename": "a.txt", "index": 2}
    content = [{"type": "output_text", "text": "Let me see. ", "annotations": [page, file]}]
    message = shown({**COMMENTARY, "content": content})

    assert [entry["type"] for entry in message["annotations"]] == ["url_citation"]
    files = message["extra_content"]["openai_responses"]["annotations"]
    assert [entry["file_id"] for entry in files] == ["f"]
    assert [item["content"] for item in sent_back(message)] == ["Let me see. "]


@pytest.mark.parametrize("shown", [shown_whole, shown_in_a_stream])
def test_items_of_server_tools_come_back_whole(shown: Any) -> None:
    search = {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "q"},
    }

    assert search in sent_back(shown(search, FINAL))


def test_a_call_keeps_what_it_needs_beyond_its_id() -> None:
    back = sent_back(shown_whole({**CALL, "namespace": "tools"}))

    assert back[0] == {
        "type": "function_call",
        "call_id": "call_1",
        "name": "f",
        "arguments": "{}",
        "namespace": "tools",
    }
