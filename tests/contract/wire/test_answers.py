"""Wire cases of answers: what every client is told of what a vendor said, in both forms.

The number in a test's name or id is the case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from tests.contract.wire.sdks import CLIENTS, QUESTION, TEXT, TOOL, Json, Sdks, Told
from tests.contract.wire.vendors import (
    CHAT_USAGE,
    FOUND,
    GOOGLE_USAGE,
    MESSAGE,
    REASONED,
    SEARCH,
    SIGNED,
    UNSAID,
    Says,
    _block_events,
    called,
    calls,
    chat,
    chunk,
    claude,
    frames,
    google,
    google_call,
    item_call,
    output,
    responses,
    text,
    use,
)
from tests.replay import Answer

FORMS: Final = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
EVERY_CLIENT: Final = pytest.mark.parametrize("client", CLIENTS)


# --- what clients are told -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """A vendor's answer and what clients read of it; *own* is what a client's dialect says otherwise."""

    says: Says
    text: str = ""
    thought: str = ""
    refusal: str = ""
    calls: Sequence[tuple[str, Any]] = ()
    ids: Sequence[str] = ()
    finish: str = "stop"
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def expected(self, client: str) -> dict[str, Any]:
        names = ("text", "thought", "refusal", "calls", "ids", "finish")
        told = {**{name: getattr(self, name) for name in names}, **self.own.get(client, {})}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}


EXPLAINED: Final = {"type": "refusal", "category": "cyber", "explanation": "No attacks."}
UNEXPLAINED: Final = {"type": "refusal", "category": "cyber", "explanation": None}
IN_WORDS: Final = {"gemini": {"text": "No attacks.", "refusal": ""}}
"""Gemini has no field for a refusal's words: they are the text of an answer that ended for safety."""
BLOCKED: Final = {"gemini": {"refusal": "SAFETY"}}
"""An answer that says nothing is a blocked prompt to clients of Gemini's."""
SAID_NO: Final = {
    "anthropic": {"finish": "filtered", "text": "No."},
    "gemini": {"text": "No.", "refusal": ""},
}

_FEEDBACK: Final = {
    "promptFeedback": {"blockReason": "SAFETY"},
    "usageMetadata": GOOGLE_USAGE,
    "responseId": "r1",
    "modelVersion": "m",
}
BLOCKED_WORDS: Final = "Gemini blocked the prompt: SAFETY"
BLOCKED_PROMPT: Final = Says("gemini", Answer.json(_FEEDBACK), frames(_FEEDBACK))

ANSWERS: Final = {
    "45-max-tokens": Row(claude(text("Paris is"), reason="max_tokens"), "Paris is", finish="length"),
    "45-full-window": Row(
        claude(text("Paris is"), reason="model_context_window_exceeded"),
        "Paris is",
        finish="length",
        own={"anthropic": {"finish": "model_context_window_exceeded"}},
    ),
    "46-explained": Row(
        claude(reason="refusal", stop_details=EXPLAINED), refusal="No attacks.", finish="filtered", own=IN_WORDS
    ),
    "46-category": Row(
        claude(reason="refusal", stop_details=UNEXPLAINED),
        refusal="cyber",
        finish="filtered",
        own={"anthropic": {"refusal": ""}, "gemini": {"text": "cyber", "refusal": ""}},
    ),
    "46-silent": Row(claude(reason="refusal"), finish="filtered", own=BLOCKED),
    "48-unknown-reason": Row(claude(text(), reason="brand_new"), TEXT, own={"anthropic": {"finish": "brand_new"}}),
    "48-unknown-reason-with-call": Row(
        claude(use("toolu_1", "Paris"), reason="brand_new"),
        calls=calls("Paris"),
        ids=["toolu_1"],
        finish="calls",
        own={"anthropic": {"finish": "brand_new"}},
    ),
    "48-unknown-reason-of-chat": Row(
        chat({"content": None, "tool_calls": [called("a", "Paris")]}, "brand_new"),
        calls=calls("Paris"),
        ids=["a"],
        finish="calls",
    ),
    "50-text-and-calls": Row(
        claude(text("See."), use("toolu_1", "Paris"), use("toolu_2", "Oslo"), reason="tool_use"),
        "See.",
        calls=calls("Paris", "Oslo"),
        ids=["toolu_1", "toolu_2"],
        finish="calls",
    ),
    "54-calls-around-a-text": Row(
        claude(text("See."), use("toolu_1", "Paris"), text("And."), use("toolu_2", "Oslo"), reason="tool_use"),
        "See.And.",
        calls=calls("Paris", "Oslo"),
        ids=["toolu_1", "toolu_2"],
        finish="calls",
    ),
    "56-call-without-input": Row(
        claude(use("toolu_1", None), reason="tool_use"), calls=calls(None), ids=["toolu_1"], finish="calls"
    ),
    "56-call-without-arguments": Row(
        chat({"content": None, "tool_calls": [called("a", None)]}, "tool_calls"),
        calls=calls(None),
        ids=["a"],
        finish="calls",
    ),
    "57-thinking": Row(claude(SIGNED, text()), TEXT, "Hm."),
    "57-redacted": Row(claude({"type": "redacted_thinking", "data": "c2VjcmV0"}, text()), TEXT),
    "58-thinking-without-words": Row(claude(UNSAID, text()), TEXT),
    "59-server-tools": Row(claude(text("Let me. "), SEARCH, FOUND, text()), "Let me. " + TEXT),
    "64-stop-sequence": Row(
        claude(text(), reason="stop_sequence", stop_sequence="END"),
        TEXT,
        own={"anthropic": {"finish": "stop_sequence"}},
    ),
    "66-filtered": Row(chat({"content": "Par"}, "content_filter"), "Par", finish="filtered"),
    "66-filtered-silently": Row(chat({"content": None}, "content_filter"), finish="filtered", own=BLOCKED),
    "66-refused": Row(chat({"content": None, "refusal": "No."}), refusal="No.", own=SAID_NO),
    "66-unknown-reason": Row(chat({"content": TEXT}, "brand_new"), TEXT),
    "87-thought": Row(google({"text": "Hm.", "thought": True}, {"text": TEXT}), TEXT, "Hm."),
    "89-nothing-but-thoughts-fitted": Row(google(reason="MAX_TOKENS"), finish="length"),
    "93-stop-after-calls": Row(
        google(google_call("Paris", id="g1"), google_call("Oslo", id="g2")),
        calls=calls("Paris", "Oslo"),
        ids=["g1", "g2"],
        finish="calls",
    ),
    "95-recitation": Row(
        google({"text": "Par"}, reason="RECITATION"), "Par", finish="filtered", own={"gemini": {"finish": "RECITATION"}}
    ),
    "95-safety": Row(google(reason="SAFETY"), finish="filtered"),
    "96-blocked": Row(
        BLOCKED_PROMPT,
        refusal=BLOCKED_WORDS,
        finish="filtered",
        own={"anthropic": {"text": BLOCKED_WORDS}, **BLOCKED},
    ),
    "113-calls": Row(
        responses(REASONED, output("See."), item_call("call_a", "Paris"), item_call("call_b", "Oslo")),
        "See.",
        "Hm.",
        calls=calls("Paris", "Oslo"),
        ids=["call_a", "call_b"],
        finish="calls",
    ),
    "114-cut": Row(
        responses(output("Paris is"), status="incomplete", why="max_output_tokens"), "Paris is", finish="length"
    ),
    "114-filtered": Row(responses(output("Par"), status="incomplete", why="content_filter"), "Par", finish="filtered"),
    "114-filtered-silently": Row(responses(status="incomplete", why="content_filter"), finish="filtered", own=BLOCKED),
    "115-summary-in-the-items-end-alone": Row(responses(REASONED, output()), TEXT, "Hm."),
    "115-refusal": Row(responses(output("No.", "refusal")), refusal="No.", own=SAID_NO),
    "120-stop-after-calls": Row(
        chat({"content": None, "tool_calls": [called("a", "Paris")]}, "stop"),
        calls=calls("Paris"),
        ids=["a"],
        finish="calls",
    ),
    "122-reasoning": Row(chat({"reasoning": "Hm.", "content": TEXT}), TEXT, "Hm."),
    "122-reasoning-content": Row(chat({"reasoning_content": "Hm.", "content": TEXT}), TEXT, "Hm."),
}


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # a block type that the SDK does not know yet
@FORMS
@EVERY_CLIENT
@pytest.mark.parametrize("name", ANSWERS)
def test_every_client_is_told_what_the_vendor_said(sdks: Sdks, name: str, client: str, stream: bool) -> None:
    """With the tokens that it counted: 52, 98."""
    row = ANSWERS[name]
    model = sdks.model(row.says.vendor, row.says(stream))

    told = sdks.ask(client, model, stream, tool=TOOL)

    expected = row.expected(client)
    assert {part: getattr(told, part) for part in expected} == expected
    written = 0 if row.says.vendor == "gemini" else 3
    assert told.usage == (20, 5, None if client == "gemini" else written, 9, 4)


CUT: Final = '{"city": "Pa'


@FORMS
@EVERY_CLIENT
def test_49_arguments_that_were_cut_are_told_as_they_are(sdks: Sdks, client: str, stream: bool) -> None:
    """As text where the dialect has text; where it has an object, repaired (whole), or as no call (Gemini)."""
    call = called("a", None, function={"name": TOOL, "arguments": CUT})
    says = chat({"content": "See.", "tool_calls": [call]}, "length")
    model = sdks.model("openai_chat", says(stream))

    told = sdks.ask(client, model, stream)

    assert (told.text, told.finish) == ("See.", "length")
    match client:
        case "anthropic" if stream:
            assert pieces_of_input(sdks, sdks.model("openai_chat", says(True))) == CUT
        case "anthropic":
            assert told.calls == [(TOOL, {"city": "Pa"})]
        case "gemini":
            assert told.calls == []
            reply = sdks.post(client, sdks.model("openai_chat", says(stream)), stream)
            assert json.dumps(CUT)[1:-1] in reply.body.decode(), "finishMessage, which this SDK leaves aside"
        case _:
            assert told.calls == [(TOOL, CUT)]


def pieces_of_input(sdks: Sdks, model: str) -> str:
    """The input of a call as it is streamed; the SDK's own reader keeps no more of it than is JSON."""
    asked: Any = {"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": QUESTION}]}
    events = sdks.messages.messages.create(**asked, stream=True)
    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    return "".join(delta.partial_json for delta in deltas if delta.type == "input_json_delta")


CITED: Final = {"url": "https://example.com/paris", "title": "Paris"}
CLAUDES_CITATION: Final = {
    "type": "web_search_result_location",
    "cited_text": "Paris",
    "encrypted_index": "aWR4",
    **CITED,
}
GROUNDING: Final = {
    "groundingChunks": [{"web": {"uri": CITED["url"], "title": CITED["title"]}}],
    "groundingSupports": [
        {"segment": {"startIndex": 9, "endIndex": 9 + len(TEXT), "text": TEXT}, "groundingChunkIndices": [0]}
    ],
}
"""Google counts bytes: the u with its dots in the text before is two."""


def cited(client: str, told: Told) -> tuple[str, str] | str:
    """What a citation refers to, by the offsets that the client is given, and the page."""
    match client:
        case "openai_chat":
            (annotation,) = told.whole["choices"][0]["message"]["annotations"]
            where = annotation["url_citation"]
            return told.text[where["start_index"] : where["end_index"]], where["url"]
        case "openai_responses":
            parts = [part for item in told.whole["output"] for part in item["content"]]
            ((part, where),) = [(part, each) for part in parts for each in part["annotations"]]
            return part["text"][where["start_index"] : where["end_index"]], where["url"]
        case "anthropic":
            ((block, where),) = [
                (block, each) for block in told.whole["content"] for each in block.get("citations") or ()
            ]
            return block["text"].removeprefix("Zürich. "), where["url"]
        case _:
            found = [
                candidate["groundingMetadata"]
                for chunk in told.whole["chunks"]
                for candidate in chunk["candidates"]
                if candidate.get("groundingMetadata")
            ]
            segment = found[-1]["groundingSupports"][0]["segment"]
            words = told.text.encode()[segment["startIndex"] : segment["endIndex"]].decode()
            return words, found[-1]["groundingChunks"][0]["web"]["uri"]


@FORMS
@EVERY_CLIENT
@pytest.mark.parametrize(
    "says",
    [
        pytest.param(claude(text("Zürich. "), text(citations=[CLAUDES_CITATION])), id="51"),
        pytest.param(google({"text": "Zürich. " + TEXT}, groundingMetadata=GROUNDING), id="103"),
    ],
)
def test_citations_stand_where_the_client_counts(sdks: Sdks, says: Says, client: str, stream: bool) -> None:
    """In characters of the whole text, of its part, or in bytes; Anthropic's have no offsets."""
    told = sdks.ask(client, sdks.model(says.vendor, says(stream)), stream)

    assert cited(client, told) == (TEXT, CITED["url"])


# --- tokens and money ----------------------------------------------------------------------------------


def usage_so_far(prompt: int, completion: int, **more: Any) -> Json:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **more}


CUMULATIVE: Final = {
    "anthropic": frames(
        {
            "type": "message_start",
            "message": {
                **MESSAGE,
                "usage": {"input_tokens": 12, "cache_read_input_tokens": 8, "output_tokens": 3},
            },
        },
        *_block_events(0, text()),
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 6}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ),
    "gemini": frames(
        *(
            {"candidates": [{"index": 0, **said}], "usageMetadata": counts, "responseId": "r1", "modelVersion": "m"}
            for said, counts in (
                (
                    {"content": {"role": "model", "parts": [{"text": "Paris"}]}},
                    {"promptTokenCount": 20, "cachedContentTokenCount": 8, "candidatesTokenCount": 1},
                ),
                (
                    {"content": {"role": "model", "parts": [{"text": TEXT[5:]}]}},
                    {"promptTokenCount": 20, "candidatesTokenCount": 4, "thoughtsTokenCount": 3},
                ),
                ({"finishReason": "STOP"}, {"candidatesTokenCount": 6, "thoughtsTokenCount": 3}),
            )
        )
    ),
    "openai_chat": frames(
        chunk({"role": "assistant", "content": "Paris"}, usage=usage_so_far(20, 1)),
        chunk({"content": TEXT[5:]}, "stop", usage=usage_so_far(20, 9, prompt_tokens_details={"cached_tokens": 8})),
        done=True,
    ),
}


# The stream of a client that speaks to its own vendor is relayed: its chunks are Google's.
CUMULATED: Final = [
    (vendor, client) for vendor in CUMULATIVE for client in CLIENTS if (vendor, client) != ("gemini", "gemini")
]


@pytest.mark.parametrize(("vendor", "client"), CUMULATED)
def test_53_usage_of_a_stream_is_cumulative(sdks: Sdks, vendor: str, client: str) -> None:
    """53, 98, 119: for every client the last report counts, and what it leaves out stays."""
    told = sdks.ask(client, sdks.model(vendor, CUMULATIVE[vendor]), True)

    assert (told.text, told.usage[0], told.usage[1], told.usage[3]) == (TEXT, 20, 8, 9)


PRICED: Final = {
    "anthropic": (claude(text()), 12_000 + 5 * 100 + 3 * 1250 + 9 * 2000),
    "gemini": (google({"text": TEXT}), 15_000 + 5 * 100 + 9 * 2000),
    "openai_chat": (chat({"content": TEXT}), 12_000 + 5 * 100 + 3 * 1250 + 9 * 2000),
    "openai_responses": (responses(output()), 12_000 + 5 * 100 + 3 * 1250 + 9 * 2000),
}
"""20 tokens in, of which 5 were cached and 3 written (not at Google), 9 out; nano-dollars at PRICE."""


@FORMS
@EVERY_CLIENT
@pytest.mark.parametrize("vendor", PRICED)
def test_99_every_token_is_billed_once(sdks: Sdks, vendor: str, client: str, stream: bool) -> None:
    """52, 99, 141: whatever the client's dialect and the vendor's way to count; thinking is output."""
    says, nanousd = PRICED[vendor]

    reply = sdks.post(client, sdks.model(vendor, says(stream)), stream)

    booked = sdks.server.exchange(reply.headers["x-request-id"])
    names = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
    assert [booked[name] for name in names] == [20, 5, 0 if vendor == "gemini" else 3, 9, 4]
    assert booked["cost_usd"] == f"{nanousd / 1e9:.9f}"
    assert booked["estimated"] is False


@FORMS
@EVERY_CLIENT
def test_118_usage_is_asked_for_whatever_the_client_speaks(sdks: Sdks, client: str, stream: bool) -> None:
    """A stream of an OpenAI-compatible server tells none otherwise; a whole answer takes no such option."""
    model = sdks.model("openai_chat", chat({"content": TEXT})(stream))

    reply = sdks.post(client, model, stream)

    (body,) = sdks.asked(model)
    assert body.get("stream_options") == ({"include_usage": True} if stream else None)
    assert reply.status == 200
    if client == "openai_chat" and stream:
        assert b'"usage":{' not in reply.body, "the client did not ask"


@FORMS
@EVERY_CLIENT
def test_128_an_answer_without_usage_is_estimated(sdks: Sdks, client: str, stream: bool) -> None:
    """For clients that rely on it, and flagged in the books; a whole answer of the client's own dialect is relayed."""
    says = chat({"content": TEXT}, usage=None)
    reply = sdks.post(client, sdks.model("openai_chat", says(stream)), stream)
    told = sdks.ask(client, sdks.model("openai_chat", says(stream)), stream)

    booked = sdks.server.exchange(reply.headers["x-request-id"])
    relayed = client == "openai_chat" and not stream
    assert booked["estimated"] is True
    assert 0 < booked["output_tokens"] < booked["input_tokens"]
    counts = (None, None) if relayed else (booked["input_tokens"], booked["output_tokens"])
    assert (told.usage[0], told.usage[3]) == counts


@pytest.mark.parametrize("vendor", ["openai_chat", "openai_responses", "gemini"])
def test_65_the_first_event_of_a_message_tells_the_input(sdks: Sdks, vendor: str) -> None:
    """No vendor has told it by then: it is counted."""
    says, _ = PRICED[vendor]
    events = sdks.messages.messages.create(
        model=sdks.model(vendor, says(True)),
        max_tokens=99,
        messages=[{"role": "user", "content": QUESTION * 50}],
        stream=True,
    )

    start = next(iter(events))

    assert start.type == "message_start"
    assert 200 < start.message.usage.input_tokens < 600


# --- calls that come at once ---------------------------------------------------------------------------


def part_of_a_call(index: int, arguments: str, **more: Any) -> Json:
    function = {"arguments": arguments, **({"name": TOOL} if more else {})}
    return chunk({"tool_calls": [{"index": index, **more, "function": function}]})


END_OF_CALLS: Final = (chunk({}, "stop"), {**chunk({}), "choices": [], "usage": CHAT_USAGE})
AT_ONCE: Final = {
    "67-interleaved": (
        part_of_a_call(0, '{"ci', id="a"),
        part_of_a_call(1, '{"city"', id="b"),
        part_of_a_call(0, 'ty": "Paris"}'),
        part_of_a_call(1, ': "Oslo"}'),
    ),
    "121-one-index": (
        part_of_a_call(0, '{"city": "Paris"}', id="a"),
        part_of_a_call(0, '{"city": ', id="b"),
        part_of_a_call(0, '"Oslo"}'),
    ),
}


@EVERY_CLIENT
@pytest.mark.parametrize("name", AT_ONCE)
def test_calls_that_come_at_once_are_told_apart(sdks: Sdks, name: str, client: str) -> None:
    """A missing type is filled in, and a finish of `stop` after calls is one for calls (120)."""
    model = sdks.model("openai_chat", frames(chunk({"role": "assistant"}), *AT_ONCE[name], *END_OF_CALLS, done=True))

    told = sdks.ask(client, model, True, tool=TOOL)

    assert (told.calls, told.ids, told.finish) == (calls("Paris", "Oslo"), ["a", "b"], "calls")


def test_67_blocks_are_one_after_the_other(sdks: Sdks) -> None:
    """Clients of Anthropic's know one open block, and its index is its place."""
    events = frames(
        chunk({"role": "assistant", "content": "See."}), *AT_ONCE["67-interleaved"], *END_OF_CALLS, done=True
    )
    model = sdks.model("openai_chat", events)
    asked: Any = {"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": QUESTION}]}

    seen = [
        (event.type.removeprefix("content_block_"), event.index)
        for event in sdks.messages.messages.create(**asked, stream=True)
        if event.type.startswith("content_block")
    ]

    expected: list[tuple[str, int]] = []
    for index in range(3):
        block = [kind for kind, at in seen if at == index]
        assert (block[0], block[-1], {*block[1:-1]}) == ("start", "stop", {"delta"})
        expected += [(kind, index) for kind in block]
    assert seen == expected


@FORMS
@EVERY_CLIENT
def test_125_think_tags_are_reasoning(sdks: Sdks, client: str, stream: bool) -> None:
    """Also where a tag is cut in two."""
    words = f"<think>\nHm.\n</think>\n\n{TEXT}"
    pieces = [chunk({"role": "assistant", "content": words[at : at + 4]}) for at in range(0, len(words), 4)]
    answer = frames(*pieces, chunk({}, "stop"), done=True) if stream else chat({"content": words}).whole
    model = sdks.model("openai_chat", answer).replace("openai_chat/", "tags/")

    told = sdks.ask(client, model, stream)

    assert (told.text, told.thought) == (TEXT, "Hm.")
