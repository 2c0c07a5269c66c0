"""Reasoning that clients drop, given back to its vendor; and signatures that are not the next vendor's, taken off.

    remember(request, response)         what to keep of an answer, by key
    keys_wanted(request)                what to ask for when the conversation comes back
    reattached(request, found, ...)     the conversation with what was found
    taken_off(before, after, dialect)   what a client sent of it and no longer stands there

Pure functions: who keeps the values, for whom and how long, is not said here. A key's value is either empty (a
signature, of which only the origin matters) or a turn: its thoughts in their places between calls and texts, as JSON.

    {"parts": [{"thinking": "...", "native": {...}}, {"text": "<digest>", "length": 12},
               {"call": "<id>", "mark": "<digest>", "native": {...}}]}

A call of a client that writes no ids is found by what it says (`mark`) in its place.
A thought is put back right before the call or text that followed it; a text that the client joined of several is cut
again where its pieces have something of their own. `native` fields go back to their own dialect
alone, and only to an origin that the caller says will read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, Final, Literal, Protocol

from translators.codec import JsonError, dumps, loads_object
from translators.losses import Loss, placed
from translators.made_ids import is_made
from translators.neutral import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    Part,
    Refusal,
    Request,
    Response,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from translators.openai_chat.reasoning_items import items_of_details
from translators.vault_keys import Past, call_key, is_unique, said_key, signature_key, text_key, visible_text

Replay = Literal["never", "tool_turns", "always"]
"""When a server of chat completions is sent readable reasoning back: `Rules.reasoning_replay`."""

_SIGNED: Final[Mapping[str, frozenset[str]]] = {
    "anthropic": frozenset({"signature", "redacted_data"}),
    "gemini": frozenset({"thoughtSignature"}),
    "openai_responses": frozenset({"encrypted_content"}),
    "openai_chat": frozenset({"reasoning_details"}),
}
"""The native fields that only their maker can read, by dialect."""

_BOUND: Final[Mapping[str, frozenset[str]]] = {**_SIGNED, "openai_responses": frozenset({"encrypted_content", "id"})}
"""Those, and what its maker ties to them: OpenAI wants an item of a known id together with its reasoning."""

_ALONGSIDE: Final[Mapping[str, frozenset[str]]] = {
    "gemini": frozenset({"thoughtSignature"}),
    "openai_responses": frozenset({"id", "phase", "namespace"}),
}
"""What of a call's or a text's own fields goes back with the thoughts of its turn."""

_ALONE: Final = frozenset({"phase"})
"""What of those goes back without any thoughts, too: OpenAI wants every message's phase again (WIRE 117)."""

_SIGNED_CALLS: Final = frozenset({"gemini"})
"""Dialects that sign calls and texts, too."""

_SAID: Final = frozenset({Text, ToolCall, Refusal})
"""What is no thought; of a vendor's own it has what stands in its `native`."""

_Json = dict[str, Any]
_Anchor = tuple[str, str] | None
_Native = Text | Image | Audio | Document | Refusal | ToolCall | ToolResult


class Found(Protocol):
    """A kept value and the `provider/model` that made it."""

    @property
    def origin(self) -> str:
        """Who answered."""

    @property
    def value(self) -> bytes:
        """What `remember` gave for the key."""


# --- keeping -------------------------------------------------------------------------------------


def remember(request: Request, response: Response, *, readable: bool = True) -> list[tuple[bytes, bytes]]:
    """Keys and values to keep of *response*, which answered *request* (both as the client knows them).

    Each turn with reasoning is kept under the key of every call in it, and of its text. Without *readable* only what
    is signed or encrypted counts as reasoning: no server of that origin takes plain text back.
    A response that failed is not kept.
    """
    if response.failure is not None or is_forgotten(response):
        return []
    past = Past(request.messages)
    here = len(request.messages)
    by_words = _may_drop_ids(request)
    kept: dict[bytes, bytes] = {}
    for choice in response.choices:
        for part in choice.parts:
            kept.update((signature_key(signature), b"") for _, signature in _signatures(part))
        turn = _turn(choice.parts, readable=readable, by_words=by_words)
        if turn is None:
            continue
        value = dumps({"parts": turn})
        kept.update((key, value) for key in _turn_keys(choice.parts, past, here))
        if by_words:
            calls = (part for part in choice.parts if isinstance(part, ToolCall))
            kept.update((said_key(call, past.before(here)), value) for call in calls)
    return list(kept.items())


def only_words(response: Response) -> bool:
    """Whether *response* says nothing but text, as most do."""
    return all(type(part) is Text and not part.native for choice in response.choices for part in choice.parts)


def is_forgotten(response: Response) -> bool:
    """Whether *response* has neither thoughts nor anything signed, so that nothing of it is to be kept."""
    return all(
        type(part) in _SAID and not part.native  # type: ignore[union-attr]  # Opaque, which has none, is not of _SAID
        for choice in response.choices
        for part in choice.parts
    )


def _may_drop_ids(request: Request) -> bool:
    """Whether its client may send calls back without their ids."""
    return request.dialect == "gemini" or any(tool.place.startswith("functions[") for tool in request.tools)


def _turn(parts: Sequence[Part], *, readable: bool, by_words: bool) -> list[_Json] | None:
    """The pieces of a turn, its calls with their marks if they are found *by_words*; None when it has no reasoning."""
    pieces: list[_Json] = []
    for part, following in zip_longest(parts, parts[1:]):
        match part:
            case Thinking():
                # OpenAI refuses reasoning without the item that followed it, and a plain client drops that one.
                cut_off = isinstance(following, Opaque) and following.dialect == "openai_responses"
                if not cut_off and (_is_sealed(part) or (readable and (part.text or _has_content(part)))):
                    pieces.append({"thinking": part.text, "native": _plain(part.native)})
            case Text() if not part.text:
                if _is_sealed(part):
                    pieces.append({"blank": True, "native": _plain(part.native)})
            case Text():
                pieces.append({"text": _text_mark(part.text), "length": len(part.text), **_alongside(part)})
            case ToolCall():
                mark = {"mark": _call_mark(part)} if by_words else {}
                pieces.append({"call": part.id, **mark, **_alongside(part)})
            case _:
                continue
    telling = any("thinking" in piece or "blank" in piece or _phased(piece) for piece in pieces)
    return pieces if telling or any(_is_sealed(part) for part in parts) else None


def _turn_keys(parts: Sequence[Part], past: Past, index: int) -> Iterator[bytes]:
    """The keys of a turn that stands, or will stand, at *index*."""
    yield from (_key_of(part, past, index) for part in parts if isinstance(part, ToolCall))
    if text := visible_text(parts):
        yield text_key(text, past.before(index))


def _key_of(call: ToolCall, past: Past, index: int) -> bytes:
    if is_made(call.id):
        return said_key(call, past.before(index))
    return call_key(call.id) if is_unique(call) else call_key(call.id, past.before(index))


def _alongside(part: Text | ToolCall) -> _Json:
    native = {
        dialect: chosen
        for dialect, names in _ALONGSIDE.items()
        if (chosen := {name: value for name, value in part.native.get(dialect, {}).items() if name in names})
    }
    return {"native": native} if native else {}


def _plain(native: Mapping[str, Mapping[str, Any]]) -> _Json:
    return {dialect: dict(fields) for dialect, fields in native.items() if fields}


def _text_mark(text: str) -> str:
    return text_key(text).hex()


def _call_mark(call: ToolCall) -> str:
    return said_key(call, b"").hex()


# --- asking --------------------------------------------------------------------------------------


def keys_wanted(request: Request) -> list[bytes]:
    """The keys of all that *request* may lack, and of every signature that its client sent; each once."""
    past = Past(request.messages)
    wanted: dict[bytes, None] = {}
    for index, message in enumerate(request.messages):
        if message.role != "assistant":
            continue
        for part in message.parts:
            wanted.update((signature_key(signature), None) for _, signature in _signatures(part))
        calls = [part for part in message.parts if isinstance(part, ToolCall) and not _is_sealed(part)]
        wanted.update((_key_of(call, past, index), None) for call in calls)
        sealed = [part for part in message.parts if isinstance(part, Thinking) and _is_sealed(part)]
        # A client of another dialect keeps OpenAI's reasoning sealed, but has no place for the phase of a text.
        phased = any("openai_responses" in part.native for part in sealed)
        if (phased or not sealed) and (text := visible_text(message.parts)):
            wanted[text_key(text, past.before(index))] = None
    return list(wanted)


# --- giving back ---------------------------------------------------------------------------------


def reattached(
    request: Request,
    found: Mapping[bytes, Found],
    dialect: str,
    origin_ok: Callable[[str], bool],
    replay: Replay = "always",
) -> Request:
    """*request* for a target of *dialect* that reads what *origin_ok* says, with what was *found* of `keys_wanted`.

    Assistant messages get back their thoughts, and the signatures of their calls and texts. Signatures of another
    origin are taken off: readable reasoning stays, as text. What no one remembers stays as the client sent it.
    For `openai_chat` readable reasoning counts as well, as *replay* says.
    The same object when nothing changes.
    """
    if not found:
        return request
    work = _Reattaching(request, found, dialect, origin_ok, replay)
    messages = tuple(
        work.message(index, message) if message.role == "assistant" else message
        for index, message in enumerate(request.messages)
    )
    changed = any(new is not old for new, old in zip(messages, request.messages, strict=True))
    return replace(request, messages=messages) if changed else request


def taken_off(before: Request, after: Request, dialect: str) -> list[Loss]:
    """What `reattached` took off of *before* that its client sent, and that no other place of *after* holds."""
    if after is before:
        return []
    kept = {
        signature
        for message in after.messages
        for part in message.parts
        for spoken, signature in _signatures(part)
        if spoken == dialect
    }
    losses: list[Loss] = []
    for index, (old, new) in enumerate(zip(before.messages, after.messages, strict=True)):
        if old is new:
            continue
        for place, part in placed(old, index, before.dialect):
            if any(spoken == dialect and signature not in kept for spoken, signature in _signatures(part)):
                losses.append(Loss(place, "dropped", "another provider signed or encrypted it, and reads it alone"))
    return losses


@dataclass(slots=True)
class _Reattaching:
    """One request on its way. *used* are the thoughts given back already: some clients write a turn in pieces."""

    request: Request
    found: Mapping[bytes, Found]
    dialect: str
    origin_ok: Callable[[str], bool]
    replay: Replay
    past: Past = field(init=False)
    call_ids: frozenset[str] = field(init=False)
    used: set[tuple[bytes, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        messages = self.request.messages
        self.past = Past(messages)
        self.call_ids = frozenset(
            part.id for message in messages for part in message.parts if isinstance(part, ToolCall)
        )

    def message(self, index: int, message: Message) -> Message:
        """Message *index*, the same object when it has to stay as it is."""
        parts = self._without_foreign(message.parts)
        for turn in self._turns(index, parts):
            parts = self._with_turn(parts, turn)
        same = len(parts) == len(message.parts) and all(
            new is old for new, old in zip(parts, message.parts, strict=True)
        )
        return message if same else replace(message, parts=tuple(parts))

    # --- taking off

    def _without_foreign(self, parts: Sequence[Part]) -> Sequence[Part]:
        """*parts* without the signatures that the target cannot read."""
        foreign = [self._is_foreign(part) for part in parts]
        if not any(foreign):
            return parts
        lost_thought = any(isinstance(part, Thinking) for part, gone in zip(parts, foreign, strict=True) if gone)
        kept: list[Part] = []
        for part, gone in zip(parts, foreign, strict=True):
            if gone or (lost_thought and isinstance(part, Text | Refusal | ToolCall)):
                kept.extend(self._bare(part))
            else:
                kept.append(part)
        return kept

    def _is_foreign(self, part: Part) -> bool:
        for dialect, signature in _signatures(part):
            if dialect == self.dialect:
                entry = self.found.get(signature_key(signature))
                if entry is not None and not self.origin_ok(entry.origin):
                    return True
        return False

    def _bare(self, part: Part) -> Iterator[Part]:
        """*part* without what is bound to its origin; nothing when it says nothing else."""
        match part:
            case Thinking():
                carried = self.dialect == "openai_responses" and any(_carried(part.native))
                gone = {self.dialect, "openai_chat"} if carried else {self.dialect}
                native = {name: own for name, own in part.native.items() if name not in gone}
                if part.text or native:
                    yield Thinking(part.text, native)
            case Opaque() if "encrypted_content" not in part.value:
                bound = _BOUND[self.dialect]
                yield replace(part, value={name: value for name, value in part.value.items() if name not in bound})
            case Opaque():
                return
            case _ if not isinstance(part, Text) or part.text:
                yield self._unbound(part)
            case _:
                return

    def _unbound(self, part: _Native) -> _Native:
        fields = part.native.get(self.dialect, {})
        bound = _BOUND.get(self.dialect, frozenset())
        if not fields.keys() & bound:
            return part
        rest = {name: value for name, value in fields.items() if name not in bound}
        others = {name: each for name, each in part.native.items() if name != self.dialect}
        return replace(part, native={**others, **({self.dialect: rest} if rest else {})})

    # --- putting back

    def _turns(self, index: int, parts: Sequence[Part]) -> list[bytes]:
        """The kept turns that the message at *index* is, or is a piece of; none when it lacks nothing."""
        calls = [part for part in parts if isinstance(part, ToolCall)]
        signed = any(isinstance(part, Thinking) and self._fits(part.native) for part in parts)
        if signed and not self._lacks_more(parts):
            return []
        entries = [self.found.get(_key_of(call, self.past, index)) for call in calls]
        if not any(entries) and (text := visible_text(parts)):
            entries = [self.found.get(text_key(text, self.past.before(index)))]
        return list(dict.fromkeys(entry.value for entry in entries if entry and self.origin_ok(entry.origin)))

    def _lacks_more(self, parts: Sequence[Part]) -> bool:
        """Whether a message whose thoughts are there may lack something else: signatures of calls, phases of texts."""
        if self.dialect == "openai_responses":
            return any(
                isinstance(part, Text) and not _ALONE & part.native.get(self.dialect, {}).keys() for part in parts
            )
        calls = (part for part in parts if isinstance(part, ToolCall))
        return self.dialect in _SIGNED_CALLS and any(not self._signs(call) for call in calls)

    def _signs(self, part: Part) -> bool:
        return any(dialect == self.dialect for dialect, _ in _signatures(part))

    def _fits(self, native: Mapping[str, Any]) -> bool:
        """Whether *native* holds reasoning that the target reads."""
        fields = native.get(self.dialect, {})
        if _has_seal(self.dialect, fields):
            return True
        return self.dialect == "openai_responses" and (bool(fields.get("content")) or any(_carried(native)))

    def _with_turn(self, parts: Sequence[Part], value: bytes) -> Sequence[Part]:
        pieces = _as_called(_pieces(value), parts)
        thoughts = self._thoughts(parts, pieces)
        if thoughts or any("text" in piece and self._says_more(piece) for piece in pieces):
            parts = _cut(parts, pieces)
        anchors = [_anchor_of(part) for part in parts]
        placed = self._placed(anchors, pieces, thoughts, value) if thoughts else {}
        alongside: dict[_Anchor, Mapping[str, Any]] = {
            anchor: own for piece in pieces if (anchor := _anchor(piece)) and (own := self._own(piece))
        }
        merged: list[Part] = []
        for position, part in enumerate((*parts, None)):
            merged.extend(placed.get(position, ()))
            match part:
                case None:
                    continue
                case Thinking() if placed and not any(part.native.values()):
                    continue  # the readable half of what was put back
                case Text() | ToolCall() if fields := alongside.get(anchors[position]):
                    merged.append(self._dressed(part, fields, whole=bool(placed)))
                case _:
                    merged.append(part)
        return merged

    def _thoughts(self, parts: Sequence[Part], pieces: Sequence[_Json]) -> dict[int, Part]:
        """The thoughts that the message lacks and the target reads, by their position in *pieces*."""
        mine = [part for part in parts if isinstance(part, Thinking)]
        if any(self._fits(part.native) for part in mine):
            return {}
        if self.dialect == "openai_chat":
            has_calls = any(isinstance(part, ToolCall) for part in parts)
            if self.replay == "never" or (self.replay == "tool_turns" and not has_calls):
                return {}
            if any(part.text for part in mine) and not any(
                _has_seal(self.dialect, self._own(piece)) for piece in pieces
            ):
                return {}
        thoughts: dict[int, Part] = {}
        for position, piece in enumerate(pieces):
            own = self._own(piece)
            text = piece.get("thinking")
            native = {self.dialect: own} if own else {}
            if isinstance(text, str) and (self._fits(native) or (self.dialect == "openai_chat" and text)):
                thoughts[position] = Thinking(text, native)
            elif "blank" in piece and self._fits(native):
                thoughts[position] = Text("", native=native)
        return thoughts

    def _placed(
        self, anchors: Sequence[_Anchor], pieces: Sequence[_Json], thoughts: Mapping[int, Part], value: bytes
    ) -> dict[int, list[Part]]:
        """Where among the parts with *anchors* each of *thoughts* goes: before the position that it is listed under."""
        placed: dict[int, list[Part]] = {}
        waiting: list[int] = []
        last = 0

        def place(at: int) -> None:
            for position in waiting:
                if (value, position) not in self.used:
                    self.used.add((value, position))
                    placed.setdefault(at, []).append(thoughts[position])
            waiting.clear()

        for position, piece in enumerate(pieces):
            if position in thoughts:
                waiting.append(position)
                continue
            at = _found_at(piece, anchors)
            if at is not None:
                last = max(last, at)
                place(last)
            elif piece.get("call") in self.call_ids:
                waiting.clear()  # the call stands in another message, and its thoughts will before it
        # Only Google ends turns with signatures; elsewhere what followed is gone.
        place(len(anchors) if self.dialect == "gemini" and pieces and len(pieces) - 1 in thoughts else last)
        return placed

    def _says_more(self, piece: Mapping[str, Any]) -> bool:
        """Whether a text has fields of its own that go back whether thoughts do or not."""
        own = self._own(piece)
        return _has_seal(self.dialect, own) or not _ALONE.isdisjoint(own)

    def _own(self, piece: Mapping[str, Any]) -> Mapping[str, Any]:
        fields = _native(piece).get(self.dialect)
        return fields if isinstance(fields, dict) else {}

    def _dressed(self, part: Text | ToolCall, fields: Mapping[str, Any], *, whole: bool) -> Part:
        """*part* with the recorded *fields* that it lacks; all of them only where its thoughts came back, too."""
        own = part.native.get(self.dialect, {})
        always = _SIGNED.get(self.dialect, frozenset()) | _ALONE
        missing = {name: value for name, value in fields.items() if name not in own and (whole or name in always)}
        return replace(part, native={**part.native, self.dialect: {**own, **missing}}) if missing else part


# --- pieces --------------------------------------------------------------------------------------


def _pieces(value: bytes) -> list[_Json]:
    """The pieces of a kept turn; none of a value that was written otherwise."""
    try:
        pieces = loads_object(value).get("parts") if value else None
    except JsonError:
        return []
    return [piece for piece in pieces if isinstance(piece, dict)] if isinstance(pieces, list) else []


def _as_called(pieces: list[_Json], parts: Sequence[Part]) -> list[_Json]:
    """*pieces* whose calls have the ids that were made for those of *parts*, where these came without any."""
    made: dict[str, list[str]] = {}
    for part in parts:
        if isinstance(part, ToolCall) and is_made(part.id):
            made.setdefault(_call_mark(part), []).append(part.id)
    if not made:
        return pieces
    return [{**piece, "call": ids.pop(0)} if (ids := made.get(piece.get("mark", ""))) else piece for piece in pieces]


def _native(piece: Mapping[str, Any]) -> Mapping[str, Any]:
    native = piece.get("native")
    return native if isinstance(native, dict) else {}


def _phased(piece: Mapping[str, Any]) -> bool:
    return any(not _ALONE.isdisjoint(fields) for fields in _native(piece).values())


def _anchor(piece: Mapping[str, Any]) -> _Anchor:
    """What a piece stands for in a message: a call by its id, a text by its mark."""
    if isinstance(call_id := piece.get("call"), str):
        return "call", call_id
    return ("text", mark) if isinstance(mark := piece.get("text"), str) else None


def _anchor_of(part: Part) -> _Anchor:
    match part:
        case ToolCall():
            return "call", part.id
        case Text() if part.text:
            return "text", _text_mark(part.text)
        case _:
            return None


def _cut(parts: Sequence[Part], pieces: Sequence[_Json]) -> Sequence[Part]:
    """*parts* with their one text cut into those of *pieces*, if it is these and nothing else."""
    spoken = [(at, part) for at, part in enumerate(parts) if isinstance(part, Text)]
    recorded = [piece for piece in pieces if "text" in piece]
    if len(spoken) != 1 or len(recorded) < 2 or spoken[0][1].annotations:
        return parts
    at, joined = spoken[0]
    begin = 0
    cut: list[Part] = []
    for piece in recorded:
        length = piece.get("length")
        text = joined.text[begin : begin + length] if isinstance(length, int) else ""
        if _text_mark(text) != piece["text"]:
            return parts
        begin += len(text)
        cut.append(replace(joined, text=text))
    return [*parts[:at], *cut, *parts[at + 1 :]] if begin == len(joined.text) else parts


def _found_at(piece: Mapping[str, Any], anchors: Sequence[_Anchor]) -> int | None:
    """Where the call or text of *piece* stands; a text that was joined with others is at the first text."""
    anchor = _anchor(piece)
    if anchor is None:
        return None
    if anchor in anchors:
        return anchors.index(anchor)
    if anchor[0] == "call":
        return None
    return next((at for at, other in enumerate(anchors) if other and other[0] == "text"), None)


# --- signatures ----------------------------------------------------------------------------------


def _signatures(part: Part) -> Iterator[tuple[str, str]]:
    """(dialect, signature) of all that *part* carries; encrypted forms count as their own signatures."""
    match part:
        case Opaque():
            yield from _texts(part.dialect, part.value, _SIGNED.get(part.dialect, ()))
            return
        case _:
            natives = part.native
    for dialect, fields in natives.items():
        if dialect == "openai_chat":
            for item in fields.get("reasoning_details") or ():
                if isinstance(item, dict):
                    yield from _texts(dialect, item, ("signature", "data"))
            for item in _carried(natives):
                yield from _texts("openai_responses", item, ("encrypted_content",))
        elif dialect in _SIGNED:
            yield from _texts(dialect, fields, _SIGNED[dialect])
            # Reasoning that is not encrypted lies with its vendor, which knows it by its id.
            if dialect == "openai_responses" and isinstance(part, Thinking) and not fields.get("encrypted_content"):
                yield from _texts(dialect, fields, ("id",))


def _texts(dialect: str, fields: Mapping[str, Any], names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        if isinstance(value := fields.get(name), str) and value:
            yield dialect, value


def _carried(native: Mapping[str, Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """OpenAI's reasoning items that a client of chat completions has in its `reasoning_details`."""
    for item in items_of_details(native.get("openai_chat", {}).get("reasoning_details")):
        if item.get("encrypted_content") or item.get("content"):
            yield item


def _is_sealed(part: Part) -> bool:
    """Whether *part* holds what only its maker can read."""
    return not isinstance(part, Opaque) and any(_has_seal(dialect, fields) for dialect, fields in part.native.items())


def _has_seal(dialect: str, fields: Mapping[str, Any]) -> bool:
    return any(fields.get(name) for name in _SIGNED.get(dialect, ()))


def _has_content(part: Thinking) -> bool:
    """Whether it is an open-weight model's reasoning item, which is readable itself."""
    return bool(part.native.get("openai_responses", {}).get("content"))
