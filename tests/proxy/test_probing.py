"""Providers that are asked by themselves whether they answer: only where that was configured."""

from __future__ import annotations

import asyncio
import itertools
import time

from proxy.probing import Schedule, _due, _probe
from tests.proxy.conftest import Serve
from tests.proxy.serving import provider, says
from tests.replay import Upstream


async def test_a_provider_is_probed_after_its_interval_and_within_its_budget(upstream: Upstream, serve: Serve) -> None:
    more = 'models = ["m"]\nprobe_interval_s = 60\nprobes_per_day = 3'
    server = await serve(provider("a", upstream, more=more), provider("b", upstream, more='models = ["m"]'))
    specs, schedule = server.services.setup.specs, Schedule()
    times = list(itertools.islice(itertools.count(1_000_000.0, 30.0), 12))

    assert [at for at in times if schedule.is_due(specs["a"], 0.0, at)] == [1_000_000.0, 1_000_060.0, 1_000_120.0]
    assert not any(schedule.is_due(specs["b"], 0.0, at) for at in times)
    assert schedule.is_due(specs["a"], 0.0, 1_000_000.0 + 86_400)


async def test_who_was_asked_by_somebody_is_left_alone(upstream: Upstream, serve: Serve) -> None:
    upstream.script("m", says())
    server = await serve(provider("a", upstream, more='models = ["m"]\nprobe_interval_s = 60'))
    await server.ask(model="a/m")
    await server.services.drain()

    assert _due(server.services, Schedule()) == []
    assert Schedule().is_due(server.services.setup.specs["a"], time.time() - 61, time.time())


async def test_a_probe_is_booked_and_seen_by_health(upstream: Upstream, serve: Serve) -> None:
    upstream.script("m", says())
    server = await serve(provider("a", upstream, more='models = ["m"]\nprobe_interval_s = 3600'))
    await asyncio.wait_for(_probe(server.services, [server.services.setup.specs["a"]]), 5)

    assert [(row["route"], row["status"]) for row in await server.rows()] == [("probe", "ok")]
    assert server.services.health.provider("a").requests == 1
