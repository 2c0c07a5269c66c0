"""The sums are those that a person with pencil and paper gets; pages neither skip nor repeat."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import asdict, replace
from datetime import UTC, datetime
from random import Random

import pytest

from storage.accounts import Accounts
from storage.db import Database
from storage.errors import BadCursor
from storage.ledger import Ledger, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange
from storage.rollups import Rollups
from storage.sums import EVERYONE, GROUPINGS, Sum

TAGS = ({}, {"team": "search"}, {"team": "ads", "feature": "ürün"}, {"a": "1", "b": "2", "c": "x=y"})
TARGETS = (("anthropic", "claude"), ("openai", "gpt"), ("openrouter", "meta/llama"), ("demo", "echo"))
ALL_GROUPINGS = [combination for size in range(4) for combination in itertools.combinations(GROUPINGS, size)] + [
    GROUPINGS
]


def _random_attempt(rng: Random, name: str, number: int, status: str) -> SettledAttempt:
    return SettledAttempt(
        name,
        number,
        status,
        rng.choice([None, 0, rng.randrange(10**9), rng.randrange(10**15)]),
        input_tokens=rng.randrange(1000),
        cached_input_tokens=rng.randrange(100),
        cache_write_tokens=rng.randrange(10),
        output_tokens=rng.randrange(500),
        reasoning_tokens=rng.randrange(50),
        estimated=rng.random() < 0.3,
    )


async def _random_rows(db: Database, clock, count: int) -> list[dict]:
    """Write *count* exchanges; what was written, as plain records for the recomputation."""
    rng, ledger = Random(7), Ledger(db, now=clock)
    records = []
    for n in range(count):
        clock.advance(rng.random() * 4000)
        name = f"x{n}"
        opened = OpenExchange(
            name, "openai_chat", route=rng.choice([None, "fast", "careful"]), key_id=rng.choice([None, "k1", "k2"]),
            team=rng.choice([None, "t1"]), organisation=rng.choice([None, "o1"]), tags=rng.choice(TAGS), cache="miss",
        )  # fmt: skip
        record = {"opened": opened, "at": clock(), "attempts": [], "target": None, "saved": 0, "open": False}
        records.append(record)
        if rng.random() < 0.2:
            record.update(opened=replace(opened, cache="hit"), target=rng.choice(TARGETS), saved=rng.randrange(10**6))
            target = "/".join(record["target"])
            hit = SettledExchange(
                name, "ok", target=target, saved_nanousd=record["saved"], input_tokens=5, output_tokens=3
            )
            await ledger.record(record["opened"], hit)
            record["status"] = "ok"
            continue
        targets = rng.sample(TARGETS, rng.randrange(0, 4))
        closing = None
        if not targets:
            await ledger.open(opened)
        for number, target in enumerate(targets, start=1):
            attempt = OpenAttempt(name, number, *target)
            await (ledger.open(opened, attempt) if number == 1 else ledger.open_attempt(attempt, closing))
            closing = _random_attempt(rng, name, number, rng.choice(["ok", "failed", "aborted", "interrupted"]))
            record["attempts"].append((target, closing))
            record["target"] = target
        if rng.random() < 0.1:
            record.update(status="open", open=True)
            continue
        record["status"] = rng.choice(["ok", "failed", "aborted", "interrupted"])
        await ledger.settle(SettledExchange(name, record["status"]), *([closing] if closing else []))
    return records


def _group_names(record: dict, target: tuple[str, str] | None, group_by: tuple[str, ...]) -> list[tuple]:
    at = datetime.fromtimestamp(record["at"], UTC)
    single = {
        "provider": target[0] if target else None,
        "model": target[1] if target else None,
        "route": record["opened"].route,
        "key": record["opened"].key_id,
        "team": record["opened"].team,
        "organisation": record["opened"].organisation,
        "day": f"{at:%Y-%m-%d}",
        "hour": f"{at:%Y-%m-%dT%H:00:00Z}",
    }
    tags: list[str | None] = [None]
    if "tag" in group_by and record["opened"].tags:
        tags = [f"{key}={value}" for key, value in record["opened"].tags.items()]
    return [tuple(tag if name == "tag" else single[name] for name in group_by) for tag in tags]


def _by_hand(records: list[dict], group_by: tuple[str, ...]) -> dict[tuple, dict[str, int]]:
    sums: dict[tuple, dict[str, int]] = defaultdict(lambda: asdict(Sum()))
    for record in records:
        for names in _group_names(record, record["target"], group_by):
            group = sums[names]
            group["exchanges"] += 1
            group["errors"] += record["status"] in ("failed", "interrupted")
            group["cache_hits"] += record["opened"].cache == "hit"
            group["saved_nanousd"] += record["saved"]
            group["saved_input_tokens"] += 5 * (record["opened"].cache == "hit")
            group["saved_output_tokens"] += 3 * (record["opened"].cache == "hit")
        for number, (target, attempt) in enumerate(record["attempts"], start=1):
            still_open = record["open"] and number == len(record["attempts"])
            for names in _group_names(record, target, group_by):
                group = sums[names]
                group["attempts"] += 1
                if still_open:
                    continue
                for kind in ("input", "cached_input", "cache_write", "output", "reasoning"):
                    group[f"{kind}_tokens"] += getattr(attempt, f"{kind}_tokens")
                cost = attempt.cost_nanousd
                group["unpriced_attempts"] += cost is None
                group["cost_nanousd"] += cost or 0
                group["estimated_nanousd" if attempt.estimated else "exact_nanousd"] += cost or 0
    return dict(sums)


@pytest.mark.parametrize("folded", [False, True])
async def test_costs_agree_with_a_count_by_hand_in_every_grouping(db: Database, clock, folded: bool) -> None:
    records = await _random_rows(db, clock, 120)
    if folded:
        await Rollups(db, now=clock).catch_up()
    start, end = records[20]["at"], records[100]["at"]
    inside = [record for record in records if start <= record["at"] < end]
    total = _by_hand(inside, ())[()]
    accounts = Accounts(db)

    for group_by in ALL_GROUPINGS:
        sums = await accounts.costs(start, end, group_by)
        found = {tuple(group.names.values()): asdict(group.sum) for group in sums.groups}
        assert found == (_by_hand(inside, group_by) if group_by else {}), group_by
        assert asdict(sums.total) == total, group_by
        assert all(tuple(group.names) == group_by for group in sums.groups)
    assert total["cost_nanousd"] == total["exact_nanousd"] + total["estimated_nanousd"] > 0


async def test_groups_add_up_to_the_total_unless_grouped_by_tag(db: Database, clock) -> None:
    await _random_rows(db, clock, 60)
    sums = await Accounts(db).costs(group_by=("provider", "day"))
    added = Sum()
    for group in sums.groups:
        added.add(group.sum)

    assert added == sums.total


async def test_an_empty_ledger_has_an_empty_sum(db: Database) -> None:
    sums = await Accounts(db).costs(group_by=("provider", "tag"))

    assert (sums.total, sums.groups) == (Sum(), ())


async def test_a_window_is_a_range_of_the_index(db: Database) -> None:
    from storage import accounts, rollups

    statements = {
        "exchanges_opened (opened_us>": (
            *rollups._SETTLED_ROWS,
            *rollups._MANY_NEW_ROWS,
            *rollups._ALL_ROWS,
            accounts._PAGE,
        ),
        "PRIMARY KEY (rowid>": rollups._FEW_NEW_ROWS,
        "PRIMARY KEY (rowid=": rollups._PENDING_ROWS,
    }
    names = (*GROUPINGS, "since", "until", "before", "before_row", "status", "limit", "folded")
    wanted = dict.fromkeys(names, 1) | EVERYONE.wanted()
    for index, statements_of_it in statements.items():
        for statement in statements_of_it:
            plan = await db.read(
                lambda c, q=statement: [row[3] for row in c.execute("EXPLAIN QUERY PLAN " + q, wanted)]
            )
            assert any(index in step for step in plan), plan
            assert not any(step.startswith("SCAN e") for step in plan), plan


async def test_pages_cover_every_row_once_newest_first_while_rows_are_added(db: Database, clock) -> None:
    ledger, accounts = Ledger(db, now=clock), Accounts(db)

    async def add(name: str) -> None:
        await ledger.record(OpenExchange(name, "openai_chat"), SettledExchange(name, "ok"))

    for n in range(23):
        if n % 5 == 0:
            clock.advance(1)
        await add(f"x{n}")
    pages, cursor = [], None
    while not pages or cursor:
        rows, cursor = await accounts.exchanges(cursor=cursor, limit=5)
        pages.append([row["id"] for row in rows])
        await add(f"late{len(pages)}")

    assert [name for page in pages for name in page] == [f"x{n}" for n in reversed(range(23))]
    assert [len(page) for page in pages] == [5, 5, 5, 5, 3]


async def test_rows_can_be_filtered(db: Database, clock) -> None:
    records = await _random_rows(db, clock, 80)
    accounts = Accounts(db)
    start, end = records[10]["at"], records[70]["at"]
    rows, cursor = await accounts.exchanges(since=start, until=end, key="k1", status="failed", limit=1000)

    assert cursor is None
    assert [row["id"] for row in rows] == [
        r["opened"].id
        for r in reversed(records)
        if start <= r["at"] < end and r["opened"].key_id == "k1" and r["status"] == "failed"
    ]


@pytest.mark.parametrize("cursor", ["!", "AAAA", "MQ", "ä", "MS4yLjM", "' OR 1=1"])
async def test_a_foreign_cursor_is_the_clients_mistake(db: Database, cursor: str) -> None:
    with pytest.raises(BadCursor, match="cursor"):
        await Accounts(db).exchanges(cursor=cursor)


async def test_an_unknown_exchange_is_none(db: Database) -> None:
    assert await Accounts(db).exchange("nobody") is None


async def test_health_is_told_the_newest_attempts_of_each_provider_in_their_order(db: Database, clock) -> None:
    ledger = Ledger(db, now=clock)
    for n, (provider, status) in enumerate([("a", "ok")] * 2 + [("b", "failed")] * 5 + [("c", "ok")] * 2):
        clock.advance(1)
        await ledger.open(OpenExchange(f"x{n}", "openai_chat"), OpenAttempt(f"x{n}", 1, provider, "m", 2))
        if n < 8:
            attempt = SettledAttempt(f"x{n}", 1, status, 0, http_status=500, error_kind="server", latency_ms=n)
            await ledger.settle(SettledExchange(f"x{n}", status), attempt)
    found = await Accounts(db).newest_attempts(3)

    assert [(each.provider, each.latency_ms) for each in found] == [
        ("a", 0), ("a", 1), ("b", 4), ("b", 5), ("b", 6), ("c", 7),
    ]  # fmt: skip
    assert (found[2].http_status, found[2].error_kind, found[2].ended_at, found[2].key_index) == (
        500, "server", clock() - 4, 2,
    )  # fmt: skip
