"""How long a policy takes to decide, in microseconds, for ten targets that are all known.

Use: python benchmarks/policies.py [ROUNDS] [--write]        (`make bench-policies`)

- order: the policy's own function, view given;
- decision: the view made, who can take the request, the policy, and for `sticky` and `affinity` what lies in caches;
- length: counting the request roughly, which is done once for each and grows with its text (here 2 KB).

Each number is the mean over REPEATS calls in CPU time of this thread, the least of ROUNDS. The promise is 50 us an
order. With `--write` the table goes into benchmarks/policies.md.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final

from routing.abilities import fits, ranks
from routing.affinity import Affinity, keep_to_caches, prefix_of
from routing.breaker import Breakers
from routing.health import Health
from routing.latency import Latencies
from routing.policies import POLICIES, Caller, Options, View
from routing.pricing import Price, PriceBook
from routing.rate_card import RateCard
from routing.targets import Target
from translators.dialect import Rules
from translators.neutral import Message, Request, Text
from translators.tokens import rough_request

REPEATS: Final = 2_000
TOKENS: Final = 600
"""Of the request, as it was counted before."""
GOAL_US: Final = 50.0
PAGE: Final = Path(__file__).with_name("policies.md")
WORDS: Final = "The quick brown fox jumps over the lazy dog, and nobody minds. "

TARGETS: Final = tuple(Target(f"provider{number}", "model", 1 + number % 3) for number in range(10))
REQUEST: Final = Request(
    "openai_chat",
    "route",
    (Message("system", (Text(WORDS * 16),)), Message("user", (Text(WORDS * 16),))),
    max_output_tokens=500,
    temperature=0.5,
    stream=True,
)
RULES: Final = Rules(context_tokens=200_000, max_output_tokens=32_000)


class Situation:
    """Ten targets with prices, speeds and failures, and half of them with the conversation in their caches."""

    def __init__(self) -> None:
        rng = Random(1)
        prices = {
            (target.provider, target.model): Price.of(
                {"input": f"{rng.uniform(0.1, 5):.4f}", "cached_input": "0.05", "output": f"{rng.uniform(1, 20):.4f}"}
            )
            for target in TARGETS
        }
        self.book = PriceBook(prices, shipped=False)
        self.latencies = Latencies(time.time)
        self.card = RateCard(self.book, time.time)
        self.affinity = Affinity(time.monotonic)
        self.breakers = Breakers(time.monotonic)
        self.health = Health()
        self.rng = rng
        for target in TARGETS:
            for _ in range(20):
                self.latencies.answered(
                    target.provider,
                    target.model,
                    latency_ms=rng.uniform(500, 5_000),
                    first_event_ms=rng.uniform(100, 900),
                    input_tokens=600,
                    output_tokens=200,
                )
        for target in TARGETS[::2]:
            self.affinity.answered(prefix_of(REQUEST), target, 0, 5_000)

    def view(self) -> View:
        """As the proxy makes one for each request."""
        return View(
            self.rng,
            time.monotonic,
            self.breakers,
            {},
            self.health,
            self.book,
            self.latencies,
            self.card,
            lambda _target: RULES,
            Options(),
            Caller("key_1", "ann"),
            lambda: TOKENS,
            "route",
        )

    def order(self, policy: str) -> Callable[[], object]:
        """The policy alone."""
        view, function = self.view(), POLICIES[policy]
        return lambda: function(REQUEST, TARGETS, view)

    def decision(self, policy: str, *, affinity: bool) -> Callable[[], object]:
        """All that is decided for a request whose length is known."""
        function = POLICIES[policy]

        def decide() -> Sequence[Target]:
            found = fits(REQUEST, TARGETS, lambda _target: RULES)
            view = self.view()
            ordered = [target for group in ranks(found) for target in function(REQUEST, group, view)]
            if not affinity:
                return ordered
            prefix = prefix_of(REQUEST)
            return keep_to_caches(
                ordered,
                lambda target: self.affinity.held(prefix, target),
                lambda target: view.rates_of(target, TOKENS),
                lambda target: view.cost_nanousd(REQUEST, target, ordered),
                TOKENS,
            ).order

        return decide


def microseconds(work: Callable[[], object], rounds: int) -> float:
    """The least mean of *rounds*."""
    best = float("inf")
    for _ in range(rounds):
        began = time.thread_time_ns()
        for _ in range(REPEATS):
            work()
        best = min(best, (time.thread_time_ns() - began) / REPEATS / 1_000)
    return best


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and fail when a promise is not kept."""
    rounds = next((int(each) for each in arguments if each.isdecimal()), 5)
    situation = Situation()
    lines = ["| policy | order, us | decision, us | with affinity, us |", "| --- | ---: | ---: | ---: |"]
    slow = []
    for policy in sorted(set(POLICIES) - {"auto"}):
        order = microseconds(situation.order(policy), rounds)
        plain = microseconds(situation.decision(policy, affinity=False), rounds)
        kept = microseconds(situation.decision(policy, affinity=True), rounds)
        lines.append(f"| {policy} | {order:.1f} | {plain:.1f} | {kept:.1f} |")
        if order > GOAL_US:
            slow.append(policy)
    length = microseconds(lambda: rough_request(REQUEST), rounds)
    lines += ["", f"Counting a request of 2 KB roughly: {length:.1f} us."]
    table = "\n".join(lines)
    sys.stdout.write(table + "\n")
    if "--write" in arguments:
        PAGE.write_text(HEAD + table + "\n", "utf-8")
    if slow:
        sys.stderr.write(f"more than {GOAL_US:g} us: {', '.join(slow)}\n")
    return bool(slow)


HEAD: Final = f"""# What a policy takes to decide

Ten targets, all with prices, speeds and failures; CPU time of one thread, Python {platform.python_version()}.
Measured on {time.strftime("%Y-%m-%d")}.
The promise is {GOAL_US:g} us an order. Written by `make bench-policies ARGS=--write`; what is measured stands in
[policies.py](policies.py). `auto` has [a page of its own](router.md).

"""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
