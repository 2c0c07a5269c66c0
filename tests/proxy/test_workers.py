"""`[server] workers = 2`: two processes on one port that are, from outside, one server."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxy.signing import KEY, SIGNATURE, TIME, sign
from tests.proxy.keyed import bearer
from tests.proxy.serving import QUICK, failing, provider, says, streams
from tests.proxy.workers import BOSS, LONG_S, MASTER, Workers, at_once, figure, statuses, until
from tests.replay import Upstream
from tests.running import Modelport, Reply

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at processes as Linux shows them")

CONFIG = QUICK + "[breaker]\nfailures = 4\ncooldown_s = 600\n"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """One for all of them."""
    with Upstream() as upstream:
        for model in ("m", "n", "cached", "counted"):
            upstream.script(model, says())
        upstream.script("ill", failing(500))
        yield upstream


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Workers]:
    """One for all of them, too: each test has keys and models of its own."""
    config = (
        CONFIG
        + provider("up", upstream)
        + provider("narrow", upstream, more="limits = { concurrent = 2, queue = 64 }\n")
        + provider("ailing", upstream)
        + provider("patient", upstream, more="timeouts = { connect_s = 2, first_event_s = 300, total_s = 300 }\n")
        + '[routes.either]\ntargets = ["up/m", "up/n"]\n'
        + '[routes.safe]\ntargets = ["ailing/ill", "up/m"]\n'
    )
    environment = {"MODELPORT_SECRET_KEY": base64.b64encode(bytes(range(32))).decode()}
    with Workers(tmp_path_factory.mktemp("workers"), config, environment=environment) as server:
        yield server


def _key(server: Workers, **how: Any) -> dict[str, Any]:
    reply = server.post("/api/v1/keys", {"name": "somebody", "roles": ["developer"], **how}, BOSS)
    assert reply.status == 201, reply.body
    return dict(reply.json)


# --- limits ------------------------------------------------------------------------------------------


def test_requests_a_minute_are_counted_together(server: Workers) -> None:
    """Of 40 at once by both workers exactly 12 are let in, and both say that nothing is left."""
    key = bearer(_key(server, limits={"requests_per_minute": 12})["key"])
    connections = [each for _ in range(10) for each in server.each(key)]

    replies = at_once(*(partial(each.ask, model="up/m") for each in connections for _ in range(1)))
    replies += at_once(*(partial(each.ask, model="up/m") for each in connections))

    assert Counter(reply.status for reply in replies) == {200: 12, 429: 28}
    told = [each.ask(model="up/m").headers["x-modelport-ratelimit-remaining-requests"] for each in connections[:2]]
    assert told == ["0", "0"]
    waits = [float(reply.headers["retry-after"]) for reply in replies if reply.status == 429]
    assert 0 < min(waits) <= max(waits) <= 61


def test_tokens_a_minute_are_counted_together(server: Workers) -> None:
    """An answer takes 15 tokens here: what one worker's has taken is not there for the other's."""
    key = bearer(_key(server, limits={"tokens_per_minute": 50})["key"])
    first, second = server.each(key)

    replies = [each.ask(model="up/m", max_tokens=5) for each in (first, second, first, second, first, second)]

    found = [reply.status for reply in replies]
    assert found[0] == found[1] == 200
    assert set(found[-2:]) == {429}, found


def test_requests_at_the_same_time_are_counted_together(server: Workers, upstream: Upstream) -> None:
    """And what has ended gives its place back to whoever asks next, wherever."""
    key = bearer(_key(server, limits={"concurrent": 3})["key"])
    upstream.script("held", replace(says(), hold_at=10))
    before = len(upstream.asked("held"))
    connections = [each for _ in range(5) for each in server.each(key)]

    with ThreadPoolExecutor(len(connections)) as pool:
        asked = [pool.submit(each.ask, model="up/held") for each in connections]
        upstream.wait_asked("held", before + 3, LONG_S)
        until(lambda: sum(each.done() for each in asked) == len(connections) - 3)
        for each in upstream.asked("held"):
            each.release()
        replies = [each.result(LONG_S) for each in asked]
    upstream.script("held", says())
    later = [each.ask(model="up/held").status for each in connections]

    assert Counter(reply.status for reply in replies) == {200: 3, 429: 7}
    assert later == [200] * 10


def test_a_provider_is_asked_no_more_than_its_limit_by_all_together(server: Workers, upstream: Upstream) -> None:
    """Whoever waits gets a place that became free in another worker."""
    most: list[int] = []

    def script(_asked: Any) -> Any:
        most.append(sum(not each.answered.is_set() for each in upstream.asked("narrow-m")))
        return replace(says(), delay_head_s=0.03)

    upstream.script("narrow-m", script)
    connections = [each for _ in range(6) for each in server.each()]

    replies = at_once(*(partial(each.ask, model="narrow/narrow-m") for each in connections))

    assert Counter(reply.status for reply in replies) == {200: 12}
    assert max(most) == 2, most


def test_a_budget_is_never_overspent_by_workers_that_ask_at_once(server: Workers, upstream: Upstream) -> None:
    """An answer costs 20 millionths of a dollar; a request is reserved with its bound."""
    key = bearer(_key(server, budget={"limit_usd": "0.000200", "window": "total"})["key"])
    connections = [each for _ in range(15) for each in server.each(key)]
    before = len(upstream.asked("counted"))

    replies = at_once(*(partial(each.ask, model="up/counted", max_tokens=5) for each in connections))
    sent = len(upstream.asked("counted")) - before
    budgets = server.request("GET", "/api/v1/budgets", headers=BOSS).json["data"]

    (budget,) = [each for each in budgets if each["limit_usd"].startswith("0.0002")]
    answered = sum(reply.status == 200 for reply in replies)
    assert set(statuses(replies)) <= {200, 402, 429}
    assert 0 < answered == sent <= 10
    assert float(budget["spent_usd"]) == pytest.approx(answered * 0.00002)
    assert float(budget["reserved_usd"]) == 0


# --- what is changed at run time ---------------------------------------------------------------------


def test_a_key_is_valid_everywhere_when_it_is_told_and_nowhere_when_it_is_revoked(server: Workers) -> None:
    """The answer to the change comes when all workers know of it."""
    first, second = server.each()
    for maker, other in ((first, second), (second, first)) * 5:
        made = maker.post("/api/v1/keys", {"name": "short", "roles": ["developer"]}).json
        assert other.ask(bearer(made["key"]), model="up/m").status == 200
        assert maker.request("DELETE", f"/api/v1/keys/{made['id']}").status == 200
        assert other.ask(bearer(made["key"]), model="up/m").status == 401


CHANGES = {
    "route": ("POST", "/api/v1/routes/either", {"policy": "weighted"}, "/api/v1/routes/either", "weighted"),
    "level": ("PUT", "/api/v1/log-levels/modelport.audit", {"level": "error"}, "/api/v1/log-levels", "error"),
    "provider": (
        "POST",
        "/api/v1/llm/providers",
        {"name": "further", "dialect": "openai_chat", "base_url": "http://127.0.0.1:9/v1", "models": ["z"]},
        "/v1/models",
        "further/z",
    ),
    "credential": (
        "POST",
        "/api/v1/credentials",
        {"provider": "up", "name": "second-one", "key": "sk-second-0123456789abcdef"},
        "/api/v1/credentials/second-one",
        "second-one",
    ),
    "team": ("POST", "/api/v1/organisations", {"name": "Far away"}, "/api/v1/organisations", "Far away"),
}
"""What is changed, and where that is to be seen."""


@pytest.mark.parametrize("name", CHANGES)
def test_what_one_worker_is_told_the_other_one_goes_by(server: Workers, name: str) -> None:
    """At once: whoever has the answer to the change may ask the other."""
    method, path, body, shown, expected = CHANGES[name]
    first, second = server.each()

    changed = first.request(method, path, body)
    told = second.get(shown).body.decode()

    assert changed.status < 300, changed.body
    assert expected in told


def test_a_budget_that_one_worker_is_told_of_is_held_by_the_other(server: Workers) -> None:
    """A budget of nothing lets nobody through."""
    first, second = server.each()
    made = first.post("/api/v1/budgets", {"name": "none", "tag": "team=far", "limit_usd": "0", "window": "total"})

    refused = second.ask({"x-modelport-tags": "team=far"}, model="up/m")

    assert made.status == 201, made.body
    assert refused.status in {402, 429}, refused.body
    assert first.request("DELETE", f"/api/v1/budgets/{made.json['id']}").status == 200
    assert second.ask({"x-modelport-tags": "team=far"}, model="up/m").status == 200


# --- what workers know ------------------------------------------------------------------------------


def test_an_answer_that_one_worker_has_kept_is_a_hit_in_the_other(server: Workers, upstream: Upstream) -> None:
    """Until one of them is told to forget it."""
    first, second = server.each()
    before = second.get("/health").json["cache"]["entries"]
    asked = {"model": "up/cached", "temperature": 0}

    missed = first.ask(**asked)
    until(lambda: second.get("/health").json["cache"]["entries"] == before + 1)
    hit = second.ask(**asked)
    purged = second.request("DELETE", "/api/v1/cache")
    again = first.ask(**asked)

    assert [each.headers["x-modelport-cache"] for each in (missed, hit, again)] == ["miss", "hit", "miss"]
    assert hit.json["choices"] == missed.json["choices"]
    assert purged.json["cleared"] >= 1
    assert len(upstream.asked("cached")) == 2


def test_the_same_request_to_both_workers_at_once_is_asked_once(server: Workers, upstream: Upstream) -> None:
    """One of them asks, whoever that is; a failure is nobody else's."""
    connections = [each for _ in range(4) for each in server.each()]
    for number in range(5):
        model = f"shared-{number}"
        upstream.script(model, replace(says(), delay_head_s=0.2))

        replies = at_once(*(partial(each.ask, model=f"up/{model}", temperature=0) for each in connections))

        assert statuses(replies) == [200] * 8
        assert len(upstream.asked(model)) == 1
        assert Counter(reply.headers["x-modelport-cache"] for reply in replies) == {"miss": 1, "hit": 7}
    upstream.script("shared-badly", replace(failing(500), delay_head_s=0.1))
    replies = at_once(*(partial(each.ask, model="up/shared-badly", temperature=0) for each in connections[:2]))

    assert len(upstream.asked("shared-badly")) == 2
    assert min(statuses(replies)) >= 500


def test_a_breaker_that_opens_in_one_worker_is_open_in_the_other(server: Workers, upstream: Upstream) -> None:
    """Failures count wherever they are seen: four in turn open it."""
    first, second = server.each()
    before = len(upstream.asked("ill"))

    tried = [each.ask(model="safe").headers["x-modelport-attempts"] for each in (first, second, first, second)]
    until(lambda: _breaker(first) == _breaker(second) == "open")
    later = [each.ask(model="safe").headers["x-modelport-attempts"] for each in (first, second, first, second)]

    assert (tried, later) == (["2"] * 4, ["1"] * 4)
    assert len(upstream.asked("ill")) - before == 4


def _breaker(each: Any) -> str:
    return next(entry["breaker"] for entry in each.get("/health").json["providers"] if entry["name"] == "ailing")


def test_what_one_worker_has_answered_the_other_one_shows(server: Workers) -> None:
    """At once, although the fast lane writes a row a little after its answer."""
    workers = server.each()
    with closing(_Plain(server.port)) as client:
        other = workers[1 - _worker(client.ask())]
        for _ in range(20):
            name = _id_of(client.ask())
            assert other.get("/api/v1/exchanges?limit=1").json["data"][0]["id"] == name


def test_everybody_says_the_same_of_all(server: Workers) -> None:
    """Health, costs, rows and metrics, whoever is asked."""
    first, second = server.each()
    before = figure(first.get("/metrics").body.decode(), 'modelport_attempts_total{provider="up",status="ok"}')
    for each in (first, second) * 3:
        assert each.ask(model="up/n").status == 200

    scraped = [each.get("/metrics").body.decode() for each in (first, second)]
    health = [each.get("/health").json for each in (first, second)]
    costs = [each.get("/costs?since=24h").json["total"] for each in (first, second)]
    rows = [each.get("/api/v1/exchanges?limit=6").json["data"] for each in (first, second)]

    counted = [figure(text, 'modelport_attempts_total{provider="up",status="ok"}') for text in scraped]
    assert counted == [before + 6] * 2
    ups = [next(entry for entry in told["providers"] if entry["name"] == "up") for told in health]
    assert ups[0] == ups[1]
    assert ups[0]["calls"] >= ups[0]["requests"] > 0
    assert costs[0] == costs[1]
    assert rows[0] == rows[1]
    assert {row["target"] for row in rows[0]} == {"up/n"}
    assert {row["id"][-2:] for row in rows[0]} == {"00", "01"}
    assert abs(health[0]["uptime_s"] - health[1]["uptime_s"]) < LONG_S


def test_what_is_made_in_one_worker_is_seen_and_cancelled_through_the_other(
    server: Workers, upstream: Upstream
) -> None:
    """A response in the background, and a query that nobody waits for; the provider's connection is closed."""
    key = bearer(_key(server)["key"])
    first, second = server.each(key)
    for model in ("slow-response", "slow-query"):
        upstream.script(model, replace(says(), delay_head_s=600))

    response = first.post("/v1/responses", {"model": "patient/slow-response", "input": "hi", "background": True}).json
    query = first.post("/api/v1/llm/query", {"model": "patient/slow-query", "prompt": "hi", "async": True}).json
    calls = [upstream.wait_asked(model, 1, LONG_S) for model in ("slow-response", "slow-query")]
    seen = [
        second.get(f"/v1/responses/{response['id']}").json["status"],
        second.get(f"/api/v1/llm/query/{query['query_id']}/status").json["status"],
    ]
    ended = [
        second.post(f"/v1/responses/{response['id']}/cancel", {}).json["status"],
        second.request("DELETE", f"/api/v1/llm/query/{query['query_id']}").json["status"],
    ]

    assert seen == ["in_progress", "running"]
    assert ended == ["cancelled", "cancelled"]
    assert all(call.wait_left(LONG_S) for call in calls)


def test_a_signed_request_is_accepted_once_by_all_together(server: Workers) -> None:
    """Of the same one on eight connections at once, and again later."""
    made = _key(server, signing=True)
    connections = [each for _ in range(4) for each in server.each({})]
    path, body = "/v1/chat/completions", {"model": "up/m", "messages": [{"role": "user", "content": "Say hello"}]}
    moment = str(int(time.time()) + 1)
    signed = sign(made["signing_secret"].encode(), "POST", path, json.dumps(body).encode(), time=moment)
    headers = {KEY: made["id"], TIME: moment, SIGNATURE: signed}

    replies = at_once(*(partial(each.post, path, body, headers) for each in connections))
    replies += [each.post(path, body, headers) for each in connections[:2]]

    assert Counter(reply.status for reply in replies) == {200: 1, 401: 9}
    codes = {reply.json["error"]["code"] for reply in replies if reply.status == 401}
    assert codes == {"replayed_signature"}


def test_wrong_keys_are_counted_together(tmp_path: Path, upstream: Upstream) -> None:
    """Four wrong keys a minute from one address, and not four for each worker."""
    config = QUICK + provider("up", upstream)
    environment = {"MODELPORT__AUTH__WRONG_KEYS_PER_MINUTE": "4", "MODELPORT__AUTH__REQUIRED": "true"}
    with Workers(tmp_path, config, environment=environment) as server:
        found = []
        for _ in range(6):
            for each in server.each({"authorization": "Bearer mp-wrong"}):
                found.append(each.ask(model="up/m").status)

    assert found.count(401) <= 5  # one may be under way to the other worker
    assert 429 in found


# --- processes ---------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_loses_its_connections_and_nothing_else(tmp_path: Path) -> None:
    """Under load: what reached the provider is booked once, the other worker answers on, and another one comes."""
    with Upstream() as upstream:
        upstream.script("m", replace(says(), delay_head_s=0.005))
        upstream.script("long", streams("one ", "two ", hold_at=60))
        with Workers(tmp_path, QUICK + provider("up", upstream)) as server:
            key = bearer(_key(server, limits={"concurrent": 50})["key"])
            first, second = server.each(key)
            pid = server.pid_of(first)
            connections = [first, second, *(server.reach(key) for _ in range(6))]
            stopped = [False]
            with ThreadPoolExecutor(len(connections) + 1) as pool:
                long = pool.submit(server.each(key)[1].ask, model="up/long", stream=True)
                begun = upstream.wait_asked("long", 1, LONG_S)
                work = [pool.submit(_ask_until, each, stopped) for each in connections]
                upstream.wait_asked("m", 100, LONG_S)
                os.kill(pid, signal.SIGKILL)
                asked = len(upstream.asked("m"))
                upstream.wait_asked("m", asked + 100, LONG_S)
                until(lambda: "worker 0 is back" in server.log)
                begun.release()
                stopped[0] = True
                replies = [each.result(LONG_S) for each in work]
            again = server.each(key)
            after = [each.ask(model="up/m").status for each in again]
            room = again[0].ask(model="up/m").headers["x-modelport-ratelimit-remaining-concurrent"]
            report = server.request("POST", "/api/v1/ledger/verify", b"{}", BOSS).json
        with closing(sqlite3.connect(tmp_path / "share/modelport/modelport.db")) as connection:
            rows = dict(connection.execute("SELECT id, status FROM exchanges"))
        sent = len(upstream.asked("m")) + 1

    answered = [reply.headers["x-request-id"] for each in replies for reply in each]
    cut = [each for each, found in zip(connections, replies, strict=True) if each.number == 0 and found]
    unhurt = [found for each, found in zip(connections, replies, strict=True) if each.number == 1]
    assert cut
    assert unhurt
    assert {reply.status for found in unhurt for reply in found} == {200}
    assert b"[DONE]" in long.result().body, "what another worker has open is none of a successor's business"
    assert {rows[name] for name in (*answered, long.result().headers["x-request-id"])} == {"ok"}
    assert len(rows) == sent, Counter(rows.values())
    assert Counter(rows.values())["interrupted"] <= len(cut) + 6
    assert set(rows.values()) <= {"ok", "interrupted"}
    assert after == [200, 200]
    assert room == "49"
    assert report["status"] == "ok", report


def _ask_until(each: Any, stopped: list[bool]) -> list[Reply]:
    """The answers that came whole until *stopped*, or until the connection was cut."""
    found: list[Reply] = []
    with suppress(OSError, Exception):
        while not stopped[0]:
            found.append(each.ask(model="up/m"))
    return found


def test_what_the_fast_lane_of_a_dead_worker_had_under_way_is_booked_by_its_successor(tmp_path: Path) -> None:
    """From the slate: as `interrupted`, once; what the other worker has under way on its own is left alone."""
    with Upstream() as upstream, ExitStack() as stack:
        upstream.script("m", says())
        with Workers(tmp_path, QUICK + provider("up", upstream)) as server:
            clients = [stack.enter_context(closing(_Plain(server.port))) for _ in range(8)]
            for _ in range(4):
                answers = at_once(*(each.ask for each in clients))
            mine = [each for each, answer in zip(clients, answers, strict=True) if _worker(answer) == 0]
            upstream.script("m", replace(says(), delay_head_s=600))
            told = len(upstream.requests)
            for each in clients:
                each.send()
            upstream.wait_asked("m", told + len(clients), LONG_S)
            reached = server.each()
            scraped = figure(reached[1].get("/metrics").body.decode(), "modelport_fast_lane_answers_total")
            os.kill(server.pid_of(reached[0]), signal.SIGKILL)
            until(lambda: "worker 0 is back" in server.log)

            def found() -> Counter[tuple[str, str]]:
                rows = server.request("GET", "/api/v1/exchanges?limit=1000", headers=BOSS).json["data"]
                return Counter((row["status"], row["id"][-2:]) for row in rows)

            # What is under way on the lane is a row a moment after it has left.
            until(lambda: found()["open", "01"] == len(clients) - len(mine))
            booked = found()

    assert scraped > 0
    assert booked["interrupted", "00"] == len(mine)
    assert booked["open", "01"] == len(clients) - len(mine)
    assert booked["ok", "00"] + booked["ok", "01"] == told
    assert sum(booked.values()) == told + len(clients)


class _Plain:
    """A client whose requests are plain enough for the fast lane."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), LONG_S)

    def send(self) -> None:
        body = json.dumps({"model": "up/m", "messages": [{"role": "user", "content": "Say hello"}]}).encode()
        self._socket.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b" % (MASTER.encode(), len(body), body)
        )

    def ask(self) -> bytes:
        self.send()
        answer = b""
        while b"total_tokens" not in answer:
            piece = self._socket.recv(65536)
            assert piece, f"cut after {answer!r}"
            answer += piece
        return answer

    def close(self) -> None:
        self._socket.close()


def _id_of(answer: bytes) -> str:
    found = re.search(rb"x-request-id: (\w+)\r", answer, re.IGNORECASE)
    assert found
    return found[1].decode()


def _worker(answer: bytes) -> int:
    return int(_id_of(answer)[-2:], 16)


def test_a_stop_lets_every_worker_answer_to_the_end(tmp_path: Path) -> None:
    """SIGTERM to the keeper: what has begun comes whole, nothing is left behind, and the status is 0."""
    with Upstream() as upstream:
        answer = streams("one ", "two ")
        upstream.script("m", streams("one ", "two ", hold_at=len(answer.body) // 2))
        with Workers(tmp_path, QUICK + provider("up", upstream)) as server:
            both = server.each()
            with ThreadPoolExecutor(2) as pool:
                asked = [pool.submit(each.ask, model="up/m", stream=True) for each in both]
                upstream.wait_asked("m", 2, LONG_S)
                pids = server.pids()
                server.signal(signal.SIGTERM)
                until(lambda: _refuses(server.port))
                for each in upstream.asked("m"):
                    each.release()
                bodies = [each.result(LONG_S).body for each in asked]
            status = server.wait(LONG_S)
        left = sorted(file.name for file in (tmp_path / "share/modelport").iterdir())

    assert all(b"[DONE]" in body for body in bodies)
    assert status == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert left == ["modelport.db", "modelport.db.lock"]


def _refuses(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
        return False
    return True


def test_a_reload_reaches_every_worker_or_none(tmp_path: Path, upstream: Upstream) -> None:
    """A file that is wrong changes nothing anywhere."""
    with Workers(tmp_path, QUICK + provider("up", upstream)) as server:
        file = tmp_path / "modelport.toml"
        both = server.each()
        file.write_text(server.config + "[routes.late]\ntargets = ['up/m']\n", "utf-8")
        server.signal(signal.SIGHUP)
        until(lambda: all(each.ask(model="late").status == 200 for each in both))
        file.write_text(server.config + "[routes.late]\npolicy = 'wrong'\n", "utf-8")
        server.signal(signal.SIGHUP)
        until(lambda: "the old one stays in force" in server.log)
        still = [each.ask(model="late").status for each in both]

    assert still == [200, 200]
    assert server.log.count("the old one stays in force") == 1


def test_workers_end_when_their_keeper_is_killed_and_the_next_start_finds_all(
    tmp_path: Path, upstream: Upstream
) -> None:
    """Nobody else gets the database before the last of them has ended."""
    with Workers(tmp_path, QUICK + provider("up", upstream)) as server:
        for each in server.each():
            assert each.ask(model="up/m").status == 200
        pids = server.pids()
        server.kill()
        until(lambda: not any(_lives(pid) for pid in pids))
        server.start()
        rows = server.request("GET", "/api/v1/exchanges", headers=BOSS).json["data"]

    assert [row["status"] for row in rows] == ["ok", "ok"]


def _lives(pid: int) -> bool:
    with suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text("utf-8")
    return False


def test_a_process_alone_finds_what_workers_have_left(tmp_path: Path) -> None:
    """All of them are killed at once in the middle of their answers; then `workers` is 1."""
    with Upstream() as upstream:
        upstream.script("m", replace(says(), delay_head_s=60))
        with Workers(tmp_path, QUICK + provider("up", upstream)) as server, ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(_ask_until, each, [False]) for each in server.each()]
            upstream.wait_asked("m", 2, LONG_S)
            for pid in (server.pid, *server.pids()):
                os.kill(pid, signal.SIGKILL)
            assert [each.result(LONG_S) for each in asked] == [[], []]
            server.kill()
        with Modelport(tmp_path, QUICK + provider("up", upstream)) as alone:
            rows = alone.get("/api/v1/exchanges").json["data"]
        left = [file.name for file in (tmp_path / "share/modelport").iterdir() if re.search(r"\.\d$", file.name)]

    assert [row["status"] for row in rows] == ["interrupted", "interrupted"]
    assert {row["id"][-2:] for row in rows} == {"00", "01"}
    assert left == []


def test_a_port_that_somebody_has_is_refused(tmp_path: Path, upstream: Upstream) -> None:
    """Also where that one would share it."""
    with Workers(tmp_path, QUICK + provider("up", upstream)) as server:
        (tmp_path / "other").mkdir()
        other = Workers(tmp_path / "other", QUICK)
        other.port = server.port

        assert not other._started()
        assert f"cannot listen on 127.0.0.1:{server.port}: Address already in use; choose another" in other.log


def test_a_database_that_workers_have_is_refused(tmp_path: Path, upstream: Upstream) -> None:
    """The message names the process that was started."""
    with Workers(tmp_path, QUICK + provider("up", upstream)) as server:
        for more in (Modelport, Workers):
            (tmp_path / "other").mkdir(exist_ok=True)
            shared = {"XDG_DATA_HOME": str(tmp_path / "share")}
            other = more(tmp_path / "other", QUICK, environment=shared)
            with pytest.raises(AssertionError, match=rf"another modelport process \(pid {server.pid}\)"):
                other.start()
