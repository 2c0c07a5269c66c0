"""Sealing: what the database keeps and nobody else shall read (AES-256-GCM).

A sealed value is

    version (1 byte) | key id (8 bytes) | nonce (12 bytes, random) | ciphertext and tag

Its associated data are the first two, the purpose and the name that it belongs to: a value that is moved to another
row or column does not open. Each purpose has a key of its own, derived from the one that is configured (HKDF-SHA256);
the key id tells which of several configured keys was used, and nothing about it.

    seal = services.sealer.of("signing")
    blob = seal.seal(secret, key_id)
    secret = seal.open(blob, key_id)

`cryptography` is imported where something is sealed or opened, and nowhere before: it takes 35 ms and 8 MB. Without
`[secrets]` that is never.
"""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

VERSION: Final = 1
KEY_BYTES: Final = 32
ID_BYTES: Final = 8
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
HEAD_BYTES: Final = 1 + ID_BYTES + NONCE_BYTES
SHORTEST_PASSPHRASE: Final = 16
"""Characters. Argon2id makes a guess expensive, not a short word long."""


class BadKey(ValueError):
    """The configured key or passphrase cannot be used. The message says what would be right, without the value."""


class CannotOpen(ValueError):
    """A sealed value does not open: it was sealed with another key, for another place, or it is damaged."""


def new_key() -> str:
    """A key for `[secrets] key`: 32 random bytes in URL-safe base64."""
    return base64.urlsafe_b64encode(os.urandom(KEY_BYTES)).decode().rstrip("=")


def key_from_text(text: str) -> bytes:
    """The key that *text* spells in base64, URL-safe or not, or in hexadecimal.

    Raises:
        BadKey: it does not spell 32 bytes.
    """
    try:
        if len(text) == 2 * KEY_BYTES:
            return bytes.fromhex(text)
        plain = text.rstrip("=").replace("+", "-").replace("/", "_")
        key = base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except ValueError:  # binascii.Error is one
        key = b""
    if len(key) != KEY_BYTES:
        raise BadKey("no 32 bytes in base64 or hexadecimal")
    return key


def key_from_passphrase(passphrase: str, salt: bytes, *, memory_kib: int, iterations: int, lanes: int) -> bytes:
    """The key that Argon2id (RFC 9106) makes of *passphrase*. Takes the better part of a second: call it in a thread.

    Raises:
        BadKey: it is too short.
    """
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id  # only where a passphrase is configured

    check_passphrase(passphrase)
    work = Argon2id(salt=salt, length=KEY_BYTES, iterations=iterations, lanes=lanes, memory_cost=memory_kib)
    return work.derive(passphrase.encode())


def check_passphrase(passphrase: str) -> None:
    """Raises BadKey when *passphrase* is too short."""
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise BadKey(f"a passphrase of {len(passphrase)} characters")


class Sealer:
    """Seals with the first of *keys*, opens what any of them has sealed."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise BadKey(f"a key that does not have {KEY_BYTES} bytes")
        self._keys = {_key_id(key): key for key in reversed(keys)}
        self._newest = _key_id(keys[0])
        self._derived: dict[tuple[bytes, str], bytes] = {}

    def __repr__(self) -> str:
        return f"Sealer({', '.join(self.key_ids)})"

    @property
    def key_id(self) -> str:
        """The id of the key that seals, hexadecimal."""
        return self._newest.hex()

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of all keys, the one that seals first."""
        others = [key_id for key_id in self._keys if key_id != self._newest]
        return tuple(key_id.hex() for key_id in (self._newest, *others))

    def of(self, purpose: str) -> Seal:
        """The same for one purpose."""
        return Seal(self, purpose)

    def seal(self, purpose: str, name: str, value: bytes) -> bytes:
        """*value*, to be opened again for the same *purpose* and *name* alone."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(NONCE_BYTES)
        head = bytes([VERSION]) + self._newest
        sealed = AESGCM(self._key(self._newest, purpose)).encrypt(nonce, value, _bound(head, purpose, name))
        return head + nonce + sealed

    def open(self, purpose: str, name: str, sealed: bytes) -> bytes:
        """What was sealed for *purpose* and *name*.

        Raises:
            CannotOpen: with the reason.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(sealed) < HEAD_BYTES + TAG_BYTES or sealed[0] != VERSION:
            raise CannotOpen(f"{name}: it is no sealed value that this version knows")
        head, nonce = sealed[: 1 + ID_BYTES], sealed[1 + ID_BYTES : HEAD_BYTES]
        key_id = head[1:]
        if key_id not in self._keys:
            known = " and ".join(self.key_ids)
            raise CannotOpen(f"{name}: it was sealed with the key {key_id.hex()}, and here is {known}")
        try:
            return AESGCM(self._key(key_id, purpose)).decrypt(nonce, sealed[HEAD_BYTES:], _bound(head, purpose, name))
        except InvalidTag as error:
            raise CannotOpen(f"{name}: it was damaged, or sealed for another place") from error

    def reseal(self, purpose: str, name: str, sealed: bytes) -> bytes:
        """The same value, sealed with the newest key. Raises CannotOpen."""
        return self.seal(purpose, name, self.open(purpose, name, sealed))

    def _key(self, key_id: bytes, purpose: str) -> bytes:
        derived = self._derived.get((key_id, purpose))
        if derived is None:
            derived = self._derived[key_id, purpose] = _derive(self._keys[key_id], purpose)
        return derived


@dataclass(frozen=True, slots=True)
class Seal:
    """A sealer for one purpose."""

    sealer: Sealer
    purpose: str

    def seal(self, value: bytes, name: str) -> bytes:
        """*value*, sealed for *name*."""
        return self.sealer.seal(self.purpose, name, value)

    def open(self, sealed: bytes, name: str) -> bytes:
        """What was sealed for *name*. Raises CannotOpen."""
        return self.sealer.open(self.purpose, name, sealed)


def fingerprint(pepper: bytes, value: bytes) -> str:
    """Eight hexadecimal digits that tell values apart. Without *pepper* they cannot be made from a guess."""
    return hmac.digest(pepper, value, "sha256")[:4].hex()


def sealed_with(sealed: bytes) -> str:
    """The id of the key that *sealed* was made with."""
    return sealed[1 : 1 + ID_BYTES].hex()


def _key_id(key: bytes) -> bytes:
    # One-way, and of no use for anything that is sealed: its purpose is its own.
    return hmac.digest(key, b"modelport key id", "sha256")[:ID_BYTES]


def _derive(key: bytes, purpose: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"modelport " + purpose.encode()).derive(key)


def _bound(head: bytes, purpose: str, name: str) -> bytes:
    """What a sealed value is tied to. Lengths keep two pairs from being written alike."""
    parts = (purpose.encode(), name.encode())
    return head + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
