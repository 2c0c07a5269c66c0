"""Alerts of budgets: noticed beside the requests, written into the log, sent to a webhook until it accepts them.

    an attempt has ended, a request was refused --> Watch.look, at most once a second --> log, table of alerts
    the table of alerts --> Courier.deliver --> POST, again after 5 s, 10 s, ... 15 min, until `give_up_s` have passed

A receiver checks the signature (`proxy.webhooks`). It may hear of an alert twice, and knows it by its id.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import aiohttp

from proxy.budgeting import shown_standing
from proxy.chores import at_work
from proxy.config.model import AlertSettings
from proxy.webhooks import Webhook
from storage.alerts import Alert, Alerts, News
from storage.budgets import Budgets, OverBudget, Standing
from storage.errors import StorageError
from storage.money import usd
from translators.codec import dumps

log = logging.getLogger("modelport.budgets")

REST_S: Final = 1.0
"""How long news may gather, and what was spent takes to be written."""
LOOK_S: Final = 30.0
"""So often budgets are looked at in any case."""
BACKOFF_S: Final = 5.0
BACKOFF_MAX_S: Final = 900.0
FORGET_S: Final = 3600.0
"""So often what is old is forgotten."""
STEP_S: Final = 30.0
"""A wall clock that moved so much more or less than the monotonic one was put there."""
MOST_REFUSALS: Final = 1000
"""Budgets whose refusals are remembered."""


class Courier:
    """Sends what is due."""

    def __init__(
        self,
        alerts: Alerts,
        session: aiohttp.ClientSession,
        settings: AlertSettings,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        """As they are now: they change when the configuration is read again."""
        self._alerts = alerts
        self._session = session
        self._now = now
        self._woken = asyncio.Event()
        self.elsewhere: Callable[[], None] | None = None
        """Wakes the worker that sends; None: it is this one."""

    def wake(self) -> None:
        """There is something to send."""
        if self.elsewhere is None:
            self._woken.set()
        else:
            self.elsewhere()

    async def deliver(self) -> int:
        """Send what is due now; how many were accepted."""
        accepted = 0
        for alert in await self._alerts.due():
            error = await self._send(alert)
            if error is None:
                await self._alerts.delivered(alert.id)
                accepted += 1
                continue
            again: float | None = self._now() + min(BACKOFF_MAX_S, BACKOFF_S * 2 ** min(alert.tries, 20))
            if again is not None and again - alert.at > self.settings.give_up_s:
                again = None
            how = "given up" if again is None else "it is sent again"
            log.warning("alert %d of %s was not accepted (%s); %s", alert.id, alert.budget, error, how)
            await self._alerts.failed(alert.id, error, again)
        return accepted

    async def run(self) -> None:
        """Deliver for ever."""
        while True:
            self._woken.clear()
            wait_s = LOOK_S
            try:
                await self.deliver()
                if (due := await self._alerts.next_due()) is not None:
                    wait_s = min(LOOK_S, max(REST_S, due - self._now()))
            except StorageError as error:
                log.warning("alerts cannot be delivered: %s", error)
            except Exception:
                log.exception("alerts cannot be delivered")
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()

    async def _send(self, alert: Alert) -> str | None:
        """Why it was not accepted; None: it was."""
        webhook = self.settings.webhook
        if webhook is None:
            return "no webhook is configured any more"
        body = dumps({"id": f"alert_{alert.id}", "event": f"budget.{alert.event}", **alert.report})
        told = Webhook(webhook, self.settings.webhook_secret, self.settings.timeout_s)
        return await told.post(self._session, body, {"x-modelport-alert": f"alert_{alert.id}"}, int(self._now()))


class Watch:
    """Notices what budgets have to tell. *courier* is woken when there is something to send."""

    def __init__(
        self,
        budgets: Budgets,
        alerts: Alerts,
        courier: Courier,
        now: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.courier = courier
        self.alerts = alerts
        self._budgets = budgets
        self._now = now
        self._ticks = ticks
        self._offset: float | None = None
        self._ahead = 0
        self._woken = asyncio.Event()
        self._refusals: dict[str, OverBudget] = {}
        self.refusals: Counter[str] = Counter()
        """Attempts that were refused since the start, by budget."""

    def wake(self) -> None:
        """Something was spent."""
        self._woken.set()

    def refused(self, over: OverBudget) -> None:
        """A budget has refused a request."""
        name = over.budget.id
        if name in self._refusals or len(self._refusals) < MOST_REFUSALS:
            self._refusals[name] = over
        if name in self.refusals or len(self.refusals) < MOST_REFUSALS:
            self.refusals[name] += 1
        self._woken.set()

    async def look(self) -> int:
        """Raise the alerts that are new; how many those are."""
        await self._look_ahead()
        refusals, self._refusals = self._refusals, {}
        standings = await self._budgets.alerting(refusals)
        at = self._now()
        found = [_reached(standing, percent, at) for standing in standings for percent in standing.reached]
        found += [
            _refused(standing, refusals[standing.budget.id], at)
            for standing in standings
            if standing.budget.id in refusals
        ]
        new = await self.alerts.new(found)
        raised = await self.alerts.raise_(new, due=self.courier.settings.webhook is not None)
        for alert in raised:
            log.warning("%s", alert.report["message"])
        if raised:
            self.courier.wake()
        return len(raised)

    async def _look_ahead(self) -> None:
        """After a step of the clock, and as long as something is left of it: see to what is booked in time to come."""
        offset = self._now() - self._ticks()
        step_s = offset - self._offset if self._offset is not None else STEP_S
        if abs(step_s) >= STEP_S or self._ahead:
            self._ahead = await self._budgets.look_ahead(stepped=step_s >= STEP_S)
            if step_s <= -STEP_S:
                log.warning("the clock went back by %d seconds; rolling budgets count what was spent since", -step_s)
        self._offset = offset

    async def run(self) -> None:
        """Look for ever: when something was spent, and now and then."""
        forgotten = 0.0
        while True:
            try:
                await self.look()
                if time.monotonic() - forgotten > FORGET_S:
                    forgotten = time.monotonic()
                    await self.alerts.forget_old()
                    await self._budgets.forget_old()
            except StorageError as error:
                log.warning("budgets cannot be looked at: %s", error)
            except Exception:
                log.exception("budgets cannot be looked at")
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._woken.wait()
            await asyncio.sleep(REST_S)
            self._woken.clear()


@asynccontextmanager
async def watching(watch: Watch) -> AsyncIterator[None]:
    """*watch* and its courier at work."""
    carrying = () if watch.courier.elsewhere is not None else (watch.courier.run(),)
    async with at_work(watch.run(), *carrying):
        yield


def _reached(standing: Standing, percent: int, at: float) -> News:
    spent = f"{usd(standing.spent_nanousd)} USD"
    told = f"{standing.budget.title} has reached {percent} %: spent {spent}{_until(standing)}"
    return News(standing.budget, "threshold", percent, _report(standing, percent, told, at))


def _refused(standing: Standing, over: OverBudget, at: float) -> News:
    told = f"a request was refused: {over}{_until(standing)}"
    return News(standing.budget, "refused", 0, _report(standing, 0, told, at))


def _until(standing: Standing) -> str:
    reopens = shown_standing(standing)["reopens_at"]
    if reopens is None:
        return ""
    return f"; first room again at {reopens}" if standing.budget.rolling else f"; the window ends at {reopens}"


def _report(standing: Standing, percent: int, told: str, at: float) -> dict[str, Any]:
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)),
        "percent": percent or None,
        "message": told,
        "budget": shown_standing(standing),
    }
