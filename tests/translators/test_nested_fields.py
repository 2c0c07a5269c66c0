"""Unknown and half-known fields inside of known objects reach the target, or the losses name their full place."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import pytest

from translators import openai_chat
from translators.codec import dumps, dumps_text
from translators.dialect import Rules
from translators.dialects import BACKENDS
from translators.errors import Unsupported
from translators.gemini.incoming import parse_request as parse_gemini
from translators.losses import Loss
from translators.neutral import Request
from translators.openai_chat.relay import relay_request
from translators.openai_responses.incoming import parse_request as parse_responses
from translators.outward import for_others
from translators.wishes import real_wishes

MARK: Final = "ZQ1"
SCHEMA: Final = {"type": "object", "properties": {"a": {"type": "string"}}}
FORMAT: Final = {"type": "json_schema", "name": "n", "schema": SCHEMA}
PNG: Final = "data:image/png;base64,iVBORw0KGgo="
WAV: Final = base64.b64encode(b"RIFF\x00\x00\x00\x00WAVE").decode()
PDF: Final = "data:application/pdf;base64,JVBERi0xLjQK"
USER: Final = {"role": "user", "content": "x"}
CALL: Final = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL: Final = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
OUTPUT: Final = {"type": "function_call_output", "call_id": "c1", "output": "x"}
CALLED: Final = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}


def chat(content: dict[str, Any] | None = None, **fields: Any) -> Request:
    said = USER if content is None else {"role": "user", "content": [content]}
    return openai_chat.parse_request({"model": "m", "messages": [said], **fields})


def responses(**fields: Any) -> Request:
    return parse_responses({"model": "m", "input": "x", **fields})


def format_of(**fields: Any) -> dict[str, Any]:
    inner = {"name": "n", "schema": SCHEMA, **fields}
    return {"type": "json_schema", "json_schema": inner}


CASES: list[tuple[Request, str]] = [
    (chat({"type": "image_url", "image_url": {"url": PNG, "zzz": MARK}}), "messages[0].content[0].image_url.zzz"),
    (
        chat({"type": "input_audio", "input_audio": {"data": WAV, "format": "wav", "zzz": MARK}}),
        "messages[0].content[0].input_audio.zzz",
    ),
    (
        chat({"type": "file", "file": {"file_data": PDF, "filename": "a.pdf", "zzz": MARK}}),
        "messages[0].content[0].file.zzz",
    ),
    (chat(response_format=format_of(zzz=MARK)), "response_format.json_schema.zzz"),
    (chat(response_format={**format_of(), "zzz": MARK}), "response_format.zzz"),
    (chat(response_format={"type": "json_object", "zzz": MARK}), "response_format.zzz"),
    (chat(response_format=format_of(name=MARK)), "response_format.json_schema.name"),
    (
        chat(response_format=format_of(name=MARK, schema={**SCHEMA, "title": "t"})),
        "response_format.json_schema.name",
    ),
    (
        chat(response_format=format_of(description=MARK, schema={**SCHEMA, "description": "t"})),
        "response_format.json_schema.description",
    ),
    (responses(text={"format": {**FORMAT, "zzz": MARK}}), "text.format.zzz"),
    (responses(text={"format": {**FORMAT, "name": MARK}}), "text.format.name"),
    (responses(text={"format": {"type": "json_object", "zzz": MARK}}), "text.format.zzz"),
    (
        responses(input=[CALLED, {**OUTPUT, "status": "incomplete"}]),
        "input[1].status",
    ),
    (
        chat(
            messages=[
                USER,
                {"role": "assistant", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "x", "name": MARK},
            ],
            tools=[TOOL],
        ),
        "messages[2].name",
    ),
]
LABELS_OF_A_GRAMMAR: Final = {"response_format.json_schema.name", "text.format.name"}


@pytest.mark.parametrize("target", BACKENDS)
@pytest.mark.parametrize(("request_", "place"), CASES, ids=[place for _, place in CASES])
def test_a_field_inside_reaches_the_target_or_is_a_loss(request_: Request, place: str, target: str) -> None:
    if target == "llamacpp" and place in LABELS_OF_A_GRAMMAR:
        pytest.skip("a grammar holds the answer without a word to the model")
    request = request_
    outward: list[Loss] = []
    if request.dialect != target:
        request, outward = for_others(real_wishes(request))
    modalities = frozenset({"text", "image", "audio", "pdf", "document"})
    rules = Rules(target, modalities=modalities)
    try:
        rendered = BACKENDS[target].render_request(replace(request, model="m"), rules)
        text, told = dumps_text(rendered.body), [loss.field for loss in (*outward, *rendered.losses)]
    except Unsupported as refusal:
        text, told = "", [place] if place.startswith(refusal.param or "-") else []

    assert MARK in text or '"incomplete"' in text or place in told


@pytest.mark.parametrize(
    ("parse", "body"),
    [
        (chat, {"response_format": format_of(zzz=MARK, strict=True)}),
        (chat, {"response_format": {**format_of(), "zzz": MARK}}),
        (responses, {"text": {"format": {**FORMAT, "zzz": MARK}}}),
    ],
)
def test_an_answers_form_is_written_as_its_client_wrote_it(
    parse: Callable[..., Request], body: Mapping[str, Any]
) -> None:
    request = parse(**body)
    rendered = BACKENDS[request.dialect].render_request(request, Rules(request.dialect))

    assert {name: rendered.body[name] for name in body} == body


def test_what_the_target_is_not_asked_for_is_a_loss_there() -> None:
    """Where the schema is told in words, nothing is left that an unknown field could stand in."""
    request = chat(response_format=format_of(zzz=MARK))
    rendered = BACKENDS["openai_chat"].render_request(request, Rules("openai_chat", structured_output=False))

    assert MARK not in dumps_text(rendered.body)
    assert "response_format.json_schema.zzz" in [loss.field for loss in rendered.losses]


@pytest.mark.parametrize(
    ("stream", "takes", "lost"),
    [(False, True, "the answer is no stream"), (True, False, "the target refuses it"), (True, True, None)],
)
def test_stream_options_on_the_verbatim_way(stream: bool, takes: bool, lost: str | None) -> None:
    body = {"model": "m", "messages": [USER], "stream": stream, "stream_options": {"include_usage": True, "zzz": MARK}}
    request = openai_chat.parse_request(body)
    relayed = relay_request(dumps(body), body, request, Rules("openai_chat", stream_options=takes), "m")

    assert [(loss.field, loss.reason) for loss in relayed.losses] == ([("stream_options.zzz", lost)] if lost else [])
    assert (MARK in relayed.body.decode()) is (lost is None)


def test_an_order_that_names_no_property_stays_to_be_told() -> None:
    written = {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "propertyOrdering": ["a", MARK]}
    body = {"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"responseSchema": written}}
    request = parse_gemini(body, "m", False)

    assert request.output is not None
    assert request.output.schema is not None
    assert request.output.schema["propertyOrdering"] == ["a", MARK]
