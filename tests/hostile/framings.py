"""Requests that two readers might frame differently, as bytes: one row each, in families.

HIDDEN is a whole request of its own, which no reading of a row may bring to a provider. A row's name is its id: a
find of a fuzzer becomes a row here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

Outcome = Literal["closed", "told", "declined", "served", "ends", "judged", "left"]
"""What must become of a request, whichever way it goes through the server.

closed     refused with a 4xx or without a word, and the connection is closed
told       refused with a 4xx that says that the connection is closed, which may take as long as the client still sends
declined   a 4xx; the connection may go on
served     200, and so is what follows
ends       200, and the connection is closed; with more behind it at once, a 4xx and closed
judged     any of these: readers that follow the standard may differ
left       the client hangs up before it is whole
"""

KEY: Final = "sk-canary-framing-0123456789"
"""The caller's key, which no answer and no log may show."""
PATH: Final = "/v1/chat/completions"
MODEL: Final = "one/m"
HIDDEN_MODEL: Final = "hidden"


def asking(text: str, model: str = MODEL) -> bytes:
    """A question's body."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}]}).encode()


def post(
    *lines: str | bytes,
    body: bytes = b"",
    length: bool = True,
    first: bytes = f"POST {PATH} HTTP/1.1".encode(),
    host: bytes = b"Host: localhost",
) -> bytes:
    """A request whose *lines* come last in its head. *length*: say how long *body* is."""
    own = [line.encode("latin-1") if isinstance(line, str) else line for line in lines]
    told = [b"Content-Length: %d" % len(body)] if length else []
    named = [host] if host else []
    head = [first, *named, f"Authorization: Bearer {KEY}".encode(), b"Content-Type: application/json", *told, *own]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


BODY: Final = asking("hostile")
HIDDEN: Final = post(body=asking("hidden", f"one/{HIDDEN_MODEL}"))
BARE_GET: Final = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """*data* as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunked(data: bytes) -> bytes:
    """*data* as a whole chunked body."""
    return chunk(data) + b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Framing:
    """One hostile request."""

    name: str
    sent: bytes
    outcome: Outcome


def lengths() -> Iterator[Framing]:
    """Lengths that say nothing, something else, or two things."""
    size = str(len(HIDDEN))
    wrong = {
        "signed": f"+{size}",
        "negative": f"-{size}",
        "minus one": "-1",
        "minus nothing": "-0",
        "hexadecimal": f"0x{len(HIDDEN):x}",
        "listed": f"{size}, {size}",
        "listed without a blank": f"{size},{size}",
        "listed, another": f"{size}, 0",
        "with a comma": f"{size},",
        "with a semicolon": f"{size};",
        "two words": f"{size} 0",
        "broken by a tab": f"{size[0]}\t{size[1:]}",
        "a fraction": f"{size}.0",
        "an exponent": f"{size}e0",
        "with an underscore": f"{size[0]}_{size[1:]}",
        "quoted": f'"{size}"',
        "vertical tab": f"{size}\x0b",
        "form feed": f"\x0c{size}",
        "NUL": f"{size}\x00",
        "NUL before": f"\x00{size}",
        "carriage return": f"{size}\r",
        "letters": "abc",
        "superscript": "\xb2",
        "other digits": "\u0663\u0661".encode().decode("latin-1"),
        "no-break space": f"\xa0{size}",
        "empty": "",
        "beyond 64 bits": str(2**64 + len(HIDDEN)),
        "beyond 63 bits": str(2**63),
        "400 digits": "9" * 400,
        "folded": f"\r\n {size}",
        "folded, another": f"0\r\n {size}",
        "line feed": f"{size}\nX-More: 1",
        "line feed and another": f"{size}\nContent-Length: 0",
    }
    for name, value in wrong.items():
        outcome: Outcome = "told" if name == "beyond 63 bits" else "closed"
        yield Framing(f"length: {name}", post(f"Content-Length: {value}", body=HIDDEN, length=False), outcome)
    for name, line in {
        "blank before the colon": f"Content-Length : {size}",
        "tab before the colon": f"Content-Length\t: {size}",
        "NUL in the name": f"Content-Length\x00: {size}",
        "no colon": f"Content-Length {size}",
        "blank before the name": f" Content-Length: {size}",
        "tab before the name": f"\tContent-Length: {size}",
        "a dotless letter in the name": f"Content-Length\xb9: {size}",
    }.items():
        yield Framing(f"length: {name}", post("X-Before: 1", line, body=HIDDEN, length=False), "closed")
    pairs = {
        "twice": (size, size),
        "twice, first nothing": ("0", size),
        "twice, then nothing": (size, "0"),
        "twice, one signed": (size, f"+{size}"),
        "twice, one empty": (size, ""),
    }
    for name, (one, other) in pairs.items():
        lines = (f"Content-Length: {one}", f"Content-Length: {other}")
        yield Framing(f"length: {name}", post(*lines, body=HIDDEN, length=False), "closed")
    yield Framing(
        "length: twice in two spellings",
        post(f"Content-Length: {size}", "content-length: 0", body=HIDDEN, length=False),
        "closed",
    )
    yield Framing("length: another name", post(f"Content_Length: {size}", body=BODY), "served")
    yield Framing("length: of nothing, and something follows", post("Content-Length: 0", length=False), "declined")
    own = str(len(BODY))
    for name, value in {
        "loud": f"CONTENT-LENGTH: {own}",
        "without a blank": f"Content-Length:{own}",
        "many blanks": f"Content-Length:    {own}   ",
        "tabs around": f"Content-Length:\t{own}\t",
        "zeros before": f"Content-Length: 000{own}",
    }.items():
        yield Framing(f"length: {name}", post(value, body=BODY, length=False), "served")


CODINGS: Final[dict[str, tuple[str, ...]]] = {
    "plain": ("Transfer-Encoding: chunked",),
    "loud": ("TRANSFER-ENCODING: CHUNKED",),
    "without a blank": ("Transfer-Encoding:chunked",),
    "blank after": ("Transfer-Encoding: chunked ",),
    "tabs around": ("Transfer-Encoding:\tchunked\t",),
    "x before": ("Transfer-Encoding: xchunked",),
    "cut": ("Transfer-Encoding: chunke",),
    "identity": ("Transfer-Encoding: identity",),
    "identity first": ("Transfer-Encoding: identity, chunked",),
    "identity last": ("Transfer-Encoding: chunked, identity",),
    "gzip first": ("Transfer-Encoding: gzip, chunked",),
    "gzip last": ("Transfer-Encoding: chunked, gzip",),
    "gzip alone": ("Transfer-Encoding: gzip",),
    "listed twice": ("Transfer-Encoding: chunked, chunked",),
    "comma after": ("Transfer-Encoding: chunked,",),
    "comma before": ("Transfer-Encoding: ,chunked",),
    "parameter": ("Transfer-Encoding: chunked;q=1",),
    "quoted": ('Transfer-Encoding: "chunked"',),
    "apostrophes": ("Transfer-Encoding: 'chunked'",),
    "empty": ("Transfer-Encoding: ",),
    "a word": ("Transfer-Encoding: x",),
    "vertical tab": ("Transfer-Encoding: \x0bchunked",),
    "vertical tab after": ("Transfer-Encoding: chunked\x0b",),
    "NUL": ("Transfer-Encoding: chunked\x00",),
    "NUL before": ("Transfer-Encoding: \x00chunked",),
    "no-break space": ("Transfer-Encoding: \xa0chunked",),
    "high letter": ("Transfer-Encoding: ch\xfcnked",),
    "twice": ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "twice, identity last": ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    "twice, identity first": ("Transfer-Encoding: identity", "Transfer-Encoding: chunked"),
    "twice, a word last": ("Transfer-Encoding: chunked", "Transfer-Encoding: x"),
    "blank before the colon": ("Transfer-Encoding : chunked",),
    "tab before the colon": ("Transfer-Encoding\t: chunked",),
    "blank before the name": ("X-Before: 1", " Transfer-Encoding: chunked"),
    "NUL in the name": ("Transfer-Encoding\x00: chunked",),
    "vertical tab before the colon": ("Transfer-Encoding\x0b: chunked",),
    "folded": ("Transfer-Encoding:\r\n chunked",),
    "folded behind": ("Transfer-Encoding: chunked\r\n ,identity",),
    "line feed before": ("X-Before: 1\nTransfer-Encoding: chunked",),
    "carriage return before": ("X-Before: 1\rTransfer-Encoding: chunked",),
    "line feed after": ("Transfer-Encoding: chunked\nX-After: 1",),
}
UNKNOWN_NAMES: Final = {
    "another name": ("Transfer_Encoding: chunked",),
    "content coding": ("X-Transfer-Encoding: chunked",),
}
GOOD_CODINGS: Final = {"plain", "loud", "without a blank", "blank after"}


def codings() -> Iterator[Framing]:
    """Codings that one reader knows and another one does not, with a length (CL.TE, TE.CL) and without one (TE.TE)."""
    ends_early = b"0\r\n\r\n" + HIDDEN
    for name, lines in CODINGS.items():
        good = name in GOOD_CODINGS
        yield Framing(f"CL.TE: {name}", post(*lines, body=ends_early), "closed")
        short = post("Content-Length: 4", *lines, body=chunked(HIDDEN), length=False)
        yield Framing(f"TE.CL: {name}", short, "closed")
        if good:
            yield Framing(f"TE: {name}", post(*lines, body=chunked(BODY), length=False), "ends")
        else:
            yield Framing(f"TE: {name}", post(*lines, body=chunked(HIDDEN), length=False), "closed")
    for name, lines in UNKNOWN_NAMES.items():
        yield Framing(f"CL.TE: {name}", post(*lines, body=ends_early), "declined")
        yield Framing(f"TE: {name}", post(*lines, body=chunked(HIDDEN), length=False), "closed")


SIZE: Final = b"%x" % len(BODY)


def chunks() -> Iterator[Framing]:
    """Chunks whose size, end or extension is not what it should be."""
    rest = b"\r\n0\r\n\r\n"
    whole = {
        "size after a plus": b"+" + SIZE + b"\r\n" + BODY + rest,
        "size after a minus": b"-" + SIZE + b"\r\n" + BODY + rest,
        "size in C": b"0x" + SIZE + b"\r\n" + BODY + rest,
        "size after a blank": b" " + SIZE + b"\r\n" + BODY + rest,
        "size with an underscore": SIZE[:1] + b"_" + SIZE[1:] + b"\r\n" + BODY + rest,
        "size is missing": b"\r\n" + BODY + rest,
        "size is a letter": b"g\r\n" + BODY + rest,
        "size wraps 64 bits": b"1%016x\r\n" % len(BODY) + BODY + rest,
        "size of 17 digits of F": b"f" * 17 + b"\r\n" + BODY + rest,
        "size and NUL": SIZE + b"\x00\r\n" + BODY + rest,
        "size and a comma": SIZE + b",1\r\n" + BODY + rest,
        "line feed after the size": SIZE + b"\n" + BODY + rest,
        "carriage return after the size": SIZE + b"\r" + BODY + rest,
        "line feed after the data": SIZE + b"\r\n" + BODY + b"\n0\r\n\r\n",
        "nothing after the data": SIZE + b"\r\n" + BODY + b"0\r\n\r\n",
        "more data than told": SIZE + b"\r\n" + BODY + b"xx" + rest,
        "line feed in an extension": SIZE + b";\n" + BODY + rest,
        "line feed in the value of an extension": SIZE + b";a=b\nX\r\n" + BODY + rest,
        "carriage return in an extension": SIZE + b";a\rb\r\n" + BODY + rest,
        "NUL in an extension": SIZE + b";a\x00b\r\n" + BODY + rest,
        "line end in a quoted extension": SIZE + b';a="\r\nb"\r\n' + BODY + rest,
        "last size after a minus": SIZE + b"\r\n" + BODY + b"\r\n-0\r\n\r\n",
        "line feed after the last size": SIZE + b"\r\n" + BODY + b"\r\n0\n\r\n" + HIDDEN,
        "line feed for the last line": SIZE + b"\r\n" + BODY + b"\r\n0\r\n\n" + HIDDEN,
        "hidden where a size should stand": SIZE + b"\r\n" + BODY + b"\r\n" + HIDDEN,
        "trailer with a length": SIZE + b"\r\n" + BODY + b"\r\n0\r\nContent-Length: 5\r\n\r\n",
        "trailer with a coding": SIZE + b"\r\n" + BODY + b"\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "trailer without a colon": SIZE + b"\r\n" + BODY + b"\r\n0\r\nnothing\r\n\r\n",
        "trailer with a blank before its colon": SIZE + b"\r\n" + BODY + b"\r\n0\r\nX : 1\r\n\r\n",
        "trailer with NUL": SIZE + b"\r\n" + BODY + b"\r\n0\r\nX: \x00\r\n\r\n",
        "trailer, folded": SIZE + b"\r\n" + BODY + b"\r\n0\r\nX: 1\r\n 2\r\n\r\n",
        "trailer of 20 KB": SIZE + b"\r\n" + BODY + b"\r\n0\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        "300 trailers": SIZE + b"\r\n" + BODY + b"\r\n0\r\n" + b"X: 1\r\n" * 300 + b"\r\n",
    }
    for name, body in whole.items():
        yield Framing(f"chunks: {name}", post("Transfer-Encoding: chunked", body=body, length=False), "closed")
    served = {
        "loud": SIZE.upper() + b"\r\n" + BODY + rest,
        "zeros before the size": b"0000000" + SIZE + b"\r\n" + BODY + rest,
        "extension": SIZE + b";a\r\n" + BODY + rest,
        "extension with a value": SIZE + b";a=b\r\n" + BODY + rest,
        "extension, quoted": SIZE + b';a="b c"\r\n' + BODY + rest,
        "extension of the last": SIZE + b"\r\n" + BODY + b"\r\n0;a=b\r\n\r\n",
        "several zeros at the end": SIZE + b"\r\n" + BODY + b"\r\n000\r\n\r\n",
        "one byte each": b"".join(chunk(BODY[at : at + 1]) for at in range(len(BODY))) + b"0\r\n\r\n",
        "trailer": SIZE + b"\r\n" + BODY + b"\r\n0\r\nX-More: 1\r\n\r\n",
        "trailer with a host": SIZE + b"\r\n" + BODY + b"\r\n0\r\nHost: evil.example\r\n\r\n",
        "trailer with controls": SIZE + b"\r\n" + BODY + b"\r\n0\r\nX-Modelport-Route: hidden\r\n\r\n",
        "trailer with a compression": SIZE + b"\r\n" + BODY + b"\r\n0\r\nContent-Encoding: gzip\r\n\r\n",
    }
    for name, body in served.items():
        yield Framing(f"chunks: {name}", post("Transfer-Encoding: chunked", body=body, length=False), "ends")
    for name, body in {
        "blank after the size": SIZE + b" \r\n" + BODY + rest,
        "tab after the size": SIZE + b"\t\r\n" + BODY + rest,
        "blanks around an extension": SIZE + b" ; a = b\r\n" + BODY + rest,
        "semicolon alone": SIZE + b";\r\n" + BODY + rest,
        "hidden in the trailer": SIZE + b"\r\n" + BODY + b"\r\n0\r\n" + HIDDEN,
        "high byte in an extension": SIZE + b";\xff\r\n" + BODY + rest,
        "extension of 20 KB": SIZE + b";" + b"a" * 20_000 + b"\r\n" + BODY + rest,
    }.items():
        yield Framing(f"chunks: {name}", post("Transfer-Encoding: chunked", body=body, length=False), "judged")
    yield Framing(
        "chunks: none at all", post("Transfer-Encoding: chunked", body=b"0\r\n\r\n", length=False), "declined"
    )


def lines() -> Iterator[Framing]:
    """Header lines that end, begin or go on where they should not."""
    whole = post(body=BODY)
    yield Framing("lines: line feeds alone", whole.replace(b"\r\n", b"\n"), "closed")
    yield Framing(
        "lines: carriage returns alone", whole.replace(b"\r\n\r\n", b"\r\r").replace(b"\r\n", b"\r"), "closed"
    )
    yield Framing("lines: line feeds first", b"\n" + whole, "judged")
    yield Framing("lines: an empty line first", b"\r\n" + whole, "judged")
    yield Framing("lines: many empty lines first", b"\r\n" * 5000 + whole, "judged")
    yield Framing("lines: a blank first", b" " + whole, "closed")
    yield Framing("lines: NUL first", b"\x00" + whole, "closed")
    yield Framing("lines: TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)) + whole, "closed")
    yield Framing("lines: HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), "closed")
    yield Framing("lines: an answer", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "closed")
    yield Framing("lines: 101 headers", post(*[f"X-{number}: 1" for number in range(200)], body=BODY), "closed")
    yield Framing("lines: a header of 20 KB", post("X-Long: " + "a" * 20_000, body=BODY), "closed")
    yield Framing("lines: a name of 20 KB", post("X" * 20_000 + ": a", body=BODY), "closed")
    yield Framing("lines: 90 headers of 7 KB", post(*[f"X-{n}: {'a' * 7000}" for n in range(90)], body=BODY), "judged")
    wrong = {
        "blank before a colon": "X-Before : 1",
        "no name": ": 1",
        "no colon": "nothing",
        "blank in a name": "X Before: 1",
        "bracket in a name": "X(Before): 1",
        "high letter in a name": "X-\xe9: 1",
        "at sign in a name": "X@: 1",
        "folded": "X-Before: 1\r\n 2",
        "folded by a tab": "X-Before: 1\r\n\t2",
        "folded, empty": "X-Before: 1\r\n ",
        "line feed": "X-Before: 1\nX-After: 2",
        "carriage return": "X-Before: 1\rX-After: 2",
        "two carriage returns": "X-Before: 1\r",
        "an end of head with line feeds": "X-Before: 1\n\n" + HIDDEN.decode(),
        "an end of head with carriage returns": "X-Before: 1\r\r" + HIDDEN.decode(),
    }
    for name, line in wrong.items():
        yield Framing(f"lines: {name}", post(line, body=BODY), "closed")
    for code in (*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F):
        yield Framing(f"lines: 0x{code:02x} in a value", post(f"X-Odd: a{chr(code)}b", body=BODY), "closed")
    for code in (0x00, 0x0B, 0x1F, 0x22, 0x2C, 0x2F, 0x3B, 0x40, 0x5C, 0x7B, 0x7F, 0x80, 0xFF):
        yield Framing(f"lines: 0x{code:02x} in a name", post(f"X{chr(code)}Odd: a", body=BODY), "closed")
    for name, line in {
        "tab in a value": "X-Odd: a\tb",
        "high letters in a value": "X-Odd: \xe9\xff",
        "empty value": "X-Odd:",
        "odd name": "!#$%&'*+-.^_`|~1: 1",
        "twice": "X-Odd: 1\r\nX-Odd: 2",
    }.items():
        yield Framing(f"lines: {name}", post(line, body=BODY), "served")


def first_lines() -> Iterator[Framing]:
    """Methods, targets and versions."""

    def with_first(line: str) -> bytes:
        return post(body=HIDDEN, first=line.encode("latin-1"))

    for name, line in {
        "lower case": f"post {PATH} HTTP/1.1",
        "NUL in the method": f"PO\x00ST {PATH} HTTP/1.1",
        "high letter in the method": f"P\xd6ST {PATH} HTTP/1.1",
        "bracket in the method": f"P(ST {PATH} HTTP/1.1",
        "no method": f" {PATH} HTTP/1.1",
        "no target": "POST  HTTP/1.1",
        "no version": f"POST {PATH}",
        "nothing else": "POST",
        "two targets": f"POST {PATH} {PATH} HTTP/1.1",
        "version 0.9": f"POST {PATH} HTTP/0.9",
        "version 2.0": f"POST {PATH} HTTP/2.0",
        "version 3": f"POST {PATH} HTTP/3",
        "version 1": f"POST {PATH} HTTP/1",
        "version 1.": f"POST {PATH} HTTP/1.",
        "version 1.10": f"POST {PATH} HTTP/1.10",
        "version 01.1": f"POST {PATH} HTTP/01.1",
        "version 1,1": f"POST {PATH} HTTP/1,1",
        "version -1.1": f"POST {PATH} HTTP/-1.1",
        "version in small letters": f"POST {PATH} http/1.1",
        "version of another protocol": f"POST {PATH} ICAP/1.0",
        "version with more": f"POST {PATH} HTTP/1.1 x",
        "version broken": f"POST {PATH} HT TP/1.1",
        "tabs between": f"POST\t{PATH}\tHTTP/1.1",
        "blank in the target": "POST /v1/chat completions HTTP/1.1",
        "NUL in the target": f"POST {PATH}\x00 HTTP/1.1",
        "DEL in the target": f"POST {PATH}\x7f HTTP/1.1",
        "line feed in the target": f"POST {PATH}\nX HTTP/1.1",
        "carriage return in the target": f"POST {PATH}\rX HTTP/1.1",
        "target of 20 KB": f"POST {PATH}?{'a' * 20_000} HTTP/1.1",
        "method of 20 KB": f"{'P' * 20_000} {PATH} HTTP/1.1",
        "CONNECT": "CONNECT evil.example:443 HTTP/1.1",
        "no path": "POST localhost HTTP/1.1",
        "asterisk": "POST * HTTP/1.1",
    }.items():
        yield Framing(f"first line: {name}", with_first(line), "closed")
    for name, line in {
        "version 1.2": f"POST {PATH} HTTP/1.2",
        "version 1.9": f"POST {PATH} HTTP/1.9",
        "two blanks": f"POST  {PATH} HTTP/1.1",
        "two blanks before the version": f"POST {PATH}  HTTP/1.1",
        "blank after": f"POST {PATH} HTTP/1.1 ",
        "high letters in the target": "POST /v1/\xe9\xff HTTP/1.1",
        "a method of its own": f"BREW {PATH} HTTP/1.1",
        "TRACE": f"TRACE {PATH} HTTP/1.1",
        "QUERY": f"QUERY {PATH} HTTP/1.1",
        "M-SEARCH": f"M-SEARCH {PATH} HTTP/1.1",
        "PRI": f"PRI {PATH} HTTP/1.1",
        "GET with a body": f"GET {PATH} HTTP/1.1",
        "HEAD with a body": f"HEAD {PATH} HTTP/1.1",
        "DELETE with a body": f"DELETE {PATH} HTTP/1.1",
        "OPTIONS": "OPTIONS * HTTP/1.1",
        "absolute, foreign": f"POST http://evil.example{PATH} HTTP/1.1",
        "absolute, with a user": f"POST http://a:b@localhost{PATH} HTTP/1.1",
        "absolute, another scheme": f"POST ftp://localhost{PATH} HTTP/1.1",
        "absolute, no host": f"POST http://{PATH} HTTP/1.1",
        "a file": "POST file:///etc/passwd HTTP/1.1",
        "two slashes": f"POST //evil.example{PATH} HTTP/1.1",
        "dots": f"POST /health/..{PATH} HTTP/1.1",
        "dots, written otherwise": "POST /v1/%2e%2e/v1/chat/completions HTTP/1.1",
        "slashes, written otherwise": "POST /v1%2fchat%2fcompletions HTTP/1.1",
        "backslashes": "POST /v1\\chat\\completions HTTP/1.1",
        "a line end, written otherwise": f"POST {PATH}%0d%0aX-Hidden:1 HTTP/1.1",
        "NUL, written otherwise": f"POST {PATH}%00 HTTP/1.1",
        "half an escape": f"POST {PATH}%2 HTTP/1.1",
        "escape that is none": f"POST {PATH}%zz HTTP/1.1",
        "semicolon": f"POST {PATH};x=1 HTTP/1.1",
        "port that is none": f"POST http://localhost:99999999{PATH} HTTP/1.1",
        "address that is none": f"POST http://[::1{PATH} HTTP/1.1",
        "brackets": f"POST http://[]{PATH} HTTP/1.1",
        "absolute, two at signs": f"POST http://@@{PATH} HTTP/1.1",
    }.items():
        yield Framing(f"first line: {name}", with_first(line), "judged")
    for name, line in {
        "absolute": f"POST http://localhost{PATH} HTTP/1.1",
        "query": f"POST {PATH}?x=1&x=2&%00=%ff HTTP/1.1",
        "empty query": f"POST {PATH}? HTTP/1.1",
        "fragment": f"POST {PATH}#x HTTP/1.1",
    }.items():
        yield Framing(f"first line: {name}", post(body=BODY, first=line.encode()), "judged")


def hosts() -> Iterator[Framing]:
    """Who is asked for."""
    for name, line in {
        "none": b"",
        "empty": b"Host:",
        "blank": b"Host:  ",
        "twice": b"Host: localhost\r\nHost: localhost",
        "twice, foreign last": b"Host: localhost\r\nHost: evil.example",
        "twice, foreign first": b"Host: evil.example\r\nHost: localhost",
        "foreign": b"Host: evil.example",
        "listed": b"Host: localhost, evil.example",
        "with a user": b"Host: localhost@evil.example",
        "two words": b"Host: localhost evil.example",
        "high letters": b"Host: l\xf6calhost",
        "a dot": b"Host: .",
        "of 4 KB": b"Host: " + b"a" * 4096,
    }.items():
        yield Framing(f"host: {name}", post(body=HIDDEN, host=line), "declined")
    for name, line in {
        "with a path": b"Host: localhost/evil.example",
        "with a query": b"Host: localhost?evil.example",
        "with a port that is none": b"Host: localhost:evil",
        "with two ports": b"Host: localhost:1:2",
        "brackets": b"Host: []",
        "bracket": b"Host: [",
        "a zone": b"Host: [fe80::1%25eth0]",
        "a number": b"Host: 2130706433",
        "a dot after": b"Host: localhost.",
        "tab": b"Host:\tlocalhost",
        "underscores": b"Host: local_host",
    }.items():
        yield Framing(f"host: {name}", post(body=HIDDEN, host=line), "judged")
    for name, line in {"NUL": b"Host: localhost\x00", "blank before": b"Host : localhost"}.items():
        yield Framing(f"host: {name}", post(body=HIDDEN, host=line), "closed")


def old() -> Iterator[Framing]:
    """HTTP/1.0, which has no chunks and closes when it was not asked to stay."""
    first = f"POST {PATH} HTTP/1.0".encode()
    yield Framing("1.0: plain", post(body=BODY, first=first), "ends")
    yield Framing("1.0: stays", post("Connection: keep-alive", body=BODY, first=first), "served")
    yield Framing("1.0: no length", post(body=HIDDEN, length=False, first=first), "closed")
    yield Framing("1.0: no host", post(body=HIDDEN, host=b"", first=first), "closed")
    for name, more in {"": (), ", stays": ("Connection: keep-alive",)}.items():
        coded = post("Transfer-Encoding: chunked", *more, body=chunked(BODY), length=False, first=first)
        yield Framing(f"1.0: chunks{name}", coded, "closed")
        early = post("Transfer-Encoding: chunked", *more, body=b"0\r\n\r\n" + HIDDEN, length=False, first=first)
        yield Framing(f"1.0: chunks that end early{name}", early, "closed")
        both = post("Transfer-Encoding: chunked", *more, body=b"0\r\n\r\n" + HIDDEN, first=first)
        yield Framing(f"1.0: chunks and a length{name}", both, "closed")
        other = post("Transfer-Encoding: identity", *more, body=HIDDEN, first=first)
        yield Framing(f"1.0: another coding{name}", other, "closed")


def hops() -> Iterator[Framing]:
    """Headers that speak to the next hop, or would change what a request is."""
    for name, line in {
        "expects nothing odd": "Expect: 100-continue",
        "names its length as a hop's": "Connection: content-length",
        "names its host as a hop's": "Connection: host, authorization",
        "says that it stays": "Connection: keep-alive",
        "says twice that it stays": "Connection: keep-alive, keep-alive",
        "upgrades to HTTP/2": "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        "upgrades to a socket": "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x",
        "upgrades without saying so": "Upgrade: h2c",
        "takes trailers": "TE: trailers\r\nConnection: TE",
        "announces a trailer": "Trailer: Content-Length",
        "overrides its method": "X-HTTP-Method-Override: DELETE",
        "overrides its path": "X-Original-URL: /metrics\r\nX-Rewrite-URL: /metrics",
        "was forwarded": "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: evil.example\r\nForwarded: host=evil.example",
        "asks for a range": "Range: bytes=0-1",
        "asks for another coding": "Accept-Encoding: gzip, br;q=1.0, *;q=0",
    }.items():
        yield Framing(f"hop: {name}", post(line, body=BODY), "ends" if "upgrades to" in name else "served")
    for name, line in {
        "is compressed": "Content-Encoding: gzip",
        "is compressed twice": "Content-Encoding: identity, deflate",
        "expects what there is not": "Expect: 200-ok",
    }.items():
        yield Framing(f"hop: {name}", post(line, body=HIDDEN), "declined")
    yield Framing("hop: closes", post("Connection: close", body=BODY), "ends")
    yield Framing("hop: closes and stays", post("Connection: close, keep-alive", body=BODY), "ends")


def cut() -> Iterator[Framing]:
    """Requests whose client leaves too early."""
    whole, coded = post(body=HIDDEN), post("Transfer-Encoding: chunked", body=chunked(HIDDEN), length=False)
    for name, sent in {
        "in the first line": whole[:9],
        "in the head": whole[:60],
        "before the empty line": whole[: whole.index(b"\r\n\r\n") + 2],
        "before the body": whole[: whole.index(b"\r\n\r\n") + 4],
        "in the body": whole[:-7],
        "before the last byte": whole[:-1],
        "in a size": coded[: coded.index(b"\r\n\r\n") + 5],
        "in a chunk": coded[:-20],
        "before the last chunk": coded[:-5],
        "before the last line": coded[:-2],
        "far before the end of a chunk": post("Transfer-Encoding: chunked", body=b"f" * 16 + b"\r\n", length=False),
    }.items():
        yield Framing(f"cut: {name}", sent, "left")


def several() -> Iterator[Framing]:
    """More than one request in a row."""
    yield Framing("several: an unknown path first", post(body=HIDDEN, first=b"POST /nowhere HTTP/1.1"), "closed")
    yield Framing("several: too large a body", post("Content-Length: 99999999999", length=False) + HIDDEN, "told")
    yield Framing("several: a length and no more", post("Content-Length: 999999999", length=False), "told")
    long = post(*[f"X-Pad-{number}: {'a' * 80}" for number in range(95)], body=BODY)
    yield Framing("several: a head as long as it may be", long[:8000] + long[8000:], "judged")


FRAMINGS: Final = tuple(
    framing
    for family in (lengths, codings, chunks, lines, first_lines, hosts, old, hops, cut, several)
    for framing in family()
)
