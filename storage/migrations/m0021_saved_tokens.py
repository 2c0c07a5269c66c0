"""The tokens that answers from the cache saved, in the sums."""

from __future__ import annotations

from storage.migrations.step import Migration

# The days of hits are summed up anew, in the background; of what was pruned nothing is known.
_REBUILD = """
UPDATE rollup_state SET
    gap_us = iif(gap_us < gap_end_us, min(gap_us, first), first),
    gap_end_us = iif(gap_us < gap_end_us, max(gap_end_us, last), last),
    gap_next_us = -1, gap_next_row = 0
FROM (
    SELECT min(opened_us) / 86400000000 * 86400000000 AS first,
        (max(opened_us) / 86400000000 + 1) * 86400000000 AS last
    FROM exchanges WHERE cache = 'hit' AND opened_us >= (SELECT pruned_us FROM rollup_state)
) WHERE first IS NOT NULL"""

MIGRATION = Migration(
    21,
    "saved_tokens",
    (
        "ALTER TABLE rollups ADD COLUMN saved_input_tokens INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE rollups ADD COLUMN saved_output_tokens INTEGER NOT NULL DEFAULT 0",
        _REBUILD,
    ),
)
