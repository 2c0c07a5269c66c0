"""Kill the server at random moments under load, again and again, and hold its books against the upstream's own.

    python tests/kill_rounds.py [ROUNDS] [SEED] [KILL | TERM] [free]        (`make kill-test ROUNDS=200`)

Each round: a real `modelport serve` with a budget answers whole and streamed requests (two thirds of which one of the
two targets fails, some clients leave in the middle) from a scripted upstream, is stopped for a while in every fourth
round (SIGSTOP, SIGCONT), is killed with SIGKILL at some moment after a random number of requests, and is started again.
Then, by what clients and upstream remember:

    answers    one that came whole has exactly one settled row, with its tokens and its cost to the nano-dollar; its
               attempts are the requests that the upstream saw for it, in that order, each as it was answered
    refusals   a request that failed at one target, while too many were being retried for it to be asked of the other,
               is booked as failed, and the upstream saw no other one for it
    attempts   every request that the upstream saw has a row; each row is that of a request that was sent
    money      an attempt costs what the upstream's own count costs, or it was cut short and is flagged as estimated
    budget     nothing stays reserved, and what is spent is the sum of the rows
    file       `modelport ledger verify` finds no difference (integrity, sums, costs, budgets, roll-ups)

With TERM the server is asked to stop instead: besides, it ends with 0, and no answer that had begun is cut.
With `free` there is no budget and no fast lane.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import aiohttp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from storage.budgets import Budget, Budgets
from storage.db import Database
from tests.replay import Answer, Asked, Upstream
from tests.running import Modelport

CLIENTS: Final = 12
MOST_REQUESTS: Final = 100
"""That the upstream sees before a kill: a slow machine kills as late as a fast one."""
LONGEST_S: Final = 30.0
"""How long a round may take to get there."""
MOMENT_S: Final = 0.02
"""Up to so much later it is killed."""
INPUT_NANOUSD, OUTPUT_NANOUSD = 1100, 2300
"""For each token: 1.10 and 2.30 dollars per million."""

CONFIG: Final = """
[storage]
path = "modelport.db"
[cache]
mode = "off"
[retry]
attempts = 1
backoff_s = 0
[breaker]
failures = 1000000
[providers.up]
dialect = "openai_chat"
base_url = "{url}/v1"
keys = ["sk-upstream-0123456789abcdef"]
price = {{ input = "1.10", output = "2.30" }}
[routes.both]
targets = ["up/first", "up/second"]
"""


@dataclass
class Got:
    """An answer that a client received whole."""

    id: str
    streamed: bool
    tokens: tuple[int, int]


@dataclass
class Books:
    """What clients and upstream remember. *free*: there is no budget."""

    free: bool = False
    sent: set[str] = field(default_factory=set)
    whole: dict[str, Got] = field(default_factory=dict)
    """By the client's own name of the request."""
    refused: dict[str, str] = field(default_factory=dict)
    """Requests that were answered 503, as the client calls them and as the proxy does."""
    cut: set[str] = field(default_factory=set)
    """Answers that began, and ended before their end."""
    over: int = 0
    """Whole answers that needed both targets."""
    exact: int = 0
    """Nano-dollars of attempts that the upstream answered and that are booked as it counted them."""
    apart: Counter[str] = field(default_factory=Counter)
    """Attempts that were cut short, by status."""
    restarts_s: list[float] = field(default_factory=list)
    restarts_cpu_s: list[float] = field(default_factory=list)
    """Of the whole process until the first 200."""
    stops: int = 0
    seen: int = 0
    checked: int = 0
    problems: list[str] = field(default_factory=list)


def tokens_of(name: str) -> tuple[int, int]:
    """What the upstream counts for the request of that name."""
    number = int(name.rpartition("-")[2])
    return 10 + number % 91, 3 + number % 17


def price_of(name: str) -> int:
    """What that costs."""
    used = tokens_of(name)
    return used[0] * INPUT_NANOUSD + used[1] * OUTPUT_NANOUSD


def fails_at(name: str) -> str | None:
    """The target that fails for it: of three requests one for each, and one for none.

    If only one of the targets ever failed, it would soon stand out and be asked last (`routing.outliers`): then hardly
    any request would need another one.
    """
    return ("first", "second", None)[int(name.rpartition("-")[2]) % 3]


def name_of(asked: Asked) -> str:
    """The client's name of a request that the upstream got."""
    return str(asked.json["messages"][-1]["content"])


def upstream_says(asked: Asked) -> Answer:
    """The upstream's part."""
    name = name_of(asked)
    if asked.model == fails_at(name):
        return Answer.json({"error": {"message": "overloaded", "type": "server_error"}}, 503)
    used = dict(zip(("prompt_tokens", "completion_tokens"), tokens_of(name), strict=True))
    used["total_tokens"] = sum(used.values())
    words = [f"word{n} " for n in range(tokens_of(name)[1])]
    head = {"id": "c", "created": 1, "model": asked.model}
    if not asked.json.get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", "content": "".join(words)}, "finish_reason": "stop"}
        whole = {**head, "object": "chat.completion", "choices": [choice], "usage": used}
        return Answer.json(whole, delay_head_s=0.002 * (tokens_of(name)[0] % 5))
    chunks = [{"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]} for word in words]
    chunks += [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": used}]
    frames = [f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', **each})}\n\n" for each in chunks]
    return Answer.sse("".join(frames) + "data: [DONE]\n\n", split="events", delay_between_s=0.001)


# --- clients -------------------------------------------------------------------------------------------


async def client(session: aiohttp.ClientSession, url: str, prefix: str, number: int, rng: Random, books: Books) -> None:
    """Ask until the server is gone."""
    count = number
    while True:
        count += CLIENTS
        name = f"{prefix}-{count}"
        books.sent.add(name)
        streamed = rng.random() < 0.5
        leaves = rng.random() < 0.1
        body = {"model": "both", "stream": streamed, "messages": [{"role": "user", "content": name}], "max_tokens": 50}
        try:
            async with session.post(f"{url}/v1/chat/completions", json=body, headers={"x-request-id": name}) as answer:
                if streamed and leaves:
                    await answer.content.readany()
                    continue
                if answer.status == 200:
                    books.cut.add(name)
                text = await answer.read()
            if answer.status == 503:
                books.refused[name] = answer.headers["x-request-id"]
            elif answer.status != 200:
                books.problems.append(f"{name}: answered {answer.status}: {text.decode()}")
            elif (found := _whole(text, streamed)) is not None:
                books.cut.discard(name)
                books.whole[name] = Got(answer.headers["x-request-id"], streamed, found)
        except (aiohttp.ClientError, OSError):
            if await _is_gone(session, url):
                return


async def _is_gone(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/health/live"):
            return False
    except (aiohttp.ClientError, OSError):
        return True


def _whole(body: bytes, streamed: bool) -> tuple[int, int] | None:
    """The usage of an answer that is there to its end."""
    if streamed:
        if not body.rstrip().endswith(b"data: [DONE]"):
            return None
        return (-1, -1)  # the chunk with the usage was not asked for
    with suppress(ValueError):
        usage = json.loads(body)["usage"]
        return usage["prompt_tokens"], usage["completion_tokens"]
    return None


# --- rounds --------------------------------------------------------------------------------------------


async def run(
    folder: Path,
    rounds: int,
    rng: Random,
    *,
    number: signal.Signals = signal.SIGKILL,
    say: Any = None,
    free: bool = False,
) -> Books:
    """So many kills, or stops by another signal; what is wrong is in `problems`."""
    books = Books(free=free)
    config = f"{CONFIG}[server]\nfast_lane = false\n" if free else CONFIG
    with Upstream(upstream_says) as upstream:
        if not free:
            budget = Budget("all", "global", 10**15, window="total")
            async with Database(folder / "modelport.db") as db:
                await Budgets(db).put(budget)
        server = Modelport(folder, config.format(url=upstream.url))
        await asyncio.to_thread(server.start)
        try:
            for count in range(rounds):
                before = len(upstream.requests)
                await _load_and_kill(server, upstream, f"r{count}", rng, books, number)
                await asyncio.to_thread(server.start)
                books.restarts_s.append(server.started_in_s)
                books.restarts_cpu_s.append(server.cpu_s())
                _check(folder / "modelport.db", f"r{count}", upstream.requests[before:], books)
                if count % 20 == 19 or count == rounds - 1:
                    await _verify(server, books)
                if say and (count % 10 == 9 or books.problems):
                    say(count + 1, books)
                if books.problems:
                    break
        finally:
            await asyncio.to_thread(server.kill)
    return books


async def _load_and_kill(
    server: Modelport, upstream: Upstream, prefix: str, rng: Random, books: Books, number: signal.Signals
) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        clients = [
            asyncio.ensure_future(client(session, server.url, prefix, number, Random(rng.random()), books))
            for number in range(CLIENTS)
        ]
        await _more_requests(upstream, rng)
        if rng.random() < 0.25:
            books.stops += 1
            server.signal(signal.SIGSTOP)
            await asyncio.sleep(rng.uniform(0, 0.5))
            server.signal(signal.SIGCONT)
            await _more_requests(upstream, rng)
        server.signal(number)
        status = await asyncio.to_thread(server.wait, 60.0)
        await asyncio.wait_for(asyncio.gather(*clients), 30)
    if number == signal.SIGTERM:
        books.problems += [f"{name}: its answer was cut" for name in books.cut]
        if status != 0:
            books.problems.append(f"the server ended with {status}: {server.log[-500:]}")


async def _more_requests(upstream: Upstream, rng: Random) -> None:
    """Until the upstream has seen some more, and a moment longer."""
    wanted = len(upstream.requests) + rng.randrange(1, MOST_REQUESTS)
    until = time.monotonic() + LONGEST_S
    while len(upstream.requests) < wanted and time.monotonic() < until:
        await asyncio.sleep(0.001)
    await asyncio.sleep(rng.uniform(0, MOMENT_S))


async def _verify(server: Modelport, books: Books) -> None:
    told = (await asyncio.to_thread(server.post, "/api/v1/ledger/verify", {}, {}, 600.0)).json
    if told.get("status") != "ok":
        books.problems.append(f"verify: {told}")


# --- checks --------------------------------------------------------------------------------------------


def _check(path: Path, prefix: str, asked: list[Asked], books: Books) -> None:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        rows = connection.execute("SELECT * FROM exchanges WHERE client_request_id GLOB ?", (f"{prefix}-*",)).fetchall()
        attempts: dict[int, list[sqlite3.Row]] = {}
        for attempt in connection.execute(
            "SELECT a.* FROM attempts AS a JOIN exchanges AS e ON e.row = a.exchange WHERE e.client_request_id GLOB ?"
            " ORDER BY a.exchange, a.number",
            (f"{prefix}-*",),
        ):
            attempts.setdefault(attempt["exchange"], []).append(attempt)
        _check_rows(rows, attempts, books)
        _check_answers(rows, attempts, asked, prefix, books)
        _check_seen(rows, attempts, asked, books)
        _check_budget(connection, books)
    finally:
        connection.close()


def _check_rows(rows: list[sqlite3.Row], attempts: dict[int, list[sqlite3.Row]], books: Books) -> None:
    counted = Counter(row["client_request_id"] for row in rows)
    books.problems += [f"{name}: {count} rows" for name, count in counted.items() if count > 1]
    books.problems += [f"{name}: a row of a request that was never sent" for name in counted.keys() - books.sent]
    for row in rows:
        if row["status"] == "open":
            books.problems.append(f"{row['client_request_id']}: still open")
        for attempt in attempts.get(row["row"], []):
            _check_money(row["client_request_id"], attempt, books)


def _check_answers(
    rows: list[sqlite3.Row], attempts: dict[int, list[sqlite3.Row]], asked: list[Asked], prefix: str, books: Books
) -> None:
    by_name = {row["client_request_id"]: row for row in rows}
    seen: dict[str, list[tuple[str, str]]] = {}
    for each in asked:
        name, model = name_of(each), str(each.model)
        seen.setdefault(name, []).append((model, "failed" if model == fails_at(name) else "ok"))
    told = {name for name in (*books.whole, *books.refused) if name.startswith(f"{prefix}-")}
    for name in told:
        row = by_name.get(name)
        if row is None:
            books.problems.append(f"{name}: received whole, and there is no row")
            continue
        booked = [(each["model"], each["status"]) for each in attempts.get(row["row"], [])]
        if booked != seen.get(name) or row["attempts"] != len(booked):
            books.problems.append(f"{name}: {row['attempts']} attempts, {booked}; the upstream saw {seen.get(name)}")
        if name in books.whole:
            books.checked += 1
            books.over += len(booked) > 1
            _check_answer(name, books.whole[name], row, books)
        else:
            _check_refusal(name, booked, row, books)


def _check_answer(name: str, got: Got, row: sqlite3.Row, books: Books) -> None:
    found = (row["id"], row["status"], row["input_tokens"], row["output_tokens"], row["cost_nanousd"], row["estimated"])
    wanted = (got.id, "ok", *tokens_of(name), price_of(name), 0)
    if found != wanted or (not got.streamed and got.tokens != tokens_of(name)):
        books.problems.append(f"{name}: received whole; the row says {found}, should be {wanted}")


def _check_refusal(name: str, booked: list[tuple[str, str]], row: sqlite3.Row, books: Books) -> None:
    found = (row["id"], row["status"], row["cost_nanousd"], booked)
    wanted = (books.refused[name], "failed", 0, [(fails_at(name), "failed")])
    if found != wanted:
        books.problems.append(f"{name}: answered 503; the row says {found}, should be {wanted}")


def _check_money(name: str, attempt: sqlite3.Row, books: Books) -> None:
    status, cost = attempt["status"], attempt["cost_nanousd"]
    if status == "ok" or (status == "aborted" and not attempt["estimated"] and cost):
        books.exact += price_of(name)
        if cost != price_of(name) or attempt["estimated"]:
            books.problems.append(f"{name}: costs {cost}, the upstream counts {price_of(name)}")
    elif status == "failed":
        if cost != 0 or attempt["model"] != fails_at(name):
            books.problems.append(f"{name}: failed, costs {cost}")
    else:
        books.apart[status] += 1
        if not attempt["estimated"] and cost != 0:
            books.problems.append(f"{name}: {status} and not flagged, costs {cost}")


def _check_seen(
    rows: list[sqlite3.Row], attempts: dict[int, list[sqlite3.Row]], asked: list[Asked], books: Books
) -> None:
    booked: Counter[tuple[str, str]] = Counter()
    answered: Counter[tuple[str, str]] = Counter()
    for row in rows:
        for attempt in attempts.get(row["row"], []):
            booked[row["client_request_id"], attempt["model"]] += 1
            answered[row["client_request_id"], attempt["model"]] += attempt["status"] in {"ok", "failed"}
    seen = Counter((name_of(each), str(each.model)) for each in asked)
    books.seen += len(asked)
    books.problems += [
        f"{name}: the upstream saw {seen[name, model]} requests for {model}, {booked[name, model]} are booked,"
        f" {answered[name, model]} of them as answered"
        for name, model in seen.keys() | booked.keys()
        if not answered[name, model] <= seen[name, model] <= booked[name, model]
    ]


def _check_budget(connection: sqlite3.Connection, books: Books) -> None:
    spent, reserved = connection.execute(
        "SELECT ifnull(sum(spent_nanousd), 0), ifnull(sum(reserved_nanousd), 0) FROM budget_spending"
    ).fetchone()
    (costs,) = connection.execute("SELECT ifnull(sum(cost_nanousd), 0) FROM attempts").fetchone()
    if reserved or spent != (0 if books.free else costs):
        books.problems.append(f"the budget: {reserved} stay reserved, {spent} spent, the rows cost {costs}")


def main() -> None:
    """ROUNDS kills, or stops; exit status 1 when anything is wrong."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    ending = signal.SIGTERM if "TERM" in sys.argv[3:] else signal.SIGKILL
    began = time.monotonic()

    def say(number: int, books: Books) -> None:
        print(f"{number} kills, {books.checked} whole answers, {books.seen} requests at the upstream", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        free = "free" in sys.argv[3:]
        books = asyncio.run(run(Path(folder), rounds, Random(seed), number=ending, say=say, free=free))
    for problem in books.problems[:50]:
        print(problem)
    restarts = sorted(books.restarts_s)
    print(
        f"{len(restarts)} kills, {books.stops} stops in {time.monotonic() - began:.0f} s:"
        f" {books.checked} answers received whole ({books.over} from the second target that was asked),"
        f" {len(books.refused)} refused,"
        f" {books.seen} requests seen by the upstream, {books.exact} nano-dollars exact,"
        f" cut short and estimated: {dict(books.apart)}; restart to the first 200:"
        f" median {statistics.median(restarts):.3f} s, longest {restarts[-1]:.3f} s,"
        f" of CPU {statistics.median(books.restarts_cpu_s):.2f} s; {len(books.problems)} problems"
    )
    sys.exit(1 if books.problems else 0)


if __name__ == "__main__":
    main()
