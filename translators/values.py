"""Frozen dataclasses that cost no more than plain ones.

A frozen dataclass with slots sets each field through `object.__setattr__`, which more than doubles the time to build
one: 1.2 us against 0.5 for a `Text`, 6 against 2 for a `Request`; each chunk of a stream builds several. To the type
checker `@value(frozen=True, slots=True)` is `dataclasses.dataclass`, so that it refuses every assignment to a field.
At run time the fields can be set, and all else (equality, hash, `replace`, patterns) is that of the frozen class.

`NOTHING` is the empty object that such values share where nothing was said: as a default it needs no factory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    def value(*, frozen, slots):
        """The decorator of a dataclass that nobody changes."""
        return dataclass(slots=slots, unsafe_hash=frozen)


class _Nothing(dict[str, Any]):
    """An empty object that stays empty. It has a hash because dataclasses take nothing else as a default."""

    __slots__ = ()
    __hash__ = object.__hash__  # type: ignore[assignment]  # a dict has none

    def _refuse(self, *args: object, **named: object) -> NoReturn:
        raise TypeError("shared by all values that say nothing: make a new object instead")

    __setitem__ = __ior__ = setdefault = update = _refuse


NOTHING: Final[Mapping[str, Any]] = _Nothing()

__all__ = ["NOTHING", "value"]
