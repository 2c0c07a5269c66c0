"""The loopback upstream says exactly what it was told to."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator

import pytest
import yaml

from tests.replay import CASSETTES, Answer, Split, Upstream, cassette, cassettes, free_port, recorded_answer


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


def ask(upstream: Upstream, model: str, path: str = "/v1/chat/completions") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=5)
    try:
        connection.request("POST", path, json.dumps({"model": model}))
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("split", ["whole", "events", 1, 7, (0, 3, 4, 999)])
@pytest.mark.parametrize("chunked", [True, False])
def test_pieces_are_the_body(upstream: Upstream, split: Split, chunked: bool) -> None:
    """However it is cut, the client reads the same bytes."""
    text = 'data: {"a":"ä"}\r\n\r\ndata: [DONE]\n\n'
    upstream.script("m", Answer.sse(text, split=split, chunked=chunked))

    status, headers, body = ask(upstream, "m")

    assert (status, body.decode()) == (200, text)
    assert headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    ("split", "pieces"),
    [
        ("whole", [b"a\n\nb\n\n"]),
        ("events", [b"a\n\n", b"b\n\n"]),
        (4, [b"a\n\nb", b"\n\n"]),
        ((1, 2), [b"a", b"\n", b"\nb\n\n"]),
    ],
)
def test_cuts(split: Split, pieces: list[bytes]) -> None:
    assert list(Answer.sse("a\n\nb\n\n", split=split).pieces()) == pieces


def test_answers_come_in_their_order_and_the_last_one_stays(upstream: Upstream) -> None:
    upstream.script("m", Answer.json({}, 429, {"retry-after": "3"}), Answer.json({"ok": 1}))

    first, second, third = ask(upstream, "m"), ask(upstream, "m"), ask(upstream, "m")

    assert [first[0], second[0], third[0]] == [429, 200, 200]
    assert first[1]["retry-after"] == "3"


def test_requests_are_kept_with_model_path_headers_and_body(upstream: Upstream) -> None:
    """Gemini's model stands in the path, the others' in the body."""
    upstream.script("g/x", lambda asked: Answer.json({"path": asked.path}))
    ask(upstream, "ignored", "/v1beta/models/g%2Fx:streamGenerateContent?alt=sse")
    ask(upstream, "other")

    asked = upstream.asked("g/x")[0]
    assert (asked.method, asked.json) == ("POST", {"model": "ignored"})
    assert asked.headers["host"] == f"127.0.0.1:{upstream.port}"
    assert [request.model for request in upstream.requests] == ["g/x", "other"]


def test_an_unknown_model_is_a_404_that_names_it(upstream: Upstream) -> None:
    status, _, body = ask(upstream, "nobody")

    assert status == 404
    assert b"nobody" in body


def test_a_cut_answer_ends_before_its_promised_end(upstream: Upstream) -> None:
    upstream.script("m", Answer.json({"long": "x" * 100}, stop_at=10, end="close"))

    with pytest.raises(http.client.IncompleteRead) as cut:
        ask(upstream, "m")

    assert len(cut.value.partial) == 10


def test_a_reset_is_a_reset(upstream: Upstream) -> None:
    upstream.script("m", Answer.sse("data: 1\n\n", stop_at=0, end="reset"))

    with pytest.raises(ConnectionResetError):
        ask(upstream, "m")


def test_broken_heads_go_out_as_they_are(upstream: Upstream) -> None:
    upstream.script("m", Answer(raw_head=b"nonsense\r\n\r\n", end="close"))

    with pytest.raises(http.client.BadStatusLine):
        ask(upstream, "m")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(hang=True),
        Answer.sse("data: 1\n\ndata: 2\n\n", hold_at=9),
        Answer.sse("data: 1\n\n", stop_at=9, end="hang"),
        Answer.sse("data: 1\n\n", delay_head_s=60),
        Answer.sse("data: 1\n\ndata: 2\n\n", split=9, delay_between_s=60),
    ],
)
def test_a_client_that_leaves_is_noticed(upstream: Upstream, answer: Answer) -> None:
    """In every phase: silent before the head, between pieces, held, after the last byte."""
    upstream.script("m", answer)
    body = b'{"model": "m"}'
    with socket.create_connection(("127.0.0.1", upstream.port)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        asked = upstream.wait_asked("m")

        assert not asked.left.is_set()

    assert asked.wait_left(2)
    assert asked.left_at is not None


def test_a_held_answer_goes_on_when_released(upstream: Upstream) -> None:
    upstream.script("m", Answer.sse("data: 1\n\ndata: 2\n\n", hold_at=9))
    body = b'{"model": "m"}'
    with socket.create_connection(("127.0.0.1", upstream.port)) as client, client.makefile("rb") as lines:
        client.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        asked = upstream.wait_asked("m")
        while lines.readline().strip() != b"data: 1":
            pass
        deadline = time.monotonic() + 2  # the upstream counts a piece after it has left
        while asked.sent_bytes != 9 and time.monotonic() < deadline:
            time.sleep(0.005)

        assert asked.sent_bytes == 9
        asked.release()

        while lines.readline().strip() != b"data: 2":
            pass
        assert asked.answered.wait(2)


def test_one_connection_serves_several_requests(upstream: Upstream) -> None:
    upstream.script("m", Answer.json({"ok": 1}))
    connection = http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=5)
    for _ in range(3):
        connection.request("POST", "/", b'{"model": "m"}')
        connection.getresponse().read()
    connection.close()

    assert (len(upstream.asked("m")), upstream.connections) == (3, 1)


def test_a_free_port_refuses() -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", free_port()))


@pytest.mark.parametrize(
    ("response", "body"),
    [
        ({"status": 200, "body": {"a": "ä"}}, b'{"a": "\xc3\xa4"}'),
        ({"status": 200, "sse": "data: 1\r\n\r\n"}, b"data: 1\r\n\r\n"),
        ({"status": 502, "text": "<html>"}, b"<html>"),
    ],
)
def test_recordings_become_answers(response: dict[str, object], body: bytes) -> None:
    answer = recorded_answer({**response, "headers": {"Content-Length": 7, "Retry-After": "1"}})

    assert (answer.status, answer.body) == (response["status"], body)
    assert answer.headers["retry-after"] == "1"
    assert "content-length" not in answer.headers


@pytest.mark.parametrize("name", cassettes())
def test_every_cassette_says_where_it_comes_from_and_can_be_served(name: str) -> None:
    text = (CASSETTES / f"{name}.yaml").read_text("utf-8")

    assert text.startswith("# ")
    assert "http" in text.splitlines()[0], "the first line names the source"
    assert set(yaml.safe_load(text)) <= {"response", "request"}
    assert cassette(name).body
