"""Who asks: one function for every spelling of the key header, and who may use which route.

| access   | with a key                                              | without one                                     |
| -------- | ------------------------------------------------------- | ----------------------------------------------- |
| open     | anybody                                                 | anybody                                         |
| member   | every role                                              | where [auth] required is off                    |
| client   | developer, operator, admin                              | where [auth] required is off                    |
| viewer   | every role; the answer is cut to what it may see        | while nobody has an operator's or admin's key   |
| operator | operator, admin, of no organisation                     | while nobody has an operator's or admin's key   |
| manager  | admin; the handler keeps to its organisation or team    | never                                           |
| admin    | admin, of no organisation                               | never                                           |
| master   | the master key alone                                    | never                                           |

The master key may use every route, and counts as an admin's.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final

from proxy.errors import Refused, UnknownKey, refused
from proxy.identity import ANONYMOUS, MASTER_IDENTITY, ROLES, Identity, Role
from proxy.keyring import Entry, Keyring
from proxy.server import Access

_ROLES: Final[Mapping[Access, tuple[Role, ...]]] = {
    "member": ROLES,
    "client": ("developer", "operator", "admin"),
    "viewer": ROLES,
    "operator": ("operator", "admin"),
    "manager": ("admin",),
    "admin": ("admin",),
}
_WHOLE_HOUSE: Final[frozenset[Access]] = frozenset({"operator", "admin"})
_NEVER_ANONYMOUS: Final[frozenset[Access]] = frozenset({"manager", "admin"})


def presented_key(headers: Mapping[str, str]) -> str | None:
    """The key that a client sent, as OpenAI's, Anthropic's, Azure's or Gemini's SDK spells it."""
    authorization = headers.get("Authorization", "")
    if authorization[:7].lower() == "bearer ":
        return authorization[7:].strip()
    return headers.get("x-api-key") or headers.get("x-goog-api-key") or headers.get("api-key")


class Gate:
    """Decides by the matched route's access, never by the path."""

    def __init__(self, *, required: bool, master_key: str | None, keyring: Keyring | None = None) -> None:
        self.required = required
        self._master = master_key.encode() if master_key else None
        self._keyring = keyring

    def admit(
        self, headers: Mapping[str, str], access: Access, in_query: str | None = None, signer: Entry | None = None
    ) -> Identity:
        """Who sends a request. *in_query* is the key of Google's REST clients that write it into the address.

        *signer*: the key that has signed it, checked already.

        Raises:
            Refused: 401 without a valid key where one is needed (UnknownKey when another one was sent), 403 where the
                key's roles do not reach, or where a key that does is needed and there is none.
        """
        if access == "open":
            return ANONYMOUS
        return self.let_in(presented_key(headers) or in_query, access, signer)

    def let_in(self, presented: str | None, access: Access, signer: Entry | None = None) -> Identity:
        """The same for whoever knows which key was *presented*, if any."""
        if self._is_master(presented):
            return MASTER_IDENTITY
        entry = signer or self._find(presented)
        if entry is None:
            return self._without_key(access, sent=presented is not None)
        _check_role(entry.identity, access)
        if self._keyring is not None:
            self._keyring.touch(entry)
        return entry.identity

    @property
    def house_has_keys(self) -> bool:
        """Whether somebody has a key that runs the house."""
        ring = self._keyring
        return self._master is not None or (ring is not None and ring.has_role("operator", "admin", anywhere=True))

    @property
    def somebody_gets_in(self) -> bool:
        """Whether there is a key that can make others, so that a port which requires keys is of use."""
        return self._master is not None or (self._keyring is not None and self._keyring.has_role("admin"))

    def _find(self, presented: str | None) -> Entry | None:
        """Whose key was presented.

        Raises:
            Refused: 401, it was revoked, replaced or has expired, or it demands a signature.
        """
        if presented is None or self._keyring is None:
            return None
        found = self._keyring.find(presented)
        if found is None:
            return None
        entry, reason = found
        if reason is not None:
            raise invalid_key(reason)
        if entry.key.signing is not None:
            told = f"the key {entry.key.shown} demands signed requests; send x-modelport-signature (docs: keys)"
            raise invalid_key(told, "signature_missing")
        return entry

    def _without_key(self, access: Access, *, sent: bool) -> Identity:
        """Nobody's key was *sent*, or none at all. Raises Refused where one is needed."""
        if access == "master" and self._master is None:
            raise refused(
                403,
                "this needs the master key and none is configured; set [auth] master_key",
                kind="permission",
                code="master_key_missing",
            )
        if access in _NEVER_ANONYMOUS and not self.somebody_gets_in and not self.required:
            told = "this needs an admin's key and there is none; make one: modelport keys create --name me --role admin"
            raise refused(403, told, kind="permission", code="admin_key_missing")
        closed = access in {"viewer", "operator"} and self.house_has_keys
        if self.required or closed or access == "master" or access in _NEVER_ANONYMOUS:
            what = "the master key" if access == "master" else _key_of(access)
            told = f"{what} is needed: send it as Authorization: Bearer KEY"
            raise UnknownKey(f"the key is not known; {told}") if sent else invalid_key(told)
        return ANONYMOUS

    def _is_master(self, key: str | None) -> bool:
        if self._master is None:
            return False
        return key is not None and hmac.compare_digest(key.encode(errors="surrogateescape"), self._master)


def invalid_key(message: str, code: str = "invalid_api_key") -> Refused:
    """401: the key does not get in."""
    return refused(401, message, kind="authentication", code=code)


def _key_of(access: Access) -> str:
    roles = _ROLES.get(access, ROLES)
    return "a valid key" if len(roles) > 2 else f"a key with the role {' or '.join(roles)}"


def _check_role(identity: Identity, access: Access) -> None:
    """Raises Refused, 403: the route is for other roles, or for the whole house only."""
    roles = _ROLES.get(access, ())
    if identity.roles.isdisjoint(roles):
        needed = f"a key with the role {' or '.join(roles)}" if roles else "the master key"
        own = ", ".join(role for role in ROLES if role in identity.roles) or "none"
        raise refused(403, f"this needs {needed}; the key's roles: {own}", kind="permission", code="role_missing")
    if access in _WHOLE_HOUSE and not identity.runs_house:
        told = "this is about the whole server, and the key belongs to an organisation"
        raise refused(403, told, kind="permission", code="role_missing")
