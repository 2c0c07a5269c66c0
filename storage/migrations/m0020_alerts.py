"""Alerts of budgets that wait to be delivered, and what a budget assumes of answers without a bound."""

from __future__ import annotations

from storage.migrations.step import Migration

# One row for each alert of a budget's window, whether or not there is anybody to be told. What is due is still to be
# sent; `percent` is 0 for a refusal. Another limit is another alert.
_ALERTS = """
CREATE TABLE budget_alerts (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    budget TEXT NOT NULL,
    window_us INTEGER NOT NULL,
    event TEXT NOT NULL CHECK (event IN ('threshold', 'refused')),
    percent INTEGER NOT NULL,
    limit_nanousd INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    report TEXT NOT NULL,
    due_us INTEGER,
    tries INTEGER NOT NULL DEFAULT 0,
    delivered_us INTEGER,
    error TEXT,
    UNIQUE (budget, window_us, event, percent, limit_nanousd)
)"""

MIGRATION = Migration(
    20,
    "alerts",
    (
        "DROP TABLE budget_alerts",
        _ALERTS,
        "CREATE INDEX budget_alerts_due ON budget_alerts (due_us) WHERE due_us IS NOT NULL",
        "ALTER TABLE budgets ADD COLUMN assumed_output_tokens INTEGER",
    ),
)
