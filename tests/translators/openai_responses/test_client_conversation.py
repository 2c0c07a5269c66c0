"""What a server that remembers answers needs: output as input, input with ids, a chain of both."""

from typing import Any

from translators.dialect import ReplyTo
from translators.neutral import Choice, Response, Text, Thinking, ToolCall
from translators.openai_responses.client import chained, input_items, items_of, parse_request, render_response

BODY: dict[str, Any] = {"model": "m", "input": "hi", "previous_response_id": "resp_0", "temperature": 1}


def test_an_answer_sent_back_means_what_it_said() -> None:
    """The output of one turn, put before the next, gives the parts that the vendor wrote, signatures too."""
    parts = (
        Thinking("why", {"anthropic": {"signature": "s"}}),
        Text("hello"),
        ToolCall("c", "f", '{"a":1}', native={"gemini": {"thoughtSignature": "g"}}),
        ToolCall("d", "g", "raw", "custom"),
    )
    to = ReplyTo(parse_request(BODY), BODY, "abc", 1)
    answer = render_response(Response("x", "m", 1, (Choice(parts, "tool_calls"),)), to)

    body = chained(items_of(answer), {"model": "m", "input": [{"role": "user", "content": "next"}]})
    turn = parse_request(body).messages[0]

    assert turn.role == "assistant"
    assert [(type(part), getattr(part, "text", getattr(part, "arguments", ""))) for part in turn.parts] == [
        (Thinking, "why"),
        (Text, "hello"),
        (ToolCall, '{"a":1}'),
        (ToolCall, "raw"),
    ]
    assert turn.parts[0] == parts[0]
    assert turn.parts[2].native["gemini"] == {"thoughtSignature": "g"}  # type: ignore[union-attr]  # a ToolCall


def test_a_chain_puts_earlier_items_first_and_forgets_their_name() -> None:
    earlier = {"role": "user", "content": "before"}

    assert chained([earlier], BODY) == {
        "model": "m",
        "input": [earlier, {"role": "user", "content": "hi"}],
        "temperature": 1,
    }
    assert chained([earlier], {"model": "m"}) == {"model": "m", "input": [earlier]}
    assert list(chained([], BODY)) == ["model", "input", "temperature"]


def test_nulls_of_an_answer_are_not_sent_back() -> None:
    output = [{"type": "reasoning", "id": "r", "summary": [], "content": None, "status": None}]

    assert items_of({"output": output}) == [{"type": "reasoning", "id": "r", "summary": []}]
    assert items_of({}) == []


def test_input_in_full_form() -> None:
    items = input_items(
        {
            "input": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b", "phase": "commentary"},
                {"type": "message", "id": "msg_1", "role": "user", "content": [{"type": "input_text", "text": "c"}]},
                {"type": "function_call_output", "call_id": "c", "output": "x"},
                {"id": "msg_0"},
            ]
        },
        "resp_1",
    )

    assert [item["type"] for item in items] == ["message"] * 3 + ["function_call_output", "item_reference"]
    assert [item["id"].split("_")[0] for item in items] == ["msg", "msg", "msg", "fco", "msg"]
    assert items[0] | {"id": ""} == {
        "id": "",
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_text", "text": "a"}],
    }
    assert items[1]["content"] == [{"type": "output_text", "text": "b", "annotations": []}]
    assert (items[1]["phase"], items[2]["id"], items[4]["id"]) == ("commentary", "msg_1", "msg_0")


def test_ids_of_input_items_are_unique_and_lasting() -> None:
    body = {"input": [{"role": "user", "content": "a"}, {"role": "user", "content": "a"}]}
    ids = [item["id"] for item in input_items(body, "resp_1")]

    assert len(set(ids)) == 2
    assert ids == [item["id"] for item in input_items(body, "resp_1")]
    assert ids[0] != input_items(body, "resp_2")[0]["id"]
    assert input_items({"input": "hi"})[0]["content"] == [{"type": "input_text", "text": "hi"}]
