"""A client that leaves takes its work with it, and a server that is told to stop finishes what it began."""

from __future__ import annotations

import http.client
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.contract.backends import UPSTREAM_KEY, Backends, bare, row
from tests.replay import Answer, Upstream, cassette
from tests.running import POLL_S, Modelport

CHAT = "/v1/chat/completions"
QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]


class Client:
    """A client on a bare connection, which can leave whenever it likes."""

    def __init__(self, modelport: Modelport, model: str, stream: bool) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", modelport.port, timeout=10)
        body = json.dumps({"model": model, "messages": QUESTION, "stream": stream})
        self._connection.request("POST", CHAT, body, {"content-type": "application/json"})

    def answer(self) -> http.client.HTTPResponse:
        """The answer's head; its body can be read piece by piece."""
        self._answer = self._connection.getresponse()
        return self._answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.leave()

    def leave(self) -> None:
        """Close the connection, whatever is under way."""
        if hasattr(self, "_answer"):
            self._answer.close()
        self._connection.close()


def newest(modelport: Modelport, model: str, within_s: float = 5) -> dict[str, Any]:
    """The settled row of the only exchange with *model*."""
    until = time.monotonic() + within_s
    rows: list[dict[str, Any]] = []
    while time.monotonic() < until:
        rows = [found for found in modelport.get("/api/v1/exchanges?limit=50").json["data"] if found["target"] == model]
        if rows and rows[0]["status"] != "open":
            return rows[0]
        time.sleep(POLL_S)  # the ledger tells nobody when it settles
    raise AssertionError(f"no settled exchange with {model}: {rows}")


def _half(dialect: str, hold: bool = True) -> Answer:
    whole = cassette(f"{dialect}/text_stream")
    middle = len(whole.body) * 2 // 3
    return cassette(f"{dialect}/text_stream", hold_at=middle) if hold else whole


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "gemini"])
def test_before_the_first_byte(modelport: Modelport, backends: Backends, dialect: str, stream: bool) -> None:
    """The vendor sees the hang-up within a second; the row becomes `aborted`."""
    model = backends.says(dialect, Answer(hang=True))
    client = Client(modelport, model, stream)
    asked = backends.upstream.wait_asked(bare(model))
    client.leave()

    assert asked.wait_left(1)
    assert newest(modelport, model)["status"] == "aborted"


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "gemini"])
def test_in_mid_stream(modelport: Modelport, backends: Backends, dialect: str) -> None:
    """What came until then is booked: the text was paid for."""
    model = backends.says(dialect, _half(dialect))
    client = Client(modelport, model, stream=True)
    answer = client.answer()
    while b"Paris" not in answer.readline():
        pass
    client.leave()

    asked = backends.upstream.asked(bare(model))[0]
    assert asked.wait_left(1)
    found = newest(modelport, model)
    assert (found["status"], found["stream"]) == ("aborted", True)
    assert found["input_tokens"] > 0
    assert found["output_tokens"] > 0


def test_in_mid_body(modelport: Modelport, backends: Backends) -> None:
    """A whole answer that is still on its way is abandoned, too."""
    model = backends.says("anthropic", cassette("anthropic/text", hold_at=20))
    client = Client(modelport, model, stream=False)
    asked = backends.upstream.wait_asked(bare(model))
    assert asked.answered.wait(5)
    client.leave()

    assert asked.wait_left(1)
    assert newest(modelport, model)["status"] == "aborted"


def test_leaving_after_the_last_byte_is_success(modelport: Modelport, backends: Backends) -> None:
    model = backends.says("openai_chat", cassette("openai_chat/text_stream"))
    client = Client(modelport, model, stream=True)
    client.answer().read()
    client.leave()

    assert newest(modelport, model)["status"] == "ok"


def test_one_of_two_equal_questions_leaves(modelport: Modelport, backends: Backends) -> None:
    """Single flight: the one that stays gets its answer."""
    model = backends.says("openai_chat", cassette("openai_chat/text", hold_at=0), cassette("openai_chat/text"))
    body = {"model": model, "messages": QUESTION, "temperature": 0}
    first, second = (http.client.HTTPConnection("127.0.0.1", modelport.port, timeout=10) for _ in range(2))
    first.request("POST", CHAT, json.dumps(body), {"content-type": "application/json"})
    asked = backends.upstream.wait_asked(bare(model))
    second.request("POST", CHAT, json.dumps(body), {"content-type": "application/json"})
    first.close()
    asked.release()

    answer = second.getresponse()
    text = json.loads(answer.read())["choices"][0]["message"]["content"]
    second.close()

    assert (answer.status, text) == (200, "Paris is the capital of France.")


@pytest.fixture
def own(upstream: Upstream, tmp_path: Path) -> Iterator[Modelport]:
    """A server that may be stopped."""
    with Modelport(tmp_path, row("own", "openai_chat", upstream), {"UPSTREAM_KEY": UPSTREAM_KEY}) as running:
        yield running


def test_sigterm_lets_a_stream_finish(own: Modelport, upstream: Upstream) -> None:
    """It takes nothing new, ends the old, settles it, and exits with 0."""
    upstream.script("draining", _half("openai_chat"))
    with Client(own, "own/draining", stream=True) as client:
        answer = client.answer()
        while b"Paris" not in answer.readline():
            pass

        own.signal(signal.SIGTERM)
        _wait_until_refused(own)
        upstream.asked("draining")[0].release()
        rest = answer.read()

    assert rest.rstrip().endswith(b"data: [DONE]")
    assert own.wait() == 0
    own.start()
    assert newest(own, "own/draining")["status"] == "ok"


def _wait_until_refused(own: Modelport, within_s: float = 5) -> None:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            if own.get("/health/ready", timeout_s=1).status == 503:
                return
        except (OSError, http.client.HTTPException):
            return
        time.sleep(POLL_S)  # another process has no event to await
    raise AssertionError("the server still takes requests after SIGTERM")


def test_sigterm_when_idle_is_quick(own: Modelport) -> None:
    began = time.monotonic()
    own.signal(signal.SIGTERM)

    assert own.wait() == 0
    assert time.monotonic() - began < 2


def test_a_killed_servers_open_exchange_is_closed_at_the_next_start(own: Modelport, upstream: Upstream) -> None:
    """`interrupted`, with an estimate, and nothing counted twice."""
    upstream.script("killed", _half("openai_chat"))
    with Client(own, "own/killed", stream=True) as client:
        answer = client.answer()
        while b"Paris" not in answer.readline():
            pass
        own.kill()

    own.start()

    found = newest(own, "own/killed")
    assert (found["status"], found["estimated"]) == ("interrupted", True)
    costs = own.get("/costs?since=1h").json["total"]
    assert (costs["exchanges"], costs["attempts"]) == (1, 1)
