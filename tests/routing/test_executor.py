"""A chain is tried until one target answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from routing.breaker import Breakers
from routing.errors import AttemptFailed, ChainExhausted, NotSent, Unfit
from routing.executor import Attempted, Outcome, run
from routing.limits import KeyRing
from routing.retry import Patience, RetryBudget, action_for
from routing.targets import Target
from translators.neutral import ErrorKind, Failure

A, B, C = Target("a", "m"), Target("b", "m"), Target("c", "m")

FAILURES = {
    "400": Failure("invalid_request", "wrong", 400),
    "404": Failure("not_found", "no model", 404),
    "long": Failure("context_length", "too long", 400),
    "filter": Failure("content_filter", "no", 400),
    "401": Failure("authentication", "bad key sk-secret", 401),
    "402": Failure("billing", "", 402),
    "403": Failure("permission", "", 403),
    "409": Failure("invalid_request", "", 409),
    "429": Failure("rate_limit", "", 429),
    "429+2": Failure("rate_limit", "", 429, retry_after_s=2),
    "429+9": Failure("rate_limit", "", 429, retry_after_s=9),
    "429+60": Failure("rate_limit", "", 429, retry_after_s=60),
    "302": Failure("invalid_response", "", 302),
    "500": Failure("server", "", 500),
    "529": Failure("overloaded", "", 529),
    "504": Failure("timeout", "", 504),
    "refused": Failure("connection", "", 502),
    "html": Failure("invalid_response", "", 502),
}


@dataclass
class World:
    """Providers that answer by script; the last line of a script is repeated for ever. `ok` answers."""

    clock: Any
    scripts: dict[str, list[str]]
    keys: dict[str, int] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    budget: RetryBudget | None = None

    def __post_init__(self) -> None:
        self.budget = self.budget or RetryBudget(self.clock)
        self.breakers = Breakers(self.clock)
        self.rings = {
            name: KeyRing([f"key{number}" for number in range(self.keys.get(name, 1))], self.clock)
            for name in self.scripts
        }

    async def attempt(self, target: Target, key: str | None, deadline: float) -> str:
        script = self.scripts[target.provider]
        said = script.pop(0) if len(script) > 1 else script[0]
        self.calls.append(f"{target.provider}:{(key or '')[-1]}")
        if said == "ok":
            return target.provider
        if said == "504":
            self.clock.advance(5)
        raise AttemptFailed(FAILURES[said])

    async def run(self, *chain: Target, budget_s: float = 60, **options: Any) -> Outcome[str]:
        return await run(
            chain,
            options.pop("attempt", self.attempt),
            breakers=self.breakers,
            key_rings=self.rings,
            deadline=self.clock() + budget_s,
            now=self.clock,
            sleep=self.clock.sleep,
            rng=Random(3),
            budget=self.budget,
            **options,
        )

    async def exhausted(self, *chain: Target, **options: Any) -> ChainExhausted:
        with pytest.raises(ChainExhausted) as raised:
            await self.run(*chain, **options)
        return raised.value

    def open(self, target: Target) -> None:
        for _ in range(5):
            self.breakers.of(target).failed()


@pytest.mark.parametrize("first", ["401", "402", "403", "409", "429", "429+60", "302", "500", "529", "refused", "html"])
async def test_a_failing_target_hands_over_without_a_pause(clock, first: str) -> None:
    world = World(clock, {"a": [first], "b": ["ok"]})
    outcome = await world.run(A, B)

    assert (outcome.value, world.calls, clock.slept) == ("b", ["a:0", "b:0"], [])
    assert [made.failure and made.failure.status for made in outcome.attempts] == [FAILURES[first].status, None]


@pytest.mark.parametrize("wrong", ["400", "404", "long", "filter"])
async def test_a_request_that_is_wrong_stops_the_chain(clock, wrong: str) -> None:
    world = World(clock, {"a": [wrong], "b": ["ok"]})
    error = await world.exhausted(A, B)

    assert (error.failure, world.calls) == (FAILURES[wrong], ["a:0"])
    assert world.breakers.of(A).state == "closed"


async def test_a_route_may_fall_back_after_a_context_overflow(clock) -> None:
    world = World(clock, {"a": ["long"], "b": ["ok"]})

    assert (await world.run(A, B, fallback_on={"context_length"})).value == "b"


@pytest.mark.parametrize("refusal", ["401", "402", "403", "429"])
async def test_a_refused_key_hands_over_to_the_next_key_first(clock, refusal: str) -> None:
    world = World(clock, {"a": [refusal, "ok"], "b": ["ok"]}, keys={"a": 2})
    outcome = await world.run(A, B)

    assert (outcome.value, world.calls, outcome.attempts[1].key_index) == ("a", ["a:0", "a:1"], 1)
    world.calls.clear()
    await world.run(A, B)
    assert world.calls == ["a:1"]


async def test_every_key_of_a_target_is_tried_once(clock) -> None:
    world = World(clock, {"a": ["401"], "b": ["ok"]}, keys={"a": 2})
    outcome = await world.run(A, B)

    assert (outcome.value, world.calls) == ("b", ["a:0", "a:1", "b:0"])


@pytest.mark.parametrize("fault", ["500", "529", "refused", "html", "409"])
async def test_the_last_target_is_asked_once_more_after_a_pause(clock, fault: str) -> None:
    world = World(clock, {"a": [fault, "ok"]})
    outcome = await world.run(A)

    assert (outcome.value, world.calls) == ("a", ["a:0", "a:0"])
    assert 0 <= clock.slept[0] <= 0.5


@pytest.mark.parametrize("fault", ["401", "403", "429", "429+60", "302"])
async def test_what_would_not_help_is_not_repeated(clock, fault: str) -> None:
    world = World(clock, {"a": [fault, "ok"]})
    await world.exhausted(A)

    assert (len(world.calls), clock.slept) == (1, [])


async def test_a_short_retry_after_is_waited_for_at_the_end_of_the_chain(clock) -> None:
    world = World(clock, {"a": ["429+2", "ok"], "b": ["429+9"]})
    outcome = await world.run(A, B)

    assert (outcome.value, world.calls) == ("a", ["a:0", "b:0", "a:0"])
    assert 2 <= clock.slept[0] <= 2.2


async def test_a_wait_that_does_not_fit_before_the_deadline_is_not_begun(clock) -> None:
    world = World(clock, {"a": ["429+9", "ok"]})
    error = await world.exhausted(A, budget_s=8)

    assert (error.failure.retry_after_s, clock.slept) == (9, [])


async def test_one_deadline_holds_for_all_attempts(clock) -> None:
    world = World(clock, {"a": ["504"], "b": ["504"], "c": ["ok"]})
    error = await world.exhausted(A, B, C, budget_s=9)

    assert (world.calls, error.failure.kind) == (["a:0", "b:0"], "timeout")
    assert (await world.exhausted(C, budget_s=0)).failure.status == 504


async def test_repeats_need_the_budget(clock) -> None:
    world = World(clock, {"a": ["500", "ok"]}, budget=RetryBudget(clock, minimum=0))
    await world.exhausted(A)

    assert len(world.calls) == 1


async def test_every_key_is_tried_before_the_request_is_given_up(clock) -> None:
    world = World(clock, {"a": ["401", "402", "403", "429", "ok"]}, keys={"a": 5})
    outcome = await world.run(A)

    assert (outcome.value, len(outcome.attempts)) == ("a", 5)


async def test_attempts_are_limited(clock) -> None:
    world = World(clock, {"a": ["401"], "b": ["ok"]}, keys={"a": 9})
    error = await world.exhausted(A, B, patience=Patience(max_attempts=4))

    assert (len(world.calls), len(error.attempts)) == (4, 4)


async def test_an_open_breaker_costs_nothing(clock) -> None:
    world = World(clock, {"a": ["504"], "b": ["ok"]})
    world.open(A)
    outcome = await world.run(A, B)

    assert (outcome.value, world.calls, len(outcome.attempts)) == ("b", ["b:0"], 1)


async def test_the_last_usable_target_is_tried_in_spite_of_its_breaker(clock) -> None:
    """An open breaker must not turn everything off; a success then closes it."""
    world = World(clock, {"a": ["ok"], "b": ["ok"]})
    world.open(A)
    world.open(B)
    outcome = await world.run(A, B)

    assert (outcome.value, world.breakers.of(A).state) == ("a", "closed")


async def test_when_all_are_open_the_one_that_takes_a_probe_goes_first(clock) -> None:
    world = World(clock, {"a": ["ok"], "b": ["ok"]})
    world.open(B)
    clock.advance(30)
    world.open(A)

    assert (await world.run(A, B)).value == "b"


async def test_a_key_that_may_have_recovered_goes_before_a_server_that_is_down(clock) -> None:
    """Both are a last resort; the one whose breaker lets requests through is tried."""
    world = World(clock, {"a": ["ok"], "b": ["401", "ok"]})
    await world.exhausted(B)
    world.open(A)

    assert (await world.run(A, B)).value == "b"


async def test_a_target_behind_an_open_breaker_is_not_repeated(clock) -> None:
    """An outage costs one call per request once the breaker is open."""
    world = World(clock, {"a": ["refused"]})
    for _ in range(100):
        await world.exhausted(A)

    assert len(world.calls) <= 130


async def test_recovery_is_seen_within_the_cooldown(clock) -> None:
    world = World(clock, {"a": ["refused"], "b": ["ok"]})
    for _ in range(5):
        await world.run(A, B)
    world.scripts["a"] = ["ok"]
    assert (await world.run(A, B)).value == "b"
    clock.advance(30)

    assert (await world.run(A, B)).value == "a"


async def test_an_answer_that_has_only_begun_is_no_success_yet(clock) -> None:
    """How it ends is told to the breaker by whoever reads it."""
    world = World(clock, {"a": ["ok"]})
    for _ in range(5):
        await world.run(A, whole=lambda _answer: False)
        world.breakers.of(A).failed()

    assert world.breakers.of(A).state == "open"


async def test_going_on_with_a_request_is_no_request_and_its_first_step_may_be_a_retry(clock) -> None:
    """A target that is well may always be asked; one that fails, too, only as often as the budget of retries allows."""
    world = World(clock, {"a": ["ok"], "b": ["ok"]}, budget=RetryBudget(clock))
    assert (await world.run(A, again=True)).value == "a"
    assert (world.budget.hand_overs, world.budget.retries) == (1, 0)

    for target in (A, B):
        world.breakers.of(target).failed()
        world.breakers.of(target).failed()
    whole = {"whole": lambda _answer: False}
    for _ in range(3):
        await world.run(A, B, again=True, **whole)
    error = await world.exhausted(A, B, again=True)

    assert (world.budget.hand_overs, world.budget.retries) == (1, 3)
    assert (error.attempts, len(error.skipped), world.calls) == ((), 2, ["a:0"] * 4)


async def test_keys_that_wait_for_the_vendor_fail_the_request_at_once(clock) -> None:
    world = World(clock, {"a": ["429+60"], "b": ["429+9"]})
    await world.exhausted(A, B)
    world.calls.clear()
    error = await world.exhausted(A, B)

    assert (world.calls, error.failure.kind, error.failure.status) == ([], "rate_limit", 429)
    assert error.failure.retry_after_s == pytest.approx(9, abs=0.1)
    assert "not tried" in str(error)


async def test_one_stray_401_does_not_turn_the_only_provider_off(clock) -> None:
    world = World(clock, {"a": ["401", "ok"]})
    await world.exhausted(A)

    assert (await world.run(A)).value == "a"
    assert world.rings["a"].available == 1


async def test_a_target_whose_keys_rest_is_passed_over(clock) -> None:
    world = World(clock, {"a": ["ok"], "b": ["ok"]})
    world.rings["a"].cool(0, 60)

    assert (await world.run(A, B)).value == "b"


@pytest.mark.parametrize(
    ("scripts", "kind", "status", "retry_after_s"),
    [
        (("429+60", "429+9", "429"), "rate_limit", 429, 9),
        (("429", "429", "429"), "rate_limit", 429, None),
        (("500", "429+60", "401"), "server", 500, None),
        (("401", "529", "refused"), "overloaded", 529, None),
        (("refused", "html", "403"), "connection", 502, None),
        (("401", "402", "429+60"), "rate_limit", 429, 60),
        (("401", "403", "401"), "permission", 403, None),
        (("401", "401", "401"), "authentication", 401, None),
        (("500", "400", "ok"), "invalid_request", 400, None),
        (("302", "302", "302"), "invalid_response", 302, None),
    ],
)
async def test_the_most_telling_failure_is_reported(
    clock, scripts: tuple[str, ...], kind: ErrorKind, status: int, retry_after_s: float | None
) -> None:
    world = World(clock, {name: [said] for name, said in zip("abc", scripts, strict=True)})
    error = await world.exhausted(A, B, C)

    assert (error.failure.kind, error.failure.status, error.failure.retry_after_s) == (kind, status, retry_after_s)


async def test_the_message_lists_every_attempt_but_not_the_vendors_words(clock) -> None:
    world = World(clock, {"a": ["401"], "b": ["500"], "c": ["ok"]})
    world.open(C)
    error = await world.exhausted(A, B, C, patience=Patience(repeats=0))

    assert str(error) == (
        "2 attempts failed: a/m: 401 authentication; b/m: 500 server; c/m: not tried, its breaker is open for 30 s"
    )
    assert "(cleaned)" in error.describe(lambda said: "cleaned")
    assert "secret" not in error.describe(lambda said: said.replace("sk-secret", "sk-…"))


async def test_cancellation_goes_through_and_gives_the_probe_back(clock) -> None:
    world = World(clock, {"a": ["ok"]})
    world.open(A)
    clock.advance(30)
    begun = asyncio.Event()

    async def hang(*_: object) -> str:
        begun.set()
        await asyncio.Event().wait()
        return ""

    task = asyncio.create_task(world.run(A, attempt=hang))
    await begun.wait()
    assert not world.breakers.of(A).ready
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (world.breakers.of(A).state, world.breakers.of(A).ready) == ("half_open", True)
    assert world.budget.in_flight == 0


async def test_a_defect_of_the_attempt_is_not_taken_for_a_failure_of_the_server(clock) -> None:
    world = World(clock, {"a": ["ok"], "b": ["ok"]})

    async def defect(*_: object) -> str:
        raise ZeroDivisionError

    for _ in range(9):
        with pytest.raises(ZeroDivisionError):
            await world.run(A, B, attempt=defect)

    assert (world.breakers.of(A).state, world.budget.in_flight) == ("closed", 0)


@pytest.mark.parametrize("seed", range(200))
async def test_invariants_hold_under_random_faults(clock, seed: int) -> None:
    """Any mixture of faults: bounded attempts and time, no pause before a hand-over, an answer wherever one was due."""
    rng = Random(seed)
    chain = tuple(Target(name, "m") for name in "abcd"[: rng.randint(1, 4)])
    moods = {target.provider: rng.choice(["ok", "flaky", *FAILURES]) for target in chain}
    world = World(
        clock,
        {name: ["ok"] for name in moods},
        keys={name: rng.randint(1, 3) for name in moods},
    )
    tally = {"ok": 0, "failed": 0}

    async def attempt(target: Target, key: str | None, deadline: float) -> str:
        mood = moods[target.provider]
        said = rng.choice(["ok", *FAILURES]) if mood == "flaky" else mood
        clock.advance(min(rng.random() * 3, max(0.0, deadline - clock())))
        world.calls.append(target.provider)
        if said == "ok":
            return target.provider
        raise AttemptFailed(FAILURES[said])

    for _ in range(40):
        if rng.random() < 0.1:
            moods[rng.choice(chain).provider] = rng.choice(["ok", "flaky", *FAILURES])
        started, before, slept = clock(), len(world.calls), len(clock.slept)
        try:
            outcome = await world.run(*chain, budget_s=20, attempt=attempt)
            attempts = outcome.attempts
            tally["ok"] += 1
            assert attempts[-1].failure is None
            assert outcome.value == attempts[-1].target.provider
            assert all(made.failure is not None for made in attempts[:-1])
        except ChainExhausted as error:
            attempts = error.attempts
            tally["failed"] += 1
            check_the_report(error, chain, moods)
        assert len(attempts) == len(world.calls) - before <= attempt_limit(attempts, chain)
        assert clock() - started <= 20
        assert len(clock.slept) - slept <= 1
        assert all(left.ended <= right.started for left, right in pairwise(attempts))
        assert world.budget.in_flight == 0
        clock.advance(rng.random() * 20)
    if all(mood == "ok" for mood in moods.values()):
        assert tally["ok"]


def attempt_limit(attempts: Sequence[Attempted], chain: tuple[Target, ...]) -> int:
    """Three or one for each target; refused keys do not count."""
    refused = sum(1 for made in attempts if made.failure and action_for(made.failure) == "next_key")
    return max(3, len(chain)) + refused


def check_the_report(error: ChainExhausted, chain: tuple[Target, ...], moods: dict[str, str]) -> None:
    named = {made.target for made in error.attempts} | {left.target for left in error.skipped}
    failures = [made.failure for made in error.attempts]
    assert str(error)
    assert all(target.name in str(error) for target in named)
    if failures:
        kinds = {failure.kind for failure in failures if failure}
        assert error.failure.kind in kinds
    else:
        assert error.failure.kind in {"rate_limit", "timeout"}
    stopped = failures and failures[-1] and failures[-1].kind in {"invalid_request", "not_found"}
    cut = len(error.attempts) >= attempt_limit(error.attempts, chain)
    if not stopped and not cut and error.failure.kind not in {"context_length", "content_filter", "timeout"}:
        assert named == set(chain)


async def test_a_hundred_concurrent_requests_share_breaker_keys_and_budget() -> None:
    """Real tasks over a dead first target: all answered by the second, the breaker open after the first wave."""
    loop_now: Callable[[], float] = asyncio.get_running_loop().time
    breakers, budget = Breakers(loop_now), RetryBudget(loop_now)
    rings = {name: KeyRing(("k",), loop_now) for name in "ab"}
    calls: list[str] = []

    async def attempt(target: Target, key: str | None, deadline: float) -> str:
        calls.append(target.provider)
        await asyncio.sleep(0)
        if target is A:
            raise AttemptFailed(FAILURES["refused"])
        return "b"

    async def one() -> str:
        outcome = await run(
            (A, B),
            attempt,
            breakers=breakers,
            key_rings=rings,
            deadline=loop_now() + 5,
            now=loop_now,
            sleep=asyncio.sleep,
            rng=Random(1),
            budget=budget,
        )
        return outcome.value

    for _ in range(2):
        assert await asyncio.gather(*(one() for _ in range(100))) == ["b"] * 100

    assert calls.count("a") == 100
    assert calls.count("b") == 200


# --- our own limits


@dataclass
class Doors:
    """Targets that have no room; *opens* is the one that gets some, if anybody waits for it."""

    shut: set[str]
    opens: str = ""
    said: list[str] = field(default_factory=list)

    def enter(self, target: Target, key_index: int) -> NotSent | None:
        self.said.append(f"enter {target.provider}:{key_index}")
        refused = target.provider in self.shut
        return NotSent(Failure("overloaded", "full", 503, retry_after_s=4)) if refused else None

    async def turn(self, steps: Sequence[tuple[Target, int]], deadline: float) -> tuple[Target, int]:
        self.said.append("turn " + " ".join(f"{target.provider}:{index}" for target, index in steps))
        for target, index in steps:
            if target.provider == self.opens:
                return target, index
        raise NotSent(Failure("rate_limit", "too late", 429, retry_after_s=9))

    def leave(self, target: Target, key_index: int) -> None:
        self.said.append(f"leave {target.provider}:{key_index}")


async def test_a_target_without_room_is_passed_over_and_not_waited_for(clock) -> None:
    world, doors = World(clock, {"a": ["ok"], "b": ["ok"]}), Doors({"a"}, opens="a")
    outcome = await world.run(A, B, doors=doors)

    assert (outcome.value, doors.said) == ("b", ["enter a:0", "enter b:0", "leave b:0"])


async def test_every_key_is_looked_at_before_a_target_is_passed_over(clock) -> None:
    world, doors = World(clock, {"a": ["ok"], "b": ["ok"]}, keys={"a": 2}), Doors({"a"})
    await world.run(A, B, doors=doors)

    assert doors.said[:3] == ["enter a:0", "enter a:1", "enter b:0"]


async def test_a_place_is_waited_for_when_no_other_target_answers(clock) -> None:
    world, doors = World(clock, {"a": ["ok"], "b": ["500"]}), Doors({"a"}, opens="a")
    outcome = await world.run(A, B, doors=doors)

    assert (outcome.value, world.calls) == ("a", ["b:0", "a:0"])
    assert doors.said[-2:] == ["turn a:0", "leave a:0"]


async def test_who_waits_in_vain_is_told_when_to_come_again(clock) -> None:
    world, doors = World(clock, {"a": ["ok"]}), Doors({"a"})
    with pytest.raises(NotSent) as raised:
        await world.run(A, doors=doors)

    assert (raised.value.failure.retry_after_s, world.calls) == (4, [])


async def test_a_failing_target_is_not_gone_on_to_when_the_budget_is_used_up(clock) -> None:
    """A target that is well is, whatever the budget says."""
    world = World(clock, {"a": ["500"], "b": ["ok"], "c": ["ok"]}, budget=RetryBudget(clock, minimum=0))
    for _ in range(2):
        world.breakers.of(B).failed()
    outcome = await world.run(A, B, C)

    assert (outcome.value, world.calls) == ("c", ["a:0", "c:0"])


# --- targets that the request does not fit

UNFIT = Failure("invalid_request", "seed: would be dropped", 400, "loss_rejected")


def unfit_at(world: World, *places: str, answered: Failure | None = None) -> Any:
    """What *world* does, but at *places*, which the request cannot be put to; *answered*: what those said first."""

    async def attempt(target: Target, key: str | None, deadline: float) -> str:
        if target.provider in places:
            raise Unfit(UNFIT, answered)
        return await world.attempt(target, key, deadline)

    return attempt


async def test_a_request_that_fits_no_target_is_its_clients(clock) -> None:
    world = World(clock, {"a": ["ok"], "b": ["ok"]})
    with pytest.raises(Unfit) as raised:
        await world.run(A, B, attempt=unfit_at(world, "a", "b"))

    assert (raised.value.failure, world.calls) == (UNFIT, [])
    assert {world.breakers.of(target).state for target in (A, B)} == {"closed"}


async def test_a_target_that_it_does_not_fit_is_passed_over(clock) -> None:
    world = World(clock, {"a": ["ok"], "b": ["ok"]})

    assert (await world.run(A, B, attempt=unfit_at(world, "a"))).value == "b"


@pytest.mark.parametrize(("fault", "status"), [("500", 500), ("429", 429), ("refused", 502)])
async def test_the_failure_of_a_target_that_it_fits_is_told(clock, fault: str, status: int) -> None:
    """Every attempt, and why the other one was none."""
    world = World(clock, {"a": [fault], "b": ["ok"]})
    error = await world.exhausted(A, B, attempt=unfit_at(world, "b"), patience=Patience(repeats=0))

    assert error.failure.status == status
    assert "b/m: not tried, seed: would be dropped" in str(error)


@pytest.mark.parametrize("rests", ["breaker", "key"])
async def test_the_only_target_that_it_fits_is_asked_as_if_it_stood_alone(clock, rests: str) -> None:
    """A breaker, or a key that is thought to be bad, does not leave the others to speak for it."""
    world = World(clock, {"a": ["401", "ok"] if rests == "key" else ["ok"], "b": ["ok"]})
    if rests == "key":
        await world.exhausted(A)
    else:
        world.open(A)

    assert (await world.run(A, B, attempt=unfit_at(world, "b"))).value == "a"


async def test_a_wait_that_the_vendor_asked_for_is_told_though_others_do_not_fit(clock) -> None:
    world = World(clock, {"a": ["429+60"], "b": ["ok"]})
    await world.exhausted(A)
    world.calls.clear()
    error = await world.exhausted(A, B, attempt=unfit_at(world, "b"))

    assert (error.failure.kind, error.failure.retry_after_s, world.calls) == ("rate_limit", 60, [])


async def test_a_target_that_was_asked_in_vain_is_an_attempt(clock) -> None:
    """It refused a field that the client will not do without; what ends the chain is the other one's trouble."""
    world = World(clock, {"a": ["ok"], "b": ["500"]})
    refusing = unfit_at(world, "a", answered=FAILURES["400"])
    error = await world.exhausted(A, B, attempt=refusing, patience=Patience(repeats=0))

    assert [(made.target, made.failure) for made in error.attempts] == [(A, FAILURES["400"]), (B, FAILURES["500"])]
    assert error.failure == FAILURES["500"]
