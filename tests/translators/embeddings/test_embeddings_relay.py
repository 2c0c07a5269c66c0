"""The verbatim way of embeddings, and every recorded embeddings exchange."""

import base64
import json
import os
import struct
from pathlib import Path
from typing import Any

import orjson
import pytest
from openai.types import CreateEmbeddingResponse

from translators.embeddings import (
    EMBEDDERS,
    EmbeddingRules,
    can_relay,
    joined,
    parse_request,
    relay_answer,
    relay_request,
    render_answer,
)
from translators.errors import BadAnswer, BadRequest

RULES = EmbeddingRules()
FLOATS = (
    b'{ "object":"list", "data":[{"object":"embedding","index":0,"embedding":[0.1, 0.20]}],'
    b'"model":"m","usage":{"prompt_tokens":1,"total_tokens":1} , "new": 1 }'
)


def relayed(raw: bytes, rules: EmbeddingRules = RULES, model: str = "target") -> tuple[bytes, dict[str, str]]:
    body = orjson.loads(raw)
    result = relay_request(raw, body, parse_request(body), rules, model)
    return result.body, {loss.field: loss.action for loss in result.losses}


def test_only_the_model_changes() -> None:
    raw = b'{"input" : ["a",  "\\u00fc"],"model":"p/m","fresh": {"x": [1.50]},"encoding_format":null}'

    assert relayed(raw) == (raw.replace(b"p/m", b"target"), {})


def test_nothing_changes_where_the_model_is_already_right() -> None:
    raw = b'{ "input" : "a" , "model" : "target" }'

    assert relayed(raw)[0] is raw


def test_fields_for_the_proxy_and_refused_ones_stay_behind() -> None:
    raw = b'{"model":"m","input":"a","modelport":{},"user":"u","encoding_format":"base64","dimensions":4}'
    rules = EmbeddingRules(refuses=frozenset({"user", "encoding_format"}), rename={"dimensions": "output_dimension"})

    sent, losses = relayed(raw, rules)

    assert orjson.loads(sent) == {"model": "target", "input": "a", "output_dimension": 4}
    assert losses == {"user": "dropped"}


@pytest.mark.parametrize(
    ("given", "rules", "relays"),
    [
        (["a"] * 2048, RULES, True),
        (["a"] * 3, EmbeddingRules(max_inputs=2), False),
        (["a" * 100] * 2, EmbeddingRules(max_tokens=40), False),
        (["a" * 100], EmbeddingRules(max_tokens=4), True),
        ([[1]], EmbeddingRules(token_ids=False), False),
        ([[1]], RULES, True),
    ],
)
def test_a_request_is_relayed_when_it_fits_into_one_call(given: Any, rules: EmbeddingRules, relays: bool) -> None:
    assert can_relay(parse_request({"model": "m", "input": given}), rules) is relays


def ask(**fields: Any) -> Any:
    return parse_request({"model": "m", "input": "a", **fields})


def test_an_answer_in_the_right_form_passes_byte_for_byte() -> None:
    answer = relay_answer(FLOATS, ask(dimensions=2))

    assert answer.body is FLOATS
    assert answer.usage is not None
    assert answer.usage.input_tokens == 1
    assert answer.losses == ()


def test_an_answer_of_another_size_passes_with_a_loss() -> None:
    answer = relay_answer(FLOATS, ask(dimensions=8))

    assert answer.body is FLOATS
    assert [loss.field for loss in answer.losses] == ["dimensions"]


def test_numbers_become_base64_where_the_server_ignored_the_wish() -> None:
    body = orjson.loads(relay_answer(FLOATS, ask(encoding_format="base64")).body)

    assert struct.unpack("<2f", base64.b64decode(body["data"][0]["embedding"])) == pytest.approx((0.1, 0.2))
    assert body["new"] == 1


@pytest.mark.parametrize("encoding_format", [None, "float"])
def test_base64_becomes_numbers_where_nobody_asked_for_it(encoding_format: str | None) -> None:
    data = [{"object": "embedding", "index": 0, "embedding": base64.b64encode(struct.pack("<2f", 0.5, 2)).decode()}]
    raw = orjson.dumps({"object": "list", "data": data, "model": "m", "usage": {"total_tokens": 3}})

    body = orjson.loads(relay_answer(raw, ask(encoding_format=encoding_format)).body)

    assert body["data"][0]["embedding"] == [0.5, 2.0]
    assert body["usage"] == {"total_tokens": 3, "prompt_tokens": 3}
    CreateEmbeddingResponse.model_validate(body, strict=True)


def test_vectors_of_other_numbers_are_not_touched() -> None:
    raw = b'{"data":[{"embedding":"AQID"}],"usage":{"total_tokens":3}}'

    assert relay_answer(raw, ask(output_dtype="int8")).body is raw


def test_vectors_out_of_order_are_put_in_order() -> None:
    entries = [{"object": "embedding", "index": at, "embedding": [float(at)]} for at in (1, 0)]
    raw = orjson.dumps({"object": "list", "model": "m", "data": entries})

    body = orjson.loads(relay_answer(raw, ask(input=["a", "b"])).body)

    assert [entry["embedding"] for entry in body["data"]] == [[0.0], [1.0]]


@pytest.mark.parametrize("raw", [b"<html>", b"[]", b"{}", b'{"data":[]}', b'{"data":[{"embedding":[1]},{}]}'])
def test_an_answer_that_is_none_is_bad(raw: bytes) -> None:
    with pytest.raises(BadAnswer):
        relay_answer(raw, ask())


# --- recordings ----------------------------------------------------------------------------------

ROOT = Path(os.environ.get("MODELPORT_SHARED") or Path(__file__).resolve().parents[4] / "shared") / "recordings"
DIALECTS = {"embeddings": "openai_chat", "embed": "cohere", "batch_embed_contents": "gemini"}


def recordings() -> list[dict[str, Any]]:
    if not (ROOT / "index.jsonl").exists():
        return []
    rows = [json.loads(line) for line in (ROOT / "index.jsonl").read_text().splitlines()]
    return [
        json.loads((ROOT / row["provider"] / f"{row['id']}.json").read_bytes())
        for row in rows
        if row["api"] in DIALECTS
    ]


ALL = recordings()
ANSWERS = [pytest.param(r, id=r["id"]) for r in ALL if r["response"]["status"] == 200]
ERRORS = [pytest.param(r, id=r["id"]) for r in ALL if r["response"]["status"] >= 400]
REQUESTS = [pytest.param(r, id=r["id"]) for r in ALL if r["api"] == "embeddings"]
recorded = pytest.mark.skipif(not ALL, reason="no recordings beside the checkout")


@recorded
@pytest.mark.parametrize("recording", ANSWERS)
def test_a_recorded_answer_reaches_the_official_sdk(recording: dict[str, Any]) -> None:
    asked, body = recording["request"]["body"], recording["response"]["body"]
    inputs = len(asked.get("input") or asked["images"])
    embedded = EMBEDDERS[DIALECTS[recording["api"]]].parse(body, inputs)
    request = parse_request({"model": "m", "input": ["x"] * inputs})

    answer = render_answer(request, joined([embedded]), model="m", usage=embedded.usage)

    parsed = CreateEmbeddingResponse.model_validate(answer, strict=True)
    assert len(parsed.data) == inputs
    assert {len(entry.embedding) for entry in parsed.data} <= {512, 1024}
    if isinstance(told := body.get("usage"), dict):
        assert parsed.usage.prompt_tokens == told["total_tokens"]


@recorded
@pytest.mark.parametrize("recording", [p for p in ANSWERS if p.values[0]["api"] == "embeddings"])
def test_a_recorded_answer_is_relayed_as_it_came(recording: dict[str, Any]) -> None:
    raw = orjson.dumps(recording["response"]["body"])
    request = parse_request(recording["request"]["body"])

    answer = relay_answer(raw, request)

    sent = orjson.loads(answer.body)
    assert sent["data"] == recording["response"]["body"]["data"]
    assert (answer.body is raw) is ("prompt_tokens" in recording["response"]["body"]["usage"])


@recorded
@pytest.mark.parametrize("recording", ERRORS)
def test_a_recorded_error_keeps_its_status_and_words(recording: dict[str, Any]) -> None:
    response = recording["response"]
    embedder = EMBEDDERS[DIALECTS[recording["api"]]]

    failure = embedder.parse_error(response["status"], orjson.dumps(response["body"]), {})

    assert failure.status == response["status"]
    assert failure.message


@recorded
@pytest.mark.parametrize("recording", REQUESTS)
def test_a_recorded_request_is_relayed_as_it_came(recording: dict[str, Any]) -> None:
    body = recording["request"]["body"]
    if body["input"] == [""]:
        with pytest.raises(BadRequest):
            parse_request(body)
        return

    sent, losses = relayed(orjson.dumps(body))

    assert orjson.loads(sent) == {**body, "model": "target"}
    assert losses == {}
