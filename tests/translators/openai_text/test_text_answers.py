"""Completions as answers: written for a client, read from a server, whole and streamed."""

from typing import Any

import orjson
import pytest
from openai.types import Completion

from translators.assemble import collect, replay
from translators.dialect import ReplyTo
from translators.errors import BadAnswer
from translators.neutral import (
    Choice,
    Event,
    Failure,
    Finish,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    Response,
    Start,
    Text,
    Thinking,
    TokenLogprob,
    Usage,
    UsageReport,
)
from translators.openai_text import StreamParser, parse_response
from translators.openai_text.client import StreamRenderer, parse_request, render_response

USAGE = Usage(input_tokens=3, output_tokens=5)
FOREIGN = Response(
    id="msg_1",
    model="claude",
    created=0,
    choices=(
        Choice((Thinking("hm"), Text("Hello"), Text(" you")), "stop"),
        Choice((Refusal("I will not."),), "content_filter", index=1),
    ),
    usage=USAGE,
)
LOGPROBS = (
    TokenLogprob("Hel", -0.5, top=(TokenLogprob("Hel", -0.5), TokenLogprob("Yo", -1.0))),
    TokenLogprob("lo", -0.25, top=(TokenLogprob("lo", -0.25),)),
)


def reply_to(**fields: Any) -> ReplyTo:
    body = {"model": "fast", "prompt": "Say", **fields}
    return ReplyTo(parse_request(body), body, id="abc", created=1700000000)


def chunks(raw: bytes) -> list[dict[str, Any]]:
    lines = [line[6:] for line in raw.split(b"\n") if line.startswith(b"data: ")]
    return [orjson.loads(line) for line in lines if line != b"[DONE]"]


def streamed(events: list[Event], **fields: Any) -> bytes:
    renderer = StreamRenderer(reply_to(**fields))
    return renderer.render(events) + renderer.close(b'{"attempts":1}')


# --- written -------------------------------------------------------------------------------------


def test_a_foreign_answer_as_a_completion() -> None:
    body = render_response(FOREIGN, reply_to())

    Completion.model_validate(body, strict=True)
    assert body["object"] == "text_completion"
    assert (body["id"], body["model"], body["created"]) == ("msg_1", "claude", 1700000000)
    assert [(choice["text"], choice["finish_reason"]) for choice in body["choices"]] == [
        ("Hello you", "stop"),
        ("I will not.", "content_filter"),
    ]
    assert body["usage"]["total_tokens"] == 8


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "stop"),
        ("content_filter", "content_filter"),
        (None, "stop"),
    ],
)
def test_finish_reasons_are_the_three_that_the_type_has(reason: Any, word: str) -> None:
    body = render_response(Response("", "", 0, (Choice((Text("x"),), reason),)), reply_to())

    Completion.model_validate(body, strict=True)
    assert body["choices"][0]["finish_reason"] == word
    assert body["id"] == "cmpl-abc"


def test_echo_writes_the_prompt_before_a_foreign_answer() -> None:
    body = render_response(FOREIGN, reply_to(echo=True))
    raw = streamed(list(replay(FOREIGN)), echo=True)

    assert [choice["text"] for choice in body["choices"]] == ["SayHello you", "SayI will not."]
    assert texts(raw) == {0: "SayHello you", 1: "SayI will not."}


def test_a_completions_server_has_echoed_by_itself() -> None:
    own = parse_response({"id": "c", "choices": [{"text": "SayHello", "finish_reason": "stop", "index": 0}]})

    assert render_response(own, reply_to(echo=True))["choices"][0]["text"] == "SayHello"
    assert texts(streamed(list(replay(own)), echo=True)) == {0: "SayHello"}


def texts(raw: bytes) -> dict[int, str]:
    found: dict[int, str] = {}
    for chunk in chunks(raw):
        for choice in chunk["choices"]:
            found[choice["index"]] = found.get(choice["index"], "") + choice["text"]
    return found


def test_log_probabilities_in_this_apis_form() -> None:
    response = Response("c", "m", 1, (Choice((Text("Hello"),), "stop", logprobs=LOGPROBS),))

    body = render_response(response, reply_to(logprobs=2))

    Completion.model_validate(body, strict=True)
    assert body["choices"][0]["logprobs"] == {
        "tokens": ["Hel", "lo"],
        "token_logprobs": [-0.5, -0.25],
        "top_logprobs": [{"Hel": -0.5, "Yo": -1.0}, {"lo": -0.25}],
        "text_offset": [3, 6],
    }
    assert parse_response(body).choices == response.choices


def test_log_probabilities_without_alternatives() -> None:
    bare = tuple(TokenLogprob(entry.token, entry.logprob) for entry in LOGPROBS)

    body = render_response(Response("c", "m", 1, (Choice((Text("Hello"),), "stop", logprobs=bare),)), reply_to())

    assert body["choices"][0]["logprobs"]["top_logprobs"] is None


EVENTS: list[Event] = [
    Start("id-1", "m-1", 5),
    PartStart(0, Thinking("")),
    PartDelta(0, "hm"),
    PartEnd(0),
    PartStart(1, Text("")),
    PartDelta(1, "Hel", logprobs=LOGPROBS[:1]),
    PartDelta(1, "lo", logprobs=LOGPROBS[1:]),
    PartEnd(1),
    Finish("length"),
    UsageReport(USAGE),
]


def test_a_stream_as_chunks() -> None:
    raw = streamed(EVENTS, logprobs=2, stream_options={"include_usage": True}, stream=True)

    assert raw.endswith(b': modelport {"attempts":1}\n\ndata: [DONE]\n\n')
    first, second, last, usage = chunks(raw)
    assert [(c["id"], c["object"], c["created"], c["model"]) for c in (first, second, last, usage)] == [
        ("id-1", "text_completion", 5, "m-1")
    ] * 4
    assert [c["choices"][0]["text"] for c in (first, second, last)] == ["Hel", "lo", ""]
    assert [
        c["choices"][0]["logprobs"] and c["choices"][0]["logprobs"]["text_offset"] for c in (first, second, last)
    ] == [
        [3],
        [6],
        None,
    ]
    assert [c["choices"][0]["finish_reason"] for c in (first, second, last)] == [None, None, "length"]
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 8)
    assert first["usage"] is None
    Completion.model_validate(last)


def test_usage_is_told_only_to_a_client_that_asked() -> None:
    assert b"usage" not in streamed(EVENTS)


def test_a_failed_stream_ends_with_the_error_and_without_done() -> None:
    renderer = StreamRenderer(reply_to())

    raw = renderer.render(EVENTS[:6]) + renderer.fail(Failure("overloaded", "too much", 503))

    assert chunks(raw)[-1]["error"]["message"] == "too much"
    assert b"[DONE]" not in raw


def test_a_stream_that_was_written_is_read_back() -> None:
    raw = streamed(EVENTS, logprobs=2, stream_options={"include_usage": True})
    parser = StreamParser()

    response = collect([*parser.feed(raw), *parser.close()])

    assert response.choices == (Choice((Text("Hello"),), "length", logprobs=LOGPROBS),)
    assert response.usage is not None
    assert response.usage.output_tokens == 5


# --- read ----------------------------------------------------------------------------------------


def test_a_servers_answer_keeps_its_own_fields() -> None:
    body = {
        "id": "c",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [{"text": "x", "index": 0, "logprobs": None, "finish_reason": "stop", "stop_reason": 42}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        "system_fingerprint": "fp",
    }

    response = parse_response(body)

    assert collect(replay(response)) == response
    again = render_response(response, reply_to())
    assert {**again, "usage": body["usage"]} == body


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": ["x"]}, {"choices": None}])
def test_an_answer_without_choices_is_bad(body: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        parse_response(body)


def test_an_echoed_prompts_first_token_counts_as_certain() -> None:
    logprobs = {"tokens": ["Say", "x"], "token_logprobs": [None, -1], "top_logprobs": [None, {"x": -1}]}

    (choice,) = parse_response({"choices": [{"text": "Sayx", "logprobs": logprobs}]}).choices

    assert choice.logprobs == (TokenLogprob("Say", 0.0), TokenLogprob("x", -1.0, top=(TokenLogprob("x", -1.0),)))


def parsed(*datas: str, done: bool = True) -> list[Event]:
    parser = StreamParser()
    raw = "".join(f"data: {data}\n\n" for data in datas) + ("data: [DONE]\n\n" if done else "")
    return [*parser.feed(raw.encode()), *parser.close()]


@pytest.mark.parametrize(
    ("datas", "done", "kind"),
    [
        ((), False, "invalid_response"),
        ((), True, "invalid_response"),
        (('{"id":"c","choices":[{"text":"x","index":0,"finish_reason":null}]}',), False, "invalid_response"),
        (("no json",), True, "invalid_response"),
        (("[]",), True, "invalid_response"),
        (('{"value":"Sure"}',), True, "invalid_response"),
        (('{"error":{"message":"m","code":429}}',), True, "rate_limit"),
    ],
)
def test_a_stream_without_an_end_is_a_failure(datas: tuple[str, ...], done: bool, kind: str) -> None:
    last = parsed(*datas, done=done)[-1]

    assert isinstance(last, Failure)
    assert last.kind == kind


def test_choices_may_be_interleaved_and_finish_words_come_early() -> None:
    events = parsed(
        '{"id":"c","choices":[{"text":"a","index":1,"finish_reason":"length"},{"text":"b","index":0}]}',
        '{"id":"c","choices":[{"text":"c","index":1},{"text":"d","index":200,"finish_reason":"eos"}]}',
    )

    response = collect(events)

    assert [(choice.index, choice.parts, choice.finish_reason) for choice in response.choices] == [
        (0, (Text("b"),), "stop"),
        (1, (Text("ac"),), "length"),
        (200, (Text("d"),), "stop"),
    ]
