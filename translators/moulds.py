"""Streams of events that differ in little but their text: most of every stream is read without being parsed.

    careful ──an event that only adds text passed as it came: its mould──▶ plain ──anything else──▶ careful

A *mould* is such an event without its text and its padding. The next event that fits it says the same of another text,
so it passes on unread. What a run of them says is told to the careful relay later, as the one event that it amounts
to: all their texts in one, and the numbers of the last one, which is how every dialect counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

from typing_extensions import override

from translators.codec import JsonError, dumps, loads
from translators.dialect import Relayed, StreamRelay, Wire
from translators.neutral import Event, Failure, PartDelta, Usage, UsageReport

MOST_BYTES: Final = 64 * 1024
"""Of the events that are told in one."""
PART_BYTES: Final = 4096
"""Of an event that comes in parts, which are put together here."""
STEPS: Final = 8
"""So many events of one piece are read one by one, to learn from them; the rest of it at once."""
LESSONS: Final = 32
"""So many moulds of one stream are looked at; where none lasts, looking costs more than it saves."""

_CHARACTER: Final = (
    rb"[^\"\\\x00-\x1f\x80-\xff]++"
    rb"|\\[\"\\/bfnrt]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}"
    rb"|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
"""What may stand in a text of JSON and is whole by itself (RFC 8259, 7; RFC 3629, 4): no half of a surrogate pair."""
_TEXT: Final = re.compile(rb"(?:%b)++" % _CHARACTER)
_PADDING: Final = re.compile(rb"[A-Za-z0-9]*+")
_NUMBER: Final = re.compile(rb"(?:0|[1-9][0-9]{0,8})(?=[,}\] \r\n])")
_BLANKS: Final = re.compile(rb" *+")

_EVENT: Final = re.compile(rb"(?:event: ?[^\r\n]*\r?\n)?data: ?(\{[^\r\n]*\})(?:\n\n|\r\n\r\n)")
_PADDED: Final = re.compile(rb'"(?:obfuscation|p)"\s*:\s*"()[A-Za-z0-9]*()"')
"""What hides how long a text is (OpenAI, Mistral)."""
_COUNTED: Final = re.compile(rb'(?:"sequence_number|TokenCount|_tokens)"\s*:\s*()(?:0|[1-9][0-9]{0,8})()(?=[,}\]\s])')
"""Numbers of an event, of which the last ones count."""
_TRAILING: Final = re.compile(rb"() ++()\}[\r\n]+\Z")
"""Anthropic's padding: blanks before the last brace."""
_PLACES: Final = (
    ((b'"obfuscation"', b'"p"'), _PADDED, _PADDING),
    ((b'"sequence_number"', b'TokenCount"', b'_tokens"'), _COUNTED, _NUMBER),
    ((b" }\n", b" }\r\n"), _TRAILING, _BLANKS),
)
"""Where there are holes besides the text's: what says so, where they are, and what they hold."""
_OTHER: Final = {_TEXT: b"?another?", _PADDING: b"another", _NUMBER: b"4711471147", _BLANKS: b" "}
"""What fills them for a try."""
_SIMPLE: Final = re.compile(r"[ !#-\[\]-~]+")
"""Texts that are written in one way only, but for escapes that nobody uses."""
_ENDS: Final = (b"\n\n", b"\r\n\r\n")


class Hole(NamedTuple):
    """A place in a mould: what may stand there, and what stands behind it."""

    kind: re.Pattern[bytes]
    behind: bytes


class Mould(NamedTuple):
    """An event around its *holes*; the one at *text* is for the text."""

    front: bytes
    holes: tuple[Hole, ...]
    text: int

    def fills(self, data: bytes, at: int, found: list[bytes]) -> int:
        """Where an event of this mould that begins *at* ends, with what fills its holes added to *found*; 0: none."""
        if not data.startswith(self.front, at):
            return 0
        at += len(self.front)
        for kind, behind in self.holes:
            match = kind.match(data, at)
            if match is None:
                return 0
            at = match.end()
            if not data.startswith(behind, at):
                return 0
            found.append(match[0])
            at += len(behind)
        return at

    def filled(self, fillings: Sequence[bytes]) -> bytes:
        """An event of this mould."""
        behind = [part for filling, hole in zip(fillings, self.holes, strict=True) for part in (filling, hole.behind)]
        return b"".join([self.front, *behind])


def mould_of(raw: bytes, text: str) -> Mould | None:
    """The mould of an event that added *text* and said nothing else; None where it is not certain what is what."""
    event = _EVENT.fullmatch(raw)
    if event is None or not _SIMPLE.fullmatch(text):
        return None
    quoted = b'"%b"' % text.encode()
    at = raw.find(quoted) + 1
    if at == 0 or raw.find(quoted, at) >= 0:
        return None
    spans = [(at, at + len(text), _TEXT)]
    for signs, place, kind in _PLACES:
        if not any(map(raw.__contains__, signs)):
            continue
        spans += [(found.start(1), found.end(2), kind) for found in place.finditer(raw)]
    spans.sort(key=lambda span: span[0])
    ends = [*(start for start, _, _ in spans[1:]), len(raw)]
    if any(end > begins for (_, end, _), begins in zip(spans, ends, strict=True)):
        return None
    holes = tuple(Hole(kind, raw[end:begins]) for (_, end, kind), begins in zip(spans, ends, strict=True))
    mould = Mould(raw[: spans[0][0]], holes, next(i for i, hole in enumerate(holes) if hole.kind is _TEXT))
    return mould if _holds(mould, event[1], quoted) else None


def _holds(mould: Mould, data: bytes, quoted: bytes) -> bool:
    """Whether another filling of *mould* changes what stands in its holes, and nothing else of the JSON *data*."""
    other = _EVENT.fullmatch(mould.filled([_OTHER[hole.kind] for hole in mould.holes]))
    if other is None:
        return False
    try:
        told, changed = dumps(loads(data)), dumps(loads(other[1]))
    except JsonError:
        return False
    if told.count(quoted) != 1:
        return False  # it stands there in two ways, or as a name
    told = told.replace(quoted, b'"%b"' % _OTHER[_TEXT])
    for _, place, kind in _PLACES[:2]:
        if any(hole.kind is kind for hole in mould.holes):
            told = place.sub(partial(_without, kind), told)
    return told == changed


def _without(kind: re.Pattern[bytes], found: re.Match[bytes]) -> bytes:
    """What was found, with another filling in its hole."""
    at, start, end = found.start(), found.start(1), found.end(2)
    return found[0][: start - at] + _OTHER[kind] + found[0][end - at :]


class Moulded(Wire):
    """A dialect's *relay*, asked only about what fits no mould; see `translators.dialect.Wire`.

    What *relay* passes on must not depend on the texts of the answer. With *looks* it does: nothing is learnt then.
    """

    def __init__(self, relay: StreamRelay, *, looks: bool = False) -> None:
        self._relay = relay
        self._mould: Mould | None = None
        self._lessons = 0 if looks else LESSONS
        self._whole = False
        """Whether what the relay was given ended with an event."""
        self._begun = b""
        """The beginning of an event."""
        self._texts: list[bytes] = []
        self._last: list[bytes] = []
        """What filled the last event of the run that has not been told."""
        self._bytes = 0
        self._told: list[Event] = []

    @override
    def passes(self, piece: bytes) -> bool:
        mould = self._mould
        if mould is None or self._begun or self._bytes > MOST_BYTES:
            return False
        if len(mould.holes) > 1:
            return self._run_whole(mould, piece)
        # As most are: no more calls than it takes.
        front, behind = mould.front, mould.holes[0].behind
        if not (piece.startswith(front) and piece.endswith(behind)):
            return False
        text = _TEXT.fullmatch(piece, len(front), len(piece) - len(behind))
        if text is None:
            return self._run_whole(mould, piece)
        self._last = [text[0]]
        self._texts.append(text[0])
        self._bytes += len(piece)
        return True

    @override
    def feed(self, piece: bytes) -> Relayed:
        data, self._begun = self._begun + piece, b""
        frames: list[bytes] = []
        events: list[Event] = []
        steps = STEPS if self._lessons else 0
        while data:
            if self._mould is not None:
                end = self._run(self._mould, data)
                frames.append(data[:end])
                data = data[end:]
                if len(data) < PART_BYTES and b"\n\n" not in data and b"\r" not in data:
                    self._begun = data
                    break
                events.extend(self.told())
            end = _first_event(data) if steps else len(data)
            steps -= 1
            step = self._careful(data[:end], alone=steps >= 0)
            frames.append(step.frames)
            events.extend(step.events)
            data = data[end:]
        return Relayed(b"".join(frames), events)

    @override
    def end(self) -> Relayed:
        self._tell()
        begun, self._begun = self._begun, b""
        rest = self._relay.feed(begun) if begun else Relayed(b"", ())
        last = self._relay.end()
        return Relayed(rest.frames + last.frames, [*self.told(), *rest.events, *last.events])

    @override
    def fail(self, failure: Failure) -> bytes:
        self._tell()
        return self._relay.fail(failure)

    @override
    def close(self, receipt: bytes | None = None, usage: Usage | None = None) -> bytes:
        return self._relay.close(receipt, usage)

    @override
    def told(self) -> Sequence[Event]:
        self._tell()
        told, self._told = self._told, []
        return told

    def _run_whole(self, mould: Mould, piece: bytes) -> bool:
        """Take *piece* if it is nothing but events of *mould*."""
        fills, at, size = mould.fills, 0, len(piece)
        found: list[bytes] = []
        while at < size:
            at = fills(piece, at, found)
            if not at:
                return False
        count = len(mould.holes)
        self._last = found[-count:]
        self._texts.extend(found[mould.text :: count])
        self._bytes += size
        return True

    def _run(self, mould: Mould, data: bytes) -> int:
        """Take the events of *mould* that *data* begins with; where they end."""
        fills, at, size = mould.fills, 0, len(data)
        while at < size:
            found: list[bytes] = []
            if not (end := fills(data, at, found)):
                break
            at = end
            self._last = found
            self._texts.append(found[mould.text])
        self._bytes += at
        if self._bytes > MOST_BYTES:
            self._tell()
        return at

    def _tell(self) -> None:
        """Tell the relay what has passed it by."""
        if not self._texts or self._mould is None:
            return
        self._last[self._mould.text] = b"".join(self._texts)
        said = self._mould.filled(self._last)
        self._texts, self._bytes = [], 0
        self._told.extend(self._relay.feed(said).events)

    # --- careful

    def _careful(self, data: bytes, *, alone: bool) -> Relayed:
        """Let the relay read *data*, and learn from it if it is one event *alone*."""
        was_whole, self._whole = self._whole, data.endswith(_ENDS)
        step = self._relay.feed(data)
        self._mould = self._learnt(data, step) if alone and was_whole and self._whole else None
        return step

    def _learnt(self, raw: bytes, told: Relayed) -> Mould | None:
        """The mould of the event *raw*."""
        deltas = [event for event in told.events if not isinstance(event, UsageReport)]
        if told.frames != raw or len(deltas) != 1 or not isinstance(deltas[0], PartDelta):
            return None
        delta = deltas[0]
        if not delta.text or delta.logprobs is not None or delta.annotations or delta.native:
            return None
        known = self._mould
        if known and raw.startswith(known.front) and raw.endswith(known.holes[-1].behind):
            return known  # its text is an odd one
        self._lessons -= 1
        return mould_of(raw, delta.text)


def _first_event(data: bytes) -> int:
    """Where the first event of *data* ends; where *data* does if it does not."""
    ends = [at + len(end) for end in _ENDS if (at := data.find(end)) >= 0]
    return min(ends, default=len(data))
