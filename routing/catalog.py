"""What each model takes, as data: `data/rules.toml` to `translators.dialect.Rules`.

Three layers, later over earlier: the dialect's defaults, every row whose pattern matches the model (in file order),
and the provider row's quirks. A row replaces a field; mappings are merged. Quirks speak for a server, whatever the
model: their `refuses` add, their `modalities` restrict, the rest replaces.

Model ids are compared in one spelling, see `plain`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import translate
from functools import cache
from importlib.resources import files
from types import MappingProxyType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from routing.errors import BadRow
from translators.dialect import Rules

NO_QUIRKS: Final[Mapping[str, Any]] = MappingProxyType({})
ADDED: Final = frozenset({"refuses", "refuses_while_thinking"})
RESTRICTED: Final = frozenset({"modalities"})
REMEMBERED: Final = 2048
ROW_KEYS: Final = frozenset({"dialect", "models", "source", "date"})

_memory: dict[tuple[str, str, int], tuple[Mapping[str, Any], Rules]] = {}


def rules_for(dialect: str, model: str, quirks: Mapping[str, Any] = NO_QUIRKS) -> Rules:
    """The rules of *model* behind a server of *dialect*.

    Remembered by the identity of *quirks*, which must therefore not be changed afterwards.

    Raises:
        BadRow: a quirk is not a field of Rules, or its value is of the wrong kind.
    """
    # The mapping is kept with its rules: as long as it stands here, its id belongs to no other object.
    key = (dialect, model, id(quirks))
    known = _memory.get(key)
    if known is not None:
        return known[1]
    rules = _with_quirks(_of_model(dialect, plain(model)), checked(quirks, f"quirks of a {dialect} provider"))
    if len(_memory) >= REMEMBERED:
        del _memory[next(iter(_memory))]
    _memory[key] = (quirks, rules)
    return rules


# us.anthropic.claude-x-v1:0, anthropic.claude-x (Bedrock); the vendor's own dots are in versions, never before them.
_BEDROCK = re.compile(r"^(?:[a-z]{2,6}\.)?(?:anthropic|meta|mistral|amazon|cohere|deepseek|openai|google)\.")
_TRAILS = re.compile(
    r"(?::(?:free|nitro|floor|online|thinking|extended|beta|exacto)"  # OpenRouter's variants
    r"|-v\d+(?::\d+)?"  # Bedrock's revision
    r"|[-@]20\d{6}|-20\d\d-\d\d-\d\d"  # a day
    r"|[-@](?:latest|default))$"
)
_CLAUDE_NUMBER_FIRST = re.compile(r"^claude-(\d+(?:-\d+)?)-(opus|sonnet|haiku)")


def plain(model: str) -> str:
    """*model* in the one spelling that patterns are written against.

    Lower case, without vendor prefixes (`models/`, `anthropic/`, `us.anthropic.`), dates, `-latest` and variants;
    dots of versions as hyphens; Claude's family before its number (`claude-3.5-sonnet-20241022`: `claude-sonnet-3-5`).
    """
    name = model.lower().rpartition("/")[2]
    name = _BEDROCK.sub("", name)
    while (shorter := _TRAILS.sub("", name)) != name and shorter:
        name = shorter
    return _CLAUDE_NUMBER_FIRST.sub(r"claude-\2-\1", name.replace(".", "-"))


@dataclass(frozen=True, slots=True)
class Row:
    """One row of rules.toml, ready to be applied. *source* says where the facts come from."""

    dialect: str
    pattern: re.Pattern[str]
    changes: Mapping[str, Any]
    source: str
    name: str


@cache
def rows() -> tuple[dict[str, Rules], tuple[Row, ...]]:
    """The dialects' defaults and the rows of rules.toml. Raises BadRow, naming the row."""
    document = tomllib.loads(files("routing").joinpath("data/rules.toml").read_text("utf-8"))
    return read_rows(document)


def read_rows(document: Mapping[str, Any]) -> tuple[dict[str, Rules], tuple[Row, ...]]:
    """Defaults by dialect, and rows, from the form that rules.toml has."""
    defaults = {
        dialect: _changed(Rules(dialect=dialect), checked(changes, f"rules.toml [defaults.{dialect}]"))
        for dialect, changes in document.get("defaults", {}).items()
    }
    found: list[Row] = []
    for number, row in enumerate(document.get("rules", ()), 1):
        models: Sequence[str] = row.get("models", ())
        name = f"rules.toml row {number} ({', '.join(models[:2])})"
        for key in ("dialect", "models", "source", "date"):
            if not row.get(key):
                raise BadRow(f"{name}: {key} is missing")
        changes = checked({key: value for key, value in row.items() if key not in ROW_KEYS}, name)
        pattern = re.compile("|".join(translate(_plain_pattern(model)) for model in models))
        found.append(Row(row["dialect"], pattern, changes, row["source"], name))
    return defaults, tuple(found)


def checked(changes: Mapping[str, Any], place: str) -> dict[str, Any]:
    """*changes* with every value in the form that Rules holds. Raises BadRow, naming *place* and field."""
    hints = _hints()
    good: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in hints or name == "dialect":
            nearest = get_close_matches(name, hints, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise BadRow(f"{place}: {name!r} is not a rule{hint}")
        good[name] = _converted(value, hints[name], f"{place}: {name}")
    return good


@cache
def _hints() -> dict[str, Any]:
    return get_type_hints(Rules)


def _plain_pattern(pattern: str) -> str:
    return pattern.lower().replace(".", "-")


def _of_model(dialect: str, model: str) -> Rules:
    defaults, found = rows()
    rules = defaults.get(dialect) or Rules(dialect=dialect)
    for row in found:
        if row.dialect == dialect and row.pattern.match(model):
            rules = _changed(rules, row.changes)
    return rules


def _changed(rules: Rules, changes: Mapping[str, Any]) -> Rules:
    merged: dict[str, Any] = {
        name: {**getattr(rules, name), **value} if isinstance(value, dict) else value for name, value in changes.items()
    }
    return replace(rules, **merged) if merged else rules


def _with_quirks(rules: Rules, quirks: Mapping[str, Any]) -> Rules:
    combined = dict(quirks)
    for name in ADDED & quirks.keys():
        combined[name] = getattr(rules, name) | quirks[name]
    for name in RESTRICTED & quirks.keys():
        combined[name] = getattr(rules, name) & quirks[name]
    return _changed(rules, combined)


def _converted(value: Any, hint: Any, place: str) -> Any:
    """*value* as *hint* wants it; TOML has neither sets nor tuples."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {Union, UnionType}:
        return None if value is None else _converted(value, arguments[0], place)
    if origin is Literal:
        if value in arguments:
            return value
        raise BadRow(f"{place}: {value!r} is not one of {', '.join(map(str, arguments))}")
    if origin in {frozenset, tuple}:
        if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
            raise BadRow(f"{place}: expected a list, found {value!r}")
        return origin(_converted(item, arguments[0], place) for item in value)
    if isinstance(hint, type) and hint is not bool and isinstance(value, bool):
        raise BadRow(f"{place}: expected {hint.__name__}, found {value!r}")
    if hint is float and isinstance(value, int):
        return float(value)
    if isinstance(hint, type):
        if not isinstance(value, hint):
            raise BadRow(f"{place}: expected {hint.__name__}, found {value!r}")
        return value
    if not isinstance(value, Mapping):
        raise BadRow(f"{place}: expected a table, found {value!r}")
    return dict(value)
