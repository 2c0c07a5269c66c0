"""Budgets, what they have been charged, and who is behind an exchange beyond its key."""

from __future__ import annotations

from storage.migrations.step import Migration

_BUDGETS = """
CREATE TABLE budgets (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('global', 'organisation', 'team', 'key', 'tag', 'provider', 'route')),
    subject TEXT NOT NULL,
    limit_nanousd INTEGER NOT NULL CHECK (limit_nanousd >= 0),
    window TEXT NOT NULL CHECK (window IN ('hour', 'day', 'month', 'total')),
    rolling INTEGER NOT NULL,
    hard INTEGER NOT NULL,
    unpriced TEXT NOT NULL CHECK (unpriced IN ('refuse', 'allow')),
    alerts TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('config', 'api', 'key')),
    created_us INTEGER NOT NULL
) WITHOUT ROWID"""

# What a budget's windows hold: a calendar window is one bucket, a rolling one is many, `total` is bucket 0.
_SPENDING = """
CREATE TABLE budget_spending (
    budget TEXT NOT NULL,
    bucket_us INTEGER NOT NULL,
    spent_nanousd INTEGER NOT NULL DEFAULT 0,
    reserved_nanousd INTEGER NOT NULL DEFAULT 0,
    unpriced_attempts INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (budget, bucket_us)
) WITHOUT ROWID"""

# One row for each budget that an exchange is charged to: reserved while it is open, its cost afterwards.
_CHARGES = """
CREATE TABLE charges (
    exchange INTEGER NOT NULL REFERENCES exchanges (row) ON DELETE CASCADE,
    budget TEXT NOT NULL,
    bucket_us INTEGER NOT NULL,
    provider TEXT,
    nanousd INTEGER NOT NULL,
    settled INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (exchange, budget)
) WITHOUT ROWID"""

_ALERTS = """
CREATE TABLE budget_alerts (
    budget TEXT NOT NULL,
    window_us INTEGER NOT NULL,
    percent INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    PRIMARY KEY (budget, window_us, percent)
) WITHOUT ROWID"""

MIGRATION = Migration(
    7,
    "budgets",
    (
        _BUDGETS,
        _SPENDING,
        _CHARGES,
        _ALERTS,
        "ALTER TABLE exchanges ADD COLUMN team TEXT",
        "ALTER TABLE exchanges ADD COLUMN organisation TEXT",
        "ALTER TABLE attempts ADD COLUMN reserved_nanousd INTEGER",
    ),
)
