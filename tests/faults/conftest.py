"""The servers and the upstream of the proxy's own tests."""

from __future__ import annotations

from tests.proxy.conftest import serve, upstream

__all__ = ["serve", "upstream"]
