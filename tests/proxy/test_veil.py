"""Secrets in answers that pass by: covered in every spelling, at every cut, without a change of length."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest

from proxy.veil import Veil

SECRET = "vendor/canary+QmFzZTY0.0123456789"
TEXT = f"data: the key {SECRET} ({quote(SECRET, safe='')}, {base64.b64encode(SECRET.encode()).decode()}) is wrong\n\n"


def passed(text: bytes, size: int, content_type: str = "text/event-stream; charset=utf-8") -> bytes:
    veil = Veil([SECRET], content_type)
    return b"".join(veil.over(text[at : at + size]) for at in range(0, len(text), size)) + veil.rest()


@pytest.mark.parametrize("size", range(1, len(TEXT) + 1, 3))
def test_a_secret_is_covered_wherever_it_is_cut(size: int) -> None:
    came = passed(TEXT.encode(), size)

    assert len(came) == len(TEXT)
    assert came.startswith(b"data: the key ***")
    assert came.endswith(b" is wrong\n\n")
    assert [spelled for spelled in (SECRET, quote(SECRET, safe="")) if spelled.encode()[3:15] in came] == []
    assert base64.b64encode(SECRET.encode())[3:15] not in came


def test_what_cannot_be_the_beginning_of_a_secret_does_not_wait() -> None:
    veil = Veil([SECRET], "application/json")

    assert [veil.over(piece) for piece in (b'{"a": 1}\n\n', b"vendor/can", b"teen", b"vendor")] == [
        b'{"a": 1}\n\n',
        b"",
        b"vendor/canteen",
        b"",
    ]
    assert veil.rest() == b"vendor"


@pytest.mark.parametrize("content_type", ["image/png", "audio/mpeg", "application/octet-stream", ""])
def test_what_is_no_text_passes_as_it_is(content_type: str) -> None:
    assert passed(TEXT.encode(), 7, content_type) == TEXT.encode()


def test_short_values_of_headers_are_no_secrets() -> None:
    assert Veil(["2023-06-01"], "text/plain").over(b"since 2023-06-01") == b"since 2023-06-01"
