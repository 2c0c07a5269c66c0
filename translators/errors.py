"""Errors of this package.

TranslationError
├── BadRequest          the client's request is wrong or cannot be said to the target: a 400 that names the place
├── Unsupported         the target cannot do what the request needs at all (a sound for Claude): a 400 that names both
└── BadAnswer           a vendor's answer or stream is not what its dialect promises: an upstream error
"""

from __future__ import annotations


class TranslationError(Exception):
    """Anything that a translator cannot do."""


class BadRequest(TranslationError):
    """The client's request is wrong. *param* is the place (`messages[2].content`), *code* a stable word."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class Unsupported(BadRequest):
    """The target has no way to express a part that must not be left out."""


class BadAnswer(TranslationError):
    """The vendor's bytes cannot be read; the message says what was expected."""
