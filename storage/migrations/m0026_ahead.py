"""Since when a budget's bucket was seen to lie in time to come: a clock went ahead, and back."""

from __future__ import annotations

from storage.migrations.step import Migration

MIGRATION = Migration(26, "ahead", ("ALTER TABLE budget_spending ADD COLUMN ahead_since_us INTEGER",))
