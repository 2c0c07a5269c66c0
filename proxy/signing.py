"""Signed requests, for keys that demand them: the key itself does not travel.

    x-modelport-key        the key's id
    x-modelport-time       Unix seconds, at most 300 away from the server's
    x-modelport-nonce      any text, optional; needed to send the same request twice within a second
    x-modelport-signature  HMAC-SHA256 under the key's signing secret, in hexadecimal, of

        METHOD \\n path?query \\n SHA-256 of the body in hexadecimal \\n time [\\n nonce]

A signature is accepted once. Those that were are remembered while their time is within the window; when that many
have come that no more can be remembered, further ones are refused.
What the process before may have accepted is refused: what was signed before this one started, and, since clients'
clocks may be ahead and a start may be quick, whatever is no later than the last second that was accepted of the key.
That second is written down before, once for each.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp.web_request import BaseRequest

from proxy.auth import invalid_key
from proxy.errors import UnknownKey, refused
from proxy.keyring import Entry, Keyring, why_not
from proxy.server import Request, read_body
from proxy.threads import THREAD_BYTES, threaded
from storage.errors import StorageError

log = logging.getLogger("modelport.keys")

KEY: Final = "x-modelport-key"
TIME: Final = "x-modelport-time"
NONCE: Final = "x-modelport-nonce"
SIGNATURE: Final = "x-modelport-signature"
WINDOW_S: Final = 300
MOST_REMEMBERED: Final = 200_000
"""About 40 MB of signatures, 330 signed requests a second."""
MAX_NONCE: Final = 128


@dataclass(frozen=True, slots=True)
class Signed:
    """What a client says of its signature."""

    key_id: str
    time: str
    nonce: str | None
    signature: str


def sign(secret: bytes, method: str, path: str, body: bytes, *, time: str, nonce: str | None = None) -> str:
    """The signature of a request; *path* with its query, as it stands in the request line."""
    lines = [method, path, hashlib.sha256(body).hexdigest(), time, *([nonce] if nonce is not None else ())]
    return hmac.new(secret, "\n".join(lines).encode(errors="surrogateescape"), "sha256").hexdigest()


Claim = Callable[[bytes, int, int], bool | None]
"""(digest, until, now) -> whether no worker has used it; None: it cannot be remembered."""


class Signatures:
    """Checks signatures and remembers them. *now* is Unix seconds."""

    def __init__(self, keyring: Keyring, now: Callable[[], float], most: int = MOST_REMEMBERED) -> None:
        self._keyring = keyring
        self._now = now
        self._started = int(now())
        self._most = most
        self._seen: OrderedDict[bytes, float] = OrderedDict()
        """Signatures, and when each may be forgotten: nothing that was sent up to now is accepted any more then."""
        self._before: dict[str, int] = {}
        """Key -> the last second for which the process before may have accepted a signature."""
        self._noted: dict[str, int] = {}
        """The same of this process, as far as it is written down."""
        self._floor: int | None = None
        self._claim: Claim | None = None

    def share(self, claim: Claim, started_s: int, before_s: int) -> None:
        """Let all workers remember together, since *started_s*; *before_s* is the last second of those before them."""
        self._claim, self._started, self._floor = claim, started_s, before_s

    async def check(self, request: BaseRequest, max_body: int) -> Entry | None:
        """Who signed *request*; None when it is not signed. Its body is read, and put back.

        Raises:
            Refused: 401, the signature is not good or has been used; 429, too many are remembered.
        """
        signed = _signed(request)
        if signed is None:
            return None
        entry, _ = self._signer(signed)
        at = self._check_time(signed, entry)
        body = await read_body(request, max_body)
        entry, secret = self._signer(signed)  # it may have been given another one, or revoked, while the body came
        wanted = await _signature(secret, request, body, signed)
        given = signed.signature.encode(errors="surrogateescape")
        if not hmac.compare_digest(wanted.encode(), given):
            told = "sign METHOD, path?query, SHA-256 of the body, time and nonce, one a line"
            raise UnknownKey(f"{SIGNATURE}: it does not fit the request; {told}", "invalid_signature")
        if reason := why_not(entry, self._now()):  # told to nobody but who has signed
            raise invalid_key(reason)
        await self._note(entry, at)
        self._remember(entry, given)
        if not isinstance(request, Request):
            raise TypeError("only a request of our own server can be read twice")
        request.put_back(body)
        return entry

    def _signer(self, signed: Signed) -> tuple[Entry, bytes]:
        entry = self._keyring.entries.get(signed.key_id)
        if entry is None or entry.key.signing is None:
            raise UnknownKey(f"{KEY}: no key of that id signs its requests", "invalid_signature")
        secret = self._keyring.signing_secret(entry)
        if secret is None:
            told = "the signing secret of this key cannot be read; the server's [secrets] key is missing or another one"
            raise refused(503, told, kind="server", code="secrets_unavailable")
        return entry, secret

    def _check_time(self, signed: Signed, entry: Entry) -> int:
        text = signed.time
        at = int(text) if text.isascii() and text.isdecimal() and len(text) <= 12 else None
        if at is None:
            raise invalid_key(f"{TIME}: expected Unix seconds, found {text[:40]!r}", "invalid_signature")
        away = abs(self._now() - at)
        if away > WINDOW_S:
            told = f"{TIME}: it is {away:.0f} s away from the server's time; at most {WINDOW_S} s are accepted"
            raise invalid_key(told, "invalid_signature")
        before = self._floor
        if before is None:
            before = self._before.setdefault(entry.key.id, entry.key.signed_until_s or 0)
        if at < self._started or at <= before:
            told = f"{TIME}: the server has started since, and cannot know whether this was sent before; sign it again"
            raise invalid_key(told, "invalid_signature")
        return at

    async def _note(self, entry: Entry, at: int) -> None:
        """Have it written down that a signature for the second *at* is accepted, unless one was."""
        if at <= self._noted.get(entry.key.id, 0):
            return
        try:
            await self._keyring.store.signed(entry.key.id, at)
        except StorageError as error:
            # The books decide whether the request goes on; until a restart the memory does.
            log.error("signed requests of the key %s are not remembered beyond this process: %s", entry.key.id, error)
            return
        self._noted[entry.key.id] = max(at, self._noted.get(entry.key.id, 0))

    def _remember(self, entry: Entry, signature: bytes) -> None:
        now = self._now()
        mark = hashlib.sha256(entry.key.id.encode() + b"\n" + signature).digest()
        until = now + 2 * WINDOW_S
        claimed = True if self._claim is None else self._claim(mark, int(until) + 1, int(now))
        if self._seen.get(mark, 0) > now or claimed is False:
            raise invalid_key(f"{SIGNATURE}: this request has been sent before", "replayed_signature")
        while self._seen and next(iter(self._seen.values())) <= now:
            self._seen.popitem(last=False)
        if len(self._seen) >= self._most or claimed is None:
            told = "too many signed requests have come; wait until earlier ones are too old to come again"
            raise refused(429, told, kind="rate_limit", code="rate_limit_exceeded", retry_after_s=WINDOW_S)
        self._seen[mark] = until


async def _signature(secret: bytes, request: BaseRequest, body: bytes, signed: Signed) -> str:
    """What the signature of *request* has to be."""

    def made() -> str:
        return sign(secret, request.method, request.raw_path, body, time=signed.time, nonce=signed.nonce)

    return await threaded(len(body) > THREAD_BYTES, made)


def _signed(request: BaseRequest) -> Signed | None:
    headers = request.headers
    if SIGNATURE not in headers:
        return None
    for name in (KEY, TIME, NONCE, SIGNATURE):
        given = len(headers.getall(name, ()))
        if not given and name != NONCE:
            raise invalid_key(f"{name}: missing beside {SIGNATURE}", "invalid_signature")
        if given > 1:
            told = f"{name}: given {given} times; readers differ on which one counts, so send it once"
            raise invalid_key(told, "invalid_signature")
    nonce = headers.get(NONCE)
    if nonce is not None and len(nonce) > MAX_NONCE:
        raise invalid_key(f"{NONCE}: at most {MAX_NONCE} characters", "invalid_signature")
    return Signed(headers[KEY], headers[TIME], nonce, headers[SIGNATURE])
