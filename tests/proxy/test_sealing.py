"""Sealed values: they open for their place alone, and with the key that made them."""

from __future__ import annotations

import base64

import pytest

from proxy.sealing import (
    BadKey,
    CannotOpen,
    Sealer,
    fingerprint,
    key_from_passphrase,
    key_from_text,
    new_key,
    sealed_with,
)

OLD, NEW = b"o" * 32, b"n" * 32
QUICK = {"memory_kib": 64, "iterations": 1, "lanes": 1}


def test_a_value_opens_again_and_is_not_to_be_seen() -> None:
    sealer = Sealer([OLD])
    sealed = sealer.seal("credential", "openai", b"sk-secret")

    assert sealer.open("credential", "openai", sealed) == b"sk-secret"
    assert b"sk-secret" not in sealed
    assert sealer.seal("credential", "openai", b"sk-secret") != sealed


@pytest.mark.parametrize(
    ("purpose", "name"),
    [("credential", "other"), ("signing", "openai"), ("credentia", "lopenai"), ("credential", "")],
)
def test_a_value_in_another_place_does_not_open(purpose: str, name: str) -> None:
    sealer = Sealer([OLD])
    sealed = sealer.seal("credential", "openai", b"sk-secret")

    with pytest.raises(CannotOpen, match="sealed for another place"):
        sealer.open(purpose, name, sealed)


def test_no_byte_can_be_changed_and_none_be_missing() -> None:
    sealer = Sealer([OLD])
    sealed = sealer.seal("p", "n", b"value")
    changed = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))]

    for each in [*changed, *(sealed[:length] for length in range(len(sealed))), sealed + b"\0"]:
        with pytest.raises(CannotOpen):
            sealer.open("p", "n", each)


def test_with_both_keys_old_values_open_and_new_ones_are_made_with_the_first() -> None:
    sealed = Sealer([OLD]).seal("p", "n", b"value")
    both = Sealer([NEW, OLD])
    again = both.reseal("p", "n", sealed)

    assert both.open("p", "n", sealed) == b"value"
    assert (sealed_with(sealed), sealed_with(again)) == (Sealer([OLD]).key_id, Sealer([NEW]).key_id)
    assert Sealer([NEW]).open("p", "n", again) == b"value"
    with pytest.raises(CannotOpen, match=f"sealed with the key {Sealer([OLD]).key_id}, and here is"):
        Sealer([NEW]).open("p", "n", sealed)


def test_a_seal_has_its_purpose_with_it() -> None:
    sealer = Sealer([OLD])
    sealed = sealer.of("signing").seal(b"value", "key_1")

    assert sealer.of("signing").open(sealed, "key_1") == sealer.open("signing", "key_1", sealed) == b"value"


def test_fingerprints_tell_values_apart_and_need_the_pepper() -> None:
    assert fingerprint(OLD, b"a") == fingerprint(OLD, b"a") != fingerprint(OLD, b"b")
    assert fingerprint(OLD, b"a") != fingerprint(NEW, b"a")
    assert len(bytes.fromhex(fingerprint(OLD, b"a"))) == 4


def test_a_key_may_be_written_in_base64_or_hexadecimal() -> None:
    key = key_from_text(new_key())
    written = [base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode(), key.hex(), key.hex().upper()]

    assert {key_from_text(text) for text in written} == {key}


@pytest.mark.parametrize("text", ["", "short", "z" * 64, "a" * 42, "correct horse battery staple", "é" * 43])
def test_what_is_no_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(BadKey) as refused:
        key_from_text(text)

    assert not text or text not in str(refused.value)


def test_a_passphrase_gives_the_same_key_with_the_same_salt_and_another_with_another() -> None:
    words = "correct horse battery"
    first, again, other = (key_from_passphrase(words, salt * 16, **QUICK) for salt in (b"a", b"a", b"b"))

    assert first == again != other
    assert len(first) == 32


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(BadKey, match="a passphrase of 5 characters"):
        key_from_passphrase("short", b"a" * 16, **QUICK)


def test_a_sealer_shows_ids_of_keys_only() -> None:
    sealer = Sealer([NEW, OLD])
    sealer.seal("p", "n", b"value")

    assert repr(sealer) == f"Sealer({sealer.key_ids[0]}, {sealer.key_ids[1]})"
    assert sealer.key_ids[0] == sealer.key_id == Sealer([NEW]).key_id
