"""What goes into a consensus and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeAlias

Json: TypeAlias = Any
"""A value of JSON: None, bool, int, float, str, list, dict."""


class Mark(Enum):
    """What an answer can say at a place other than a value of JSON."""

    ABSENT = "absent"
    """The answer was there and left the place out."""
    SILENT = "silent"
    """The answer has no say about this place, for what holds the place is missing in it."""
    OBJECT = "object"
    """An object stands here; its members are places of their own."""
    LIST = "list"
    """A list stands here; its rows or elements are places of their own."""


ABSENT: Final = Mark.ABSENT
SILENT: Final = Mark.SILENT


@dataclass(frozen=True, slots=True)
class Answer:
    """One target's answer.

    *value* is JSON, or text for a plain answer; None: it gave no readable answer.
    *weight* is the caller's own trust in the target. *logprob* is the mean natural logarithm of its tokens'
    probabilities. *valid* says whether the value holds against the client's schema; None: nobody looked.
    """

    target: str
    value: Json
    weight: float = 1.0
    logprob: float | None = None
    valid: bool | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """How the answers of one route are merged.

    *method* names a row of `methods.METHODS`; None: the one that the route's history chose.
    *schema* is the client's JSON schema, where it has one; it says where null is allowed and what is an enumeration.
    *plain* forces the treatment of text as plain answers; None: it is plain when every value is text.
    *confidence_field* is the name of a member in which the targets report how sure they are, from 0 to 1 or to 100.
    """

    threshold: float = 0.85
    method: str | None = None
    schema: Mapping[str, Any] | None = None
    plain: bool | None = None
    confidence_field: str | None = None


@dataclass(frozen=True, slots=True)
class FieldResult:
    """One place of the merged answer. *votes* has what each target said there; those without a say are missing.

    *settled_by* is `score`, or the rule that broke a tie: `majority`, `reliability`, `similarity`, `abstention` or
    `order`.
    """

    value: Json
    confidence: float
    votes: Mapping[str, Json]
    method: str
    settled_by: str


@dataclass(frozen=True, slots=True)
class Merged:
    """The merged answer and how it came about.

    *fields* goes by path (`items[0].name`; the whole is the empty path). *losers* are the targets whose answer is not
    the merged one. *source* is the target whose answer was taken as a whole, None where fields were voted.
    *method* is a row of `methods.METHODS`, or `single`, `short`, `similar`, `none`.
    """

    value: Json
    confidence: float
    fields: Mapping[str, FieldResult]
    method: str
    reason: str
    losers: tuple[str, ...]
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """What the caller found out about an exchange; any part of it.

    *expected* is the right answer (SILENT: not given; None is JSON's null).
    *rights* says of targets whether their answers were right as a whole.
    *right* says whether the value *merged* was right as a whole.
    """

    expected: Json = SILENT
    rights: Mapping[str, bool] = field(default_factory=dict)
    right: bool | None = None
    merged: Json = SILENT
