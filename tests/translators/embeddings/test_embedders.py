"""Each backend's calls and answers, batches, and the answer that a client gets."""

import base64
import struct
from typing import Any

import pytest
from google.genai import types as gemini_types
from openai import omit
from openai.lib._parsing._embeddings import parse_embedding_response
from openai.types import CreateEmbeddingResponse, Embedding

from translators import tokens
from translators.embeddings import (
    EMBEDDERS,
    EmbeddingRules,
    demo_vector,
    joined,
    parse_request,
    render_answer,
    size_losses,
)
from translators.errors import BadAnswer, BadRequest, Unsupported
from translators.neutral import Usage

RULES = EmbeddingRules()


def rendered(dialect: str, fields: dict[str, Any], rules: EmbeddingRules = RULES, model: str = "target") -> Any:
    return EMBEDDERS[dialect].render(parse_request({"model": "client-name", **fields}), rules, model)


def lost(result: Any) -> dict[str, str]:
    return {loss.field: loss.action for loss in result.losses}


# --- calls ---------------------------------------------------------------------------------------


def test_openai_gets_every_field_as_the_client_wrote_it() -> None:
    fields = {
        "input": ["a", "b"],
        "dimensions": 8,
        "encoding_format": "base64",
        "user": "u",
        "input_type": "query",
        "truncation": True,
    }

    result = rendered("openai_chat", fields)

    assert [call.body for call in result.calls] == [{"model": "target", **fields}]
    assert result.calls[0].path == "/embeddings"
    assert result.losses == ()


def test_token_ids_go_to_openai_as_they_are() -> None:
    (call,) = rendered("openai_chat", {"input": [[1, 2], [3]]}).calls

    assert call.body["input"] == [[1, 2], [3]]


def test_what_an_openai_compatible_server_refuses_or_renames() -> None:
    rules = EmbeddingRules(refuses=frozenset({"user", "encoding_format"}), rename={"dimensions": "output_dimension"})

    result = rendered("openai_chat", {"input": "a", "dimensions": 8, "user": "u", "encoding_format": "float"}, rules)

    assert result.calls[0].body == {"model": "target", "input": ["a"], "output_dimension": 8}
    assert lost(result) == {"user": "dropped"}, "the form of the numbers is written by the proxy in any case"


def test_geminis_batch_is_what_its_sdk_sends() -> None:
    result = rendered(
        "gemini",
        {"input": ["a", "b"], "dimensions": 768, "input_type": "search_document", "title": "T", "user": "u", "x": 1},
        model="gemini-embedding-001",
    )

    (call,) = result.calls
    assert call.path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    one = {
        "model": "models/gemini-embedding-001",
        "content": {"parts": [{"text": "a"}]},
        "taskType": "RETRIEVAL_DOCUMENT",
        "title": "T",
        "outputDimensionality": 768,
    }
    assert call.body == {"requests": [one, {**one, "content": {"parts": [{"text": "b"}]}}]}
    gemini_types.Content.model_validate(one["content"])
    config = {name: one[name] for name in ("taskType", "title", "outputDimensionality")}
    gemini_types.EmbedContentConfig.model_validate(config)
    assert lost(result) == {"user": "dropped", "x": "dropped"}


@pytest.mark.parametrize(
    ("dialect", "key", "written", "expected"),
    [
        ("gemini", "taskType", {"input_type": "query"}, "RETRIEVAL_QUERY"),
        ("gemini", "taskType", {"task_type": "FACT_VERIFICATION"}, "FACT_VERIFICATION"),
        ("gemini", "taskType", {"task": "separation"}, "CLUSTERING"),
        ("gemini", "taskType", {}, None),
        ("cohere", "input_type", {"input_type": "search_query"}, "search_query"),
        ("cohere", "input_type", {"taskType": "RETRIEVAL_QUERY"}, "search_query"),
        ("cohere", "input_type", {"input_type": "Classification"}, "classification"),
        ("cohere", "input_type", {}, "search_document"),
    ],
)
def test_the_purpose_in_the_targets_words(dialect: str, key: str, written: dict[str, str], expected: str) -> None:
    result = rendered(dialect, {"input": "a", **written})

    body = result.calls[0].body
    assert body.get("requests", [body])[0].get(key) == expected
    assert result.losses == ()


@pytest.mark.parametrize(
    ("dialect", "word"),
    [("gemini", "mystery"), ("cohere", "fact_verification"), ("cohere", "mystery"), ("llamacpp", "query")],
)
def test_a_purpose_that_the_target_has_no_word_for_is_a_loss(dialect: str, word: str) -> None:
    result = rendered(dialect, {"input": "a", "input_type": word})

    assert lost(result) == {"input_type": "dropped"}


def test_cohere_gets_texts_their_purpose_and_the_size() -> None:
    result = rendered(
        "cohere", {"input": "a", "dimensions": 256, "truncate": "END", "encoding_format": "base64", "x": 1}
    )

    (call,) = result.calls
    assert call.path == "/v2/embed"
    assert call.body == {
        "model": "target",
        "texts": ["a"],
        "input_type": "search_document",
        "embedding_types": ["float"],
        "output_dimension": 256,
        "truncate": "END",
    }
    assert lost(result) == {"x": "dropped"}


def test_a_local_model_gets_texts_alone() -> None:
    result = rendered("llamacpp", {"input": ["a"], "dimensions": 8, "user": "u", "encoding_format": "base64"})

    assert [(call.path, call.body) for call in result.calls] == [("", {"model": "target", "input": ["a"]})]
    assert lost(result) == {"dimensions": "dropped", "user": "dropped"}


@pytest.mark.parametrize("dialect", ["gemini", "cohere"])
def test_a_model_with_vectors_of_one_size_is_not_asked_for_another(dialect: str) -> None:
    rules = EmbeddingRules(refuses=frozenset({"dimensions"}))

    result = rendered(dialect, {"input": "a", "dimensions": 8}, rules)

    assert b"imension" not in repr(result.calls[0].body).encode()
    assert lost(result) == {"dimensions": "dropped"}


@pytest.mark.parametrize("dialect", ["gemini", "cohere", "llamacpp"])
def test_another_vendors_form_of_input_is_refused(dialect: str) -> None:
    with pytest.raises(Unsupported, match=r"input\[1\]"):
        rendered(dialect, {"input": ["a", {"image": "x"}]})


# --- token ids -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["gemini", "cohere", "llamacpp"])
def test_token_ids_become_text_for_backends_that_take_only_text(dialect: str) -> None:
    ids = tokens._encoding("cl100k_base").encode("Grüße, 世界!")

    result = EMBEDDERS[dialect].render(
        parse_request({"model": "text-embedding-3-small", "input": [ids, "plain"]}), RULES, "target"
    )

    assert "Grüße, 世界!" in repr(result.calls[0].body)
    assert lost(result) == {"input": "emulated"}


def test_token_ids_of_an_unknown_tokenizer_are_refused_unless_the_row_names_one() -> None:
    ids = tokens._encoding("cl100k_base").encode("hello")
    request = parse_request({"model": "fast-route", "input": ids})

    with pytest.raises(Unsupported, match="tokenizer"):
        EMBEDDERS["cohere"].render(request, RULES, "target")

    named = EMBEDDERS["cohere"].render(request, EmbeddingRules(token_encoding="cl100k_base"), "target")
    assert named.calls[0].body["texts"] == ["hello"]


def test_a_token_id_that_does_not_exist_is_the_clients_fault() -> None:
    with pytest.raises(BadRequest, match=r"input\[1\].*123456"):
        EMBEDDERS["gemini"].render(
            parse_request({"model": "text-embedding-3-small", "input": ["a", [123456]]}), RULES, "target"
        )


def test_an_openai_compatible_server_without_token_ids_gets_text() -> None:
    ids = tokens._encoding("cl100k_base").encode("hello")
    request = parse_request({"model": "text-embedding-3-small", "input": ids})

    result = EMBEDDERS["openai_chat"].render(request, EmbeddingRules(token_ids=False), "target")

    assert result.calls[0].body["input"] == ["hello"]
    assert lost(result) == {"input": "emulated"}


# --- batches -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "rules", "count", "sizes"),
    [
        ("openai_chat", RULES, 2048, [2048]),
        ("openai_chat", EmbeddingRules(max_inputs=1000), 2048, [1000, 1000, 48]),
        ("gemini", RULES, 250, [100, 100, 50]),
        ("gemini", RULES, 100, [100]),
        ("cohere", RULES, 97, [96, 1]),
        ("cohere", EmbeddingRules(max_inputs=10), 11, [10, 1]),
        ("llamacpp", EmbeddingRules(max_inputs=2), 3, [2, 1]),
    ],
)
def test_inputs_are_split_in_order_where_a_backend_takes_fewer(
    dialect: str, rules: EmbeddingRules, count: int, sizes: list[int]
) -> None:
    texts = [f"t{number}" for number in range(count)]

    calls = rendered(dialect, {"input": texts}, rules).calls

    assert [call.inputs for call in calls] == sizes
    sent = [text for call in calls for text in texts_in(call.body)]
    assert sent == texts


def texts_in(body: dict[str, Any]) -> list[str]:
    if "requests" in body:
        return [item["content"]["parts"][0]["text"] for item in body["requests"]]
    return body.get("texts") or body["input"]


def test_a_call_stays_under_the_bound_of_tokens() -> None:
    token_ids = [[7] * 100_000] * 7

    calls = rendered("openai_chat", {"input": token_ids}).calls

    assert [call.inputs for call in calls] == [3, 3, 1]


def test_an_input_that_is_too_large_for_itself_goes_alone() -> None:
    calls = rendered("openai_chat", {"input": ["a", "x" * 100, "b"]}, EmbeddingRules(max_tokens=10)).calls

    assert [call.body["input"] for call in calls] == [["a"], ["x" * 100], ["b"]]


# --- answers -------------------------------------------------------------------------------------

OPENAI = {
    "object": "list",
    "model": "m-1",
    "data": [
        {"object": "embedding", "index": 0, "embedding": [0.25, -1.5]},
        {"object": "embedding", "index": 1, "embedding": [0.5, 2.0]},
    ],
    "usage": {"prompt_tokens": 5, "total_tokens": 5},
}


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


@pytest.mark.parametrize(
    ("dialect", "body", "input_tokens"),
    [
        ("openai_chat", OPENAI, 5),
        ("openai_chat", {**OPENAI, "data": OPENAI["data"][::-1]}, 5),
        ("openai_chat", {**OPENAI, "usage": {"total_tokens": 12}}, 12),
        ("openai_chat", {**OPENAI, "usage": None}, None),
        ("openai_chat", {"data": [{"embedding": packed(0.25, -1.5)}, {"embedding": packed(0.5, 2.0)}]}, None),
        ("llamacpp", OPENAI, 5),
        ("gemini", {"embeddings": [{"values": [0.25, -1.5]}, {"values": [0.5, 2]}]}, None),
        (
            "gemini",
            {
                "embeddings": [{"values": [0.25, -1.5]}, {"values": [0.5, 2]}],
                "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4},
            },
            4,
        ),
        (
            "cohere",
            {
                "id": "x",
                "response_type": "embeddings_by_type",
                "embeddings": {"float": [[0.25, -1.5], [0.5, 2]]},
                "texts": ["a", "b"],
                "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 3.0}},
            },
            3,
        ),
        ("cohere", {"embeddings": [[0.25, -1.5], [0.5, 2]], "meta": {"tokens": {"input_tokens": 6}}}, 6),
    ],
)
def test_answers_are_read(dialect: str, body: dict[str, Any], input_tokens: int | None) -> None:
    embedded = EMBEDDERS[dialect].parse(body, 2)

    assert [vector.tolist() for vector in embedded.vectors] == [[0.25, -1.5], [0.5, 2.0]]
    assert (embedded.usage.input_tokens if embedded.usage else None) == input_tokens


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("openai_chat", {}),
        ("openai_chat", {"data": []}),
        ("openai_chat", {"data": [{"embedding": None}]}),
        ("openai_chat", {"data": [{"embedding": ["x"]}]}),
        ("openai_chat", {"data": [{"embedding": []}]}),
        ("openai_chat", {"data": [{"embedding": [[0.1]]}]}),
        ("openai_chat", {"data": [{"embedding": "no base64!"}]}),
        ("openai_chat", {"data": [{"embedding": "AAA="}]}),
        ("openai_chat", {"data": [{"embedding": packed(float("nan"))}]}),
        ("openai_chat", {"data": [{"embedding": [0.1]}, {"embedding": [0.1]}]}),
        ("gemini", {"embeddings": []}),
        ("gemini", {"embeddings": [{}]}),
        ("gemini", {"embeddings": ["x!"]}),
        ("cohere", {"embeddings": {"int8": [[1]]}}),
        ("cohere", {"embeddings": [None]}),
    ],
)
def test_an_answer_without_one_vector_for_each_input_is_bad(dialect: str, body: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        EMBEDDERS[dialect].parse(body, 1)


def test_answers_of_several_calls_become_one() -> None:
    parse = EMBEDDERS["openai_chat"].parse

    whole = joined([parse(OPENAI, 2), parse(OPENAI, 2)])

    assert [vector.tolist() for vector in whole.vectors] == [[0.25, -1.5], [0.5, 2.0]] * 2
    assert whole.usage == Usage(input_tokens=10, raw={"calls": [OPENAI["usage"], OPENAI["usage"]]})
    assert whole.model == "m-1"


def test_usage_is_unknown_as_soon_as_one_call_told_none() -> None:
    parse = EMBEDDERS["openai_chat"].parse

    assert joined([parse(OPENAI, 2), parse({**OPENAI, "usage": None}, 2)]).usage is None


@pytest.mark.parametrize("encoding_format", [None, "float", "base64"])
@pytest.mark.parametrize("server", ["numbers", "base64"])
def test_the_official_sdk_reads_the_answer_in_the_form_that_it_asked_for(
    encoding_format: str | None, server: str
) -> None:
    numbers = demo_vector("x", 16)
    told: Any = numbers if server == "numbers" else packed(*numbers)
    embedded = EMBEDDERS["openai_chat"].parse({"data": [{"embedding": told}]}, 1)
    request = parse_request({"model": "m", "input": "x", "encoding_format": encoding_format})

    body = render_answer(request, embedded, model="m", usage=Usage(input_tokens=7))

    assert isinstance(body["data"][0]["embedding"], str if encoding_format == "base64" else list)
    entries = [Embedding.model_construct(**entry) for entry in body["data"]]
    # What the SDK does for a caller who named no format: it asks for base64 and decodes what it gets.
    parsed = parse_embedding_response(
        CreateEmbeddingResponse.model_construct(**{**body, "data": entries}), encoding_format=omit
    )
    assert parsed.data[0].embedding == numbers
    assert body["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    if encoding_format != "base64":
        CreateEmbeddingResponse.model_validate(body, strict=True)


def test_a_number_beyond_32_bits_cannot_be_written_as_base64() -> None:
    embedded = EMBEDDERS["openai_chat"].parse({"data": [{"embedding": [1e300]}]}, 1)
    request = parse_request({"model": "m", "input": "x", "encoding_format": "base64"})

    with pytest.raises(BadAnswer):
        render_answer(request, embedded, model="m", usage=None)


def test_vectors_of_another_size_than_asked_are_a_loss_and_stay_whole() -> None:
    request = parse_request({"model": "m", "input": "x", "dimensions": 2})

    assert size_losses(request, [2, 2]) == ()
    (loss,) = size_losses(request, [2, 3])
    assert (loss.field, loss.action) == ("dimensions", "dropped")
    assert "3 numbers" in loss.reason
    assert size_losses(parse_request({"model": "m", "input": "x"}), [3]) == ()


def test_a_simulated_vector_depends_on_the_text_alone_and_has_length_one() -> None:
    one = demo_vector("a", 256)

    assert one == demo_vector("a", 256) != demo_vector("b", 256)
    assert len(one) == 256
    assert sum(number * number for number in one) == pytest.approx(1, abs=1e-6)
    assert list(struct.unpack("<256f", struct.pack("<256f", *one))) == one


def test_the_bounds_of_one_call_are_the_vendors() -> None:
    bounds = {name: embedder.MAX_INPUTS for name, embedder in EMBEDDERS.items()}

    assert bounds == {"openai_chat": 2048, "gemini": 100, "cohere": 96, "llamacpp": 2048}
