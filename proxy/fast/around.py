"""What stands around the members of a body that differ from request to request: its conversation, its instructions.

{"model":"m","system":  "Be brief."  ,"messages":  [{"role":"user", ...}]  ,"max_tokens":9}
------- before -------               -- between --                         ----- after -----
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from translators.codec import member_spans


class Around(NamedTuple):
    """The bytes around the members *names*, as they stand one after the other; at *place* of them the conversation."""

    before: bytes
    after: bytes
    between: tuple[bytes, ...] = ()
    names: tuple[str, ...] = ("messages",)
    place: int = 0

    def cut(self, raw: bytes) -> tuple[bytes, ...] | None:
        """What stands there in *raw*, if that may be of this kind; it is, if each of them is JSON."""
        before, after = len(self.before), len(raw) - len(self.after)
        if not raw.startswith(self.before) or not raw.endswith(self.after):
            return None
        found: list[bytes] = []
        for fixed in self.between:
            # Its quotes are none of a text's, in which they are escaped.
            end = raw.find(fixed, before, after)
            if end < 0:
                return None
            found.append(raw[before:end])
            before = end + len(fixed)
        found.append(raw[before:after])
        conversation = found[self.place]
        return tuple(found) if conversation[:1] == b"[" and conversation[-1:] == b"]" else None

    def of(self, pieces: tuple[bytes, ...]) -> bytes:
        """A body with *pieces* in their places."""
        if len(pieces) == 1:
            return b"".join((self.before, pieces[0], self.after))
        fixed = (self.before, *self.between)
        return b"".join([part for pair in zip(fixed, pieces, strict=True) for part in pair] + [self.after])

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.before) + len(self.after) + sum(map(len, self.between))


def around(raw: bytes, names: tuple[str, ...] = ("messages",), conversation: str = "messages") -> Around | None:
    """What stands around those of *names* that are in *raw*.

    None where *conversation* is not, or any member is given twice.
    """
    spans = member_spans(raw)
    if spans is None or conversation not in spans:
        return None
    found = sorted((spans[name], name) for name in names if name in spans)
    places = [span for span, _ in found]
    between = [raw[end:start] for (_, end), (start, _) in pairwise(places)]
    here = tuple(name for _, name in found)
    return Around(raw[: places[0][0]], raw[places[-1][1] :], tuple(between), here, here.index(conversation))
