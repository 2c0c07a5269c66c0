"""What a file is, by its first bytes."""

from __future__ import annotations

import pytest

from proxy.file_types import type_of

IMAGE, AUDIO, DOCUMENT = ("image/",), ("audio/",), ("application/pdf", "text/")

MARKED: list[tuple[bytes, str, tuple[str, ...], str]] = [
    (b"\x89PNG\r\n\x1a\n", "image/png", IMAGE, "image/png"),
    (b"\xff\xd8\xff\xe0", "image/png", IMAGE, "image/jpeg"),
    (b"GIF89a", "image/gif", IMAGE, "image/gif"),
    (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "image/webp", IMAGE, "image/webp"),
    (b"\x00\x00\x00\x18ftypheic", "image/heic", IMAGE, "image/heic"),
    (b"\x00\x00\x00\x18ftypavif", "image/avif", IMAGE, "image/avif"),
    (b"BM\x01\x02\x03\x04\x00\x00\x00\x00", "image/x-ms-bmp", IMAGE, "image/bmp"),
    (b"II*\x00", "image/tiff", IMAGE, "image/tiff"),
    (b"RIFF\x0a\x0d\x0a\x00WAVEfmt ", "audio/x-wav", AUDIO, "audio/wav"),
    (b"ID3\x04\x00", "audio/mp3", AUDIO, "audio/mpeg"),
    (b"\xff\xfb\x90\x64", "audio/mpeg", AUDIO, "audio/mpeg"),
    (b"\xff\xf1\x50", "audio/aac", AUDIO, "audio/aac"),
    (b"OggS\x00\x02", "application/ogg", AUDIO, "audio/ogg"),
    (b"fLaC", "audio/x-flac", AUDIO, "audio/flac"),
    (b"\x00\x00\x00\x20ftypM4A ", "audio/x-m4a", AUDIO, "audio/mp4"),
    (b"\x00\x00\x00\x20ftypisom", "audio/mp4", AUDIO, "audio/mp4"),
    (b"\x1aE\xdf\xa3", "audio/webm", AUDIO, "audio/webm"),
    (b"%PDF-1.7", "application/pdf", DOCUMENT, "application/pdf"),
    (b"\n %PDF-1.7", "text/plain", DOCUMENT, "application/pdf"),
    (b"%PDF-1.7", "", DOCUMENT, "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "binary/octet-stream", IMAGE, "image/png"),
    (b"name,size\n", "text/csv", DOCUMENT, "text/csv"),
    (b"<html>", "text/html", DOCUMENT, "text/html"),
    (b"\x01\x02", "audio/pcm", AUDIO, "audio/pcm"),
]


@pytest.mark.parametrize(("content", "declared", "kinds", "told"), MARKED)
def test_bytes_tell_the_type(content: bytes, declared: str, kinds: tuple[str, ...], told: str) -> None:
    assert type_of(content + b"...", declared, kinds) == told


NOTHING: list[tuple[bytes, str, tuple[str, ...]]] = [
    (b"<!doctype html>", "image/png", IMAGE),
    (b"<svg xmlns='x'>", "image/svg+xml", IMAGE),
    (b"%PDF-1.7", "image/png", IMAGE),
    (b"\x89PNG\r\n\x1a\n", "text/html", IMAGE),
    (b"\x89PNG\r\n\x1a\n", "application/pdf", DOCUMENT),
    (b"\x89PNG\r\n\x1a\n", "text/plain", DOCUMENT),
    (b"PK\x03\x04\x00", "text/plain", DOCUMENT),
    (b"hello", "application/pdf", DOCUMENT),
    (b"hello", "application/octet-stream", DOCUMENT),
    (b"hello", "audio/wav", AUDIO),
    (b"<html>", "audio/pcm", AUDIO),
    (b"RIFF\x10\x00\x00\x00WAVE", "image/webp", IMAGE),
    (b"\x00\x00\x00\x20ftypisom", "image/heic", IMAGE),
    (b"", "image/png", IMAGE),
]


@pytest.mark.parametrize(("content", "declared", "kinds"), NOTHING)
def test_what_is_not_of_the_kind_is_nothing(content: bytes, declared: str, kinds: tuple[str, ...]) -> None:
    assert type_of(content, declared, kinds) is None


@pytest.mark.parametrize("text", ["BMW is a make of cars", "ID3 tags", "FORM 1040", "RIFF raff", "II. Chapter"])
def test_a_text_is_not_taken_for_a_file_that_begins_alike(text: str) -> None:
    assert type_of(text.encode(), "text/plain", DOCUMENT) == "text/plain"
