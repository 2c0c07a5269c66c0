"""Token counts: the shipped ranks are OpenAI's, and no text can break a count."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import tiktoken
from tiktoken_ext import openai_public

from translators import tokens
from translators.neutral import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Request,
    Source,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)

ENCODINGS: tuple[tokens.EncodingName, ...] = ("o200k_base", "cl100k_base")


def official(name: str) -> tuple[dict[str, Any], str]:
    """tiktoken's own definition of an encoding without its ranks, and the sha256 that it demands of them."""
    hashes: list[str] = []

    def load(_url: str, expected_hash: str) -> dict[bytes, int]:
        hashes.append(expected_hash)
        return {}

    constructor = getattr(openai_public, name)
    definition = FunctionType(constructor.__code__, {**constructor.__globals__, "load_tiktoken_bpe": load})()
    return definition, hashes[0]


@pytest.mark.parametrize("name", ENCODINGS)
def test_shipped_ranks_have_the_hash_that_tiktoken_demands(name: tokens.EncodingName) -> None:
    text_form = b"".join(
        base64.b64encode(token) + b" " + str(rank).encode() + b"\n" for token, rank in tokens.ranks(name).items()
    )

    assert hashlib.sha256(text_form).hexdigest() == official(name)[1]


@pytest.mark.parametrize("name", ENCODINGS)
def test_pattern_and_special_tokens_are_tiktokens(name: tokens.EncodingName) -> None:
    definition, _ = official(name)

    assert (definition["pat_str"], definition["special_tokens"]) == (tokens._PATTERNS[name], tokens._SPECIALS[name])


@pytest.mark.parametrize(
    ("text", "o200k", "cl100k"),
    [
        ("", 0, 0),
        ("hello world", 2, 2),
        ("tiktoken is great!", 6, 6),
        ("お誕生日おめでとう", 8, 9),
        ("<|endoftext|>", 7, 7),
        ("a\ud800b", 3, 3),
    ],
)
def test_known_counts(text: str, o200k: int, cl100k: int) -> None:
    """Counts of OpenAI's cookbook; special tokens are plain text, a lone surrogate is no accident."""
    assert (tokens.count(text), tokens.count(text, "cl100k_base")) == (o200k, cl100k)


@pytest.mark.parametrize("name", ENCODINGS)
def test_cutting_long_prose_changes_no_count(name: tokens.EncodingName) -> None:
    text = "It was 9 o'clock, and (as ever)  nobody\n\n had come; we'd waited.\n" * 4_000
    whole = tiktoken.Encoding(
        name,
        pat_str=tokens._PATTERNS[name],
        mergeable_ranks=tokens.ranks(name),
        special_tokens=tokens._SPECIALS[name],
    )

    assert len(text) > 2 * tokens.PIECE_CHARACTERS
    assert tokens.count(text, name) == len(whole.encode_ordinary(text))


@pytest.mark.parametrize("character", [" ", "a", "\n", "=", "😀"])
def test_a_million_equal_characters_are_counted(character: str) -> None:
    """A run that overflows tiktoken's regex engine when it is given whole."""
    assert 1_000 < tokens.count(character * 1_000_000) <= 3_000_000


def test_a_panic_of_the_engine_gives_the_rough_number() -> None:
    class PanicException(BaseException):
        pass

    class Broken:
        def encode_ordinary(self, _text: str) -> list[int]:
            raise PanicException

    assert tokens._count_piece(Broken(), "x" * 100) == tokens.rough(100)  # type: ignore[arg-type]  # a stand-in


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_other_exceptions_pass_through(error: type[BaseException]) -> None:
    class Broken:
        def encode_ordinary(self, _text: str) -> list[int]:
            raise error

    with pytest.raises(error):
        tokens._count_piece(Broken(), "x")  # type: ignore[arg-type]  # a stand-in


def test_text_beyond_the_cap_is_extrapolated() -> None:
    text = "word " * (tokens.MAX_CHARACTERS // 5)

    assert tokens.count(text + text) == pytest.approx(2 * tokens.count(text), rel=0.001)
    assert tokens.estimate_text(text + text, "gpt-4o").method == "estimate"


def test_threads_that_ask_first_get_one_encoding() -> None:
    tokens._loaded.clear()
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(tokens._encoding, ["cl100k_base"] * 4))

    assert len({id(encoding) for encoding in loaded}) == 1


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-5.5", "openai"),
        ("openai/gpt-4o-mini", "openai"),
        ("o3-mini", "openai"),
        ("ft:gpt-4o:acme::abc", "openai"),
        ("text-embedding-3-small", "openai"),
        ("claude-3-5-sonnet-20241022", "claude"),
        ("claude-sonnet-4-20250514", "claude"),
        ("us.anthropic.claude-opus-4-5-20251101-v1:0", "claude"),
        ("claude-sonnet-4.6", "claude"),
        ("claude-opus-4-7", "claude_47"),
        ("claude-opus-5-5", "claude_47"),
        ("anthropic/claude-fable-5", "claude_47"),
        ("claude-2.1", "claude"),
        ("claude-instant-1.2", "claude"),
        ("claude-opus-latest", "claude_47"),
        ("models/gemini-3-pro", "gemini"),
        ("qwen3-32b", "other"),
        ("mistral-large", "other"),
    ],
)
def test_family_of_a_model_name(model: str, family: str) -> None:
    assert tokens.family(model) == family


@pytest.mark.parametrize(
    "model",
    ["gpt-4", "gpt-4-turbo", "gpt-3.5-turbo", "gpt-35-turbo", "gpt-4o", "gpt-4.1-mini", "gpt-5", "o3-mini",
     "text-embedding-3-large", "ft:gpt-4:acme", "ft:gpt-4o:acme", "davinci-002", "chatgpt-4o-latest"],
)  # fmt: skip
def test_encoding_is_the_one_of_tiktokens_table(model: str) -> None:
    assert tokens.encoding_name(model) == tiktoken.model.encoding_name_for_model(model)


@pytest.mark.parametrize(
    ("model", "method", "factor"),
    [("gpt-4o", "exact", 1), ("claude-opus-4-5", "estimate", 1.2), ("claude-opus-5", "estimate", 1.55),
     ("gemini-3-pro", "estimate", 1.15), ("llama-3.3-70b", "estimate", 1.05)],
)  # fmt: skip
def test_text_is_scaled_by_family(model: str, method: str, factor: float) -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 20

    estimate = tokens.estimate_text(text, model)

    assert estimate.method == method
    assert estimate.tokens == pytest.approx(tokens.count(text) * factor, abs=1)


def request(*parts: Any, **fields: Any) -> Request:
    return Request("openai_chat", "m", (Message("user", parts),), **fields)


PICTURE = Image(Source("image/png", data="AAAA"))


@pytest.mark.parametrize(
    ("given", "tokens_more"),
    [
        (request(Text("")), 0),
        (request(Text("hello world")), 2),
        (request(PICTURE), tokens.IMAGE_TOKENS),
        (request(Audio(Source("audio/wav", data="AAAA"))), tokens.AUDIO_TOKENS),
        (request(Document(Source("application/pdf", data="AAAA"))), tokens.DOCUMENT_TOKENS),
        (request(Document(Source(), text="hello world")), 2),
        (request(ToolCall("c1", "time", "{}")), tokens.MESSAGE_TOKENS + 2),
        (request(ToolResult("c1", (Text("hello world"), PICTURE))), tokens.MESSAGE_TOKENS + 2 + tokens.IMAGE_TOKENS),
        (request(Opaque("anthropic", "x", {"type": "x"})), tokens.count('{"type":"x"}')),
        (
            request(tools=(Tool("time", "hello", {"type": "object"}),)),
            tokens.TOOL_TOKENS
            + tokens.count('{"name":"time","description":"hello","parameters":{"type":"object"}}'),
        ),
        (request(output=OutputFormat("json_schema", {"type": "object"})), tokens.count('{"type":"object"}')),
    ],
)  # fmt: skip
def test_every_part_of_a_request_counts(given: Request, tokens_more: int) -> None:
    estimate = tokens.estimate_request(given, "openai")

    assert estimate == tokens.Estimate(tokens.REQUEST_TOKENS + tokens.MESSAGE_TOKENS + tokens_more, "estimate")


@pytest.mark.parametrize(
    "text",
    [
        Path(__file__).read_text(),
        "The proxy keeps accounts of what each answer has cost, and closes those that were cut short. " * 20,
        "Der Dienst führt Buch über jede Antwort und schließt ab, was unterbrochen wurde. " * 20,
        "日本語の文章です。" * 50,
        '{"name":"get_weather","arguments":{"city":"Oslo","days":3}}' * 20,
    ],
    ids=["code", "English", "German", "Japanese", "JSON"],
)
def test_rough_lies_within_a_factor_of_two(text: str) -> None:
    assert 0.75 <= tokens.rough(len(text.encode())) / tokens.count(text) <= 2


@pytest.mark.parametrize("texts", [["x"], ["", "é漢" * 7], ["a b\n" * 100, "\U0001f600", "c"]])
def test_further_texts_are_estimated_as_the_messages_that_they_are(texts: list[str]) -> None:
    whole = Request("openai_chat", "m", tuple(Message("user", (Text(text),)) for text in texts))

    assert tokens.rough_request(replace(whole, messages=()), texts) == tokens.rough_request(whole)


def test_rough_request_needs_no_tokenizer() -> None:
    tokens._loaded.clear()

    estimate = tokens.rough_request(request(Text("x" * 100), PICTURE))

    assert estimate == tokens.Estimate(27 + tokens.IMAGE_TOKENS + 7, "rough")
    assert not tokens._loaded
