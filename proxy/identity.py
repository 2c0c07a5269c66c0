"""Who asks, as everything behind the door knows them.

What a key may is the intersection of what it was given, what its team and organisation were given, and what the key
that made it may: no key can make one that may more than itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from storage.sums import EVERYONE, Whose

Role = Literal["admin", "operator", "developer", "viewer"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

MASTER: Final = "master"
"""The tenant of whoever has the master key."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What one of those who bind a key lets it ask. Globs; empty: all. *who* is for messages."""

    who: str
    models: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()


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
    scopes: tuple[Scope, ...] = ()
    """Each of them has to allow what is asked."""
    makers: tuple[str, ...] = ()
    """The keys that it was made by, nearest first: their budgets and limits hold for it, too."""
    cache: Literal["off", "deterministic", "all"] | None = None
    """The cache mode of its requests; None: the route's."""
    losses: Literal["warn", "reject", "ignore"] | None = None
    """What happens when something is lost; None: as the route says."""
    logs: bool | None = None
    """Whether its bodies are kept in the request log; None: as the route says."""

    @property
    def is_master(self) -> bool:
        """Whether it is the master key's."""
        return self.tenant == MASTER

    @property
    def runs_house(self) -> bool:
        """Whether it is an operator or admin of the whole server, not only of an organisation."""
        return self.organisation is None and not self.roles.isdisjoint({"operator", "admin"})

    @property
    def view(self) -> Whose:
        """Whose rows of the ledger it sees.

        Operators, admins and viewers see their place: team, else organisation, else everything. Developers see what
        their own key has asked. Whoever is let in without a key, where none is needed, sees everything.
        """
        if self.key_id is None or self.is_master:
            return EVERYONE
        if self.roles == {"developer"}:
            return Whose(key=self.key_id)
        if self.team is not None:
            return Whose(team=self.team)
        return Whose(organisation=self.organisation)


ANONYMOUS: Final = Identity()
MASTER_IDENTITY: Final = Identity(MASTER, frozenset({"admin"}), MASTER)
