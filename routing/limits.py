"""The keys of one provider: which one goes next, and which rest.

A key rests after a failure that is about the key. A wait that the vendor asked for is *firm*: the key is not used
before. A wait that we chose ourselves is not: when nothing else is left the key is tried all the same, so that one
stray 401 does not switch a provider off for everyone.
Answers tell, too, how much the vendor's limits leave: a key that has used them up rests until they are reset.
Vendors limit rates for each model, and a 403 may be about one model only: both rest the key for that model alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Generic, TypeVar

from translators.neutral import ErrorKind, Failure

K = TypeVar("K")

RESTS_S: Final[Mapping[ErrorKind, float]] = {
    "authentication": 300.0,
    "permission": 300.0,
    "billing": 600.0,
    "rate_limit": 10.0,
}
"""How long a key rests when the vendor does not say."""
LONGEST_GUESS_S: Final = 120.0
"""A repeated 429 without Retry-After doubles the rest up to this."""
LONGEST_REST_S: Final = 900.0
"""A vendor that asks for more is asked again after this: one wrong header must not take a key away for a day."""
LONGEST_LEARNT_S: Final = 60.0
"""A key that has nothing left is asked again after this: limits of a day are reset in hours, and refill meanwhile."""
RESTS_KEPT: Final = 1024

WHOLE_KEY: Final = ""
LEARNT: Final = 200
"""The status of a rest that the headers of an answer gave reason for, and no refusal."""

_REMAINING: Final = re.compile(r"(?:x-|anthropic-)?ratelimit-(?:remaining(?:-[a-z-]+)?|[a-z-]+-remaining)")
_UNITS_S: Final[Mapping[str, float]] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_AS_UNIX_S: Final = 1e9
"""A plain number above this is a moment and no time; above a thousand times of it, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Why and until when a key rests."""

    until: float
    firm: bool
    kind: ErrorKind
    status: int


Told = Callable[[int, str, float, Rest], None]


class KeyRing(Generic[K]):
    """Keys in turn, named by their position so that no secret is hashed, compared or logged.

    *now* is a monotonic clock in seconds. A provider without keys has the one anonymous key None.
    *weights* are shares of the load, one for each key; without them all are alike. The turns of a heavier key are
    spread between those of the others (smooth weighted round robin, as nginx has it): 3 and 1 give a a b a.
    *told* hears of a key that begins to rest: its position, the model or WHOLE_KEY, for how many seconds, and why.
    """

    def __init__(
        self, keys: Sequence[K], now: Callable[[], float], weights: Sequence[int] = (), told: Told | None = None
    ) -> None:
        self.keys: tuple[K | None, ...] = tuple(keys) or (None,)
        self._now = now
        self._told = told
        self._weights = tuple(weights) or (1,) * len(self.keys)
        self._credit = [0] * len(self.keys)
        """What each key is owed; they sum up to 0."""
        self._rests: dict[tuple[int, str], Rest] = {}
        self._repeats = [0] * len(self.keys)

    @property
    def total(self) -> int:
        """How many keys there are; the anonymous one counts."""
        return len(self.keys)

    @property
    def available(self) -> int:
        """How many keys do not rest, neither as a whole nor for any model."""
        resting = {index for index, scope in tuple(self._rests) if self._rest(index, scope) is not None}
        return len(self.keys) - len(resting)

    @property
    def cooldown_s(self) -> float:
        """Seconds until the first key has no rest at all, neither as a whole nor for any model; 0 when one has none."""
        until = [0.0] * len(self.keys)
        for index, scope in tuple(self._rests):
            if (rest := self._rest(index, scope)) is not None:
                until[index] = max(until[index], rest.until)
        return max(0.0, min(until) - self._now())

    def take(self, model: str = WHOLE_KEY, tried: Collection[int] = (), preferred: int | None = None) -> int | None:
        """The position of the next free key that was not *tried*; None when there is none.

        A *preferred* key that is free is taken, and costs nobody a turn.
        """
        if not self._rests and not tried and len(self.keys) == 1:
            return 0
        free = [index for index in range(len(self.keys)) if index not in tried and self.rest(index, model) is None]
        if preferred in free:
            return preferred
        if len(free) < 2:
            return free[0] if free else None
        for index in free:
            self._credit[index] += self._weights[index]
        chosen = max(free, key=self._credit.__getitem__)
        self._credit[chosen] -= sum(self._weights[index] for index in free)
        return chosen

    def take_resting(self, model: str = WHOLE_KEY, tried: Collection[int] = ()) -> int | None:
        """The resting key that is free soonest, out of those whose rest is our own guess."""
        guessed = [
            (rest.until, index)
            for index in range(len(self.keys))
            if index not in tried and (rest := self.rest(index, model)) is not None and not rest.firm
        ]
        return min(guessed)[1] if guessed else None

    def rest(self, index: int, model: str = WHOLE_KEY) -> Rest | None:
        """The rest that keeps key *index* from serving *model*, the longer of its own and the model's."""
        found = [rest for scope in {WHOLE_KEY, model} if (rest := self._rest(index, scope)) is not None]
        return max(found, key=lambda rest: (rest.firm, rest.until), default=None)

    def free_in_s(self, model: str = WHOLE_KEY) -> float:
        """Seconds until the first key is free; 0 when one is."""
        rests = [self.rest(index, model) for index in range(len(self.keys))]
        return min(max(0.0, rest.until - self._now()) if rest else 0.0 for rest in rests)

    def cool(
        self, index: int, seconds: float, kind: ErrorKind = "rate_limit", status: int = 429, *, firm: bool = True
    ) -> None:
        """Let key *index* rest for *seconds*."""
        self._keep((index, WHOLE_KEY), Rest(self._now() + seconds, firm, kind, status))

    def refused(self, index: int, failure: Failure, model: str = WHOLE_KEY) -> Failure:
        """Let key *index* rest if *failure* is about the key; other failures change nothing.

        The failure, with the wait that the headers of the same answer told (`used_up`), where it tells none itself.
        """
        seconds = RESTS_S.get(failure.kind)
        if seconds is None:
            return failure
        asked = failure.retry_after_s if failure.kind == "rate_limit" else None
        if failure.kind == "rate_limit" and asked is None:
            learnt = self._rest(index, model)
            if learnt is not None and learnt.status == LEARNT:
                return replace(failure, retry_after_s=learnt.until - self._now())
        asked = None if asked is None else min(asked, LONGEST_REST_S)
        if failure.kind == "rate_limit" and asked is None:
            seconds = min(LONGEST_GUESS_S, seconds * 2 ** min(self._repeats[index], 10))
            self._repeats[index] += 1
        scope = model if failure.kind in {"permission", "rate_limit"} else WHOLE_KEY
        until = self._now() + (asked if asked is not None else seconds)
        self._keep((index, scope), Rest(until, asked is not None, failure.kind, failure.status))
        return failure

    def used_up(self, index: int, seconds: float, model: str = WHOLE_KEY) -> None:
        """The vendor says that key *index* has nothing left for *model* until *seconds* from now.

        Where nothing else is left it is tried all the same: what refills bit by bit may have enough by then.
        """
        until = self._now() + min(seconds, LONGEST_LEARNT_S)
        held = self._rest(index, model)
        if held is None or (not held.firm and held.until < until):
            self._keep((index, model), Rest(until, False, "rate_limit", LEARNT))

    def worked(self, index: int, model: str = WHOLE_KEY) -> None:
        """Key *index* got an answer: guessed rests are over and its count of repeats starts again.

        A firm rest stays: the answer may belong to a request from before the vendor's word.
        """
        self._repeats[index] = 0
        for scope in (WHOLE_KEY, model) if self._rests else ():
            rest = self._rests.get((index, scope))
            if rest is not None and not rest.firm and rest.status != LEARNT:
                del self._rests[index, scope]

    def heard(self, index: int, scope: str, seconds: float, rest: Rest) -> None:
        """Another worker lets key *index* rest for *seconds*, as *rest* says but for its moment."""
        if index < len(self.keys):
            held = self._rest(index, scope)
            until = max(self._now() + seconds, held.until if held else 0.0)
            self._put((index, scope), replace(rest, until=until))

    def _rest(self, index: int, scope: str) -> Rest | None:
        rest = self._rests.get((index, scope))
        if rest is None or rest.until > self._now():
            return rest
        del self._rests[index, scope]
        return None

    def _keep(self, key: tuple[int, str], rest: Rest) -> None:
        if self._told is not None and self._rest(*key) is None:
            self._told(*key, rest.until - self._now(), rest)
        self._put(key, rest)

    def _put(self, key: tuple[int, str], rest: Rest) -> None:
        self._rests.pop(key, None)
        self._rests[key] = rest
        if len(self._rests) > RESTS_KEPT:
            del self._rests[next(iter(self._rests))]


def rests_for_s(headers: Mapping[str, str], now: float) -> float | None:
    """For how long the vendor's limits leave nothing, as the headers of its answer say; None: there is something left.

    Of several limits that are used up, the longest wait counts. *headers* are in lower case, *now* is Unix time.
    Spellings: `x-ratelimit-remaining-requests` with a time such as `6m0s` (OpenAI, Groq),
    `anthropic-ratelimit-requests-remaining` with a moment in ISO 8601, `ratelimit-remaining` with seconds (IETF draft),
    `x-ratelimit-remaining` with a moment in Unix milliseconds (OpenRouter).
    """
    waits: list[float] = []
    for name, value in headers.items():
        if value.strip() not in {"0", "0.0"} or _REMAINING.fullmatch(name) is None:
            continue
        wait_s = until_reset_s(headers.get(name.replace("remaining", "reset"), ""), now)
        if wait_s is not None and wait_s > 0:
            waits.append(wait_s)
    return max(waits, default=None)


def until_reset_s(value: str, now: float) -> float | None:
    """Seconds until the moment or time that a reset header tells; None when it cannot be read."""
    value = value.strip()
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if number >= 0:
        if number < _AS_UNIX_S:
            return number
        return max(0.0, number / (1000 if number > _AS_UNIX_S * 1000 else 1) - now)
    if re.fullmatch(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+", value):
        return sum(float(size) * _UNITS_S[unit] for size, unit in re.findall(r"([\d.]+)(ms|s|m|h|d)", value))
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return max(0.0, at.timestamp() - now) if at.tzinfo else None
