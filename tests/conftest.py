"""What all tests share: nothing that talks to anything beyond loopback, and no example that is judged by its time."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
