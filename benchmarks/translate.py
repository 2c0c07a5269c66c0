"""What translation costs: per stream chunk, and per request and answer, beside the JSON codec's own time.

Use: python benchmarks/translate.py [ROUNDS] [--stages]        (`make bench-translate`)

For each backend dialect and each client dialect, in CPU time of this thread (the least of ROUNDS, so that a busy
machine does not count):

- chunk: a stream of 400 text deltas, each event fed alone to the backend's parser, its events rendered for the client;
- whole: a typical request (system prompt, six turns with one tool round trip, three tools, 2 KB) parsed and rendered
  for the backend, and the backend's answer of 1.5 KB parsed and rendered for the client; the tools are those of the
  request before, as a client's are, and so they are remembered;
- codec: the same bytes through orjson alone, in and out.

A pair of the same dialect is measured as it runs: relayed. With `--stages` each step of a whole request and answer is
measured by itself, in the order in which it runs.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from translators.assemble import replay
from translators.codec import dumps, loads_object
from translators.dialect import ReplyTo, Rules
from translators.dialects import BACKENDS, CLIENTS
from translators.neutral import Choice, Request, Response, Text, Usage
from translators.openai_chat import client as chat
from translators.outward import for_others
from translators.wishes import real_wishes

DELTAS: Final = 400
REPEATS: Final = 40
"""Of a request and its answer in one round: enough to be warm, too short to be interrupted in every round."""
WORDS: Final = "The quick brown fox jumps over the lazy dog, and nobody minds. "
GOALS: Final = {"chunk": 25.0, "whole": 150.0}

Pair = tuple[str, str]
"""Client and backend."""
Work = tuple[Callable[[], object], int]
"""What is measured, and how often it does its thing."""

SCHEMA: Final = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Where"}, "unit": {"type": "string", "enum": ["C", "F"]}},
    "required": ["city"],
}
ARGUMENTS: Final = '{"city":"Oslo"}'
CHAT: Final[dict[str, Any]] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": WORDS * 12},
        {"role": "user", "content": "What is the weather in Oslo?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1a2b3c",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1a2b3c", "content": "12 degrees, light rain"},
        {"role": "assistant", "content": "It rains a little, at 12 degrees."},
        {"role": "user", "content": WORDS * 4},
    ],
    "tools": [
        {"type": "function", "function": {"name": name, "description": WORDS, "parameters": SCHEMA}}
        for name in ("weather", "forecast", "alerts")
    ],
    "max_completion_tokens": 800,
    "temperature": 0.7,
}
ANSWER: Final = Response("id-1", "m", 1_790_000_000, (Choice((Text(WORDS * 24),), "stop"),), Usage(420, 310))


def main() -> None:
    numbers = [word for word in sys.argv[1:] if word != "--stages"]
    rounds = int(numbers[0]) if numbers else 40
    backends = [name for name in BACKENDS if name != "llamacpp"]
    clients = [name for name in CLIENTS if name in BACKENDS]
    pairs = [(client, backend) for client in clients for backend in backends]
    show = _print_stages if "--stages" in sys.argv else _print_sums
    show(pairs, rounds)


def _print_sums(pairs: Sequence[Pair], rounds: int) -> None:
    columns = ("chunk", "chunk codec", "whole", "whole codec")
    works = {(pair, name): work for pair in pairs for name, work in zip(columns, _works(*pair), strict=True)}
    least = _least_us(works, rounds)
    over = sum(least[pair, name] > goal for pair in pairs for name, goal in GOALS.items())
    print(f"{'client':18} {'backend':18} {'chunk us':>9} {'codec':>7} {'whole us':>9} {'codec':>7}")
    for pair in pairs:
        chunk, chunk_codec, whole, whole_codec = (least[pair, name] for name in columns)
        print(f"{pair[0]:18} {pair[1]:18} {chunk:9.1f} {chunk_codec:7.1f} {whole:9.1f} {whole_codec:7.1f}")
    print(f"goals: {GOALS['chunk']:g} us a chunk, {GOALS['whole']:g} us a request and answer; {over} over")


def _print_stages(pairs: Sequence[Pair], rounds: int) -> None:
    """One line for each pair: microseconds of each step."""
    works = {(pair, name): (partial(_repeated, step), REPEATS) for pair in pairs for name, step in _stages(*pair)}
    least = _least_us(works, rounds)
    for pair in pairs:
        words = [f"{name} {us:.1f}" for (owner, name), us in least.items() if owner == pair]
        print(f"{pair[0]:18} {pair[1]:18} {', '.join(words)}")


def _repeated(step: Callable[[], object]) -> None:
    for _ in range(REPEATS):
        step()


def _stages(client: str, backend: str) -> list[tuple[str, Callable[[], object]]]:
    """The steps of a whole request and answer, each to be run alone."""
    raw, _, _ = _asked(client)
    rules, answer = _answered(backend)
    body = loads_object(raw)
    request = _parsed(client, body)
    to = ReplyTo(request, body, "1", 1)
    first: list[tuple[str, Callable[[], object]]] = [
        ("read", lambda: loads_object(raw)),
        ("parse", lambda: _parsed(client, body)),
    ]
    if client == backend:
        return [
            *first,
            ("relay", lambda: CLIENTS[client].relay_request(raw, body, request, rules, "other")),
            ("relay answer", lambda: CLIENTS[client].relay_response(answer, rules, to)),
        ]
    told, _ = for_others(real_wishes(request, rules))
    rendered = BACKENDS[backend].render_request(told, rules).body
    theirs = loads_object(answer)
    response = BACKENDS[backend].parse_response(theirs)
    ours = CLIENTS[client].render_response(response, to)
    return [
        *first,
        ("wishes", lambda: for_others(real_wishes(request, rules))),
        ("render", lambda: BACKENDS[backend].render_request(told, rules)),
        ("write", lambda: dumps(rendered)),
        ("read answer", lambda: loads_object(answer)),
        ("parse answer", lambda: BACKENDS[backend].parse_response(theirs)),
        ("render answer", lambda: CLIENTS[client].render_response(response, to)),
        ("write answer", lambda: dumps(ours)),
    ]


def _answered(backend: str) -> tuple[Rules, bytes]:
    """The backend's rules and its answer."""
    theirs, _, request = _asked(backend)
    answer = CLIENTS[backend].render_response(ANSWER, ReplyTo(request, loads_object(theirs), "1", 1))
    return Rules(dialect=backend, conformant=True), dumps(answer)


def _least_us(works: Mapping[tuple[Pair, str], Work], rounds: int) -> dict[tuple[Pair, str], float]:
    """Microseconds of each work. All take turns, so that a slow while of the machine does not hit one alone."""
    least = dict.fromkeys(works, math.inf)
    for _ in range(rounds):
        for name, (work, per) in works.items():
            began = time.thread_time()
            work()
            least[name] = min(least[name], (time.thread_time() - began) / per * 1e6)
    return least


def _works(client: str, backend: str) -> list[Work]:
    return [*_chunk(client, backend), *_whole(client, backend)]


def _asked(client: str) -> tuple[bytes, dict[str, Any], Request]:
    """The typical request in the client's dialect: rendered from the chat form by that dialect's backend side."""
    request = chat.parse_request(CHAT)
    body = CHAT if client == "openai_chat" else BACKENDS[client].render_request(request, Rules(dialect=client)).body
    return dumps(body), dict(body), _parsed(client, body)


def _parsed(client: str, body: Mapping[str, Any]) -> Request:
    parse: Any = CLIENTS[client]
    return parse.parse_request(body, "m", False) if client == "gemini" else parse.parse_request(body)  # type: ignore[no-any-return]  # every dialect's own


def _streamed(backend: str) -> list[bytes]:
    """A stream of the backend, event by event."""
    raw, _, request = _asked(backend)
    to = ReplyTo(request, loads_object(raw), "1", 1_790_000_000)
    renderer = CLIENTS[backend].StreamRenderer(to)
    start, *rest = replay(Response("id-1", "m", 1_790_000_000, (Choice((Text("x"),), "stop"),), Usage(420, 310)))
    delta = next(event for event in rest if type(event).__name__ == "PartDelta")
    position = rest.index(delta)
    events = [start, *rest[:position], *([delta] * DELTAS), *rest[position + 1 :]]
    frames = [renderer.render([event]) for event in events] + [renderer.close(None)]
    return [frame for frame in frames if frame]


def _chunk(client: str, backend: str) -> tuple[Work, Work]:
    pieces = _streamed(backend)
    raw, _, request = _asked(client)
    to = ReplyTo(request, loads_object(raw), "1", 1_790_000_000)
    rules = Rules(dialect=backend, conformant=True)

    def relayed() -> None:
        relay = CLIENTS[client].StreamRelay(rules, to)
        for piece in pieces:
            relay.feed(piece)
        relay.end()
        relay.close(b"{}", None)

    def translated() -> None:
        parser = BACKENDS[backend].StreamParser(rules)
        renderer = CLIENTS[client].StreamRenderer(to)
        for piece in pieces:
            renderer.render(parser.feed(piece))
        renderer.render(parser.close())
        renderer.close(b"{}")

    bodies = [line[5:] for piece in pieces for line in piece.splitlines() if line.startswith(b"data: {")]

    def codec() -> None:
        for body in bodies:
            dumps(loads_object(body))

    work = relayed if client == backend else translated
    return (work, DELTAS), (codec, DELTAS)


def _whole(client: str, backend: str) -> tuple[Work, Work]:
    raw, _, _ = _asked(client)
    rules, answer = _answered(backend)

    def relayed() -> None:
        for _ in range(REPEATS):
            body = loads_object(raw)
            request = _parsed(client, body)
            to = ReplyTo(request, body, "1", 1)
            CLIENTS[client].relay_request(raw, body, request, rules, "other")
            CLIENTS[client].relay_response(answer, rules, to)

    def translated() -> None:
        for _ in range(REPEATS):
            body = loads_object(raw)
            request = _parsed(client, body)
            told, _ = for_others(real_wishes(request, rules))
            dumps(BACKENDS[backend].render_request(told, rules).body)
            response = BACKENDS[backend].parse_response(loads_object(answer))
            dumps(CLIENTS[client].render_response(response, ReplyTo(request, body, "1", 1)))

    def codec() -> None:
        for _ in range(REPEATS):
            dumps(loads_object(raw))
            dumps(loads_object(answer))

    work = relayed if client == backend else translated
    return (work, REPEATS), (codec, REPEATS)


if __name__ == "__main__":
    main()
