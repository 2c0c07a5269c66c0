"""Local token counts: no network, and no memory until the first one is asked for.

    method      what it is                                                          error
    exact       OpenAI's own ranks on text for an OpenAI model                      none
    estimate    the o200k count of the text times a factor of the model's family    about 20 %, see FACTORS
    rough       a rate per byte of text; needs no tokenizer                         up to twofold

Loading o200k_base takes 0.3 s once and keeps about 77 MB resident (cl100k_base: 31 MB). Admission and the closing
of interrupted exchanges therefore use `rough`; the tokenizer is loaded only when somebody needs more than that.
Counting runs at 5 to 20 MB/s: from about 20 KB of text on, an event loop should ask for it in a thread.

None of these numbers replaces usage that a vendor reported.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from threading import Lock
from typing import TYPE_CHECKING, Final, Literal, assert_never

from translators.codec import dumps_text
from translators.neutral import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Refusal,
    Request,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

if TYPE_CHECKING:
    from tiktoken import Encoding

Method = Literal["exact", "estimate", "rough"]
Family = Literal["openai", "claude", "claude_47", "gemini", "other"]
EncodingName = Literal["o200k_base", "cl100k_base"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number of tokens and how it was found."""

    tokens: int
    method: Method


FACTORS: Final[dict[Family, float]] = {
    "openai": 1.0,
    "claude": 1.2,
    "claude_47": 1.55,
    "gemini": 1.15,
    "other": 1.05,
}
"""Tokens of a family per token of o200k_base. Gemini and other: measured on English, code and JSON with the open
vocabularies (Gemma 3, Qwen3, Llama 3, DeepSeek v3, Mistral v3). Claude has no public tokenizer: 1.2 is a guess from
public reports, 1.55 is that and the 30 % which Anthropic states for Opus 4.7, the 5 models and later."""

MESSAGE_TOKENS: Final = 4
"""Role and delimiters of one message (OpenAI's cookbook: three and the role)."""
REQUEST_TOKENS: Final = 3
"""What primes the answer."""
TOOL_TOKENS: Final = 8
"""What stands around one tool's definition in a prompt."""
IMAGE_TOKENS: Final = 1_100
"""One picture. Vendors count by size, which is not looked at here: one megapixel is 765 (OpenAI, high detail),
1,400 (Claude), 1,120 (Gemini 3)."""
AUDIO_TOKENS: Final = 500
"""One sound: some 15 to 50 seconds of speech, depending on the vendor."""
DOCUMENT_TOKENS: Final = 4_000
"""One file that is not text: two or three PDF pages."""

PIECE_CHARACTERS: Final = 100_000
"""Longer text is cut: tiktoken's regex engine overflows its stack on a million equal characters."""
MAX_CHARACTERS: Final = 2_000_000
"""Text beyond this is not counted but extrapolated, so that a count has a longest time (about 0.5 s)."""

# The split patterns and special tokens are tiktoken's (tiktoken_ext/openai_public.py, 0.14.0).
_CONTRACTION: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_PATTERNS: Final[dict[EncodingName, str]] = {
    "o200k_base": "|".join(
        (
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + _CONTRACTION,
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + _CONTRACTION,
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        )
    ),
    "cl100k_base": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
        r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
}
_SPECIALS: Final[dict[EncodingName, dict[str, int]]] = {
    "o200k_base": {"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
    "cl100k_base": {
        "<|endoftext|>": 100257,
        "<|fim_prefix|>": 100258,
        "<|fim_middle|>": 100259,
        "<|fim_suffix|>": 100260,
        "<|endofprompt|>": 100276,
    },
}

_loaded: dict[EncodingName, Encoding] = {}
_loading = Lock()


def rough(text_bytes: int) -> int:
    """Tokens in *text_bytes* bytes of UTF-8, rounded up, without a tokenizer.

    English, code and JSON have 3.7 to 4.7 bytes to a token of o200k_base, other scripts 4.7 to 7; the lowest rate
    is taken, because a reservation should rather be too high.
    """
    return -(-text_bytes * 27 // 100)


def count(text: str, encoding: EncodingName = "o200k_base") -> int:
    """The tokens of *text*, special tokens taken as plain text.

    Exact up to PIECE_CHARACTERS, and beyond where there are spaces between words to cut at; extrapolated from
    MAX_CHARACTERS on.
    """
    if not text:
        return 0
    tokenizer = _encoding(encoding)
    counted = sum(_count_piece(tokenizer, piece) for piece in _pieces(text[:MAX_CHARACTERS]))
    return counted if len(text) <= MAX_CHARACTERS else -(-counted * len(text) // MAX_CHARACTERS)


def family(model: str) -> Family:
    """The tokenizer's family of a model's name, with or without prefixes (`us.anthropic.claude-...`, `openai/...`)."""
    name = model.lower()
    if "claude" in name:
        return "claude_47" if _claude_version(name) >= (4, 7) else "claude"
    if "gemini" in name:
        return "gemini"
    return "openai" if _OPENAI_NAME.search(name) else "other"


def encoding_name(model: str) -> EncodingName:
    """The encoding of an OpenAI model: cl100k_base for gpt-4, gpt-3.5 and the embedding models, else o200k_base."""
    return "cl100k_base" if _CL100K_NAME.search(model.lower()) else "o200k_base"


def decode(token_ids: Sequence[int], encoding: EncodingName) -> str:
    """The text of *token_ids*; bytes that are no UTF-8 (a list cut inside a character) become U+FFFD.

    Raises:
        ValueError: an id that *encoding* does not have.
    """
    try:
        return _encoding(encoding).decode(list(token_ids))
    except (KeyError, OverflowError) as error:
        raise ValueError(f"{encoding} has no such token: {error}") from error


def estimate_text(text: str, model: str) -> Estimate:
    """The tokens of *text* for *model*: exact for OpenAI's, else an estimate."""
    kind = family(model)
    if kind == "openai":
        method: Method = "exact" if len(text) <= MAX_CHARACTERS else "estimate"
        return Estimate(count(text, encoding_name(model)), method)
    return Estimate(_scaled(count(text), kind), "estimate")


def estimate_request(request: Request, kind: Family) -> Estimate:
    """The input tokens of *request* for a model of family *kind*: texts, tools, pictures, and what frames them.

    Never exact: how a vendor writes messages and tools into its prompt is not public.
    """
    texts: list[str] = []
    flat = REQUEST_TOKENS + MESSAGE_TOKENS * len(request.messages) + TOOL_TOKENS * len(request.tools)
    for message in request.messages:
        for part in _flattened(message):
            text, tokens = _weight(part)
            texts.append(text)
            flat += tokens
    texts.extend(_tool_text(tool) for tool in request.tools)
    if request.output is not None and request.output.schema is not None:
        texts.append(dumps_text(request.output.schema))
    return Estimate(_scaled(count("\n".join(filter(None, texts))), kind) + flat, "estimate")


def rough_request(request: Request, texts: Iterable[str] = ()) -> Estimate:
    """The same without a tokenizer. *texts*: those of further messages, which hold nothing else."""
    flat = REQUEST_TOKENS + MESSAGE_TOKENS * len(request.messages) + TOOL_TOKENS * len(request.tools)
    size = sum(len(_tool_text(tool).encode("utf-8", "replace")) for tool in request.tools)
    for message in request.messages:
        for part in _flattened(message):
            text, tokens = _weight(part)
            size += len(text.encode("utf-8", "replace"))
            flat += tokens
    for text in texts:
        size += len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        flat += MESSAGE_TOKENS
    return Estimate(rough(size) + flat, "rough")


_OPENAI_NAME = re.compile(r"(?:^|[/:.])(?:gpt-|gpt\d|chatgpt|o[1345](?:-|$)|text-embedding-|codex-|davinci|babbage)")
_CL100K_NAME = re.compile(r"(?:^|[/:.])(?:gpt-4(?:$|[-:])|gpt-3\.?5|text-embedding-|davinci|babbage)")
_CLAUDE_NAME = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")


def _claude_version(name: str) -> tuple[int, int]:
    """(4, 7) for claude-opus-4-7; a name without a version is taken for the newest."""
    found = _CLAUDE_NAME.search(name)
    if found is None:
        return (3, 0) if "claude-2" in name or "claude-instant" in name else (99, 0)
    return int(found[1]), int(found[2] or 0)


def _scaled(tokens: int, kind: Family) -> int:
    return -int(-tokens * FACTORS[kind] // 1)


def _flattened(message: Message) -> Iterator[Part]:
    """The parts of *message*, a tool's result followed by what it holds."""
    for part in message.parts:
        yield part
        if isinstance(part, ToolResult):
            yield from part.parts


def _weight(part: Part) -> tuple[str, int]:
    """The text of *part* that is to be counted, and the tokens that are known without."""
    match part:
        case Text() | Thinking() | Refusal():
            return part.text, 0
        case ToolCall():
            return f"{part.name} {part.arguments}", MESSAGE_TOKENS
        case ToolResult():
            return "", MESSAGE_TOKENS
        case Image():
            return "", IMAGE_TOKENS
        case Audio():
            return part.transcript or "", 0 if part.transcript else AUDIO_TOKENS
        case Document():
            return part.text or "", 0 if part.text else DOCUMENT_TOKENS
        case Opaque():
            return dumps_text(part.value), 0
        case _:
            assert_never(part)


def _tool_text(tool: Tool) -> str:
    return dumps_text({"name": tool.name, "description": tool.description, "parameters": tool.parameters})


def _pieces(text: str) -> Iterator[str]:
    """*text* cut into pieces of at most PIECE_CHARACTERS, before a lone space where one is near the end.

    A lone space begins a token in both encodings, so such a cut changes no count.
    """
    start = 0
    while len(text) - start > PIECE_CHARACTERS:
        end = start + PIECE_CHARACTERS
        space = text.rfind(" ", end - 10_000, end)
        while space > start and (text[space - 1].isspace() or not text[space + 1].isalpha()):
            space = text.rfind(" ", end - 10_000, space)
        end = space if space > start else end
        yield text[start:end]
        start = end
    yield text[start:]


def _count_piece(tokenizer: Encoding, piece: str) -> int:
    try:
        return len(tokenizer.encode_ordinary(piece))
    except BaseException as error:
        # A stack overflow in the regex engine comes as PyO3's PanicException, which no module exports and which
        # is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        return rough(len(piece.encode("utf-8", "replace")))


def _encoding(name: EncodingName) -> Encoding:
    """The loaded encoding; the first caller of each loads it, the others wait."""
    loaded = _loaded.get(name)
    if loaded is None:
        with _loading:
            loaded = _loaded.get(name)
            if loaded is None:
                loaded = _loaded[name] = _load(name)
    return loaded


def _load(name: EncodingName) -> Encoding:
    # 40 ms that a server which never counts does not spend at its start.
    from tiktoken import Encoding

    return Encoding(name, pat_str=_PATTERNS[name], mergeable_ranks=ranks(name), special_tokens=_SPECIALS[name])


def ranks(name: EncodingName) -> dict[bytes, int]:
    """The shipped ranks: token -> rank. The packed form is described in tools/pack_ranks.py."""
    packed = lzma.decompress(files("translators").joinpath(f"data/{name}.ranks.xz").read_bytes())
    found: dict[bytes, int] = {}
    at = 0
    while at < len(packed):
        end = at + 1 + packed[at]
        found[packed[at + 1 : end]] = len(found)
        at = end
    return found
