"""Whether a conversation goes to a target as it came: what the careful way looks at before it relays its bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.fast import conversations
from proxy.owning import sees_all
from proxy.prepare import ids_fit, knows_again
from proxy.vendor_ids import may_name
from translators.neutral import Opaque
from translators.vaulted import reattached

if TYPE_CHECKING:
    from proxy.fast.conversations import Read
    from proxy.fast.shapes import Found, Shape
    from proxy.services import Services


def suits(services: Services, shape: Shape, found: Found, raw: bytes) -> bool:
    """Whether the conversation *found* in *raw* goes as it came to the target of *shape*.

    It does not where the target is sent something else for it, where it may name what is another tenant's, and where
    its reasoning is to be given back, or may be.
    """
    read = found.read or conversations.read(shape, raw, found.pieces, services.limits)
    if read is None:
        return False
    if found.read is not None and not _is_taken(services, shape, found, read):
        return False
    return not (read.has_turns and (shape.remembers or _is_signed(read))) or _lacks_nothing(services, shape, read)


def _is_taken(services: Services, shape: Shape, found: Found, read: Read) -> bool:
    rules = shape.prepared.rules
    return (
        # What else the target would be sent for such fields depends on the conversation.
        not rules.not_relayed
        and shape.manner.dialect.client.changed_messages(read.wire, rules)[0] is None
        and ids_fit(read.request)
        and (sees_all(services, shape.identity) or not any(map(may_name, found.pieces)))
    )


def _is_signed(read: Read) -> bool:
    """Whether there is anything of a vendor's own in it, such as a signature."""
    return any(isinstance(part, Opaque) or part.native for message in read.request.messages for part in message.parts)


def _lacks_nothing(services: Services, shape: Shape, read: Read) -> bool:
    """Whether all that is kept of the conversation's reasoning stands in it, for a target that reads it."""
    recalled = services.recalled_at_once(shape.identity.tenant, read.request)
    if not recalled:
        return recalled is not None
    prepared = shape.prepared
    target, spoken = prepared.target, prepared.rules.dialect
    returned = reattached(
        read.request,
        recalled,
        spoken,
        lambda origin: knows_again(origin, target, spoken),
        prepared.rules.reasoning_replay,
    )
    return returned is read.request
