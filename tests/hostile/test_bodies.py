"""Whatever stands in a body: a clear 4xx in the client's dialect, or an answer; never an error of the server's."""

from __future__ import annotations

import http.client
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import pytest

from tests.hostile.conftest import Running
from tests.hostile.odd_bodies import ENDPOINTS, ODD, Endpoint, places, replaced
from tests.hostile.wire import PATIENCE_S

OWN: Final = {
    "chat": "openai_chat",
    "responses": "openai_responses",
    "messages": "anthropic",
    "gemini": "gemini",
    "completions": "openai_chat",
    "embeddings": "openai_chat",
}
OTHER: Final = {
    "chat": "anthropic",
    "responses": "anthropic",
    "messages": "openai_chat",
    "gemini": "openai_chat",
    "completions": "anthropic",
}
BY_NAME: Final = {endpoint.name: endpoint for endpoint in ENDPOINTS}
TIGHT: Final = ("long text", "letters and digits", "brackets", "5000 digits", "60 deep", "surrogate", "null")
"""What has done most harm: one of these in each place, and its turn of the others."""
TURN: Final = 2
EVERYTHING: Final = os.environ.get("HOSTILE") == "everything"
"""`make fuzz`: every odd value in every place, which takes minutes."""


class Asker:
    """A client that stays on its connection as long as it may."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)

    def ask(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        self._connection.request("POST", path, body, {"content-type": "application/json", **(headers or {})})
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def close(self) -> None:
        self._connection.close()


@contextmanager
def asker(running: Running) -> Iterator[Asker]:
    client = Asker(running.modelport.port)
    try:
        yield client
    finally:
        client.close()


def addressed(endpoint: Endpoint, target: str) -> tuple[str, dict[str, Any]]:
    """Path and body of a valid question to *target*."""
    body = {name: f"{target}/m" if name == "model" else value for name, value in endpoint.body.items()}
    return endpoint.path.replace("own", target), body


def odd_ones(at: int) -> list[str]:
    """What is tried in the place number *at*."""
    if EVERYTHING:
        return list(ODD)
    others = [name for name in ODD if name not in TIGHT]
    turn = [others[(at * TURN + step) % len(others)] for step in range(TURN)]
    return [TIGHT[at % len(TIGHT)], *turn]


def is_told(body: bytes, endpoint: Endpoint) -> bool:
    """Whether *body* is a failure in the endpoint's dialect."""
    told = json.loads(body)
    outer, inner = endpoint.envelope
    return told.keys() - {"request_id"} == outer - {"request_id"} and inner <= told["error"].keys()


def refusals(told: Mapping[str, tuple[int, bytes]], endpoint: Endpoint) -> dict[str, tuple[int, bool]]:
    """The status of each answer, and whether it is a failure in the endpoint's dialect."""
    return {name: (status, is_told(answer, endpoint)) for name, (status, answer) in told.items()}


CASES: Final = [(name, target) for targets in (OWN, OTHER) for name, target in targets.items()]


@pytest.mark.parametrize(("name", "target"), CASES, ids=[f"{name} to {target}" for name, target in CASES])
def test_an_odd_value_in_any_place(running: Running, name: str, target: str) -> None:
    endpoint = BY_NAME[name]
    path, body = addressed(endpoint, target)
    wrong = []
    with asker(running) as client:
        assert client.ask(path, json.dumps(body).encode())[0] == 200
        for at, place in enumerate(places(body)):
            for odd in odd_ones(at):
                status, told = client.ask(path, replaced(body, place, ODD[odd]))
                if status != 200 and not (400 <= status < 500 and is_told(told, endpoint)):
                    wrong.append((place, odd, status, told[:300]))

    assert wrong == []
    assert running.rubbish == []
    assert "Traceback" not in running.modelport.log


def _bomb(depth: int) -> bytes:
    packed = b"x" * 1_000_000
    for _ in range(depth):
        packed = zlib.compress(packed, 9)
    return packed


DENSE: Final = {
    "empty lists": b"[" + b"[]," * 21_000 + b"[]]",
    "empty objects": b"[" + b"{}," * 21_000 + b"{}]",
    "numbers": b"[" + b"1," * 100_000 + b"1]",
    "texts": b"[" + b'"",' * 100_000 + b'""]',
    "open lists": b"[" * 200_000,
    "quotes": b'"' * 200_001,
    "escaped quotes": b'"' + b'\\"' * 100_000,
}


@pytest.mark.parametrize("endpoint", [BY_NAME["chat"], BY_NAME["embeddings"]], ids=["chat", "embeddings"])
def test_many_small_values_are_refused_before_they_are_read(running: Running, endpoint: Endpoint) -> None:
    """Each takes ten times its bytes, and the others wait meanwhile."""
    path, body = addressed(endpoint, OWN[endpoint.name])
    before = running.modelport.cpu_s()
    with asker(running) as client:
        told = {
            name: client.ask(path, json.dumps({**body, "x": "\ue000"}).encode().replace(b'"\\ue000"', dense))
            for name, dense in DENSE.items()
        }

    assert {name: (status, is_told(answer, endpoint)) for name, (status, answer) in told.items()} == dict.fromkeys(
        DENSE, (400, True)
    )
    assert running.modelport.cpu_s() - before < 30  # it was hours where one of them took the square of its length


@pytest.mark.parametrize(
    ("limit", "more", "code"),
    [
        ("values", 0, None),
        ("values", 1, "too_many"),
        ("containers", 0, None),
        ("containers", 1, "too_many"),
    ],
)
def test_the_bounds_on_values_are_exact(running: Running, limit: str, more: int, code: str | None) -> None:
    """The server of this test takes 100,000 values and 20,000 objects and lists; of a list, the first is no comma's."""
    head = b'{"model":"openai_chat/m","messages":[{"role":"user","content":"Hi, [you]"}],"new":['
    commas, containers = head.replace(b", [", b"").count(b","), 4
    left = (100_000 - commas - containers if limit == "values" else 20_000 - containers) + more
    one = b"1" if limit == "values" else b"[]"
    body = head + b",".join([one] * (left + 1 if limit == "values" else left)) + b"]}"
    with asker(running) as client:
        status, told = client.ask("/v1/chat/completions", body)

    assert (status, json.loads(told).get("error", {}).get("code")) == (400 if code else 200, code)


def test_marks_in_a_text_are_no_values(running: Running) -> None:
    text = '[],{},"quoted",\\' * 20_000
    with asker(running) as client:
        status, told = client.ask(
            "/v1/chat/completions",
            json.dumps({"model": "openai_chat/m", "messages": [{"role": "user", "content": text}]}).encode(),
        )

    assert (status, json.loads(told)["choices"][0]["message"]["content"]) == (200, "Hello")
    assert running.upstream.asked("m")[-1].json["messages"][0]["content"] == text


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=[endpoint.name for endpoint in ENDPOINTS])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity, gzip"])
def test_nothing_is_unpacked(running: Running, endpoint: Endpoint, coding: str) -> None:
    with asker(running) as client:
        status, told = client.ask(endpoint.path, _bomb(2), {"content-encoding": coding})

    assert (status, is_told(told, endpoint)) == (415, True)


NOT_JSON: Final[dict[str, bytes]] = {
    "nothing": b"",
    "blanks": b" \n",
    "a NUL": b"\x00",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"model": "m"}'.encode("utf-16"),
    "half a letter": b'{"model": "\xc3"}',
    "an overlong letter": b'{"model": "\xc0\xaf"}',
    "a surrogate as bytes": b'{"model": "\xed\xa0\x80"}',
    "a surrogate in a name": b'{"\\udc00": 1}',
    "two objects": b"{}{}",
    "a comment": b'{"model": "m" /* x */}',
    "a comma too many": b'{"model": "m",}',
    "apostrophes": b"{'model': 'm'}",
    "a raw line end": b'{"model": "m\n"}',
    "100000 deep": b'{"a":' * 100_000,
    "100000 deep, closed": b"[" * 100_000 + b"]" * 100_000,
    "a list": b"[]",
    "a name twice": b'{"model": "openai_chat/m", "model": "gemini/m"}',
    "a name twice, escaped": b'{"model": "openai_chat/m", "mod\\u0065l": "gemini/m"}',
    "a name twice, below": b'{"model": "openai_chat/m", "a": [{"b": 1, "b": 2}]}',
    "a name twice, below and escaped": b'{"model": "openai_chat/m", "a": {"b": 1, "\\u0062": 2}}',
    "a name in another case": b'{"model": "openai_chat/m", "Model": "gemini/m"}',
}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=[endpoint.name for endpoint in ENDPOINTS])
def test_what_is_no_json_or_no_question(running: Running, endpoint: Endpoint) -> None:
    path, _ = addressed(endpoint, OWN[endpoint.name])
    with asker(running) as client:
        told = {name: client.ask(path, raw) for name, raw in NOT_JSON.items()}

    assert {name: (status, is_told(answer, endpoint)) for name, (status, answer) in told.items()} == dict.fromkeys(
        NOT_JSON, (400, True)
    )


@pytest.mark.parametrize("tokens", [-1_000_000_000, -1, 0, 2**63, 2**64, 1e30, "12", True])
def test_an_odd_budget_of_tokens_opens_no_reservation(running: Running, tokens: Any) -> None:
    """A negative one once made a negative reservation."""
    message = [{"role": "user", "content": "Hi"}]
    with asker(running) as client:
        for name in ("max_tokens", "max_completion_tokens"):
            body = {"model": "openai_chat/m", "messages": message, name: tokens}
            status, _ = client.ask("/v1/chat/completions", json.dumps(body).encode())
            assert status in ({200, 400} if tokens is not True and tokens in {0, 2**63, 2**64} else {400}), tokens
