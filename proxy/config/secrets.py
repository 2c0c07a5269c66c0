"""Secrets: how a key is written in the configuration, and the type that keeps it from being printed.

"env:NAME"     the environment variable NAME
"file:PATH"    the text of a file, relative to the configuration file
"stored:NAME"  encrypted in the database, which only keys and headers of providers can be (`proxy.credentials`)
anything else  the secret itself, accepted with a warning
"""

from __future__ import annotations

from collections.abc import Mapping
from hmac import compare_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

LONG: Final = 20
"""From this length on four characters of a secret say too little about it to matter."""
STORED: Final = "stored:"
SCHEMES: Final = ("env:", "file:", STORED)


class NoSecret(Exception):
    """The reference leads nowhere. The message says what is missing."""


class BadSecret(Exception):
    """What the reference leads to cannot be a key. The message says why, without the value."""


class Secret:
    """A key. Printing it shows its ends at most, and of a stored one nothing; `reveal` gives it."""

    __slots__ = ("_value", "reference")

    def __init__(self, value: str | None, reference: str | None = None) -> None:
        self._value = value
        self.reference = reference
        """How it was written (`env:NAME`), None for a literal."""

    @classmethod
    def written(cls, text: str) -> Secret:
        """What the configuration says: a literal, or a reference that is still to be resolved."""
        return cls(None, text) if text.startswith(SCHEMES) else cls(text)

    def resolved(self, environ: Mapping[str, str], folder: Path) -> Secret:
        """The same secret with its value.

        Raises:
            NoSecret: the variable or file does not exist or is empty.
            BadSecret: the value has characters that no header can carry, or the reference cannot be followed.
        """
        if self.reference is None:
            return Secret(usable(self._value or "", "the value"))
        scheme, _, name = self.reference.partition(":")
        match scheme:
            case "env":
                value = environ.get(name, "")
                missing = f"the environment variable {name} is not set"
            case "file":
                value = _file_text(folder / Path(name).expanduser())
                missing = f"the file {name} does not exist or is empty"
            case _:
                raise BadSecret("a stored secret, which only a key or a header of a provider can be")
        if not value.strip():
            raise NoSecret(missing)
        return Secret(usable(value, f"the value of {self.reference}"), self.reference)

    @property
    def stored_name(self) -> str | None:
        """The NAME of `stored:NAME`; None for every other secret."""
        reference = self.reference or ""
        return reference.removeprefix(STORED) if reference.startswith(STORED) else None

    def reveal(self) -> str:
        """The secret itself."""
        if self._value is None:
            raise NoSecret(f"{self.reference} was not resolved")
        return self._value

    def __str__(self) -> str:
        return self.reference if self.reference and self.stored_name else masked(self._value or "")

    def __repr__(self) -> str:
        return f"Secret({self})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine, theirs = (self._value or "").encode(), (other._value or "").encode()
        return self.reference == other.reference and compare_digest(mine, theirs)

    def __hash__(self) -> int:
        return hash((self._value, self.reference))

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema  # only where the models are built

        return core_schema.no_info_after_validator_function(cls.written, core_schema.str_schema(strict=True))


def masked(value: str) -> str:
    """`sk-…abcd` for a long value, `…` for a short one."""
    return f"{value[:3]}…{value[-4:]}" if len(value) >= LONG else "…"


def usable(value: str, what: str) -> str:
    """*value* without blanks around it. Raises BadSecret when no header can carry it."""
    clean = value.strip()
    if not clean.isprintable() or not clean.isascii() or not clean:
        raise BadSecret(f"{what} is empty or has line breaks or other characters that no header can carry")
    return clean


def _file_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise BadSecret(f"the file {path.name} cannot be read: {type(error).__name__}") from error
