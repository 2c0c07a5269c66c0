"""Where values come from: each source becomes a tree, and every leaf of the merged tree remembers its source.

file           TOML, YAML or JSON, told by the suffix
profile        the table [profiles.NAME] of that file
environment    MODELPORT__SERVER__PORT=4100
command line   --port 4100, --set server.port=4100
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from proxy.config.errors import ConfigError, Problem

PREFIX: Final = "MODELPORT__"
SUFFIXES: Final = (".toml", ".yaml", ".yml", ".json")

Path_ = tuple[str, ...]
Tree = dict[str, Any]
Kind = Literal["default", "file", "profile", "environment", "command line"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Which layer a value stands in, and *where* there: the file, the variable, the option."""

    kind: Kind
    where: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.where}".rstrip()


@dataclass(frozen=True, slots=True)
class Override:
    """One value of the environment or the command line. *text* is kept: a text field wants it as it is."""

    key: Path_
    text: str
    origin: Origin

    @classmethod
    def option(cls, key: Path_, text: str, flag: str) -> Override:
        """What an option of the command line says."""
        return cls(key, text, Origin("command line", flag))


@dataclass(slots=True)
class Layers:
    """The tree so far, the source of each leaf, and the raw text of the leaves that came as text."""

    tree: Tree = field(default_factory=dict)
    origins: dict[Path_, Origin] = field(default_factory=dict)
    texts: dict[Path_, str] = field(default_factory=dict)

    def add(self, tree: Mapping[str, Any], origin: Origin, below: Path_ = ()) -> None:
        """Merge *tree* over what is there: tables deeply, everything else as a whole."""
        node = self.at(below)
        for name, value in tree.items():
            here = (*below, name)
            if isinstance(value, dict) and value:
                if not isinstance(node.get(name), dict):
                    self._forget(here)
                    node[name] = {}
                self.add(value, origin, here)
                continue
            self._forget(here)
            node[name] = value
            self.origins[here] = origin

    def override(self, each: Override) -> None:
        """Set one leaf from text."""
        key = self.spelled(each.key) if each.origin.kind == "environment" else each.key
        value: Any = scalar(each.text)
        for name in reversed(key):
            value = {name: value}
        self.add(value, each.origin)
        self.texts[key] = each.text

    def at(self, key: Path_) -> Tree:
        """The table at *key*."""
        node = self.tree
        for name in key:
            node = node[name]
        return node

    def spelled(self, key: Path_) -> Path_:
        """*key* with the spelling that the tree has: a variable cannot say `my-corner`, it says MY_CORNER."""
        node: Any = self.tree
        found: list[str] = []
        for name in key:
            names = node if isinstance(node, dict) else {}
            found.append(next((other for other in names if _as_variable(other) == name), name))
            node = names.get(found[-1])
        return tuple(found)

    def origin(self, key: Sequence[str | int]) -> Origin:
        """The source of *key*: its own, else that of the nearest table around it."""
        names = tuple(name for name in key if isinstance(name, str))
        for length in range(len(names), 0, -1):
            start = names[:length]
            if known := self.origins.get(start):
                return known
            inside = (origin for other, origin in self.origins.items() if other[:length] == start)
            if near := next(inside, None):
                return near
        return Origin("default")

    def _forget(self, key: Path_) -> None:
        gone = [other for other in self.origins if other[: len(key)] == key]
        for other in gone:
            del self.origins[other]
            self.texts.pop(other, None)


def scalar(text: str) -> Any:
    """*text* as a JSON value or a TOML value if it is one, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return tomllib.loads(f"value = {text}")["value"] if "\n" not in text else text
    except tomllib.TOMLDecodeError:
        return text


def dotted(key: Iterable[str | int]) -> str:
    """*key* in TOML's form: a name with a dot is quoted, a place in a list stands in brackets."""
    parts = [
        f"[{step}]" if isinstance(step, int) else f".{step if _bare(step) else json.dumps(step, ensure_ascii=False)}"
        for step in key
    ]
    return "".join(parts).removeprefix(".")


def key_of(text: str) -> Path_:
    """The names in a dotted key: `price."gpt-5.5".input`.

    Raises:
        ValueError: *text* is not a dotted key.
    """
    try:
        node: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError as error:
        raise ValueError(text) from error
    names: list[str] = []
    while isinstance(node, dict):
        (name,) = node
        names.append(name)
        node = node[name]
    return tuple(names)


def setting(text: str) -> Override:
    """What `--set key.path=value` says. Raises ConfigError."""
    key, equals, value = text.partition("=")
    try:
        names = key_of(key.strip())
    except ValueError as error:
        raise ConfigError([Problem("--set", "", repr(key), "server.port=4100")]) from error
    if not equals:
        raise ConfigError([Problem("--set", dotted(names), "no value", f"{dotted(names)}=VALUE")])
    return Override.option(names, value, "--set")


def environment(environ: Mapping[str, str]) -> list[Override]:
    """The variables that set a value, in the order of their names."""
    found = []
    for name in sorted(environ):
        if name.upper().startswith(PREFIX):
            key = tuple(name[len(PREFIX) :].lower().split("__"))
            found.append(Override(key, environ[name], Origin("environment", name)))
    return found


def find(environ: Mapping[str, str], folder: Path, config: Path | None) -> tuple[Path | None, list[str]]:
    """The configuration file and what to warn of. A file that was named must exist: ConfigError."""
    if named := config or (Path(given).expanduser() if (given := environ.get("MODELPORT_CONFIG")) else None):
        path = folder / named
        if not path.is_file():
            raise ConfigError([Problem(str(named), "", "no such file", "a configuration in TOML, YAML or JSON")])
        return path, []
    for stem in (folder / "modelport", user_folder(environ, "config") / "modelport" / "config"):
        there = [stem.with_suffix(suffix) for suffix in SUFFIXES if stem.with_suffix(suffix).is_file()]
        if there:
            unread = ", ".join(path.name for path in there[1:])
            return there[0], [f"{there[0].name} is used; {unread} beside it is not read"] if unread else []
    return None, []


def user_folder(environ: Mapping[str, str], purpose: Literal["config", "data"]) -> Path:
    """The user's folder for configuration or data (XDG; on Windows APPDATA and LOCALAPPDATA)."""
    variable, windows, default = {
        "config": ("XDG_CONFIG_HOME", "APPDATA", ".config"),
        "data": ("XDG_DATA_HOME", "LOCALAPPDATA", ".local/share"),
    }[purpose]
    if given := environ.get(variable) or environ.get(windows):
        return Path(given)
    if home := environ.get("HOME"):
        return Path(home) / default
    try:
        return Path.home() / default
    except RuntimeError:
        return Path.cwd()


def read(path: Path) -> Tree:
    """The tree in a file. Raises ConfigError; its text never quotes the file, which may hold secrets."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, f"an unreadable file ({type(error).__name__})", "text in UTF-8") from error
    match path.suffix.lower():
        case ".yaml" | ".yml":
            tree = _yaml(path, text)
        case ".json":
            try:
                tree = json.loads(text) if text.strip() else {}
            except ValueError as error:
                raise _unreadable(path, _json_place(error), "valid JSON") from error
        case _:
            try:
                tree = tomllib.loads(text)
            except tomllib.TOMLDecodeError as error:
                raise _unreadable(path, f"an error of syntax: {error}", "valid TOML") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise _unreadable(path, "no table", "sections such as server, providers, routes")
    return {str(name): _text_keys(value) for name, value in tree.items()}


def _yaml(path: Path, text: str) -> Any:
    import yaml  # only for a YAML file: start-up time

    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" (at line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise _unreadable(path, f"an error of syntax: {error.problem}{place}", "valid YAML") from error
    except yaml.YAMLError as error:
        raise _unreadable(path, f"an error of syntax: {type(error).__name__}", "valid YAML") from error


def _json_place(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"an error of syntax: {error.msg} (at line {error.lineno}, column {error.colno})"
    return "an error of syntax"


def _unreadable(path: Path, found: str, wanted: str) -> ConfigError:
    return ConfigError([Problem(str(path), "", found, wanted)])


def _text_keys(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(name): _text_keys(value) for name, value in node.items()}
    if isinstance(node, list):
        return [_text_keys(value) for value in node]
    return node


def _as_variable(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name.lower())


def _bare(name: str) -> bool:
    return bool(name) and all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in name)
