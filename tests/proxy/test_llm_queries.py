"""`/api/v1/llm/query`: asked, followed, asked for later, cancelled; always through the pipeline of every request."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy.config.model import QuerySettings
from storage.queries import REMEMBERED_S, TTL_S
from tests.proxy.conftest import Serve
from tests.proxy.serving import (
    BOTH,
    DONE,
    KEY,
    OPENING,
    QUICK,
    USAGE_CHUNK,
    Reply,
    Served,
    chunk,
    failing,
    message,
    provider,
    route,
    serving,
    streams,
)
from tests.replay import Answer, Upstream
from tests.running import Modelport

MASTER_KEY = "mp-master-0123456789"
MASTER = {"Authorization": f"Bearer {MASTER_KEY}"}
AUTH = f'[auth]\nmaster_key = "{MASTER_KEY}"\n'
ROUNDS = 4000
"""Of a bounded wait; each is one request over a socket."""


async def post(server: Served, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
    return await server.request("POST", path, json.dumps(body).encode(), headers)


async def ask(server: Served, headers: Mapping[str, str] | None = None, **body: Any) -> Reply:
    return await post(server, "/api/v1/llm/query", {"prompt": "Say hello", "model": "one/m", **body}, headers)


async def status(server: Served, query_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await server.get(f"/api/v1/llm/query/{query_id}/status")).json
    return found


async def ended(server: Served, query_id: str) -> dict[str, Any]:
    for _ in range(ROUNDS):
        found = await status(server, query_id)
        if found["status"] not in {"queued", "running"}:
            return found
    raise AssertionError(f"{query_id} did not end")


async def reached(server: Served, query_id: str, wanted: str) -> dict[str, Any]:
    for _ in range(ROUNDS):
        if (found := await status(server, query_id))["status"] == wanted:
            return found
    raise AssertionError(f"{query_id} is never {wanted}")


def events(reply: Reply) -> list[tuple[str, Any]]:
    found = []
    for block in reply.frames:
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


async def has_left(upstream: Upstream) -> None:
    """The proxy has hung up on every slow answer."""
    for asked in list(upstream.requests):
        assert await asyncio.to_thread(asked.wait_left, 5.0)


def slow(*words: str) -> Answer:
    """Words, then silence for longer than a test."""
    text = OPENING + "".join(chunk({"content": word}) for word in words)
    return Answer.sse(text + DONE, hold_at=len(text.encode()))


# --- whole -----------------------------------------------------------------------------------------


async def test_what_is_told_of_a_query_that_has_ended_stays_as_it_was_told(serve: Serve, upstream: Upstream) -> None:
    """Its times, too, which its row has from another look at the clock."""
    upstream.script("m", BOTH)
    server = await serve(QUICK, provider("one", upstream))
    told = [(await ask(server)).json for _ in range(5)]
    read = [(await server.get(f"/api/v1/llm/query/{each['query_id']}/result")).json for each in told]

    assert [{name: each[name] for name in told[0]} for each in read] == told
    assert {name for each in read for name in each} == {*told[0], "expires_at"}
    assert all(each["created_at"] <= each["started_at"] <= each["ended_at"] for each in told)


async def test_a_query_is_answered_with_its_id_its_text_and_a_chat_completion(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(QUICK, provider("one", upstream))

    reply = await ask(server, system="Be brief", max_tokens=50, temperature=0.5)

    assert reply.status == 200
    told = reply.json
    assert told["query_id"].startswith("qry_")
    assert (told["status"], told["text"], told["target"]) == ("completed", "Hello there", "one/m")
    assert told["result"]["object"] == "chat.completion"
    assert told["result"]["choices"][0]["finish_reason"] == "stop"
    assert told["tokens"] == {"input": 10, "output": 5, "estimated": False}
    assert told["cost_usd"] == "0.000020000"
    assert reply.headers["x-modelport-query-id"] == told["query_id"]
    sent = upstream.requests[0].json
    assert sent["messages"] == [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Say hello"}]
    assert (sent["max_tokens"], sent["temperature"]) == (50, 0.5)


async def test_counts_that_the_vendor_did_not_tell_are_called_estimates(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", streams(usage=False))
    server = await serve(QUICK, provider("one", upstream))

    told = (await ask(server)).json

    assert told["tokens"]["estimated"] is (await server.row(told["exchange_id"]))["estimated"] is True


async def test_a_query_is_one_row_of_the_ledger(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(QUICK, provider("one", upstream), route("fast", "one/m"))

    told = (await ask(server, model=None, route="fast", tags={"team": "search"})).json

    row = await server.row(told["exchange_id"])
    assert (row["status"], row["route"], row["tags"]) == ("ok", "fast", {"team": "search"})
    assert (row["cost_usd"], row["output_tokens"]) == ("0.000020000", 5)
    assert len(await server.rows()) == 1


async def test_a_query_in_front_of_another_dialect_is_translated(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", Answer.json(message("Bonjour")))
    server = await serve(QUICK, provider("one", upstream, "anthropic"))

    assert (await ask(server, max_tokens=10)).json["text"] == "Bonjour"


async def test_a_second_equal_query_is_answered_by_the_cache(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(QUICK, provider("one", upstream))

    replies = [await ask(server, temperature=0) for _ in range(2)]

    assert [reply.json["cache"] for reply in replies] == ["miss", "hit"]
    assert [reply.json["text"] for reply in replies] == ["Hello there"] * 2
    assert replies[0].json["query_id"] != replies[1].json["query_id"]
    assert len(upstream.requests) == 1


async def test_a_provider_alone_stands_for_its_first_model(serve: Serve, upstream: Upstream) -> None:
    upstream.script("small", BOTH)
    upstream.script("large", BOTH)
    server = await serve(QUICK, provider("one", upstream, more='models = ["small", "large"]\n'))

    assert (await ask(server, model=None, provider="one")).json["target"] == "one/small"
    assert (await ask(server, model="large", provider="one")).json["target"] == "one/large"


async def test_a_failed_query_has_the_envelope_and_the_status_of_its_failure(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", failing(500))
    server = await serve(QUICK, provider("one", upstream))

    reply = await ask(server)

    assert reply.status == 502
    assert reply.error["code"] == "upstream_error"
    found = await status(server, reply.headers["x-modelport-query-id"])
    assert (found["status"], found["error"]["code"], found["error"]["status"]) == ("failed", "upstream_error", 502)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"messages": [{"role": "user", "content": "x"}]}, "prompt"),
        ({"model": None}, "model"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"base_url": "http://169.254.169.254"}, "base_url"),
        ({"api_key": "sk-mine"}, "api_key"),
        ({"ttl_s": 0}, "ttl_s"),
        ({"async": True, "stream": True}, "stream"),
        ({"async": True, "store": False}, "store"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
async def test_a_wrong_field_is_named(serve: Serve, upstream: Upstream, body: Any, param: str) -> None:
    server = await serve(QUICK, provider("one", upstream))

    reply = await ask(server, **body)

    assert (reply.status, reply.error["param"]) == (400, param)
    assert upstream.requests == []


async def test_a_query_that_is_not_stored_leaves_nothing(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(QUICK, provider("one", upstream))

    told = (await ask(server, store=False)).json

    assert told["text"] == "Hello there"
    assert (await server.get(f"/api/v1/llm/query/{told['query_id']}/result")).status == 404


# --- streamed --------------------------------------------------------------------------------------


async def test_a_stream_is_the_query_its_deltas_and_its_end(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", streams("Hel", "lo"))
    server = await serve(QUICK, provider("one", upstream))

    reply = await post(server, "/api/v1/llm/query/stream", {"prompt": "x", "model": "one/m"})

    assert reply.headers["content-type"].startswith("text/event-stream")
    found = events(reply)
    assert [name for name, _ in found] == ["query", "delta", "delta", "end"]
    assert found[0][1]["status"] == "running"
    assert [told["text"] for name, told in found if name == "delta"] == ["Hel", "lo"]
    last = found[-1][1]
    assert (last["status"], last["text"], last["cost_usd"]) == ("completed", "Hello", "0.000020000")


async def test_reasoning_and_calls_of_tools_are_deltas_of_their_own(serve: Serve, upstream: Upstream) -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": '{"city":"Rome"}'}}
    text = OPENING + chunk({"reasoning_content": "Hm"}) + chunk({"tool_calls": [call]}) + chunk({"tool_calls": [more]})
    upstream.script("m", Answer.sse(text + chunk({}, "tool_calls") + USAGE_CHUNK + DONE))
    server = await serve(QUICK, provider("one", upstream))

    reply = await post(server, "/api/v1/llm/query/stream", {"prompt": "x", "model": "one/m"})

    deltas = [told for name, told in events(reply) if name == "delta"]
    assert {"reasoning": "Hm"} in deltas
    calls = [told["tool_call"] for told in deltas if "tool_call" in told]
    assert calls[0]["name"] == "weather"
    assert "".join(each.get("arguments", "") for each in calls) == '{"city":"Rome"}'


async def test_a_failure_before_the_first_word_is_no_stream(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", failing(500))
    server = await serve(QUICK, provider("one", upstream))

    reply = await post(server, "/api/v1/llm/query/stream", {"prompt": "x", "model": "one/m"})

    assert (reply.status, reply.error["code"]) == (502, "upstream_error")


async def test_a_stream_that_breaks_off_ends_as_failed(serve: Serve, upstream: Upstream) -> None:
    text = OPENING + chunk({"content": "Hel"}) + 'data: {"error": {"message": "broken"}}\n\n'
    upstream.script("m", Answer.sse(text, split="events", delay_between_s=0.05))
    server = await serve(QUICK, provider("one", upstream))

    name, last = events(await post(server, "/api/v1/llm/query/stream", {"prompt": "x", "model": "one/m"}))[-1]

    assert (name, last["status"], last["text"], last["result"]) == ("end", "failed", "Hel", None)
    assert "broken" in last["error"]["message"]
    assert (await server.row(last["exchange_id"]))["status"] == "interrupted"


async def test_whoever_stops_reading_a_stream_ends_its_query(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", slow("Hel"))
    server = await serve(QUICK, provider("one", upstream))

    body = {"prompt": "x", "model": "one/m"}
    async with server.session.post(f"{server.url}/api/v1/llm/query/stream", json=body) as answer:
        query_id = answer.headers["x-modelport-query-id"]
        await answer.content.readany()

    assert (await ended(server, query_id))["status"] == "cancelled"
    assert (await server.rows())[0]["status"] == "aborted"
    await has_left(upstream)


# --- asked for later -------------------------------------------------------------------------------


async def test_an_asynchronous_query_is_told_at_once_and_asked_for_later(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(QUICK, provider("one", upstream))

    first = await ask(server, **{"async": True})
    query_id = first.json["query_id"]

    assert (first.status, first.json["status"]) == (202, "queued")
    assert first.headers["location"] == f"/api/v1/llm/query/{query_id}/status"
    found = await ended(server, query_id)
    assert (found["status"], found["target"], found["cost_usd"]) == ("completed", "one/m", "0.000020000")
    assert "result" not in found
    result = await server.get(f"/api/v1/llm/query/{query_id}/result")
    assert (result.status, result.json["text"]) == (200, "Hello there")
    assert (await server.row(first.json["exchange_id"]))["status"] == "ok"


async def test_a_running_query_tells_how_far_it_is(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", slow("Hello there, ", "my dear"))
    server = await serve(QUICK, provider("one", upstream))
    query_id = (await ask(server, **{"async": True})).json["query_id"]

    for _ in range(ROUNDS):
        found = await status(server, query_id)
        if found["tokens"]["output"]:
            break
    result = await server.get(f"/api/v1/llm/query/{query_id}/result")

    assert (found["status"], found["target"]) == ("running", "one/m")
    assert found["started_at"] is not None
    assert found["tokens"]["estimated"] is True
    assert (result.status, result.headers["retry-after"]) == (202, "1")
    await server.request("DELETE", f"/api/v1/llm/query/{query_id}")
    await has_left(upstream)


async def test_a_cancelled_query_ends_at_its_provider_and_is_booked(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", slow("Hello"))
    server = await serve(QUICK, provider("one", upstream))
    query_id = (await ask(server, **{"async": True})).json["query_id"]
    await reached(server, query_id, "running")
    while not (await status(server, query_id))["tokens"]["output"]:
        pass

    reply = await server.request("DELETE", f"/api/v1/llm/query/{query_id}")

    assert (reply.status, reply.json["status"]) == (200, "cancelled")
    assert (await status(server, query_id))["status"] == "cancelled"
    assert (await server.rows())[0]["status"] == "aborted"
    again = await server.request("DELETE", f"/api/v1/llm/query/{query_id}")
    assert (again.status, again.json["status"]) == (200, "cancelled")
    await has_left(upstream)


async def test_what_has_ended_is_not_cancelled_any_more(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(QUICK, provider("one", upstream))
    query_id = (await ask(server)).json["query_id"]

    reply = await server.request("DELETE", f"/api/v1/llm/query/{query_id}")

    assert reply.json["status"] == "completed"


async def test_an_asynchronous_failure_is_a_result(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", failing(500))
    server = await serve(QUICK, provider("one", upstream))
    query_id = (await ask(server, **{"async": True})).json["query_id"]
    await ended(server, query_id)

    reply = await server.get(f"/api/v1/llm/query/{query_id}/result")

    assert (reply.status, reply.json["status"], reply.json["error"]["code"]) == (200, "failed", "upstream_error")


async def test_a_model_that_nobody_offers_is_refused_before_a_query_is_made(serve: Serve, upstream: Upstream) -> None:
    server = await serve(QUICK, provider("one", upstream))

    reply = await ask(server, model="nobody/knows", **{"async": True})

    assert (reply.status, reply.error["code"]) == (404, "model_not_found")
    assert (await server.services.queries.store.stats())["entries"] == 0


async def test_an_old_result_is_gone_and_later_forgotten(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(QUICK, provider("one", upstream))
    query_id = (await ask(server)).json["query_id"]
    statuses = []
    for age_s in (TTL_S + 60, TTL_S + REMEMBERED_S + 60):
        await server.services.db.write(
            lambda connection, us=int(age_s * 1_000_000): connection.execute(
                "UPDATE queries SET expires_us = expires_us - ?, forget_us = forget_us - ?", (us, us)
            )
        )
        statuses.append((await server.get(f"/api/v1/llm/query/{query_id}/result")).status)

    assert statuses == [410, 404]


async def test_a_query_of_another_key_is_unknown(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", BOTH)
    server = await serve(QUICK, AUTH, provider("one", upstream))
    keys = [(await post(server, "/api/v1/keys", {"name": name}, MASTER)).json["key"] for name in ("first", "second")]
    first, second = ({"Authorization": f"Bearer {key}"} for key in keys)
    query_id = (await ask(server, first)).json["query_id"]

    replies = [await server.get(f"/api/v1/llm/query/{query_id}/result", headers) for headers in (first, second, MASTER)]
    cancelled = await server.request("DELETE", f"/api/v1/llm/query/{query_id}", None, second)

    assert [reply.status for reply in replies] == [200, 404, 404]
    assert cancelled.status == 404


# --- bounds ----------------------------------------------------------------------------------------


async def test_more_than_may_run_wait_for_their_turn(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", slow("Hello"))
    server = await serve(QUICK, provider("one", upstream))
    server.services.queries.bounds = QuerySettings(running=1)
    ids = [(await ask(server, **{"async": True})).json["query_id"] for _ in range(2)]
    await reached(server, ids[0], "running")

    waiting = (await status(server, ids[1]))["status"]
    await server.request("DELETE", f"/api/v1/llm/query/{ids[0]}")
    await reached(server, ids[1], "running")

    assert waiting == "queued"
    await server.request("DELETE", f"/api/v1/llm/query/{ids[1]}")
    await has_left(upstream)


async def test_a_query_that_waits_can_be_cancelled_and_never_asks(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", slow("Hello"))
    server = await serve(QUICK, provider("one", upstream))
    server.services.queries.bounds = QuerySettings(running=1)
    ids = [(await ask(server, **{"async": True})).json["query_id"] for _ in range(2)]
    await reached(server, ids[0], "running")
    for query_id in reversed(ids):
        await server.request("DELETE", f"/api/v1/llm/query/{query_id}")

    assert [(await status(server, query_id))["status"] for query_id in ids] == ["cancelled"] * 2
    assert len(upstream.requests) <= 1
    assert len(await server.rows()) == 1
    await has_left(upstream)


async def test_a_query_whose_key_is_revoked_while_it_waits_is_never_asked(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", slow("Hello"))
    server = await serve(QUICK, AUTH, provider("one", upstream))
    server.services.queries.bounds = QuerySettings(running=1)
    made = (await post(server, "/api/v1/keys", {"name": "gone"}, MASTER)).json
    server.headers = MASTER
    first = (await ask(server, **{"async": True})).json["query_id"]
    await reached(server, first, "running")
    revoked = await ask(server, {"Authorization": f"Bearer {made['key']}"}, **{"async": True})
    await server.request("DELETE", f"/api/v1/keys/{made['id']}")

    await server.request("DELETE", f"/api/v1/llm/query/{first}")

    await server.services.drain()
    stored = await server.services.queries.store.get(made["id"], revoked.json["query_id"])
    assert stored is not None
    assert stored.status == "failed"
    assert json.loads(stored.told or b"")["error"]["status"] == 401
    assert len(upstream.requests) == 1
    await has_left(upstream)


async def test_more_than_may_wait_are_refused(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", slow("Hello"))
    server = await serve(QUICK, provider("one", upstream))
    server.services.queries.bounds = QuerySettings(unended_per_key=1)
    first = await ask(server, **{"async": True})

    refused = await ask(server, **{"async": True})

    assert (refused.status, refused.error["code"]) == (429, "too_many_queries")
    assert refused.headers["retry-after"]
    await server.request("DELETE", f"/api/v1/llm/query/{first.json['query_id']}")
    again = await ask(server, **{"async": True})
    assert again.status == 202
    await server.request("DELETE", f"/api/v1/llm/query/{again.json['query_id']}")
    await has_left(upstream)


async def test_the_configuration_bounds_queries(serve: Serve, upstream: Upstream) -> None:
    """How many there may be, how long one may take, and how long a result is kept where the query does not say."""
    upstream.script("m", slow("Hello"))
    bounds = "[queries]\nunended = 1\nlongest_s = 0.2\nttl_s = 60\nmax_mb = 1\n"
    server = await serve(QUICK, bounds, provider("one", upstream))

    first = await ask(server, **{"async": True})
    refused = await ask(server, **{"async": True})
    found = await ended(server, first.json["query_id"])
    kept_s = datetime.fromisoformat(found["expires_at"]) - datetime.fromisoformat(found["ended_at"])

    assert (refused.status, refused.error["code"]) == (429, "too_many_queries")
    assert "or 1 in all" in refused.error["message"]
    assert (found["status"], found["error"]["status"]) == ("failed", 504)
    assert kept_s == timedelta(seconds=60)
    assert server.services.queries.store.max_bytes == 2**20
    await has_left(upstream)


async def test_a_query_that_takes_too_long_fails(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", slow("Hello"))
    server = await serve(QUICK, provider("one", upstream))

    query_id = (await ask(server, timeout_s=0.2, **{"async": True})).json["query_id"]

    found = await ended(server, query_id)
    assert (found["status"], found["error"]["status"]) == ("failed", 504)
    await has_left(upstream)


# --- a restart -------------------------------------------------------------------------------------


async def test_a_query_that_a_process_left_unended_has_failed_at_the_next_start(
    tmp_path: Path, upstream: Upstream
) -> None:
    upstream.script("m", BOTH)
    config = "\n".join((QUICK, provider("one", upstream)))
    async with serving(tmp_path, config) as server:
        done = (await ask(server)).json["query_id"]
        await server.services.queries.store.add("", "qry_left", "running", b'{"model":"one/m"}')

    async with serving(tmp_path, config) as server:
        left = await status(server, "qry_left")
        kept = await server.get(f"/api/v1/llm/query/{done}/result")

    assert (left["status"], left["error"]["code"]) == ("failed", "interrupted")
    assert (kept.status, kept.json["text"]) == (200, "Hello there")


@pytest.mark.parametrize(
    ("number", "rows"), [(signal.SIGKILL, "interrupted"), (signal.SIGTERM, "aborted")], ids=["kill -9", "SIGTERM"]
)
def test_a_process_that_dies_leaves_its_queries_known_and_booked(
    tmp_path: Path, number: signal.Signals, rows: str
) -> None:
    """What was told with 202 is never unknown afterwards, and what was sent has a row."""
    running = Modelport(tmp_path, "[server]\nshutdown_s = 0.1\n")
    with running:
        asked = running.post("/api/v1/llm/query", {"prompt": "1", "model": "demo/hang", "async": True}).json
        assert any(running.get("/api/v1/exchanges").json["data"] for _ in range(ROUNDS))
        running.signal(number)
        running.wait()

    with running:
        found = running.get(f"/api/v1/llm/query/{asked['query_id']}/result").json
        row = running.get(f"/api/v1/exchanges/{asked['exchange_id']}").json
    said = found.get("status"), found["error"]["code"], row.get("status")
    assert said == ("failed", "interrupted", rows), running.log
    assert "Traceback" not in running.log


async def test_a_stop_ends_queries_and_says_so(tmp_path: Path, upstream: Upstream) -> None:
    upstream.script("m", slow("Hello"))
    config = "\n".join((QUICK, "[server]\nshutdown_s = 0\n", provider("one", upstream)))
    async with serving(tmp_path, config) as server:
        query_id = (await ask(server, **{"async": True})).json["query_id"]
        await reached(server, query_id, "running")
        server.services.draining = True

    async with serving(tmp_path, config) as server:
        found = await status(server, query_id)

    assert (found["status"], found["error"]["code"]) == ("failed", "interrupted")
    await has_left(upstream)


# --- that nothing leaks ----------------------------------------------------------------------------


async def test_the_providers_key_is_in_no_answer(serve: Serve, upstream: Upstream) -> None:
    upstream.script("m", failing(401, f"Incorrect API key provided: {KEY}"))
    server = await serve(QUICK, provider("one", upstream))

    reply = await ask(server)
    found = await server.get(f"/api/v1/llm/query/{reply.headers['x-modelport-query-id']}/result")

    assert KEY.encode() not in reply.body + found.body
