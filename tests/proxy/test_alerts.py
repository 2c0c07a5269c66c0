"""Alerts of budgets: in the log, and at a webhook that gets each at least once."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from proxy.alerts import BACKOFF_MAX_S, Courier, Watch
from proxy.config.model import AlertSettings
from storage.alerts import Alerts
from storage.budgets import Budget, Budgets, OverBudget
from storage.db import Database
from storage.ledger import Ledger, OpenAttempt, OpenExchange, SettledAttempt, SettledExchange
from tests.proxy.conftest import Serve
from tests.proxy.serving import provider, says
from tests.replay import Upstream

SECRET = "whsec-0123456789abcdef"
DAY = Budget("b", "global", 1_000, name="all", window="day", alerts=(50, 80, 100))


class Moving:
    """Unix seconds; moves when told. It begins at two o'clock."""

    def __init__(self) -> None:
        self.at = 1_795_226_400.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Receiver:
    """What a webhook was sent. *status* is what it answers."""

    url: str = ""
    status: int = 200
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies]

    async def take(self, request: web.BaseRequest) -> web.Response:
        self.bodies.append(await request.read())
        self.headers.append(dict(request.headers))
        return web.Response(status=self.status)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    server = web.Server(found.take)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    found.url = f"http://{host}:{port}/hook?token=abc"
    yield found
    await runner.cleanup()


def settings(webhook: str, **more: Any) -> AlertSettings:
    """As the configuration says it."""
    return AlertSettings.model_validate({"webhook": webhook, **more})


@dataclass
class Scene:
    """A ledger, its budgets, and who watches them."""

    clock: Moving
    ledger: Ledger
    budgets: Budgets
    watch: Watch
    spent: int = 0

    async def spend(self, nanousd: int) -> None:
        self.spent += 1
        name = f"x{self.spent}"
        stored = await self.budgets.all()
        await self.ledger.open(
            OpenExchange(name, "d"),
            OpenAttempt(name, 1, "p", "m", worst_nanousd=nanousd, budgets=tuple(each for each in stored)),
        )
        await self.ledger.settle(SettledExchange(name, "ok"), SettledAttempt(name, 1, "ok", nanousd))


@pytest.fixture
async def scenes(tmp_path: Path, receiver: Receiver) -> AsyncIterator[Callable[[Database], Scene]]:
    async with aiohttp.ClientSession() as session:

        def scene(db: Database, clock: Moving | None = None) -> Scene:
            clock = clock or Moving()
            budgets, alerts = Budgets(db, now=clock), Alerts(db, now=clock)
            told = settings(receiver.url, webhook_secret=SECRET)
            courier = Courier(alerts, session, told, clock)
            return Scene(clock, Ledger(db, now=clock), budgets, Watch(budgets, alerts, courier, clock))

        yield scene


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "modelport.db") as database:
        yield database


async def test_a_clock_that_is_put_back_is_noticed_and_its_budgets_open_after_one_window(
    scenes: Any, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    scene, ticks = scenes(db), Moving()
    watch = Watch(scene.budgets, scene.watch.alerts, scene.watch.courier, scene.clock, ticks)

    async def passes(seconds: float, *, clock_s: float | None = None) -> None:
        scene.clock.at += seconds if clock_s is None else clock_s
        ticks.at += seconds
        await watch.look()

    await scene.budgets.put(replace(DAY, rolling=True))
    await passes(0)
    await passes(1, clock_s=40 * 86_400)
    await scene.spend(DAY.limit_nanousd)
    await passes(1, clock_s=-40 * 86_400)
    await passes(23 * 3600)
    with pytest.raises(OverBudget):
        await scene.spend(1)
    await passes(2 * 3600)
    await scene.spend(DAY.limit_nanousd)

    assert "the clock went back by 34560" in caplog.text


async def test_every_threshold_is_told_once_in_a_window(
    scenes: Any, db: Database, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    scene = scenes(db)
    await scene.budgets.put(DAY)
    percents: list[list[int]] = []
    with caplog.at_level(logging.WARNING, "modelport.budgets"):
        for nanousd in (400, 150, 250, 10, 190):
            await scene.spend(nanousd)
            await scene.watch.look()
            await scene.watch.look()
            await scene.watch.courier.deliver()
            percents.append([told["percent"] for told in receiver.told])
    scene.clock.at += 86_400
    await scene.spend(900)
    await scene.watch.look()
    await scene.watch.courier.deliver()

    assert percents == [[], [50], [50, 80], [50, 80], [50, 80, 100]]
    assert [told["percent"] for told in receiver.told[3:]] == [50, 80], "another day"
    assert "has reached 80 %: spent 0.000000800 USD; the window ends at 2026-11-22T00:00:00Z" in caplog.text
    assert receiver.told[0]["budget"]["spent_usd"] == "0.000000550"
    assert len({told["id"] for told in receiver.told}) == 5


async def test_an_alert_is_signed_over_time_and_body(scenes: Any, db: Database, receiver: Receiver) -> None:
    scene = scenes(db)
    await scene.budgets.put(DAY)
    await scene.spend(500)
    await scene.watch.look()
    await scene.watch.courier.deliver()
    at, _, given = receiver.headers[0]["x-modelport-signature"].partition(",v1=")
    signed = at.removeprefix("t=").encode() + b"." + receiver.bodies[0]

    assert given == hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert float(at.removeprefix("t=")) == scene.clock()
    assert receiver.told[0]["event"] == "budget.threshold"


async def test_what_is_not_accepted_is_sent_again_later_and_later_and_given_up(
    scenes: Any, db: Database, receiver: Receiver
) -> None:
    scene = scenes(db)
    await scene.budgets.put(replace(DAY, alerts=(50,)))
    await scene.spend(500)
    await scene.watch.look()
    receiver.status = 500
    waits: list[float] = []
    begun = scene.clock()
    for _ in range(100):
        assert await scene.watch.courier.deliver() == 0
        due = await scene.watch.alerts.next_due()
        if due is None:
            break
        waits.append(round(due - scene.clock()))
        scene.clock.at = due + 0.001

    assert waits[:5] == [5, 10, 20, 40, 80]
    assert max(waits) == BACKOFF_MAX_S
    assert 6 * 3600 - BACKOFF_MAX_S <= scene.clock() - begun <= 6 * 3600 + 1
    assert len(receiver.bodies) == len(waits) + 1
    (row,) = await scene.watch.alerts.recent()
    assert (row["error"], row["due_us"], row["delivered_us"]) == ("status 500", None, None)


async def test_a_restart_sends_what_was_not_delivered(scenes: Any, tmp_path: Path, receiver: Receiver) -> None:
    clock = Moving()
    async with Database(tmp_path / "kept.db") as first:
        scene = scenes(first, clock)
        await scene.budgets.put(DAY)
        await scene.spend(600)
        await scene.watch.look()
    async with Database(tmp_path / "kept.db") as second:
        scene = scenes(second, clock)
        await scene.watch.look()
        delivered = await scene.watch.courier.deliver()
        again = await scene.watch.courier.deliver()

    assert (delivered, again, len(receiver.bodies)) == (1, 0, 1)


async def test_the_first_refusal_of_a_window_is_told(scenes: Any, db: Database, receiver: Receiver) -> None:
    scene = scenes(db)
    await scene.budgets.put(replace(DAY, alerts=()))
    for _ in range(3):
        with pytest.raises(OverBudget) as refusal:
            await scene.spend(1_001)
        scene.watch.refused(refusal.value)
        await scene.watch.look()
    await scene.watch.courier.deliver()

    (told,) = receiver.told
    assert (told["event"], told["percent"]) == ("budget.refused", None)
    assert "a request was refused" in told["message"]
    assert scene.watch.refusals["b"] == 3


async def test_a_soft_budget_tells_and_refuses_nothing(scenes: Any, db: Database, receiver: Receiver) -> None:
    scene = scenes(db)
    await scene.budgets.put(replace(DAY, hard=False, alerts=(100, 200)))
    for nanousd in (900, 600, 600):
        await scene.spend(nanousd)
        await scene.watch.look()
    await scene.watch.courier.deliver()

    assert [told["percent"] for told in receiver.told] == [100, 200]


async def test_a_rolling_window_tells_once_in_its_length(scenes: Any, db: Database, receiver: Receiver) -> None:
    scene = scenes(db)
    await scene.budgets.put(replace(DAY, window="hour", rolling=True, alerts=(50,)))
    for _ in range(5):
        await scene.spend(600)
        await scene.watch.look()
        scene.clock.at += 3_700 / 2
        await scene.watch.look()
        scene.clock.at += 3_700 / 2
    await scene.watch.courier.deliver()

    assert len(receiver.bodies) == 5


async def test_a_higher_limit_has_alerts_of_its_own(scenes: Any, db: Database, receiver: Receiver) -> None:
    scene = scenes(db)
    await scene.budgets.put(replace(DAY, alerts=(80,)))
    await scene.spend(900)
    await scene.watch.look()
    await scene.budgets.put(replace(DAY, alerts=(80,), limit_nanousd=2_000))
    await scene.watch.look()
    await scene.spend(800)
    await scene.watch.look()
    await scene.watch.courier.deliver()

    assert [told["budget"]["limit_usd"] for told in receiver.told] == ["0.000001000", "0.000002000"]


async def test_a_receiver_that_is_gone_harms_nobody(scenes: Any, db: Database, receiver: Receiver) -> None:
    scene = scenes(db)
    scene.watch.courier.settings = settings("http://127.0.0.1:9/gone?token=abc", timeout_s=1)
    await scene.budgets.put(DAY)
    await scene.spend(600)
    await scene.watch.look()

    assert await scene.watch.courier.deliver() == 0
    (row,) = await scene.watch.alerts.recent()
    assert row["error"] == "ClientConnectorError", "the address is not told"


async def test_a_running_server_tells_of_a_refusal(serve: Serve, upstream: Upstream, receiver: Receiver) -> None:
    upstream.script("m", says())
    server = await serve(
        provider("one", upstream),
        '[budgets.all]\nlimit_usd = "0.00002"\nwindow = "month"\nalerts = [1]\n',
        f'[alerts]\nwebhook = "{receiver.url}"\n',
    )
    await server.ask(model="one/m", max_tokens=5000)
    watch = server.services.watch
    await watch.look()
    await watch.courier.deliver()

    assert receiver.told[0]["event"] == "budget.refused"
    assert "x-modelport-signature" not in receiver.headers[0]
    assert (await server.get("/api/v1/budgets/all")).json["recent_alerts"][0]["delivered_at"] is not None
