"""Token ids back to text."""

import pytest

from translators import tokens
from translators.tokens import EncodingName

ENCODINGS: list[EncodingName] = ["o200k_base", "cl100k_base"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_ids_become_the_text_that_they_were_made_of(encoding: EncodingName) -> None:
    text = "Grüße, 世界! 👩‍👩‍👧 def f(): pass"

    assert tokens.decode(tokens._encoding(encoding).encode(text), encoding) == text


def test_a_character_that_was_cut_becomes_a_replacement_character() -> None:
    ids = tokens._encoding("cl100k_base").encode("👩")

    assert len(ids) > 1
    assert tokens.decode(ids[:-1], "cl100k_base") == "\ufffd"


@pytest.mark.parametrize("wrong", [123_456, -1, 2**40, 100_256])
def test_an_id_that_the_encoding_does_not_have_is_named(wrong: int) -> None:
    with pytest.raises(ValueError, match="cl100k_base has no such token"):
        tokens.decode([1, wrong], "cl100k_base")
