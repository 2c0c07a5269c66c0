"""Wrong keys: who tries many is told to wait, and nobody else."""

from __future__ import annotations

import time

import pytest

from proxy.errors import UnknownKey
from proxy.guesses import Guesses, network
from tests.proxy.conftest import Serve
from tests.proxy.keyed import KEYS_ONLY, bearer, make, send

WRONG = UnknownKey("the key is not known")
LIMIT = 4
LIMITED = KEYS_ONLY + f"wrong_keys_per_minute = {LIMIT}\n"
NOBODY = bearer("mp-nobody")


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def answers(guesses: Guesses, address: str, count: int) -> list[int]:
    return [guesses.judged(WRONG, address, LIMIT).failure.status for _ in range(count)]


async def test_wrong_keys_beyond_the_limit_are_held_off(serve: Serve) -> None:
    """The answer says when to come again, that a machine should not, and the connection is closed."""
    server = await serve(LIMITED)
    statuses = [(await server.ask(NOBODY, model="demo/echo")).status for _ in range(LIMIT)]
    beyond = await server.ask(NOBODY, model="demo/echo")

    assert statuses == [401] * LIMIT
    assert (beyond.status, beyond.error["code"]) == (429, "too_many_wrong_keys")
    assert 0 < float(beyond.headers["retry-after"]) <= 60 / LIMIT
    assert beyond.headers["x-should-retry"] == "false"
    assert beyond.headers["connection"] == "close"


async def test_ten_wrong_keys_in_a_minute_are_the_limit_unless_it_is_another(serve: Serve) -> None:
    server = await serve(KEYS_ONLY)
    statuses = [(await server.ask(NOBODY, model="demo/echo")).status for _ in range(11)]

    assert statuses == [401] * 10 + [429]


async def test_a_right_key_gets_in_from_an_address_that_is_held_off(serve: Serve) -> None:
    """Many people may share an address; administration works, too."""
    server = await serve(LIMITED)
    made = await make(server)
    for _ in range(LIMIT + 1):
        last = await server.ask(NOBODY, model="demo/echo")
    right = await server.ask(bearer(made["key"]), model="demo/echo")
    listed = await send(server, "GET", "/api/v1/keys")

    assert last.status == 429
    assert (right.status, listed.status) == (200, 200)


@pytest.mark.parametrize("end", ["revoked", "replaced"])
async def test_a_key_that_was_somebodys_is_no_guess(serve: Serve, end: str) -> None:
    """A program that was forgotten hears each time what has become of its key."""
    server = await serve(LIMITED)
    made = await make(server)
    if end == "revoked":
        await send(server, "DELETE", f"/api/v1/keys/{made['id']}")
    else:
        await send(server, "POST", f"/api/v1/keys/{made['id']}/rotate")
    statuses = {(await server.ask(bearer(made["key"]), model="demo/echo")).status for _ in range(LIMIT + 2)}

    assert statuses == {401}
    assert server.services.guesses.wrong == 0


async def test_requests_without_a_key_are_no_guesses(serve: Serve) -> None:
    server = await serve(LIMITED)
    statuses = {(await server.ask(model="demo/echo")).status for _ in range(LIMIT + 2)}

    assert statuses == {401}


async def test_wrong_signatures_count_as_wrong_keys(serve: Serve) -> None:
    server = await serve(LIMITED)
    signed = {
        "x-modelport-key": "key_0",
        "x-modelport-time": str(int(time.time())),
        "x-modelport-signature": "0" * 64,
    }
    statuses = [(await server.ask(signed, model="demo/echo")).status for _ in range(LIMIT + 1)]

    assert statuses == [401] * LIMIT + [429]


async def test_where_no_key_is_needed_none_is_wrong(serve: Serve) -> None:
    """Clients have to send something."""
    server = await serve("[auth]\nwrong_keys_per_minute = 1\n")
    statuses = {(await server.ask(NOBODY, model="demo/echo")).status for _ in range(3)}

    assert statuses == {200}


async def test_health_and_metrics_count_wrong_keys(serve: Serve) -> None:
    server = await serve(LIMITED)
    for _ in range(LIMIT + 2):
        await server.ask(NOBODY, model="demo/echo")
    health = await send(server, "GET", "/health")
    metrics = await send(server, "GET", "/metrics")

    assert health.json["auth"] == {"wrong_keys": LIMIT + 2, "held_off": 2}
    assert f'modelport_wrong_keys_total{{status="401"}} {LIMIT}.0' in metrics.body.decode()
    assert 'modelport_wrong_keys_total{status="429"} 2.0' in metrics.body.decode()


async def test_the_answer_has_the_form_of_the_clients_dialect(serve: Serve) -> None:
    server = await serve(KEYS_ONLY + "wrong_keys_per_minute = 1\n")
    headers = {"x-api-key": "mp-nobody"}
    body = b'{"model":"demo/echo","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}'
    await server.request("POST", "/v1/messages", body, headers)
    reply = await server.request("POST", "/v1/messages", body, headers)

    assert (reply.status, reply.json["type"], reply.error["type"]) == (429, "error", "rate_limit_error")


def test_what_was_tried_is_forgotten_one_by_one() -> None:
    """With four a minute, there is room for another one every fifteen seconds, and after a minute for all four."""
    clock = Clock()
    guesses = Guesses(clock)
    first = answers(guesses, "192.0.2.1", LIMIT + 1)
    clock.at += 15
    second = answers(guesses, "192.0.2.1", 2)
    clock.at += 60
    third = answers(guesses, "192.0.2.1", LIMIT + 1)

    assert first == [401] * LIMIT + [429]
    assert second == [401, 429]
    assert third == [401] * LIMIT + [429]


def test_being_held_off_does_not_make_the_wait_longer() -> None:
    clock = Clock()
    guesses = Guesses(clock)
    answers(guesses, "192.0.2.1", LIMIT + 100)
    clock.at += 15

    assert answers(guesses, "192.0.2.1", 1) == [401]


def test_addresses_do_not_count_for_each_other() -> None:
    guesses = Guesses(Clock())
    answers(guesses, "192.0.2.1", LIMIT + 1)

    assert answers(guesses, "192.0.2.2", 1) == [401]


def test_the_memory_is_bounded_and_forgets_who_was_quiet_longest() -> None:
    guesses = Guesses(Clock(), most=3)
    answers(guesses, "192.0.2.0", LIMIT)
    for last in range(1, 100):
        answers(guesses, f"192.0.2.{last}", 1)
        answers(guesses, "198.51.100.7", LIMIT + 1)

    assert len(guesses) == 3
    assert answers(guesses, "192.0.2.0", 1) == [401]
    assert answers(guesses, "198.51.100.7", 1) == [429]


@pytest.mark.parametrize(
    ("remote", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
    ],
)
def test_networks_of_ipv6_count_as_one_address(remote: str, counted: str) -> None:
    assert network(remote) == counted
