"""What a provider can do wrong, and what becomes of it: FAULTS 3.3 as data.

Every row is played in every cell of `test_matrix`. `page` writes the table of docs/resilience.md.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

from tests.proxy.serving import KEY
from tests.replay import Answer, cassette

TEXT: Final = "Paris is the capital of France."
INPUT, OUTPUT = 20, 9
"""Tokens that every good answer tells."""
QUICK: Final = "timeouts = { connect_s = 5, first_event_s = 1.2, idle_s = 1.2, whole_answer_s = 1.2 }"
"""For providers that fall silent."""
SHORT: Final = "timeouts = { connect_s = 5, first_event_s = 20, idle_s = 20, total_s = 1.2 }"
"""For providers that never come to an end."""
LEISURE: Final = "timeouts = { connect_s = 20, first_event_s = 60, idle_s = 60, total_s = 120 }"
PRICE: Final = 'price = { input = "1", cached_input = "1", cache_write = "1", output = "2" }'
MIB: Final = 1024 * 1024

Dialect = Literal["openai_chat", "anthropic", "gemini"]
Then = Literal["again", "elsewhere", "stop"]
"""asked again where there is no other target / only another target is asked / nobody else is asked"""


@dataclass(frozen=True, slots=True)
class Fails:
    """The client gets this status and *code* and nothing else. *ill*: the breaker of the target counts it."""

    status: int
    code: str | None
    then: Then = "again"
    ill: bool = True
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Breaks:
    """The client has read a part of the answer; an error event with *code* ends it."""

    code: str


@dataclass(frozen=True, slots=True)
class Works:
    """The client gets the answer. *estimated*: the vendor told no usage that counts."""

    estimated: bool = False
    output: int | None = OUTPUT


Result = Fails | Breaks | Works


@cache
def _said(name: str) -> bytes:
    return cassette(name).body


@dataclass(frozen=True, slots=True)
class Vendor:
    """What a server of *dialect* says when all is well."""

    dialect: Dialect

    @property
    def whole(self) -> bytes:
        """An answer in one piece."""
        return _said(f"{self.dialect}/text")

    @property
    def events(self) -> list[str]:
        """The same as events."""
        text = _said(f"{self.dialect}/text_stream").decode().replace("\r\n", "\n")
        return [f"{event}\n\n" for event in text.split("\n\n") if event]

    @property
    def begun(self) -> str:
        """The events up to the first words."""
        events = self.events
        first = next(at for at, event in enumerate(events) if "Paris" in event)
        return "".join(events[: first + 2])

    @property
    def terminator(self) -> str:
        """What ends a stream; empty where nothing does."""
        last = self.events[-1]
        return "" if self.dialect == "gemini" else last


KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}
"""Anthropic's words."""


def trouble(status: int) -> dict[str, Any]:
    """An error in an envelope that every dialect knows; it quotes the key."""
    told = f"no, and your key {KEY} is known now"
    return {"type": "error", "error": {"type": KINDS.get(status, "api_error"), "message": told, "code": status}}


Played = Callable[[Vendor, bool], Answer | None]
"""What a vendor answers to a request for a whole answer, or for a stream; None: nobody listens."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One row. A form that is None does not exist. *clocks* are the provider's."""

    name: str
    play: Played
    whole: Result | None
    stream: Result | None
    clocks: str = LEISURE
    dialects: Sequence[Dialect] = ("openai_chat", "anthropic", "gemini")


def _same(answer: Answer | None) -> Played:
    return lambda _vendor, _stream: answer


def _says(status: int, headers: dict[str, str] | None = None) -> Played:
    return _same(Answer.json(trouble(status), status, headers))


def _by_form(whole: Callable[[Vendor], Answer], stream: Callable[[Vendor], Answer]) -> Played:
    return lambda vendor, streams: stream(vendor) if streams else whole(vendor)


def _whole(vendor: Vendor, **how: Any) -> Answer:
    return Answer.json(vendor.whole, **how)


def _events(text: str, **how: Any) -> Answer:
    return Answer.sse(text, **{"split": "events", **how})


def _stream(change: Callable[[Vendor], str], **how: Any) -> Played:
    """A stream that *change* makes of a good one; the whole answer is good."""
    return _by_form(_whole, lambda vendor: _events(change(vendor), **how))


def _broken_after_words(**how: Any) -> Played:
    """A pause keeps words and ending from coming in one piece."""
    return _by_form(
        lambda vendor: _whole(vendor, stop_at=len(vendor.whole) // 2, **how),
        lambda vendor: _events(vendor.begun, delay_between_s=0.01, **how),
    )


def _with_usage(change: Callable[[dict[str, Any]], Any]) -> Played:
    """Good answers in which *change* has been at every account of usage; what it makes None is left out."""

    def changed(text: str) -> str:
        value = json.loads(text)
        for holder in (value, value.get("message")):
            for name in ("usage", "usageMetadata"):
                if isinstance(holder, dict) and isinstance(holder.get(name), dict):
                    holder[name] = change(holder[name])
                    if holder[name] is None:
                        del holder[name]
        return json.dumps(value)

    def stream(vendor: Vendor) -> str:
        return re.sub(r"(?<=data: )\{.*\}", lambda found: changed(found[0]), "".join(vendor.events))

    return _by_form(lambda vendor: Answer.json(changed(vendor.whole.decode()).encode()), lambda v: _events(stream(v)))


def _less(usage: dict[str, Any]) -> dict[str, Any]:
    """As if the answer had been one token."""
    fewer = {"completion_tokens", "output_tokens", "candidatesTokenCount"}
    thoughts = {"completion_tokens_details", "output_tokens_details", "thoughtsTokenCount"}
    return {name: 1 if name in fewer else value for name, value in usage.items() if name not in thoughts}


def _usage_twice(vendor: Vendor) -> str:
    """The account once more before the last one, with other numbers."""
    events = vendor.events
    last = max(at for at, event in enumerate(events) if f'"{"completion_tokens"}":9' in event)
    before = re.sub(r'"(completion|total)_tokens":\d+', r'"\1_tokens":7', events[last])
    return "".join([*events[:last], before, *events[last:]])


BOMB: Final = gzip.compress(b" " * (8 * MIB))
SHORT_OF_ITS_LENGTH: Final = Answer(raw_head=b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", end="close")
HUGE: Final = Answer(raw_head=b"HTTP/1.1 200 OK\r\ncontent-length: 67108865\r\n\r\n{", end="hang")
"""Its length tells; nobody reads it."""
GZIP: Final = {"content-encoding": "gzip"}
UNREACHABLE: Final = Fails(502, "upstream_unreachable")
INVALID: Final = Fails(502, "upstream_invalid")
TIMEOUT: Final = Fails(504, "upstream_timeout")
ERROR: Final = Fails(502, "upstream_error")
CONFLICT: Final = Fails(502, "upstream_error", ill=False)
OVERLOADED: Final = Fails(503, "upstream_overloaded")
AUTH: Final = Fails(502, "upstream_auth", "elsewhere", ill=False)
TOO_MUCH: Final = Fails(502, "upstream_invalid", "elsewhere")


def _wrong(status: int) -> Fails:
    return Fails(status, None, "stop", ill=False)


def _row(name: str, play: Played, whole: Result | None, stream: Result | None = None, **more: Any) -> Fault:
    return Fault(name, play, whole, stream or whole, **more)


FAULTS: Final[tuple[Fault, ...]] = (
    _row("refuses the connection", _same(None), UNREACHABLE),
    _row("resets before its head", _same(Answer(raw_head=b"", end="reset")), UNREACHABLE),
    _row("closes before its head", _same(Answer(raw_head=b"", end="close")), UNREACHABLE),
    _row("says no HTTP", _same(Answer(raw_head=b"SSH-2.0-OpenSSH\r\n\r\n", end="close")), UNREACHABLE),
    _row("is silent before its head", _same(Answer(hang=True)), TIMEOUT, clocks=QUICK),
    _row("is silent after its head", _same(Answer.sse("", end="hang")), TIMEOUT, clocks=QUICK),
    _row("400", _says(400), _wrong(400)),
    _row("404", _says(404), _wrong(404)),
    _row("413", _says(413), _wrong(413)),
    _row("422", _says(422), _wrong(422)),
    _row("401", _says(401), AUTH),
    _row("402", _says(402), AUTH),
    _row("403", _says(403), AUTH),
    _row("408", _says(408), TIMEOUT),
    _row("409", _says(409), CONFLICT),
    _row("425", _says(425), CONFLICT),
    _row("429", _says(429), Fails(429, "rate_limit_exceeded", "elsewhere", ill=False)),
    _row(
        "429, and to come back in a minute",
        _says(429, {"retry-after": "60"}),
        Fails(429, "rate_limit_exceeded", "elsewhere", ill=False, retry_after="60"),
    ),
    _row("500", _says(500), ERROR),
    _row("502", _says(502), ERROR),
    _row("503", _says(503), OVERLOADED),
    _row("529", _says(529), OVERLOADED),
    _row("302", _same(Answer(302, {"location": "http://127.0.0.1:1/"}, chunked=False)), TOO_MUCH),
    _row("a page of HTML", _same(Answer(200, {"content-type": "text/html"}, b"<html>hello</html>")), INVALID),
    _row("nothing", _same(Answer.json(b"")), INVALID),
    _row(
        "broken JSON",
        _by_form(lambda v: Answer.json(v.whole[:-9]), lambda v: _events('data: {"id": "x", "cho\n\n')),
        INVALID,
    ),
    _row("JSON of another shape", _same(Answer.json({"hello": [1]})), INVALID),
    _row("an error with status 200", _same(Answer.json(trouble(500))), ERROR),
    _row(
        "an answer cut short",
        _by_form(
            lambda v: _whole(v, stop_at=len(v.whole) - 9, end="close"),
            lambda v: Answer.sse(v.events[0], stop_at=9, end="close"),
        ),
        INVALID,
    ),
    _row(
        "less than its length",
        _same(SHORT_OF_ITS_LENGTH),
        INVALID,
    ),
    Fault("an answer of more than 64 MB", _same(HUGE), TOO_MUCH, None),
    _row("a bomb of gzip", _same(Answer.json(BOMB, headers=GZIP)), TOO_MUCH),
    _row(
        "one event of 17 MB",
        _stream(lambda v: "data: " + "x" * (17 * MIB), split=MIB),
        None,
        TOO_MUCH,
    ),
    _row(
        "a byte now and then",
        _by_form(
            lambda v: _whole(v, split=1, delay_between_s=0.05),
            lambda v: Answer.sse(v.begun * 2, split=(len(v.begun), *range(len(v.begun), 9999)), delay_between_s=0.05),
        ),
        Fails(504, "upstream_timeout", "elsewhere"),
        Breaks("upstream_timeout"),
        clocks=SHORT,
    ),
    _row(
        "heartbeats and no words",
        _stream(lambda v: ": still here\n\n" * 200, delay_between_s=0.05),
        None,
        TIMEOUT,
        clocks=QUICK,
    ),
    _row(
        "heartbeats after its first words",
        _stream(lambda v: v.begun + ": still here\n\n" * 200, delay_between_s=0.05),
        None,
        Breaks("upstream_timeout"),
        clocks=QUICK,
    ),
    _row(
        "falls silent in the middle", _broken_after_words(end="hang"), TIMEOUT, Breaks("upstream_timeout"), clocks=QUICK
    ),
    _row("resets in the middle", _broken_after_words(end="reset"), INVALID, Breaks("upstream_invalid")),
    _row("closes in the middle", _broken_after_words(end="close"), INVALID, Breaks("upstream_invalid")),
    _row(
        "an error in the middle",
        _stream(lambda v: f"{v.begun}event: error\ndata: {json.dumps(trouble(529))}\n\n", delay_between_s=0.01),
        None,
        Breaks("upstream_overloaded"),
    ),
    _row("no terminator", _stream(lambda v: "".join(v.events).replace(v.terminator or "\0", "")), None, Works()),
    _row(
        "two terminators",
        _stream(lambda v: "".join(v.events) + v.terminator),
        None,
        Works(),
        dialects=("openai_chat", "anthropic"),
    ),
    _row(
        "words after the terminator",
        _stream(lambda v: "".join(v.events) + next(event for event in v.events if "Paris" in event)),
        None,
        Works(),
        dialects=("openai_chat", "anthropic"),
    ),
    _row("lines that end in CRLF", _stream(lambda v: "".join(v.events).replace("\n", "\r\n")), None, Works()),
    _row("comments", _stream(lambda v: ": hello\n\n" + ": ping\n\n".join(v.events)), None, Works()),
    _row("pieces of a byte", _stream(lambda v: "".join(v.events), split=1), None, Works()),
    _row("no usage", _with_usage(lambda _usage: None), Works(estimated=True, output=None)),
    _row("usage of no numbers", _with_usage(dict.fromkeys), Works(estimated=True, output=None)),
    _row("usage twice", _stream(_usage_twice), None, Works(), dialects=("openai_chat",)),
    _row("less usage than was seen", _with_usage(_less), Works(output=1)),
)


# --- the table of docs/resilience.md ---------------------------------------------------------------

HEAD: Final = (
    "| the provider | the client gets | or, of a stream | then | breaker |",
    "| --- | --- | --- | --- | --- |",
)
THEN: Final = {"again": "next target, else once more", "elsewhere": "next target", "stop": "nobody else"}


def _told(result: Result | None) -> str:
    match result:
        case None:
            return "-"
        case Fails():
            return f"{result.status} `{result.code}`" if result.code else f"{result.status}"
        case Breaks():
            return f"its beginning, then an error event `{result.code}`"
        case Works():
            return "the answer, its usage estimated" if result.estimated else "the answer"


def _then(fault: Fault) -> tuple[str, str]:
    """What happens next, and whether the breaker counts it."""
    results = [result for result in (fault.whole, fault.stream) if result is not None]
    fails = [result for result in results if isinstance(result, Fails)]
    counts = any(isinstance(result, Breaks) or (isinstance(result, Fails) and result.ill) for result in results)
    return THEN[fails[0].then] if fails else "-", "counts" if counts else "-"


def page() -> str:
    """The rows of `FAULTS`; neighbours that come to the same share one."""
    rows: list[tuple[list[str], tuple[str, ...]]] = []
    for fault in FAULTS:
        told = (_told(fault.whole), _told(fault.stream), *_then(fault))
        if rows and rows[-1][1] == told:
            rows[-1][0].append(fault.name)
        else:
            rows.append(([fault.name], told))
    return "\n".join([*HEAD, *(f"| {'; '.join(names)} | {' | '.join(told)} |" for names, told in rows)])
