"""Who asks, as everything behind the door knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Role = Literal["admin", "operator", "developer", "viewer"]

MASTER: Final = "master"
"""The tenant of whoever has the master key."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One caller. *tenant* keeps caches, conversations and ledger views apart: the id of the virtual key, `master`, or
    empty for whoever comes without a key."""

    tenant: str = ""
    roles: frozenset[Role] = frozenset()
    key_id: str | None = None
    """The virtual key's id, `master`, or None."""
    team: str | None = None
    organisation: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tags of the key: they stand in every exchange of it and win over those that a request brings."""

    @property
    def is_master(self) -> bool:
        """Whether it is the master key's."""
        return self.tenant == MASTER


ANONYMOUS: Final = Identity()
MASTER_IDENTITY: Final = Identity(MASTER, frozenset({"admin"}), MASTER)
