"""State of providers as /health shows it."""

from __future__ import annotations

import pytest

from routing.breaker import Breakers
from routing.health import Health, Seen, percentiles
from routing.limits import KeyRing
from routing.targets import Target

AT = 1_795_226_400.0  # 2026-11-21T02:00:00Z


def seen(ok: bool = True, status: int | None = 200, at: float = AT, latency_ms: float = 800, model: str = "m") -> Seen:
    error = None if ok else f"{status} server"
    return Seen("anthropic", model, ok, at, status, latency_ms, 300 if ok else None, error)


def test_the_entry_has_exactly_the_shape_of_the_contract(clock) -> None:
    health = Health()
    health.record(seen(at=AT + 634))
    health.record(seen(at=AT + 635))

    assert health.snapshot("anthropic", Breakers(clock), KeyRing(("a", "b"), clock)) == {
        "name": "anthropic",
        "status": "healthy",
        "breaker": "closed",
        "requests": 2,
        "errors": 0,
        "success_rate": 1.0,
        "latency_ms": {"p50": 800, "p95": 800},
        "first_event_ms": {"p50": 300, "p95": 300},
        "last_success": "2026-11-21T02:10:35Z",
        "last_failure": None,
        "last_error": None,
        "cooldown_s": 0,
        "keys": {"total": 2, "available": 2},
    }


def test_a_provider_that_was_never_asked_is_unknown(clock) -> None:
    entry = Health().snapshot("anthropic", Breakers(clock), KeyRing((), clock))

    assert (entry["status"], entry["requests"], entry["success_rate"]) == ("unknown", 0, None)
    assert entry["latency_ms"] == {"p50": None, "p95": None}


@pytest.mark.parametrize(
    ("attempts", "status"),
    [
        ("+", "healthy"),
        ("-", "degraded"),
        ("--", "degraded"),
        ("---", "unhealthy"),
        ("+-", "degraded"),
        ("-" + "+" * 20, "healthy"),
        ("--" + "+" * 18, "degraded"),
        ("-" * 10 + "+" * 10, "unhealthy"),
        ("-" * 9 + "+" * 11, "degraded"),
        ("+" * 100 + "-" * 20, "unhealthy"),
        ("....", "healthy"),
    ],
)
def test_the_status_follows_the_newest_attempts(clock, attempts: str, status: str) -> None:
    """+ answered, - the vendor failed, . the vendor found the request wrong."""
    health = Health()
    for sign in attempts:
        health.record(seen(sign == "+", {"+": 200, "-": 500, ".": 400}[sign]))

    assert health.snapshot("anthropic", Breakers(clock), KeyRing((), clock))["status"] == status


def test_a_wrong_request_is_no_error_of_the_provider(clock) -> None:
    health = Health()
    for status in (400, 404, 413, 422, 429):
        health.record(seen(False, status))
    entry = health.snapshot("anthropic", Breakers(clock), KeyRing((), clock))

    assert (entry["requests"], entry["errors"], entry["success_rate"]) == (5, 1, 0.8)
    assert entry["last_error"] == "429 server"


def test_breakers_and_keys_show(clock) -> None:
    breakers, keys, health = Breakers(clock, threshold=1), KeyRing(("a",), clock), Health()
    health.record(seen())
    breakers.of(Target("anthropic", "ill")).failed()
    breakers.of(Target("anthropic", "well"))
    entry = health.snapshot("anthropic", breakers, keys)
    assert (entry["status"], entry["breaker"], entry["cooldown_s"]) == ("degraded", "open", 30)

    breakers.of(Target("anthropic", "well")).failed()
    assert health.snapshot("anthropic", breakers, keys)["status"] == "unhealthy"

    keys.cool(0, 45)
    entry = health.snapshot("anthropic", Breakers(clock), keys)
    assert (entry["status"], entry["cooldown_s"]) == ("degraded", 45)
    assert entry["keys"] == {"total": 1, "available": 0}


def test_counts_run_on_while_rates_look_at_the_window(clock) -> None:
    health = Health(window=10)
    for _ in range(5):
        health.record(seen(False, 500, latency_ms=9999))
    for number in range(20):
        health.record(seen(latency_ms=number))
    entry = health.snapshot("anthropic", Breakers(clock), KeyRing((), clock))

    assert (entry["requests"], entry["errors"], entry["success_rate"]) == (25, 5, 1.0)
    assert entry["latency_ms"] == {"p50": 14, "p95": 19}


def test_latencies_are_those_of_answers(clock) -> None:
    """A connection that is refused in a millisecond does not make a provider fast."""
    health = Health()
    health.record(seen(latency_ms=500))
    for _ in range(9):
        health.record(seen(False, 503, latency_ms=1))

    assert health.provider("anthropic").latency_ms() == {"p50": 500, "p95": 500}


def test_health_is_restored_from_rows_in_any_order(clock) -> None:
    live, restored = Health(), Health()
    rows = [seen(number % 3 > 0, 200 if number % 3 else 503, AT + number, number) for number in range(30)]
    for row in rows:
        live.record(row)
    restored.restore(reversed(rows))
    there = (Breakers(clock), KeyRing(("a",), clock))

    assert restored.snapshot("anthropic", *there) == live.snapshot("anthropic", *there)


def test_targets_are_kept_apart_and_bounded() -> None:
    health = Health()
    for number in range(3000):
        health.record(seen(model=f"m{number}"))

    assert health.target("anthropic", "m2999").requests == 1
    assert health.target("anthropic", "m0").requests == 0
    assert health.provider("anthropic").requests == 3000
    assert len(health._targets) <= 1024


@pytest.mark.parametrize(
    ("values", "p50", "p95"),
    [([], None, None), ([7], 7, 7), ([1, 2], 1, 2), (list(range(1, 101)), 50, 95), ([3, 1, 2], 2, 3)],
)
def test_percentiles_by_nearest_rank(values: list[float], p50: float, p95: float) -> None:
    assert percentiles(values) == {"p50": p50, "p95": p95}
