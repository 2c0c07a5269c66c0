"""Unexpected exceptions at a webhook: once each, signed, bounded, without what they say."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from proxy import incidents
from proxy.config.model import ErrorSettings
from proxy.incidents import KNOWN, WAITING, Incidents, telling_of_errors
from proxy.server import Incoming, Table
from proxy.services import Services
from tests.proxy.conftest import Serve
from tests.proxy.test_metrics import samples

SECRET = "whsec-0123456789abcdef"
CANARY = "sk-canary-0123456789abcdef"
log = logging.getLogger("modelport.test")


class Moving:
    """A monotonic clock; moves when told."""

    at = 1000.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Receiver:
    """What a webhook was sent. *statuses* are what it answers, the last one for ever."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [200])
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies]

    async def take(self, request: web.BaseRequest) -> web.Response:
        self.bodies.append(await request.read())
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.came.set()
        return web.Response(status=self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])

    async def until(self, count: int) -> None:
        """Wait until *count* have come."""
        async with asyncio.timeout(20):
            while len(self.bodies) < count:
                self.came.clear()
                await self.came.wait()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    runner = web.ServerRunner(web.Server(found.take))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    found.url = f"http://{host}:{port}/hook?token=abc"
    yield found
    await runner.cleanup()


@asynccontextmanager
async def listening(url: str | None, clock: Moving | None = None, **more: Any) -> AsyncIterator[Incidents]:
    """Incidents that hear of everything, and tell when they are asked to `deliver`."""
    settings = ErrorSettings.model_validate({**({"webhook": url} if url else {}), **more})
    async with aiohttp.ClientSession() as session:
        found = Incidents(session, lambda: settings, lambda text: text.replace(CANARY, "[key]"), clock or Moving())
        logging.getLogger().addHandler(found)
        try:
            yield found
        finally:
            logging.getLogger().removeHandler(found)


def broken(kind: type[Exception] = ValueError) -> None:
    raise kind(f"with {CANARY} in it")


def report(kind: type[Exception] = ValueError, text: str = "it broke") -> None:
    """As the edge of a task does."""
    try:
        broken(kind)
    except Exception:
        log.exception("%s (%s)", text, CANARY)


async def test_what_is_told_and_that_it_is_signed(receiver: Receiver) -> None:
    async with listening(receiver.url, webhook_secret=SECRET) as found:
        report()
        await found.deliver()

    (told,), (headers,) = receiver.told, receiver.headers
    at, _, given = headers["x-modelport-signature"].removeprefix("t=").partition(",v1=")
    assert given == hmac.new(SECRET.encode(), f"{at}.".encode() + receiver.bodies[0], hashlib.sha256).hexdigest()
    assert headers["x-modelport-error"] == told["id"]
    assert (told["event"], told["exception"], told["logger"]) == ("error", "builtins.ValueError", "modelport.test")
    assert told["message"] == "it broke ([key])"
    assert told["where"][-1].endswith(" broken")
    assert (told["count"], told["request_id"]) == (1, None)
    assert CANARY not in receiver.bodies[0].decode()
    assert (found.seen, found.shed) == (1, 0)


async def test_the_same_again_is_counted_and_told_later(receiver: Receiver) -> None:
    clock = Moving()
    async with listening(receiver.url, clock, repeat_s=60) as found:
        for _ in range(5):
            report()
        report(KeyError)
        await found.deliver()
        clock.at += 61
        report()
        await found.deliver()

    assert [(each["exception"], each["count"]) for each in receiver.told] == [
        ("builtins.ValueError", 1),
        ("builtins.KeyError", 1),
        ("builtins.ValueError", 5),
    ]
    assert (found.seen, found.told, found.shed) == (7, 3, 4)


async def test_an_hour_has_so_many(receiver: Receiver) -> None:
    clock = Moving()
    kinds = [ValueError, KeyError, TypeError, OSError]
    async with listening(receiver.url, clock, per_hour=2) as found:
        for kind in kinds:
            report(kind)
        await found.deliver()
        clock.at += 3601
        report(kinds[3])
        await found.deliver()

    assert [each["count"] for each in receiver.told] == [1, 1, 2]
    assert (found.told, found.shed) == (3, 2)


async def test_it_is_tried_again_and_then_left_to_the_log(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(incidents, "PAUSE_S", 0.0)
    receiver.statuses = [500, 302, 200, 503]
    async with listening(receiver.url) as found:
        report()
        await found.deliver()
        report(KeyError)
        await found.deliver()

    assert [each["exception"][9:] for each in receiver.told] == ["ValueError"] * 3 + ["KeyError"] * 3
    assert (found.told, found.shed) == (1, 1)
    (said,) = [each.getMessage() for each in caplog.records if each.name == "modelport.incidents"]
    assert said == f"the webhook of [errors] did not accept {receiver.told[-1]['id']} (status 503)"
    assert "token" not in said


async def test_a_storm_is_bounded() -> None:
    """Before anything of it can be sent."""
    async with listening("http://127.0.0.1:9/", per_hour=100_000) as found:
        for number in range(KNOWN + WAITING):
            report(type(f"Fault{number}", (Exception,), {}))

        assert len(found._waiting) == WAITING
        assert len(found._faults) == KNOWN
        assert found.seen == KNOWN + WAITING


async def test_without_a_webhook_they_are_counted() -> None:
    async with listening(None) as found:
        report()
        log.error("no exception")
        logging.getLogger("strangers").exception("not ours", exc_info=ValueError())

    assert (found.seen, found.shed) == (1, 0)


async def test_afterwards_nobody_listens() -> None:
    async with aiohttp.ClientSession() as session:
        found = Incidents(session, ErrorSettings, str)
        async with telling_of_errors(found):
            assert found in logging.getLogger().handlers
        report()

    assert found.seen == 0
    assert found not in logging.getLogger().handlers


async def test_a_handler_that_breaks_is_told_with_its_request(
    serve: Serve, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the outside: a request whose handler has a fault."""

    async def faulty(_services: Services, _incoming: Incoming) -> web.StreamResponse:
        raise ZeroDivisionError(CANARY)

    server = await serve(f'[errors]\nwebhook = "{receiver.url}"')
    _replaced(monkeypatch, "/health", faulty)

    reply = await server.get("/health")
    await receiver.until(1)

    (told,) = receiver.told
    assert reply.status == 500
    assert told["exception"] == "builtins.ZeroDivisionError"
    assert told["request_id"].startswith("req_")
    assert any(each.startswith("proxy/app.py:") for each in told["where"])
    assert CANARY not in receiver.bodies[0].decode()
    assert samples(await server.get("/metrics"))["modelport_errors_total", ()] == 1


def _replaced(monkeypatch: pytest.MonkeyPatch, path: str, handler: Callable[..., Any]) -> None:
    """Let the route of *path* have another handler."""
    found = Table.find

    def find(self: Table, method: str, raw: str, **how: Any) -> Any:
        route, parameter = found(self, method, raw, **how)
        return (replace(route, handler=handler) if route.path == path else route), parameter

    monkeypatch.setattr(Table, "find", find)
