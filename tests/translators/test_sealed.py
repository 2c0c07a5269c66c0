"""What another vendor signed survives in the field of any dialect."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from translators.codec import dumps
from translators.sealed import MAX_UNSEALED, seal, unseal

TEXTS = st.text(max_size=40)


@given(st.dictionaries(TEXTS, st.dictionaries(TEXTS, TEXTS)))
def test_what_was_sealed_is_unsealed(native: dict[str, dict[str, str]]) -> None:
    """And the text is base64, which Gemini's SDK decodes."""
    sealed = seal(native)

    assert unseal(sealed) == native
    assert b64decode(sealed, validate=True)


@pytest.mark.parametrize("length", [0, 1, 400, 470, 480, 490, 500, 510, 520, 600, 3_000, 100_000])
def test_any_length_is_unsealed(length: int) -> None:
    """Short ones are packed by another deflater than long ones."""
    signed = {"anthropic": {"signature": ("Zm9v" + str(length)) * (length // 4)}, "é": {"": "x" * length}}

    assert unseal(seal(signed)) == signed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "EqoBCkgIBxABGAIiQL2UMzh",
        "bW9kZWxwb3J0",
        seal({"gemini": {"a": "b"}})[:-8],
        seal({"gemini": {"a": "b"}}) + "!",
        b64encode(b"modelport\x01" + zlib.compress(b"[]")).decode(),
    ],
)
def test_other_texts_are_nobodys(text: str) -> None:
    """A vendor's signature, a cut one and a damaged one are None, never an error."""
    assert unseal(text) is None


def test_a_bomb_is_not_unpacked() -> None:
    """More than the bound is damage."""
    bomb = b64encode(b"modelport\x01" + zlib.compress(dumps({"a": {"b": "x" * (2 * MAX_UNSEALED)}}))).decode()

    assert unseal(bomb) is None
