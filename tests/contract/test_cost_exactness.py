"""Every recording that carries usage is booked with the vendor's own numbers, and costs what they come to.

Asked for in its own dialect, where bytes are relayed, and as a chat, where they are translated; whole and streamed.
What the vendor said is read by plain extractors that share no code with the project (tests.recordings).
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from routing.pricing import usage_of_row
from tests.proxy.serving import Served, serving
from tests.recordings.asking import CLIENTS, Case, cases_of
from tests.recordings.facts import DIALECTS
from tests.replay import Answer, Asked, Upstream, recorded_answer
from tests.replay_recordings import EXCEPTIONS, config_of, load

SHARED = Path(os.environ.get("MODELPORT_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "recordings"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are not here")

RATES = {"input": "1", "cached_input": "0.1", "cache_write": "2", "input_audio": "1", "output": "3"}
PRICE = ", ".join(f'{kind} = "{rate}"' for kind, rate in RATES.items()) + ', output_audio = "3", web_search = "0"'
COLUMNS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cached": "cached_input_tokens",
    "written": "cache_write_tokens",
    "reasoning": "reasoning_tokens",
}
AT_ONCE = 12
FEWEST = 600
"""Recordings that carry usage; fewer would mean that the test has lost them."""


def chosen() -> list[Case]:
    recordings, _ = load(SHARED)
    cases = cases_of(recordings, CLIENTS, "whole")
    once = {(case.recording["id"], case.client): case for case in cases}
    return [
        case
        for place, case in once.items()
        if case.client in (DIALECTS[case.api], "openai_chat")
        and case.expected.usage
        and not case.expected.statuses
        and place not in EXCEPTIONS
    ]


async def ask(case: Case, server: Served, gate: asyncio.Semaphore) -> dict[str, Any]:
    """The exchange's row, with its attempts."""
    async with gate, server.session.post(server.url + case.path, json=case.request()) as answer:
        await answer.read()
        row = await server.services.accounts.exchange(answer.headers["x-request-id"])
    assert row is not None
    return row


def differences(case: Case, row: Mapping[str, Any]) -> list[str]:
    (attempt,) = row["attempts"]
    vendor = dict.fromkeys(COLUMNS, 0) | case.expected.usage | case.expected.booked
    wrong = [
        f"{name}: booked {attempt[column]}, the vendor says {vendor[name]}"
        for name, column in COLUMNS.items()
        if attempt[column] != vendor[name]
    ]
    plain = vendor["input"] - vendor["cached"] - vendor["written"]
    cost = plain + vendor["cached"] * Decimal("0.1") + vendor["written"] * 2 + vendor["output"] * 3
    if Decimal(attempt["cost_usd"] or "nan") != cost / 1_000_000:
        wrong.append(f"cost: booked {attempt['cost_usd']}, the vendor's numbers come to {cost / 1_000_000}")
    if attempt["estimated"]:
        wrong.append("it is called an estimate")
    again = usage_of_row(attempt)
    wrong += [
        f"{column}: {getattr(again, column)} when the raw usage is read again"
        for column in COLUMNS.values()
        if getattr(again, column) != attempt[column]
    ]
    return wrong


async def test_all_recordings_are_booked_with_the_vendors_numbers(tmp_path: Path) -> None:
    cases = chosen()
    answers = {case.model: recorded_answer(case.recording["response"], "whole") for case in cases}

    def script(asked: Asked) -> Answer:
        return answers.get(asked.model or "", Answer.json({"error": {"message": "nobody"}}, 418))

    with Upstream(script) as upstream:
        config = config_of(cases, upstream).replace("keys = [", f"price = {{ {PRICE} }}\nkeys = [")
        config = config.replace("env:UPSTREAM_KEY", "sk-loopback-000000000000")
        async with serving(tmp_path, config) as server:
            gate = asyncio.Semaphore(AT_ONCE)
            rows = await asyncio.gather(*(ask(case, server, gate) for case in cases))
    wrong = {
        f"{case.recording['id']} [{case.client}]": found
        for case, row in zip(cases, rows, strict=True)
        if (found := differences(case, row))
    }
    by_provider = Counter(case.recording["provider"] for case in cases)

    assert wrong == {}
    assert len({case.recording["id"] for case in cases}) >= FEWEST, by_provider
    assert {case.stream for case in cases} == {True, False}
