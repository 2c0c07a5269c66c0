"""Recorded traffic in front of a Responses client: its own dialect's verbatim, all others' translated.

The recordings are not part of the repository; without them these tests are skipped.
"""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import orjson
import pytest
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from translators import anthropic, gemini, openai_chat, openai_responses
from translators.assemble import collect
from translators.dialect import ReplyTo, Rules
from translators.neutral import Event, Failure
from translators.openai_responses.client import (
    StreamRelay,
    StreamRenderer,
    parse_request,
    relay_request,
    relay_response,
    render_response,
)

ROOT = Path(os.environ.get("MODELPORT_SHARED") or Path(__file__).resolve().parents[4] / "shared") / "recordings"
BACKENDS: dict[str, Any] = {
    "responses": openai_responses,
    "chat_completions": openai_chat,
    "messages": anthropic,
    "stream_generate_content": gemini,
    "generate_content": gemini,
}
SHORT = 60_000
"""Bytes of a stream that is cheap to feed one by one."""
CHANGING_IDS = {
    f"copilot-responses-sse-rig-{name}": "Copilot names an item anew in each event; the first name counts"
    for name in ("7c6645", "f92100")
}
TERMINAL = {"response.completed", "response.incomplete"}
BODY = {"model": "m", "input": "hi", "stream": True}
TO = ReplyTo(parse_request(BODY), BODY, "abc", 1700000000)
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def recordings() -> list[dict[str, Any]]:
    if not (ROOT / "index.jsonl").exists():
        return []
    rows = [json.loads(line) for line in (ROOT / "index.jsonl").read_text().splitlines()]
    wanted = [row for row in rows if row["api"] in BACKENDS]
    return [json.loads((ROOT / row["provider"] / f"{row['id']}.json").read_bytes()) for row in wanted]


ALL = recordings()
OWN = [recording for recording in ALL if recording["api"] == "responses"]
pytestmark = pytest.mark.skipif(not ALL, reason="no recordings beside the checkout")


def table(chosen: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("recording", [pytest.param(r, id=r["id"]) for r in chosen])


def is_stream(recording: dict[str, Any]) -> bool:
    return bool(recording["response"].get("sse")) and recording["response"]["status"] == 200


def events_of(recording: dict[str, Any]) -> list[Event]:
    parser = BACKENDS[recording["api"]].StreamParser(Rules(dialect=""))
    return [*parser.feed(recording["response"]["sse"].encode()), *parser.close()]


def frames_of(raw: bytes) -> list[dict[str, Any]]:
    lines = [line for line in raw.split(b"\n") if line.startswith(b"data: ")]
    return [orjson.loads(line.removeprefix(b"data: ")) for line in lines]


def placed(item: dict[str, Any]) -> Any:
    """What of an output item has to survive translation."""
    return [
        item["type"],
        item.get("call_id"),
        item.get("arguments"),
        [c.get("text") for c in item.get("content") or ()],
    ]


@table([r for r in OWN if isinstance(r["request"].get("body"), dict) and "model" in r["request"]["body"]])
def test_a_recorded_request_is_understood_and_relayed_as_it_is(recording: dict[str, Any]) -> None:
    body = recording["request"]["body"]
    if "input" not in body and "prompt" not in body:
        pytest.skip("its input was not recorded, or it is the error that was wanted")
    raw = orjson.dumps(body)
    request = parse_request(body)
    relayed = relay_request(raw, body, request, Rules(), body["model"])

    assert relayed.body == raw
    assert relayed.losses == ()
    outputs = [item for item in body["input"] if isinstance(item, dict)] if isinstance(body.get("input"), list) else []
    results = sum(item.get("type") in ("function_call_output", "custom_tool_call_output") for item in outputs)
    assert sum(message.role == "tool" for message in request.messages) == results


@table([r for r in OWN if is_stream(r)])
def test_a_recorded_stream_is_relayed_alike_at_every_cut(recording: dict[str, Any]) -> None:
    raw = recording["response"]["sse"].encode()
    told = []
    for size in (1 if len(raw) < SHORT else 3, 7, len(raw)):
        relay = StreamRelay(Rules(), TO)
        steps = [relay.feed(raw[at : at + size]) for at in range(0, len(raw), size)]
        steps.append(relay.end())
        events = [event for step in steps for event in step.events]
        told.append((b"".join(step.frames for step in steps), relay.close(), collect(events)))

    assert told[0] == told[1] == told[2]
    frames, last, answer = told[0]
    if answer.failure is None:
        assert (frames + last).rstrip() == raw.rstrip()
        assert frames_of(last.replace(b"data: [DONE]", b""))[0]["type"] in TERMINAL
    else:
        assert raw.startswith(frames)
        assert last == b""


@table([r for r in OWN if isinstance(r["response"].get("body"), dict) and "output" in r["response"]["body"]])
def test_a_recorded_answer_keeps_its_items_through_the_neutral_form(recording: dict[str, Any]) -> None:
    body = recording["response"]["body"]
    raw, answer = relay_response(orjson.dumps(body), Rules(), TO)
    rendered = render_response(answer, TO)

    assert orjson.loads(raw) == body
    assert [placed(item) for item in rendered["output"]] == [placed(item) for item in body["output"]]
    assert (rendered["status"], rendered["model"]) == (body["status"], body["model"])


@table([r for r in ALL if is_stream(r)])
def test_any_vendors_stream_is_one_that_the_sdk_adds_up(recording: dict[str, Any]) -> None:
    """Each frame is valid, and the answer at the end is the one that would have been given whole."""
    events = events_of(recording)
    failures = [event for event in events if isinstance(event, Failure)]
    renderer = StreamRenderer(TO)
    raw = b"".join(renderer.render([event]) for event in events)
    raw += renderer.fail(failures[0]) if failures else renderer.close(b"{}")
    frames = frames_of(raw)

    assert [frame["sequence_number"] for frame in frames] == list(range(len(frames)))
    if failures:
        assert [frame["type"] for frame in frames[-2:]] == ["error", "response.failed"]
        return
    first = [event for event in events if getattr(event, "choice", 0) == 0]
    whole = render_response(collect(first), TO)
    if recording["id"] in CHANGING_IDS:
        for item, told in zip(whole["output"], frames[-1]["response"]["output"], strict=True):
            item["id"] = told["id"]
    assert frames[-1]["response"] == whole
    state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for frame in frames:
            state.handle_event(EVENT.validate_python(frame))
