"""What a sum over the ledger is: its numbers, what it may be grouped by, and the statements that count rows.

Tokens, costs and `attempts` are those of the attempts: what was bought, from whom. `exchanges`, `errors` (failed or
interrupted), `cache_hits` and what was saved are those of the exchanges. Grouped by provider or model, an attempt
counts where it was sent, and its exchange where it ended (its final target).

The tokens in the row of a cache hit were not bought: they are `saved_input_tokens` and `saved_output_tokens`, and in no
other number.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final, Literal, get_args

Grouping = Literal["provider", "model", "route", "key", "team", "organisation", "tag", "day", "hour"]
GROUPINGS: Final[tuple[Grouping, ...]] = get_args(Grouping)


@dataclass(slots=True)
class Sum:
    """The numbers of one group. Money in nano-dollars; cost = exact + estimated."""

    exchanges: int = 0
    attempts: int = 0
    errors: int = 0
    cache_hits: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nanousd: int = 0
    exact_nanousd: int = 0
    estimated_nanousd: int = 0
    unpriced_attempts: int = 0
    saved_nanousd: int = 0
    saved_input_tokens: int = 0
    saved_output_tokens: int = 0

    def add(self, other: Sum) -> None:
        """Count *other* in."""
        for name in NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


NUMBERS: Final = tuple(field.name for field in fields(Sum))


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose exchanges are meant: of one key, one team or one organisation; with all None: everybody's."""

    key: str | None = None
    team: str | None = None
    organisation: str | None = None

    def wanted(self) -> dict[str, str | None]:
        """The parameters of `WHOSE`."""
        return {"whose_key": self.key, "whose_team": self.team, "whose_organisation": self.organisation}


EVERYONE: Final = Whose()

WHOSE: Final = """
    AND (:whose_key IS NULL OR e.key_id = :whose_key) AND (:whose_team IS NULL OR e.team = :whose_team)
    AND (:whose_organisation IS NULL OR e.organisation = :whose_organisation)"""
"""As part of a condition over `exchanges AS e`."""

# The numbers in the order of `Sum`, of exchanges and of attempts. Both rows together are the sum.
_EXCHANGE_NUMBERS: Final = """
       count(*) AS exchanges,
       0 AS attempts,
       sum(e.status IN ('failed', 'interrupted')) AS errors,
       sum(e.cache = 'hit') AS cache_hits,
       0 AS input_tokens,
       0 AS cached_input_tokens,
       0 AS cache_write_tokens,
       0 AS output_tokens,
       0 AS reasoning_tokens,
       0 AS cost_nanousd,
       0 AS exact_nanousd,
       0 AS estimated_nanousd,
       0 AS unpriced_attempts,
       sum(e.saved_nanousd) AS saved_nanousd,
       sum((e.cache = 'hit' AND e.attempts = 0) * e.input_tokens) AS saved_input_tokens,
       sum((e.cache = 'hit' AND e.attempts = 0) * e.output_tokens) AS saved_output_tokens"""

_ATTEMPT_NUMBERS: Final = """
       0 AS exchanges,
       count(*) AS attempts,
       0 AS errors,
       0 AS cache_hits,
       sum(a.input_tokens) AS input_tokens,
       sum(a.cached_input_tokens) AS cached_input_tokens,
       sum(a.cache_write_tokens) AS cache_write_tokens,
       sum(a.output_tokens) AS output_tokens,
       sum(a.reasoning_tokens) AS reasoning_tokens,
       ifnull(sum(a.cost_nanousd), 0) AS cost_nanousd,
       ifnull(sum(CASE WHEN NOT a.estimated THEN a.cost_nanousd END), 0) AS exact_nanousd,
       ifnull(sum(CASE WHEN a.estimated THEN a.cost_nanousd END), 0) AS estimated_nanousd,
       sum(a.status <> 'open' AND a.cost_nanousd IS NULL) AS unpriced_attempts,
       0 AS saved_nanousd,
       0 AS saved_input_tokens,
       0 AS saved_output_tokens"""

# The provider of a target is what stands before its first slash.
_TARGET: Final = {
    "$provider": "CASE WHEN instr(e.target, '/') THEN substr(e.target, 1, instr(e.target, '/') - 1) ELSE e.target END",
    "$model": "CASE WHEN instr(e.target, '/') THEN substr(e.target, instr(e.target, '/') + 1) END",
    "$numbers": _EXCHANGE_NUMBERS,
    "$attempts": "",
}
_SENT: Final = {
    "$provider": "a.provider",
    "$model": "a.model",
    "$numbers": _ATTEMPT_NUMBERS,
    # CROSS: the exchanges are looked for first, their attempts by the key.
    "$attempts": "CROSS JOIN attempts AS a ON a.exchange = e.row",
}

# One statement for every grouping: a grouping that is not asked for is a constant, and constants make one group.
_IN_GROUPS: Final = """
SELECT CASE WHEN :provider THEN $provider END AS provider,
       CASE WHEN :model THEN $model END AS model,
       CASE WHEN :route THEN e.route END AS route,
       CASE WHEN :key THEN e.key_id END AS "key",
       CASE WHEN :team THEN e.team END AS team,
       CASE WHEN :organisation THEN e.organisation END AS organisation,
       CASE WHEN t.key IS NOT NULL THEN t.key || '=' || t.value END AS tag,
       CASE WHEN :day THEN e.opened_us / 86400000000 END AS day,
       CASE WHEN :hour THEN e.opened_us / 3600000000 END AS hour,
       $numbers
FROM exchanges AS e $attempts LEFT JOIN json_each(CASE WHEN :tag THEN e.tags ELSE '{}' END) AS t
WHERE $which $whose
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9"""

# By all that a roll-up is kept by, to the minute.
_TO_FOLD: Final = """
SELECT e.opened_us / 60000000 AS minute, $provider AS provider, $model AS model, e.route, e.key_id, e.team,
       e.organisation, e.tags,
       $numbers
FROM exchanges AS e $attempts
WHERE $which
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8"""


def in_groups(which: str) -> tuple[str, str]:
    """Two statements, for exchanges and attempts: their sums in groups, of the exchanges `e` for which *which* holds.

    *which* is a condition in SQL, written in code. Their parameters are those of `parameters` and its own.
    """
    return _statement(_IN_GROUPS, _TARGET, which), _statement(_IN_GROUPS, _SENT, which)


def to_fold(which: str) -> tuple[str, str]:
    """The same by minute and by all names; no parameters but those of *which*."""
    return _statement(_TO_FOLD, _TARGET, which), _statement(_TO_FOLD, _SENT, which)


def parameters(group_by: tuple[Grouping, ...], whose: Whose) -> dict[str, Any]:
    """What `in_groups` wants to know."""
    return {name: name in group_by for name in GROUPINGS} | whose.wanted()


def _statement(pattern: str, parts: dict[str, str], which: str) -> str:
    for name, part in {**parts, "$which": which, "$whose": WHOSE}.items():
        pattern = pattern.replace(name, part)
    return pattern
