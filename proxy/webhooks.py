"""One signed POST to an address of the configuration.

A receiver checks `x-modelport-signature: t=TIME,v1=HEX`: HEX is HMAC-SHA256 over `TIME.BODY` with the shared secret.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp

from proxy.config.secrets import Secret

SIGNATURE: Final = "x-modelport-signature"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where is told, what proves that it was us (None: nothing does), and how long the receiver may take."""

    address: Secret
    secret: Secret | None
    timeout_s: float

    async def post(
        self, session: aiohttp.ClientSession, body: bytes, headers: Mapping[str, str], at: int
    ) -> str | None:
        """Why *body*, JSON, sent at *at* (Unix seconds) was not accepted; None: it was.

        Neither address nor answer is told: both may hold secrets.
        """
        sent = {"content-type": "application/json", **headers}
        if self.secret is not None:
            sent[SIGNATURE] = signature(self.secret.reveal(), body, at)
        try:
            async with (
                asyncio.timeout(self.timeout_s),
                session.post(self.address.reveal(), data=body, headers=sent, allow_redirects=False) as answer,
            ):
                return None if 200 <= answer.status < 300 else f"status {answer.status}"
        except TimeoutError:
            return f"no answer within {self.timeout_s:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return type(error).__name__


def signature(secret: str, body: bytes, at: int) -> str:
    """What proves that *body* was sent at *at* (Unix seconds) by somebody who has *secret*."""
    digest = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"
