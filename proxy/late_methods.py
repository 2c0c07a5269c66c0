"""Dataclasses whose methods are compiled when they are first looked up.

`dataclass` writes the source of up to six methods for each class and compiles it, which is a third of the time to
start: there are some hundreds of classes, and hardly any is ever compared, hashed or printed. Under `late_methods` the
class gets the source, and the first look-up puts what was compiled of it in its place.

`dataclasses._create_fn`, which this replaces, is there in Python 3.11 and 3.12. Where it is not (3.13 compiles all
methods of a class at once), everything stays as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

MAKER: Final = "_create_fn"


@contextmanager
def late_methods() -> Iterator[None]:
    """While it lasts, dataclasses are made with sources of methods. For imports, while there is one thread."""
    make = getattr(dataclasses, MAKER, None)
    if make is None:
        yield
        return
    setattr(dataclasses, MAKER, partial(_Source, make))
    try:
        yield
    finally:
        setattr(dataclasses, MAKER, make)


class _Source:
    """What *make* makes the method *name* of."""

    __slots__ = ("__name__", "_arguments", "_body", "_globals", "_locals", "_made", "_make", "_returned")

    def __init__(
        self,
        make: Callable[..., Any],
        name: str,
        arguments: Any,
        body: Any,
        *,
        globals: Any = None,  # noqa: A002  # as dataclasses calls them
        locals: Any = None,  # noqa: A002
        return_type: Any = dataclasses.MISSING,
    ) -> None:
        self._make, self.__name__, self._arguments, self._body = make, name, arguments, body
        self._globals, self._locals, self._returned = globals, locals, return_type
        self._made: Any = None

    def __get__(self, instance: object, owner: type[Any]) -> Any:
        made = self._method()
        for each in owner.__mro__:
            if vars(each).get(self.__name__) is self:
                made.__qualname__ = f"{each.__qualname__}.{self.__name__}"
                setattr(each, self.__name__, made)
        return made.__get__(instance, owner)

    def __call__(self, *given: Any) -> Any:
        """Of `__repr__`, which stands behind a function that guards it against endless recursion."""
        return self._method()(*given)

    def _method(self) -> Any:
        if self._made is None:
            self._made = self._make(
                self.__name__,
                self._arguments,
                self._body,
                globals=self._globals,
                locals=self._locals,
                return_type=self._returned,
            )
        return self._made
