"""A policy that was chosen is kept with who and when, and in the audit log."""

from __future__ import annotations

from pathlib import Path

from storage.audit import AuditLog
from storage.db import Database
from storage.migrations import MIGRATIONS
from storage.routes import RouteChoice, RouteChoices


async def test_a_choice_survives_a_restart(tmp_path: Path, clock) -> None:
    path = tmp_path / "r.db"
    async with Database(path, now=clock) as db:
        entry = AuditLog(db, now=clock).entry("key_1", "route.set", "careful", None, {"policy": "cost"})
        made = await RouteChoices(db, now=clock).choose("careful", "cost", "key_1", entry)

    async with Database(path, now=clock) as db:
        assert await RouteChoices(db, now=clock).all() == {"careful": made}
        logged = await AuditLog(db, now=clock).last("route.set")
    assert made == RouteChoice("careful", "cost", "key_1", clock())
    assert logged is not None
    assert (logged.actor, logged.subject, logged.after) == ("key_1", "careful", {"policy": "cost"})


async def test_the_last_choice_counts_and_can_be_taken_back_once(db: Database, clock) -> None:
    choices, audit = RouteChoices(db, now=clock), AuditLog(db, now=clock)
    for policy in ("cost", "latency"):
        await choices.choose("careful", policy, "me", audit.entry("me", "route.set", "careful"))
    assert (await choices.all())["careful"].policy == "latency"
    entry = audit.entry("me", "route.reset", "careful")

    assert [await choices.forget("careful", entry), await choices.forget("careful", entry)] == [True, False]
    assert await choices.all() == {}
    assert len(await audit.show(action="route")) == 3


async def test_a_database_of_an_earlier_version_takes_choices(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    async with Database(path, steps=[step for step in MIGRATIONS if step.number < 15]):
        pass

    async with Database(path) as db:
        assert await RouteChoices(db).all() == {}
