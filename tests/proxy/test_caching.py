"""The cache as clients and operators see it: stale answers, tags, policies of routes, other words, tenants."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from proxy.cli.app import app
from storage.cache import Cache
from tests.proxy.conftest import Serve
from tests.proxy.keyed import KEYS_ONLY, MASTER, bearer, make, send
from tests.proxy.serving import BOTH, QUICK, Reply, Served, failing, provider, route, says
from tests.replay import Answer, Asked, Upstream

CAPITAL = "What is the capital of France?"
SAME_CAPITAL = "Please tell me: what's the capital of France?"
OTHER_CAPITAL = "What is the capital of Spain?"
SEMANTIC = "cache = { mode = 'all', semantic = {} }"


class Clock:
    """Unix seconds; moves when told."""

    def __init__(self) -> None:
        self.at = 1_795_226_400.0

    def __call__(self) -> float:
        return self.at


async def timed(server: Served) -> Clock:
    """Let the cache go by a clock that stands still."""
    clock, services = Clock(), server.services
    services.cache = Cache(services.db, max_bytes=2**24, ttl_s=60, now=clock)
    await services.cache.open()
    return clock


def counting() -> Any:
    """An upstream whose answers are numbered, whole and streamed."""
    told = iter(range(1, 1000))
    return lambda _asked: says(f"answer {next(told)}")


async def asked(
    server: Served, text: str, model: str = "r", headers: dict[str, str] | None = None, **more: Any
) -> Reply:
    messages = [{"role": "user", "content": text}]
    return await server.ask(headers, **{"model": model, "messages": messages, **more})


def cache_of(reply: Reply) -> str:
    return reply.headers["x-modelport-cache"]


# --- stale answers ---------------------------------------------------------------------------------


STALE = "[cache]\nmode = 'all'\nttl_s = 60\nstale_s = 600\n"


async def test_a_stale_answer_is_given_at_once_and_renewed_once_in_the_background(serve: Serve) -> None:
    with Upstream(counting()) as upstream:
        server = await serve(STALE, provider("one", upstream), route("r", "one/m"))
        clock = await timed(server)
        first = await asked(server, CAPITAL)
        clock.at += 30
        fresh = await asked(server, CAPITAL)
        clock.at += 31
        stale = await asyncio.gather(*(asked(server, CAPITAL) for _ in range(5)))
        await server.services.drain()
        clock.at += 9
        renewed = await asked(server, CAPITAL)

    assert [first.text, fresh.text, renewed.text] == ["answer 1", "answer 1", "answer 2"]
    assert {reply.text for reply in stale} == {"answer 1"}
    assert [cache_of(each) for each in (first, fresh, *stale, renewed)] == ["miss", *["hit"] * 7]
    assert [each.headers.get("age") for each in (first, fresh, stale[0], renewed)] == [None, "30", "61", "9"]
    assert [each.headers.get("x-modelport-cache-stale") for each in (fresh, stale[0], renewed)] == [None, "true", None]
    assert len(upstream.requests) == 2


async def test_a_renewal_is_an_exchange_of_its_own(serve: Serve) -> None:
    with Upstream(counting()) as upstream:
        server = await serve(STALE, provider("one", upstream), route("r", "one/m"))
        clock = await timed(server)
        await asked(server, CAPITAL)
        clock.at += 61
        stale = await asked(server, CAPITAL, headers={"x-modelport-tags": "team=search"})
        rows = await server.rows()

    renewal = next(row for row in rows if row["client_request_id"] == stale.id)
    assert [row["cache"] for row in rows].count("miss") == 2
    assert (renewal["cost_usd"], renewal["tags"], renewal["status"]) == ("0.000020000", {"team": "search"}, "ok")
    assert (await server.row(stale.id))["saved_usd"] == "0.000020000"


async def test_a_streaming_client_of_a_stale_answer_gets_a_stream(serve: Serve) -> None:
    with Upstream(BOTH) as upstream:
        server = await serve(STALE, provider("one", upstream), route("r", "one/m"))
        clock = await timed(server)
        await asked(server, CAPITAL, stream=True)
        clock.at += 61
        stale = await asked(server, CAPITAL, stream=True)
        await server.services.drain()

    assert (stale.text, stale.done, stale.headers["x-modelport-cache-stale"]) == ("Hello there", True, "true")
    assert "stream" not in upstream.requests[1].json or upstream.requests[1].json["stream"] is False


async def test_a_renewal_that_fails_leaves_the_old_answer(serve: Serve) -> None:
    answers = iter([says("old"), failing(500), says("new")])
    with Upstream(lambda _asked: next(answers)) as upstream:
        server = await serve(QUICK, STALE, provider("one", upstream), route("r", "one/m"))
        clock = await timed(server)
        await asked(server, CAPITAL)
        clock.at += 61
        texts = []
        for _ in range(3):
            texts.append((await asked(server, CAPITAL)).text)
            await server.services.drain()

    assert texts == ["old", "old", "new"]


async def test_a_process_that_stops_does_not_wait_for_a_renewal(serve: Serve) -> None:
    """It is cut, and booked as such."""
    answers = iter([says("old"), Answer(hang=True)])
    with Upstream(lambda _asked: next(answers)) as upstream:
        server = await serve(STALE, provider("one", upstream), route("r", "one/m"))
        clock = await timed(server)
        await asked(server, CAPITAL)
        clock.at += 61
        stale = await asked(server, CAPITAL)
        await asyncio.to_thread(upstream.wait_asked, "m", 2)
        server.services.draining = True
        async with asyncio.timeout(5):
            rows = await server.rows()

    renewal = next(row for row in rows if row["client_request_id"] == stale.id)
    assert (stale.text, renewal["status"], renewal["attempts"]) == ("old", "aborted", 1)


async def test_what_the_request_log_exports_can_be_asked_again(serve: Serve, tmp_path: Path) -> None:
    with Upstream(counting()) as upstream:
        server = await serve(
            "[cache]\nmode = 'all'\n", provider("one", upstream), route("r", "one/m", more="log = true")
        )
        await asked(server, CAPITAL)
        await server.services.drain()
        await server.services.request_log.flush()
        export = await server.get("/api/v1/logs/export")
        (tmp_path / "log.jsonl").write_bytes(export.body)
        result = await asyncio.to_thread(
            CliRunner().invoke, app, ["cache", "warm", str(tmp_path / "log.jsonl"), "--url", server.url]
        )

    assert (result.exit_code, result.stdout) == (0, "1 requests: 0 asked, 1 there already\n"), result.output


async def test_what_is_gone_is_a_miss(serve: Serve) -> None:
    with Upstream(counting()) as upstream:
        server = await serve(STALE, provider("one", upstream), route("r", "one/m"))
        clock = await timed(server)
        await asked(server, CAPITAL)
        clock.at += 661
        reply = await asked(server, CAPITAL)

    assert (cache_of(reply), reply.text) == ("miss", "answer 2")


async def test_a_stale_answer_of_the_responses_api_is_renewed_without_storing_a_response(serve: Serve) -> None:
    body = json.dumps({"model": "r", "input": CAPITAL}).encode()
    with Upstream(counting()) as upstream:
        server = await serve(STALE, provider("one", upstream), route("r", "one/m"))
        clock = await timed(server)
        await server.request("POST", "/v1/responses", body)
        clock.at += 61
        stale = await server.request("POST", "/v1/responses", body)
        await server.services.drain()
        renewed = await server.request("POST", "/v1/responses", body)
        kept = await server.services.db.read(lambda c: c.execute("SELECT count(*) FROM responses").fetchone()[0])

    texts = [each.json["output"][0]["content"][0]["text"] for each in (stale, renewed)]
    assert (texts, kept) == (["answer 1", "answer 2"], 3)


# --- policies of routes, tags, purging -------------------------------------------------------------


async def test_a_route_has_its_own_mode_and_time(serve: Serve) -> None:
    with Upstream(counting()) as upstream:
        server = await serve(
            provider("one", upstream),
            route("long", "one/m", more="cache = { mode = 'all', ttl_s = 600 }"),
            route("short", "one/m", more="cache = 'all'"),
            route("off", "one/m", more="cache = { mode = 'off' }"),
            "[cache]\nttl_s = 60\n",
        )
        clock = await timed(server)
        for name in ("long", "short", "off"):
            await asked(server, CAPITAL, name)
        clock.at += 61
        found = {name: cache_of(await asked(server, CAPITAL, name)) for name in ("long", "short", "off")}

    assert found == {"long": "hit", "short": "miss", "off": "bypass"}


@pytest.mark.parametrize(
    ("query", "gone"),
    [
        ("tag=team%3Dsearch", ["a"]),
        ("tag=kind%3Dfaq", ["b", "c"]),
        ("route=s", ["b", "c"]),
        ("model=one%2Fm", ["a"]),
        ("route=s&model=one%2Fm", []),
        ("key=", ["a", "b", "c"]),
        ("key=key_unknown", []),
        ("", ["a", "b", "c"]),
    ],
)
async def test_answers_are_removed_by_what_they_are(serve: Serve, query: str, gone: list[str]) -> None:
    with Upstream(counting()) as upstream:
        server = await serve(
            "[cache]\nmode = 'all'\n",
            provider("one", upstream),
            route("r", "one/m"),
            route("s", "one/n", more="cache = { tags = ['kind=faq'] }"),
        )

        async def ask_all() -> dict[str, str]:
            tagged = {"x-modelport-tags": "team=search"}
            return {
                "a": cache_of(await asked(server, "a", "r", tagged)),
                "b": cache_of(await asked(server, "b", "s")),
                "c": cache_of(await asked(server, "c", "s")),
            }

        await ask_all()
        told = await server.request("DELETE", f"/api/v1/cache?{query}")
        found = await ask_all()

    assert told.json == {"cleared": len(gone)}
    assert [name for name, use in found.items() if use == "miss"] == gone


@pytest.mark.parametrize(
    ("query", "param"), [("tags=a%3Db", "tags"), ("tag=", "tag"), ("tag=search", "tag"), ("route=", "route")]
)
async def test_a_purge_that_names_nothing_is_refused(serve: Serve, query: str, param: str) -> None:
    server = await serve()
    reply = await server.request("DELETE", f"/api/v1/cache?{query}")

    assert (reply.status, reply.error["param"]) == (400, param)


async def test_a_purge_stands_in_the_audit_log(serve: Serve) -> None:
    server = await serve()
    await server.request("DELETE", "/api/v1/cache?route=r")
    entry = (await server.get("/api/v1/audit")).json["data"][0]

    assert (entry["action"], entry["after"]) == ("cache.purged", {"cleared": 0, "route": "r"})


async def test_the_statistics_tell_routes_and_models_apart(serve: Serve) -> None:
    with Upstream(counting()) as upstream:
        server = await serve(
            "[cache]\nmode = 'all'\n",
            provider("one", upstream),
            route("r", "one/m", more=SEMANTIC),
            route("s", "one/n"),
        )
        for text, name in ((CAPITAL, "r"), (SAME_CAPITAL, "r"), (CAPITAL, "r"), (CAPITAL, "s")):
            await asked(server, text, name)
        await server.services.db.write(lambda _: None)
        stats = (await server.get("/api/v1/cache")).json

    rows = {(row["route"], row["model"]): row for row in stats["by"]}
    counted = {
        pair: tuple(row[name] for name in ("entries", "hits", "similar_hits", "misses", "saved_usd"))
        for pair, row in rows.items()
    }
    assert counted == {
        ("r", "one/m"): (1, 2, 1, 1, "0.000040000"),
        ("s", "one/n"): (1, 0, 0, 1, "0.000000000"),
    }
    assert (stats["saved_usd"], stats["similar_hits"], stats["entries"]) == ("0.000040000", 1, 2)
    assert (stats["hits"], stats["misses"], stats["semantic"]["word_hits"]) == (2, 2, 1)


# --- single flight ---------------------------------------------------------------------------------


async def test_a_second_stream_of_the_same_request_shares_the_call_of_the_first(serve: Serve) -> None:
    with Upstream(BOTH) as upstream:
        server = await serve("[cache]\nmode = 'all'\n", provider("one", upstream), route("r", "one/m"))
        replies = await asyncio.gather(*(asked(server, CAPITAL, stream=stream) for stream in (True, True, True, False)))

    assert [reply.text for reply in replies] == ["Hello there"] * 4
    assert sorted(cache_of(reply) for reply in replies) == ["hit", "hit", "hit", "miss"]
    assert len(upstream.requests) == 1


# --- other words -----------------------------------------------------------------------------------


async def test_the_same_question_in_other_words_is_answered_from_the_cache(serve: Serve) -> None:
    with Upstream(counting()) as upstream:
        server = await serve(provider("one", upstream), route("r", "one/m", more=SEMANTIC))
        await asked(server, CAPITAL)
        similar = await asked(server, SAME_CAPITAL)
        exact = await asked(server, CAPITAL)
        other = await asked(server, OTHER_CAPITAL)

    assert [each.text for each in (similar, exact, other)] == ["answer 1", "answer 1", "answer 2"]
    assert [cache_of(each) for each in (similar, exact, other)] == ["hit", "hit", "miss"]
    assert 0.8 <= float(similar.headers["x-modelport-cache-similarity"]) <= 1
    assert "x-modelport-cache-similarity" not in exact.headers
    row = await server.row(similar.id)
    assert (row["cache"], row["cost_usd"], row["saved_usd"]) == ("hit", "0.000000000", "0.000020000")


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    "other",
    [
        {"model": "s"},
        {"tools": [TOOL]},
        {"temperature": 0.5},
        {"user": "someone"},
        {"messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": SAME_CAPITAL}]},
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hi"},
                {"role": "user", "content": SAME_CAPITAL},
            ]
        },
        {"messages": [{"role": "user", "content": [{"type": "text", "text": text} for text in ("Hi", SAME_CAPITAL)]}]},
        {"messages": [{"role": "user", "content": CAPITAL}, {"role": "assistant", "content": "It is"}]},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_all_else_has_to_be_equal(serve: Serve, other: dict[str, Any]) -> None:
    with Upstream(counting()) as upstream:
        server = await serve(
            provider("one", upstream), route("r", "one/m", more=SEMANTIC), route("s", "one/m", more=SEMANTIC)
        )
        await asked(server, CAPITAL)
        reply = await asked(server, SAME_CAPITAL, **other)

    assert cache_of(reply) == "miss"


@pytest.mark.parametrize(
    "headers",
    [
        {"idempotency-key": "once"},
        {"x-modelport-cache": "no-cache"},
        {"x-modelport-losses": "reject"},
        {"x-modelport-policy": "cost"},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_a_request_that_says_how_it_is_to_be_answered_is_another(serve: Serve, headers: dict[str, str]) -> None:
    with Upstream(counting()) as upstream:
        server = await serve(provider("one", upstream), route("r", "one/m", more=SEMANTIC))
        await asked(server, CAPITAL)
        reply = await asked(server, SAME_CAPITAL, headers=headers)

    assert reply.text == "answer 2"


async def test_a_question_goes_with_its_answer(serve: Serve) -> None:
    with Upstream(counting()) as upstream:
        server = await serve(provider("one", upstream), route("r", "one/m", more=SEMANTIC))
        await asked(server, CAPITAL)
        await server.request("DELETE", "/api/v1/cache?route=r")
        reply = await asked(server, SAME_CAPITAL)

    assert (cache_of(reply), reply.text) == ("miss", "answer 2")


@pytest.mark.parametrize("body", [{"kind": "false_hit"}, {"kind": "cache", "correct": False}])
async def test_a_false_hit_that_is_reported_never_happens_again(serve: Serve, body: dict[str, Any]) -> None:
    with Upstream(counting()) as upstream:
        server = await serve(provider("one", upstream), route("r", "one/m", more=SEMANTIC))
        await asked(server, CAPITAL)
        wrong = await asked(server, SAME_CAPITAL)
        report = await send(server, "POST", "/api/v1/feedback", {}, exchange_id=wrong.id, **body)
        again = await asked(server, SAME_CAPITAL)

    assert (report.status, report.json["kept_apart"]) == (200, True)
    assert (cache_of(wrong), cache_of(again)) == ("hit", "miss")


async def test_a_verdict_on_the_cache_says_whether_it_was_right(serve: Serve) -> None:
    with Upstream(counting()) as upstream:
        server = await serve(provider("one", upstream), route("r", "one/m", more=SEMANTIC))
        await asked(server, CAPITAL)
        right = await asked(server, SAME_CAPITAL)
        silent = await send(server, "POST", "/api/v1/feedback", {}, exchange_id=right.id, kind="cache")
        praise = await send(server, "POST", "/api/v1/feedback", {}, exchange_id=right.id, kind="cache", correct=True)
        again = await asked(server, SAME_CAPITAL)

    assert (silent.status, silent.error["param"], praise.status, cache_of(again)) == (400, "correct", 200, "hit")


async def test_an_exact_hit_cannot_be_called_false(serve: Serve) -> None:
    with Upstream(counting()) as upstream:
        server = await serve(provider("one", upstream), route("r", "one/m", more=SEMANTIC))
        await asked(server, CAPITAL)
        exact = await asked(server, CAPITAL)
        report = await send(server, "POST", "/api/v1/feedback", {}, exchange_id=exact.id, kind="false_hit")

    assert (report.status, report.error["code"]) == (404, "no_similar_hit")


async def test_without_semantic_other_words_are_another_request(serve: Serve) -> None:
    with Upstream(counting()) as upstream:
        server = await serve(provider("one", upstream), route("r", "one/m", more="cache = 'all'"))
        await asked(server, CAPITAL)
        reply = await asked(server, SAME_CAPITAL)

    assert cache_of(reply) == "miss"


# --- with embeddings -------------------------------------------------------------------------------

WEIGHT = "What should I do to lose weight?"
SAME_WEIGHT = "What is a good method for losing weight?"
AWAY = "Who painted the ceiling of the chapel?"
DIRECTIONS = {WEIGHT: [1.0, 0.1, 0.0], SAME_WEIGHT: [1.0, 0.0, 0.1], AWAY: [0.0, 1.0, 0.0]}


def embedding(asked_for: Asked) -> Answer:
    text = asked_for.json["input"]
    text = text if isinstance(text, str) else text[0]
    entry = {"object": "embedding", "index": 0, "embedding": DIRECTIONS[text]}
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    return Answer.json({"object": "list", "data": [entry], "model": "e", "usage": usage})


WITH_VECTORS = "cache = { mode = 'all', semantic = { embeddings = 'two/e', threshold = 0.9 } }"


async def test_vectors_find_what_words_do_not_and_are_booked_as_exchanges_of_their_own(serve: Serve) -> None:
    with Upstream(counting()) as upstream, Upstream(embedding) as embedder:
        server = await serve(
            provider("one", upstream), provider("two", embedder), route("r", "one/m", more=WITH_VECTORS)
        )
        first = await asked(server, WEIGHT)
        similar = await asked(server, SAME_WEIGHT)
        other = await asked(server, AWAY)
        rows = await server.rows()

    assert [cache_of(each) for each in (first, similar, other)] == ["miss", "hit", "miss"]
    assert 0.98 < float(similar.headers["x-modelport-cache-similarity"]) < 1
    vectors = [row for row in rows if row["dialect"] == "embeddings"]
    assert [row["client_request_id"] for row in vectors] == [first.id, similar.id, other.id]
    assert {row["cost_usd"] for row in vectors} == {"0.000004000"}


async def test_without_a_vector_the_question_is_looked_for_by_its_words(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """Which is said once."""
    with Upstream(counting()) as upstream, Upstream(lambda _asked: failing(500)) as embedder:
        server = await serve(
            QUICK, provider("one", upstream), provider("two", embedder), route("r", "one/m", more=WITH_VECTORS)
        )
        texts = [(await asked(server, text)).text for text in (CAPITAL, SAME_CAPITAL, OTHER_CAPITAL)]

    assert texts == ["answer 1", "answer 1", "answer 2"]
    assert caplog.text.count("goes by words alone, as two/e gives no vectors") == 1


async def test_a_key_that_may_not_ask_the_embedder_still_gets_its_vectors(serve: Serve) -> None:
    with Upstream(counting()) as upstream, Upstream(embedding) as embedder:
        server = await serve(
            KEYS_ONLY, provider("one", upstream), provider("two", embedder), route("r", "one/m", more=WITH_VECTORS)
        )
        key = await make(server, routes=["r"])
        await asked(server, WEIGHT, headers=bearer(key["key"]))
        similar = await asked(server, SAME_WEIGHT, headers=bearer(key["key"]))

    assert cache_of(similar) == "hit"


def test_an_embedder_that_nobody_offers_is_named(tmp_path: Path) -> None:
    from proxy.config import ConfigError, load

    path = tmp_path / "modelport.toml"
    path.write_text(
        "[routes.r]\ntargets = ['openai/m']\ncache = { semantic = { embeddings = 'opnai/e' } }\n", encoding="utf-8"
    )
    with pytest.raises(ConfigError, match=r"routes\.r\.cache\.semantic\.embeddings.*did you mean openai"):
        load(path, environ={"HOME": str(tmp_path)}, folder=tmp_path)


# --- tenants ---------------------------------------------------------------------------------------


async def test_no_answer_crosses_tenants(serve: Serve) -> None:
    """Neither exact, nor stale, nor in other words, nor while the first call is still under way."""
    with Upstream(counting()) as upstream:
        server = await serve(
            KEYS_ONLY, STALE, provider("one", upstream), route("r", "one/m", more="cache = { semantic = {} }")
        )
        clock = await timed(server)
        mine, theirs = [bearer((await make(server))["key"]) for _ in range(2)]
        at_once = await asyncio.gather(asked(server, CAPITAL, headers=mine), asked(server, CAPITAL, headers=theirs))
        for text in (OTHER_CAPITAL, WEIGHT):
            await asked(server, text, headers=mine)
        exact = await asked(server, OTHER_CAPITAL, headers=theirs)
        polite = f"Please, {WEIGHT.lower()}"
        similar = [await asked(server, polite, headers=headers) for headers in (theirs, mine)]
        clock.at += 61
        stale = [await asked(server, WEIGHT, headers=headers) for headers in (theirs, mine)]

    assert [cache_of(each) for each in (*at_once, exact, similar[0], stale[0])] == ["miss"] * 5
    assert [cache_of(each) for each in (similar[1], stale[1])] == ["hit"] * 2
    assert at_once[0].text != at_once[1].text


async def test_a_purge_by_key_leaves_the_others(serve: Serve) -> None:
    with Upstream(counting()) as upstream:
        server = await serve(KEYS_ONLY, STALE, provider("one", upstream), route("r", "one/m"))
        one, other = await make(server), await make(server)
        for key in (one, other):
            await asked(server, CAPITAL, headers=bearer(key["key"]))
        await server.request("DELETE", f"/api/v1/cache?key={one['id']}", headers=MASTER)
        found = [cache_of(await asked(server, CAPITAL, headers=bearer(key["key"]))) for key in (one, other)]

    assert found == ["miss", "hit"]
