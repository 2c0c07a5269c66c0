"""What a file is, by its first bytes. Its host is only believed where they cannot tell: of text, and of raw sound.

bytes with a mark     -> the type of the mark, which vendors check as well (`image/jpeg` sent as `image/png` is a 400)
text without one      -> the declared `text/...`
samples without a head -> the declared type of raw sound
anything else         -> nothing that a model can be shown
"""

from __future__ import annotations

import re
from typing import Final

LOOKED_AT: Final = 4096
"""Bytes that are looked at."""
UNDECLARED: Final = frozenset(
    {"", "application/octet-stream", "binary/octet-stream", "application/x-download", "application/ogg"}
)
"""What hosts say that do not know: the bytes alone decide."""
RAW_SOUND: Final = frozenset({"audio/pcm", "audio/l16", "audio/l24", "audio/basic", "audio/x-raw"})


def _mark(pattern: bytes, *types: str) -> tuple[re.Pattern[bytes], tuple[str, ...]]:
    return re.compile(pattern, re.DOTALL), types


_MARKS: Final = (
    _mark(rb"\x89PNG\r\n\x1a\n", "image/png"),
    _mark(rb"\xff\xd8\xff", "image/jpeg"),
    _mark(rb"GIF8[79]a", "image/gif"),
    _mark(rb"RIFF.{4}WEBP", "image/webp"),
    _mark(rb".{4}ftyp(?:heic|heix|heim|heis|hevc|hevx)", "image/heic"),
    _mark(rb".{4}ftyp(?:mif1|msf1)", "image/heif"),
    _mark(rb".{4}ftyp(?:avif|avis)", "image/avif"),
    _mark(rb"BM.{4}\0\0\0\0", "image/bmp"),
    _mark(rb"II\*\0|MM\0\*", "image/tiff"),
    _mark(rb"RIFF.{4}WAVE|RF64.{4}WAVE", "audio/wav"),
    # A tag before the sound, or a frame of layer II or III.
    _mark(rb"ID3[\x02-\x04]|\xff[\xe2\xe3\xf2-\xf5\xfa-\xfd]", "audio/mpeg"),
    _mark(rb"\xff[\xf0\xf1\xf8\xf9]", "audio/aac"),
    _mark(rb"OggS\0", "audio/ogg", "video/ogg"),
    _mark(rb"fLaC", "audio/flac"),
    _mark(rb"FORM.{4}AIF[FC]", "audio/aiff"),
    _mark(rb"#!AMR", "audio/amr"),
    _mark(rb".{4}ftypM4[AB] ", "audio/mp4"),
    _mark(rb".{4}ftyp", "video/mp4", "audio/mp4"),
    _mark(rb"\x1aE\xdf\xa3", "video/webm", "audio/webm"),
    _mark(rb"(?:\xef\xbb\xbf)?\s{0,16}%PDF-", "application/pdf"),
)
"""Beginnings of files; a container may hold several kinds. (RFC 6381, WHATWG MIME Sniffing, the formats' own papers)"""


def marked(content: bytes) -> tuple[str, ...]:
    """The media types that the beginning of *content* can mean; none where it has no mark."""
    return next((types for pattern, types in _MARKS if pattern.match(content)), ())


def type_of(content: bytes, declared: str, kinds: tuple[str, ...]) -> str | None:
    """The media type of *content*, which its host declares as *declared*, if it begins with one of *kinds*.

    None when it does not: the bytes are of something else, or of nothing that is known.
    """
    if declared not in UNDECLARED and not declared.startswith(kinds):
        return None
    if types := marked(content):
        return next((name for name in types if name.startswith(kinds)), None)
    if declared in UNDECLARED or not declared.startswith(kinds):
        return None
    head = content[:LOOKED_AT]
    if declared.startswith("text/"):
        return declared if b"\0" not in head else None
    return declared if declared in RAW_SOUND and not is_page(head) else None


def is_page(content: bytes) -> bool:
    """Whether *content* is markup: the page that hosts send in place of a file."""
    return content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"
