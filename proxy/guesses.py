"""Wrong keys, counted by the address that they come from: whoever tries many is told to wait.

An address may be wrong as often as `auth.wrong_keys_per_minute` says, at once or in the course of a minute; what is
beyond that is answered with 429 instead of 401, and its connection is closed. A right key is never looked up here:
those who share an address with somebody who guesses (behind one router, or one proxy) notice nothing.

The memory is bounded: of so many addresses, the one that has been quiet longest is forgotten first. Addresses of
IPv6 count by their network (/64), of which everybody has a whole one.
"""

from __future__ import annotations

import ipaddress
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from proxy.errors import Refused, UnknownKey
from translators.neutral import Failure

log = logging.getLogger("modelport")

WINDOW_S: Final = 60.0
MOST_ADDRESSES: Final = 4096
"""About a megabyte."""
SAID_EACH_S: Final = 60.0
NETWORK_BITS: Final = 64


class Guesses:
    """What was tried. *now* is a monotonic clock in seconds."""

    def __init__(self, now: Callable[[], float], most: int = MOST_ADDRESSES) -> None:
        self.wrong = 0
        """Wrong keys since the start."""
        self.held_off = 0
        """Those of them that were answered with 429."""
        self.told: Callable[[str], None] | None = None
        """Hears of each address that a wrong key was counted for."""
        self._now = now
        self._most = most
        self._paid_until: OrderedDict[str, float] = OrderedDict()
        """By address: when all that it has tried is forgotten."""
        self._said = -SAID_EACH_S

    def __len__(self) -> int:
        return len(self._paid_until)

    def judged(self, error: UnknownKey, remote: str | None, per_minute: int) -> Refused:
        """What is answered to *remote*, whose key is wrong as *error* says."""
        self.wrong += 1
        address = network(remote or "")
        wait_s = self._wait_s(address, WINDOW_S / per_minute)
        if wait_s is None:
            if self.told is not None:
                self.told(address)
            return error
        self.held_off += 1
        self._say(address)
        told = f"too many wrong keys have come from this address; a right one is let in at any time ({error})"
        failure = Failure("rate_limit", told, 429, "too_many_wrong_keys", retry_after_s=wait_s)
        return Refused(failure, {"connection": "close", "x-should-retry": "false"})

    def heard(self, address: str, per_minute: int) -> None:
        """Another worker has counted a wrong key of *address*."""
        self._wait_s(address, WINDOW_S / per_minute)

    def _wait_s(self, address: str, each_s: float) -> float | None:
        """Count a wrong key of *address*, which is forgotten after *each_s*.

        None, or how long it takes until there is room for one, when there is none.
        """
        now = self._now()
        paid_until = max(now, self._paid_until.pop(address, now))
        wait_s = paid_until + each_s - now - WINDOW_S
        full = wait_s > each_s / 1000  # the sum of many spans is not quite their product
        self._paid_until[address] = paid_until if full else paid_until + each_s
        if len(self._paid_until) > self._most:
            self._paid_until.popitem(last=False)
        return wait_s if full else None

    def _say(self, address: str) -> None:
        now = self._now()
        if now - self._said >= SAID_EACH_S:
            self._said = now
            log.warning("many wrong keys come from %s (%d since the start)", address or "a local socket", self.wrong)

    def stats(self) -> dict[str, int]:
        """For /health and /metrics."""
        return {"wrong_keys": self.wrong, "held_off": self.held_off}


def network(remote: str) -> str:
    """What *remote*, the address of a connection, is counted as."""
    try:
        address = ipaddress.ip_address(remote.partition("%")[0])
    except ValueError:
        return remote
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), NETWORK_BITS), strict=False))
