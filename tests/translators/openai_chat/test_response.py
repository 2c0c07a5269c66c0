"""Whole answers, read from any server and written as OpenAI would."""

from collections.abc import Callable
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from translators.anthropic.response import usage_of
from translators.errors import BadAnswer
from translators.gemini.chunks import parse_usage as parse_gemini_usage
from translators.neutral import (
    Audio,
    Choice,
    Image,
    Native,
    Opaque,
    Part,
    Refusal,
    Response,
    Source,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
)
from translators.openai_chat import parse_request, parse_response, parse_usage, render_response, render_usage
from translators.openai_chat.think_tags import thinking_apart


def written(*parts: Part, reason: Any = "stop", native: Native | None = None, **options: Any) -> dict[str, Any]:
    response = Response("", "", 0, (Choice(parts, reason, native=native or {}),))
    body = render_response(response, fallback_id="chatcmpl-1", fallback_model="m", created=7, **options)
    ChatCompletion.model_validate(body)
    assert (body["id"], body["model"], body["created"]) == ("chatcmpl-1", "m", 7)
    return body["choices"][0]  # type: ignore[no-any-return]


CALL = ToolCall("c1", "f", "")


@pytest.mark.parametrize(
    ("parts", "reason", "finish", "message"),
    [
        pytest.param([Text("a")], "stop", "stop", {"content": "a"}, id="WIRE 45 stop"),
        pytest.param([Text("a")], "length", "length", {"content": "a"}, id="WIRE 45 length"),
        pytest.param(
            [Refusal("no")], "content_filter", "content_filter", {"content": None, "refusal": "no"}, id="WIRE 46"
        ),
        pytest.param(
            [Text("a"), CALL],
            "tool_calls",
            "tool_calls",
            {
                "content": "a",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            id="WIRE 50, 56",
        ),
        pytest.param(
            [CALL, ToolCall("c2", "g", '{"half', "function")],
            "length",
            "length",
            {
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "c2", "type": "function", "function": {"name": "g", "arguments": '{"half'}},
                ],
            },
            id="WIRE 49",
        ),
        pytest.param([], "length", "length", {"content": ""}, id="WIRE 89"),
        pytest.param(
            [Thinking("t"), Text("a")], "stop", "stop", {"content": "a", "reasoning_content": "t"}, id="WIRE 87, 122"
        ),
        pytest.param(
            [Thinking("", {"anthropic": {"signature": "s"}}), Text("a")],
            "stop",
            "stop",
            {"content": "a", "thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "s"}]},
            id="WIRE 57, 58",
        ),
        pytest.param(
            [Opaque("anthropic", "server_tool_use", {"type": "server_tool_use"}), Text("a")],
            "stop",
            "stop",
            {"content": "a", "extra_content": {"anthropic": {"blocks": [{"type": "server_tool_use"}]}}},
            id="WIRE 59",
        ),
        pytest.param(
            [ToolCall("c", "f", "{}", native={"gemini": {"thoughtSignature": "g"}})],
            "tool_calls",
            "tool_calls",
            {
                "content": None,
                "tool_calls": [
                    {
                        "id": "c",
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}"},
                        "extra_content": {"google": {"thought_signature": "g"}},
                    }
                ],
            },
            id="WIRE 76",
        ),
        (
            [ToolCall("c", "n", "4+4", "custom")],
            "tool_calls",
            "tool_calls",
            {"content": None, "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "n", "input": "4+4"}}]},
        ),
        (
            [Image(Source("image/png", "AA=="))],
            "stop",
            "stop",
            {
                "content": "",
                "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}],
            },
        ),
        (
            [Audio(Source("audio/wav", "AA=="), "a1", "said", {"openai_chat": {"expires_at": 5}})],
            "stop",
            "stop",
            {"content": None, "audio": {"id": "a1", "data": "AA==", "expires_at": 5, "transcript": "said"}},
        ),
    ],
)
def test_answers_are_written(parts: list[Part], reason: str, finish: str, message: dict[str, Any]) -> None:
    choice = written(*parts, reason=reason)

    assert choice["finish_reason"] == finish
    assert choice["message"] == {"role": "assistant", "refusal": None, **message}


def test_several_texts_are_joined_and_their_citations_moved() -> None:
    """WIRE 51."""
    cited = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 2}}

    message = written(Text("abc"), Text("de", (cited,)))["message"]

    assert message["content"] == "abcde"
    assert message["annotations"][0]["url_citation"] == {"url": "u", "title": "t", "start_index": 3, "end_index": 5}


@pytest.mark.parametrize(
    ("reason", "native", "extra"),
    [
        pytest.param("pause", {}, {"modelport": {"finish_reason": "pause"}}, id="WIRE 47"),
        pytest.param(
            "stop", {"anthropic": {"stop_sequence": "X"}}, {"anthropic": {"stop_sequence": "X"}}, id="WIRE 64"
        ),
    ],
)
def test_what_has_no_finish_word_stands_beside_it(reason: str, native: Native, extra: dict[str, Any]) -> None:
    choice = written(Text("a"), reason=reason, native=native)

    assert (choice["finish_reason"], choice["extra_content"]) == ("stop", extra)


def test_a_client_of_the_older_form_gets_a_function_call() -> None:
    choice = written(CALL, reason="tool_calls", legacy_functions=True)

    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "f", "arguments": "{}"}


def test_logprobs_are_written_as_the_sdk_reads_them() -> None:
    logprobs = (TokenLogprob("a", -0.5, None, (TokenLogprob("b", -1.0),)),)
    response = Response("i", "m", 1, (Choice((Text("a"),), "stop", logprobs=logprobs),))

    body = render_response(response, fallback_id="", fallback_model="", created=0)

    parsed = ChatCompletion.model_validate(body).choices[0].logprobs
    assert parsed is not None
    assert parsed.content is not None
    assert [top.token for top in parsed.content[0].top_logprobs] == ["b"]


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
            },
            (9, 4, 3, 2, 0),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_cache_hit_tokens": 3}, (9, 4, 3, 0, 0)),
        ({"prompt_tokens": 9, "completion_tokens": 4, "cached_tokens": 3}, (9, 4, 3, 0, 0)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "cache_read_input_tokens": 3,
                "cache_creation_input_tokens": 1,
            },
            (9, 4, 3, 1, 0),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "total_tokens": 15,
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            (9, 6, 0, 0, 2),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "total_tokens": 13,
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            (9, 4, 0, 0, 2),
        ),
        ({"prompt_tokens": 9, "completion_tokens": None, "prompt_tokens_details": None}, (9, 0, 0, 0, 0)),
        ({"input_tokens": 9, "output_tokens": 4}, (9, 4, 0, 0, 0)),
        ({"prompt_tokens": 9.0, "completion_tokens": 10**12}, (9, 10**12, 0, 0, 0)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": -1, "cache_write_tokens": True},
                "completion_tokens_details": {"reasoning_tokens": "many"},
            },
            (9, 4, 0, 0, 0),
        ),
    ],
)
def test_every_way_of_counting_is_understood(raw: dict[str, Any], usage: tuple[int, ...]) -> None:
    read = parse_usage(raw)

    assert read is not None
    assert (
        read.input_tokens,
        read.output_tokens,
        read.cached_input_tokens,
        read.cache_write_tokens,
        read.reasoning_tokens,
    ) == usage
    assert read.raw == raw


def test_usage_is_written_in_full() -> None:
    """WIRE 52."""
    assert render_usage(Usage(10, 5, 3, 2, 4)) == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }


def read(message: dict[str, Any], finish: Any = "stop") -> Choice:
    return parse_response({"choices": [{"message": message, "finish_reason": finish}]}, lambda: "made").choices[0]


@pytest.mark.parametrize(
    ("message", "finish", "parts", "reason"),
    [
        ({"content": "a"}, "eos", [Text("a")], "stop"),
        ({"content": "a"}, "", [Text("a")], "stop"),
        pytest.param(
            {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": ""}}]},
            "stop",
            [ToolCall("made", "f", "{}")],
            "tool_calls",
            id="WIRE 120, 121",
        ),
        (
            {"function_call": {"name": "f", "arguments": "{}"}},
            "function_call",
            [ToolCall("made", "f", "{}")],
            "tool_calls",
        ),
        pytest.param({"content": "a", "reasoning": "r"}, "stop", [Thinking("r"), Text("a")], "stop", id="WIRE 122"),
        ({"content": "a", "reasoning_content": "r", "reasoning": "r"}, "stop", [Thinking("r"), Text("a")], "stop"),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "r"}]},
                    {"type": "text", "text": "a"},
                ]
            },
            "stop",
            [Thinking("r"), Text("a")],
            "stop",
        ),
        (
            {"content": None, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]},
            None,
            [ToolCall("c", "f", '{"a":1}')],
            "tool_calls",
        ),
        (
            {"content": "", "images": [{"image_url": {"url": "https://x"}}]},
            "stop",
            [Image(Source(url="https://x"))],
            "stop",
        ),
    ],
)
def test_answers_of_all_servers_are_read(message: dict[str, Any], finish: Any, parts: list[Part], reason: str) -> None:
    choice = read(message, finish)

    assert list(choice.parts) == parts
    assert choice.finish_reason == reason


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>\nr\n</think>\n\na", [Thinking("r"), Text("a")]),
        ("a <think>b</think>", [Text("a <think>b</think>")]),
        ("<think>only", [Thinking("only")]),
        ("<think>\n</think>\n\na", [Text("a")]),
        ("<thinker>", [Text("<thinker>")]),
    ],
)
def test_think_tags_are_split_where_asked(text: str, parts: list[Part]) -> None:
    """WIRE 125."""
    response = parse_response({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})

    assert list(thinking_apart(response).choices[0].parts) == parts
    assert list(response.choices[0].parts) == [Text(text)]


def test_unknown_fields_stand_where_they_stood() -> None:
    body = {
        "id": "i",
        "model": "m",
        "created": 1,
        "provider": "P",
        "choices": [{"message": {"content": "a", "odd": 1}, "finish_reason": "stop", "native_finish_reason": "s"}],
    }

    again = render_response(parse_response(body), fallback_id="", fallback_model="", created=0)

    assert again["provider"] == "P"
    assert again["choices"][0]["native_finish_reason"] == "s"
    assert again["choices"][0]["message"]["odd"] == 1


@pytest.mark.parametrize("body", [{}, {"choices": None}, {"choices": []}, {"choices": ["x"]}])
def test_an_answer_without_choices_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer, match="choices"):
        parse_response(body)


def test_what_we_answered_comes_back_as_it_was() -> None:
    """WIRE 57, 76: multi-turn through the proxy keeps signatures and order."""
    parts: tuple[Part, ...] = (
        Thinking("t", {"anthropic": {"signature": "s"}}),
        Thinking("", {"anthropic": {"redacted_data": "d"}}),
        Opaque("anthropic", "server_tool_use", {"type": "server_tool_use", "id": "x"}),
        Text("a"),
        ToolCall("c", "f", '{"a":1}', native={"gemini": {"thoughtSignature": "g"}}),
    )

    message = written(*parts, reason="tool_calls")["message"]

    assert parse_request({"model": "m", "messages": [message]}).messages[0].parts == parts


NONSENSE = [-1, "7", "many", 1.5, True, False, 10**12 + 1, 1e300, [7], {"n": 7}]


@pytest.mark.parametrize("wrong", NONSENSE, ids=repr)
@pytest.mark.parametrize(
    ("parse", "counts"),
    [
        (parse_usage, {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}),
        (parse_usage, {"input_tokens": 9, "output_tokens": 4}),
        (usage_of, {"input_tokens": 9, "output_tokens": 4}),
        (parse_gemini_usage, {"promptTokenCount": 9, "candidatesTokenCount": 4}),
    ],
    ids=["openai_chat", "openai_chat-other-names", "anthropic", "gemini"],
)
def test_a_main_count_that_cannot_be_one_means_that_nothing_was_reported(
    parse: Callable[[dict[str, Any]], Usage | None], counts: dict[str, int], wrong: Any
) -> None:
    for name in list(counts)[:2]:
        assert parse({**counts, name: wrong}) is None


@pytest.mark.parametrize("parse", [parse_usage, usage_of, parse_gemini_usage])
def test_usage_without_any_main_count_reports_nothing(parse: Callable[[dict[str, Any]], Usage | None]) -> None:
    assert parse({"cost": 0.1, "total_tokens": 0}) is None


@pytest.mark.parametrize("wrong", NONSENSE, ids=repr)
def test_a_detail_that_cannot_be_a_count_is_0(wrong: Any) -> None:
    by_ttl = {"ephemeral_5m_input_tokens": wrong}
    claude = usage_of(
        {"input_tokens": 9, "output_tokens": 4, "cache_read_input_tokens": wrong, "cache_creation": by_ttl}
    )
    google = parse_gemini_usage({"promptTokenCount": 9, "candidatesTokenCount": 4, "thoughtsTokenCount": wrong})

    assert claude is not None
    assert google is not None
    assert [(usage.input_tokens, usage.output_tokens) for usage in (claude, google)] == [(9, 4), (9, 4)]


@pytest.mark.parametrize(
    "choice",
    [
        {"message": None, "finish_reason": "stop"},
        {"finish_reason": "length"},
        {"message": "Hello", "finish_reason": "stop"},
        {"message": None, "text": None, "finish_reason": None},
    ],
)
def test_a_choice_that_says_nothing_in_any_form_is_a_wrong_answer(choice: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer, match=r"choices\[0\]\.message"):
        parse_response({"choices": [choice]})


@pytest.mark.parametrize(
    ("choice", "parts"),
    [
        ({"message": None, "finish_reason": "content_filter"}, ()),
        ({"finish_reason": "content_filter"}, ()),
        ({"text": "a", "finish_reason": "stop"}, (Text("a"),)),
        ({"text": "", "finish_reason": "length"}, ()),
    ],
)
def test_a_filtered_message_and_a_plain_text_need_no_message(choice: dict[str, Any], parts: tuple[Part, ...]) -> None:
    assert parse_response({"choices": [choice]}).choices[0].parts == parts
