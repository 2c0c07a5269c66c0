"""What survives a restart: the ledger and the cache, in SQLite."""
