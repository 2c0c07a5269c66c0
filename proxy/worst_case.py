"""The most input tokens that a request may be billed for, as far as that can be told without a tokenizer.

Text is taken at a dense rate (2.5 bytes to a token of OpenAI's), times the factor of the model's family. Pictures,
sounds and documents are taken at what they cost where they cost most, documents and sounds by their size. It is a
bound for what people write; who sends random bytes as text can make more tokens of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from translators.codec import dumps_text
from translators.neutral import Audio, Document, Image, Part, Request, Source, ToolResult
from translators.tokens import AUDIO_TOKENS, DOCUMENT_TOKENS, FACTORS, IMAGE_TOKENS, family, rough, rough_request

DENSITY: Final = 1.5
"""Of tightly written JSON, numbers and names, against the prose that `rough` goes by."""
MOST_IMAGE_TOKENS: Final = 5_000
"""One picture: Claude counts up to 4,784 of one in high resolution, OpenAI some 3,800, Gemini up to 3,100 in tiles."""
PAGE_BYTES: Final = 12_000
"""Of a PDF: pages of text take 3 to 15 KB, scanned ones more."""
PAGE_TOKENS: Final = 4_600
"""Up to 3,000 of text and a picture of the page beside it, where the vendor sends both to the model."""
MOST_DOCUMENT_TOKENS: Final = 1_000_000
"""More fits into few windows."""
AUDIO_BYTES: Final = 125
"""Of a sound, to a token: 32 tokens a second (Gemini) of speech at 32 kbit/s. Less dense sound has fewer."""
UNSEEN_TOKENS: Final = 40_000
"""A document or a sound that is only named by an address or an id: its size is not known here."""
SERVER_TOOL_TOKENS: Final = 20_000
"""What a vendor's own tool (a search) brings into the prompt."""
SEARCHES: Final = 5
"""How often a vendor's own tool may be used for one answer, each time billed by itself."""


def most_input_tokens(request: Request, model: str) -> int:
    """Tokens of *request* as *model* may count them at most."""
    media, taken = 0, 0
    for part in _parts(request):
        match part:
            case Image():
                media, taken = media + MOST_IMAGE_TOKENS, taken + IMAGE_TOKENS
            case Document(text=None | ""):
                media, taken = media + _document_tokens(part.source), taken + DOCUMENT_TOKENS
            case Audio(transcript=None | ""):
                media, taken = media + _audio_tokens(part.source), taken + AUDIO_TOKENS
            case _:
                continue
    text = rough_request(request).tokens - taken
    if request.output is not None and request.output.schema is not None:
        text += rough(len(dumps_text(request.output.schema)))
    kind = family(model)
    return -int(-text * DENSITY * FACTORS[kind] // 1) + media + SERVER_TOOL_TOKENS * server_tools(request)


def searches(request: Request) -> int:
    """How often tools of the vendor's own may be used."""
    return SEARCHES * server_tools(request)


def server_tools(request: Request) -> int:
    """Tools that the vendor runs itself."""
    return sum(tool.kind == "native" for tool in request.tools) if request.tools else 0


def _parts(request: Request) -> Iterator[Part]:
    for message in request.messages:
        for part in message.parts:
            yield part
            if isinstance(part, ToolResult):
                yield from part.parts


def _size(source: Source) -> int | None:
    return None if source.data is None else len(source.data) * 3 // 4


def _document_tokens(source: Source) -> int:
    size = _size(source)
    if size is None:
        return UNSEEN_TOKENS
    return min(MOST_DOCUMENT_TOKENS, PAGE_TOKENS * -(-size // PAGE_BYTES))


def _audio_tokens(source: Source) -> int:
    size = _size(source)
    return UNSEEN_TOKENS if size is None else max(AUDIO_TOKENS, -(-size // AUDIO_BYTES))
