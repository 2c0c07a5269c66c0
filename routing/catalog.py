"""What each model takes, as data: `data/rules.toml` to `translators.dialect.Rules`.

Layers, later over earlier: the dialect's defaults, every row whose pattern matches the model (in file order), what
the vendor's own list of models says, the provider row's quirks, and what the vendor's refusals have taught.
A row replaces a field; mappings are merged. Quirks speak for a server, whatever the model: what they refuse adds,
their `modalities` restrict, the rest replaces. The list and the lessons speak for one model of one provider and stand
in an `Overlay`; what they refuse adds, the rest replaces.

Model ids are compared in one spelling, see `plain`; a tuned model has the rules of its base, see `base_of`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from types import MappingProxyType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from routing.errors import BadRow
from translators.dialect import Rules

NO_QUIRKS: Final[Mapping[str, Any]] = MappingProxyType({})
ADDED: Final = frozenset({"refuses", "refuses_while_thinking", "not_relayed"})
RESTRICTED: Final = frozenset({"modalities"})
REMEMBERED: Final = 2048
ROW_KEYS: Final = frozenset({"dialect", "models", "source", "date"})


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What is known of one model of one provider beyond the shipped rows.

    *facts* come from the vendor's list of models, *lessons* from its refusals. Equal by identity, so that a change is
    a new object and rules remembered for the old one are not found any more.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    lessons: Mapping[str, Any] = field(default_factory=dict)


NOTHING_KNOWN: Final = Known()

_memory: dict[tuple[str, str, int, int], tuple[Mapping[str, Any], Known, Rules]] = {}


def rules_for(dialect: str, model: str, quirks: Mapping[str, Any] = NO_QUIRKS, known: Known = NOTHING_KNOWN) -> Rules:
    """The rules of *model* behind a server of *dialect*.

    Remembered by the identity of *quirks* and *known*, which must therefore not be changed afterwards.

    Raises:
        BadRow: a quirk is not a field of Rules, or its value is of the wrong kind.
    """
    # Both are kept with their rules: as long as they stand here, their ids belong to no other objects.
    key = (dialect, model, id(quirks), id(known))
    remembered = _memory.get(key)
    if remembered is not None:
        return remembered[2]
    rules = with_changes(_of_model(dialect, model), known.facts)
    rules = _with_quirks(rules, checked(quirks, f"quirks of a {dialect} provider"))
    rules = with_changes(rules, known.lessons)
    if len(_memory) >= REMEMBERED:
        del _memory[next(iter(_memory))]
    _memory[key] = (quirks, known, rules)
    return rules


class Overlay:
    """What is known of single targets beyond the shipped rows. It lives as long as the process and over reloads."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Known] = {}

    def of(self, provider: str, model: str) -> Known:
        """What is known of *model* at *provider*, for `rules_for`; the same object until it changes."""
        return self._known.get((provider, model), NOTHING_KNOWN)

    def put(self, provider: str, model: str, change: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add what a refusal has taught; all the lessons of this target, as they are now in force.

        Raises:
            BadRow: *change* is not one of Rules (a lesson of another version); nothing is kept of it.
        """
        old = self.of(provider, model)
        lessons = merged(old.lessons, checked(change, f"lesson of {provider}/{model}"))
        self._known[provider, model] = replace(old, lessons=lessons)
        return lessons

    def put_facts(self, provider: str, model: str, facts: Mapping[str, Any]) -> None:
        """Let *facts* of the vendor's list stand in the place of those that were known before.

        Raises:
            BadRow: *facts* are not fields of Rules; what was known stays.
        """
        good = checked(facts, f"facts of {provider}/{model}")
        self._known[provider, model] = replace(self.of(provider, model), facts=good)

    def put_back(self, provider: str, model: str, known: Known) -> None:
        """Let *known* be what is known of a target, as it was before."""
        self._known[provider, model] = known

    def forget(self, provider: str, model: str) -> None:
        """Drop everything that is known of a target: the shipped rows and the quirks are back in force."""
        self._known.pop((provider, model), None)

    def __iter__(self) -> Iterator[tuple[str, str, Known]]:
        for (provider, model), known in self._known.items():
            yield provider, model, known


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Two changes as one: what is refused unites (sorted where it is a list), tables merge, the rest is *new*'s."""
    result = dict(old)
    for name, value in new.items():
        before = old.get(name)
        if name in ADDED and before is not None:
            union = {*before, *value}
            result[name] = frozenset(union) if isinstance(before, frozenset) else sorted(union)
        elif isinstance(before, Mapping) and isinstance(value, Mapping):
            result[name] = {**before, **value}
        else:
            result[name] = value
    return result


def with_changes(rules: Rules, change: Mapping[str, Any]) -> Rules:
    """*rules* after *change*, whose refused fields (ADDED) add and whose others replace.

    Raises:
        BadRow: *change* is not one of Rules.
    """
    good = checked(change, "a change of rules")
    return _changed(rules, {**good, **{name: getattr(rules, name) | good[name] for name in ADDED & good.keys()}})


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


_TUNED = re.compile(
    r"^ft:(?P<base>[^:]+):.*"  # ft:gpt-5.5:acme::7p4lURel (OpenAI), ft:open-mistral-7b:587a6b29:20260514:7e (Mistral)
    r"|^(?P<deployed>.+)\.ft-[0-9a-f]{8,}(?:-.*)?$"  # gpt-4o-mini-2024-07-18.ft-0123456789abcdef (Azure)
)


def base_of(model: str) -> str:
    """The model that *model* was tuned from, where its name says so; else *model* itself.

    A tuned model takes what its base takes; what it costs is its own.
    """
    name = model.lower().rpartition("/")[2]
    tuned = _TUNED.match(name)
    return (tuned["base"] or tuned["deployed"]) if tuned else model


@dataclass(frozen=True, slots=True)
class Row:
    """One row of rules.toml, ready to be applied. *source* says where the facts come from, *date* (ISO) as of when."""

    dialect: str
    globs: tuple[str, ...]
    changes: Mapping[str, Any]
    source: str
    name: str
    date: str

    def is_of(self, name: str) -> bool:
        """Whether the row speaks of the model *name*, in its `plain` spelling."""
        return any(_fits(name, glob) for glob in self.globs)


_LITERAL = re.compile(r"[^*?[]*")


def _fits(name: str, glob: str) -> bool:
    """`fnmatchcase`, which compiles each glob, only where the glob begins as *name* does: there are hundreds."""
    begin = _LITERAL.match(glob)
    return begin is not None and name.startswith(begin[0]) and fnmatchcase(name, glob)


@cache
def rows() -> tuple[dict[str, Rules], tuple[Row, ...]]:
    """The dialects' defaults and the rows of rules.toml. Raises BadRow, naming the row."""
    document = tomllib.loads(files("routing").joinpath("data/rules.toml").read_text("utf-8"))
    return read_rows(document)


def read_rows(document: Mapping[str, Any]) -> tuple[dict[str, Rules], tuple[Row, ...]]:
    """Defaults by dialect, and rows, from the form that rules.toml has. A row of several dialects is a row of each."""
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
        globs = tuple(map(_plain_pattern, models))
        spoken: str | list[str] = row["dialect"]
        dialects = [spoken] if isinstance(spoken, str) else spoken
        date = str(row["date"])
        found.extend(Row(dialect, globs, changes, row["source"], name, date) for dialect in dialects)
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


def defaults_of(dialect: str) -> Rules:
    """What holds for every model behind a server of *dialect*, unless something is known of it."""
    return rows()[0].get(dialect) or Rules(dialect=dialect)


def rows_of(dialect: str, model: str) -> list[Row]:
    """The rows that speak of *model*, or of what it was tuned from, in the order in which they apply."""
    name = plain(base_of(model))
    return [row for row in rows()[1] if row.dialect == dialect and row.is_of(name)]


def _of_model(dialect: str, model: str) -> Rules:
    rules = defaults_of(dialect)
    for row in rows_of(dialect, model):
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
