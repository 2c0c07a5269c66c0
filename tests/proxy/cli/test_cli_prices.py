"""Prices on the command line: what is written of the server's answers, and what it is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from proxy.cli import costs, prices
from proxy.cli.client import Refused, Server, server
from tests.replay import Answer, Asked, Upstream

UNPRICED = {
    "since": "2026-11-20T12:00:00Z", "until": "2026-11-21T12:00:00Z",
    "models": [{
        "provider": "one", "model": "m", "attempts": 2, "input_tokens": 20, "output_tokens": 10,
        "first_at": "2026-11-21T10:00:00Z", "last_at": "2026-11-21T11:00:00Z",
    }],
}  # fmt: skip
LINE = {"attempts": 3, "changed": 2, "still_unpriced": 1, "before_usd": "0.000000000", "after_usd": "0.000040000"}
REPRICED = {"dry_run": False, **LINE, "models": [{"provider": "one", "model": "m", **LINE}]}
HALF = {"input": {"usd": "0.5", "tiers": []}}
RATES = {"input": {"usd": "1", "tiers": [{"above": 200000, "usd": "2"}]}, "output": {"usd": "2", "tiers": []}}
SHOWN = {
    "data": [{
        "provider": "one", "model": "m", "version": "config #0123456789ab", "source": "config", "rates": RATES,
        "served": [{"when": {"service_tier": "batch"}, "version": "x", "rates": HALF}],
    }]
}  # fmt: skip


@pytest.fixture
def seen() -> list[Asked]:
    """What the server was asked."""
    return []


@pytest.fixture
def stub(seen: list[Asked]) -> Iterator[Upstream]:
    def answer(asked: Asked) -> Answer:
        seen.append(asked)
        if "/reprice" in asked.path:
            return Answer.json({**REPRICED, "dry_run": asked.json["dry_run"]})
        if "/unpriced" in asked.path:
            return Answer.json(UNPRICED)
        known = "model=one%2Fm" in asked.path or "model=one/m" in asked.path
        return Answer.json(SHOWN if known else {"data": []})

    with Upstream(answer) as upstream:
        yield upstream


@pytest.fixture
def asked(stub: Upstream) -> Server:
    return server(stub.url, None, None)


def lines(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_what_has_no_price_is_listed(asked: Server, capsys: pytest.CaptureFixture[str]) -> None:
    costs.list_unpriced(asked, since="24h", until=None, as_json=False)
    written = capsys.readouterr()

    assert written.out.splitlines()[1].split()[:5] == ["one", "m", "2", "20", "10"]
    assert "modelport costs reprice --since 24h" in written.err


def test_repricing_says_what_became_of_it(asked: Server, capsys: pytest.CaptureFixture[str]) -> None:
    costs.reprice(asked, since="7d", until=None, model="one/m", whole=False, dry_run=False, as_json=False)
    done = lines(capsys)
    costs.reprice(asked, since="7d", until=None, model=None, whole=True, dry_run=True, as_json=False)
    dry = lines(capsys)

    assert done[1] == ["one", "m", "3", "2", "1", "0.000000000", "0.000040000"]
    assert " ".join(done[-1]) == ("changed 2 of 3 attempts: 0.000000000 -> 0.000040000 USD, 1 still without a price")
    assert dry[-1][:2] == ["would", "change"]


def test_repricing_sends_what_was_asked_for(
    asked: Server, seen: list[Asked], capsys: pytest.CaptureFixture[str]
) -> None:
    costs.reprice(asked, since="7d", until="1d", model="m*", whole=True, dry_run=True, as_json=True)

    assert json.loads(capsys.readouterr().out)["changed"] == 2
    (request,) = seen
    assert request.json == {"since": "7d", "until": "1d", "model": "m*", "all": True, "dry_run": True}


def test_a_price_is_a_line_for_each_rate(asked: Server, capsys: pytest.CaptureFixture[str]) -> None:
    prices.show(asked, "one/m", at=None, as_json=False)
    written = lines(capsys)

    assert written[0] == ["one/m,", "config", "#0123456789ab"]
    assert written[2] == ["standard", "input", "1", "above", "200000:", "2"]
    assert written[4][:4] == ["service_tier", "batch", "input", "0.5"]


def test_an_unknown_price_is_said(asked: Server, capsys: pytest.CaptureFixture[str]) -> None:
    prices.show(asked, "nobody", at="2026-01-01", as_json=False)

    assert lines(capsys) == [["no", "price", "is", "known", "for", "nobody"]]


def test_json_is_the_servers(asked: Server, capsys: pytest.CaptureFixture[str]) -> None:
    costs.list_unpriced(asked, since="24h", until="1h", as_json=True)

    assert json.loads(capsys.readouterr().out) == UNPRICED


def test_a_refusal_is_the_servers() -> None:
    refusal = Answer.json({"error": {"message": "no such time", "type": "x"}}, 400)
    with Upstream(lambda _asked: refusal) as upstream, pytest.raises(Refused, match="no such time"):
        costs.list_unpriced(server(upstream.url, None, None), since="never", until=None, as_json=False)
