"""Loading: merged layers validated as a whole, secrets and paths resolved.

Nothing is kept between two calls, so that loading again is reloading.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from proxy.config.checks import Rulebook, check
from proxy.config.errors import ConfigError, Problem
from proxy.config.explain import explain
from proxy.config.layers import Merged, Stamp, merged, stamp_of
from proxy.config.model import (
    AlertSettings,
    ErrorSettings,
    LocalModelSettings,
    ProviderSettings,
    RouteSettings,
    SecretsSettings,
    Settings,
    is_web_address,
)
from proxy.config.secrets import BadSecret, NoSecret, Secret
from proxy.config.shipped import rows
from proxy.config.sources import Layers, Origin, Override, Path_, Tree, dotted, user_folder
from proxy.sealing import SHORTEST_PASSPHRASE, BadKey, check_passphrase, key_from_text

SEALING_VARIABLE: Final = "MODELPORT_SECRET_KEY"
"""Where the key that seals is looked for when the configuration names none."""
MEMORY: Final = Path(":memory:")
"""SQLite's name for a database that is not a file."""


W = TypeVar("W", AlertSettings, ErrorSettings)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used.

    *origins* maps the dotted key of every value that is not a default to its source.
    *path* is the file, None when there was none; *profile* the one that was chosen.
    """

    settings: Settings
    origins: Mapping[str, Origin] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    path: Path | None = None
    profile: str | None = None
    stamp: Stamp | None = None


def load(
    config: Path | None = None,
    *,
    profile: str | None = None,
    overrides: Sequence[Override] = (),
    open_port: bool = False,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Loaded:
    """The configuration as it stands now.

    *overrides* come from the command line, *open_port* is `--i-know-what-i-am-doing`. Relative paths of a file are
    relative to it, all others to *folder* (the working directory).

    Raises:
        ConfigError: with every problem at once.
    """
    environ = os.environ if environ is None else environ
    folder = folder or Path.cwd()
    found = merged(config, profile, overrides, environ, folder)
    layers = found.layers
    settings, wrong = _validated(layers)
    problems = [*found.problems, *wrong, *check(layers, Rulebook(frozenset(rows()), open_port))]
    if settings is None or problems:
        raise ConfigError(_distinct(problems))
    resolver = _Resolver(environ, found)
    settings = resolver.settings(settings)
    if resolver.problems:
        raise ConfigError(resolver.problems)
    origins = {dotted(key): origin for key, origin in layers.origins.items()}
    return Loaded(settings, origins, tuple(resolver.warnings), found.path, found.profile, found.stamp)


def changed_since(loaded: Loaded) -> bool:
    """Whether the file is another one than when *loaded* was read. A file that is gone has not changed."""
    now = stamp_of(loaded.path)
    return now is not None and now != loaded.stamp


def _validated(layers: Layers) -> tuple[Settings | None, list[Problem]]:
    """The settings, or what is wrong with single values."""
    try:
        return _sections(layers.tree), []
    except ValidationError:
        pass  # once more, as a whole: all errors at once
    try:
        return _whole(layers.tree), []
    except ValidationError as error:
        if not _keep_texts(layers, error):
            return None, _problems(error, layers)
    try:
        return _whole(layers.tree), []
    except ValidationError as error:
        return None, _problems(error, layers)


def _sections(tree: Tree) -> Settings:
    """The settings, of which only the sections that *tree* has are validated: building a validator takes its time."""
    if not tree.keys() <= Settings.model_fields.keys():
        return _whole(tree)
    sections: dict[str, Any] = {}
    for name, known in Settings.model_fields.items():
        kind = known.annotation
        if name in tree:
            sections[name] = _adapter(name).validate_json(_json(tree[name]), strict=True)
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            sections[name] = kind.model_construct()
    return Settings.model_construct(set(tree), **sections)


def _whole(tree: Tree) -> Settings:
    return Settings.model_validate_json(_json(tree), strict=True)


def _json(value: Any) -> str:
    """What is validated. JSON mode is strict about kinds of values, and yet a list may become a tuple, text a path."""
    return json.dumps(value, default=str)


@cache
def _adapter(section: str) -> TypeAdapter[Any]:
    kind: Any = Settings.model_fields[section].annotation
    return TypeAdapter(kind)


def _problems(error: ValidationError, layers: Layers) -> list[Problem]:
    # A list whose only entry is wrong counts as empty for pydantic: the entry is told already.
    told = [each for each in error.errors(include_url=False) if not (each["type"] == "too_short" and each["input"])]
    return [explain(each, layers, Settings) for each in told]


def _keep_texts(layers: Layers, error: ValidationError) -> bool:
    """Put the text of variables and options back where text was wanted; one value for a list becomes a list."""
    changed = False
    for each in error.errors(include_url=False):
        for key in (key for key in layers.texts if _same_place(key, each["loc"])):
            node, text = layers.at(key[:-1]), layers.texts[key]
            if each["type"] in {"string_type", "expected"} and not isinstance(node[key[-1]], str):
                node[key[-1]], changed = text, True
            elif each["type"] in {"tuple_type", "list_type"}:
                node[key[-1]], changed = [text], True
    return changed


def _same_place(key: Path_, loc: tuple[int | str, ...]) -> bool:
    steps = iter(loc)
    return all(name in steps for name in key) and not any(isinstance(step, int) for step in loc)


def _distinct(problems: Sequence[Problem]) -> list[Problem]:
    """One problem a place: the rule about a value adds nothing when its kind is wrong already."""
    return list({(problem.where, problem.key): problem for problem in reversed(problems)}.values())[::-1]


class _Resolver:
    """Follows references and makes paths absolute."""

    def __init__(self, environ: Mapping[str, str], found: Merged) -> None:
        self.warnings = [*found.warnings]
        self.problems: list[Problem] = []
        self._environ = environ
        self._layers = found.layers
        self._base = found.base

    def settings(self, settings: Settings) -> Settings:
        auth = settings.auth
        if auth.master_key:
            (master_key,) = self._secrets(("auth", "master_key"), [auth.master_key]) or (None,)
            auth = auth.model_copy(update={"master_key": master_key})
        secrets = self._sealing(settings.secrets)
        alerts, errors = self._told("alerts", settings.alerts), self._told("errors", settings.errors)
        data = user_folder(self._environ, "data") / "modelport" / "modelport.db"
        path = settings.storage.path
        if path != MEMORY:
            path = self._path(("storage", "path"), path) if path != Path() else data.absolute()
        log_file = settings.logging.file and self._path(("logging", "file"), settings.logging.file)
        providers = {name: self._provider(name, section) for name, section in settings.providers.items()}
        return settings.model_copy(
            update={
                "auth": auth,
                "storage": settings.storage.model_copy(update={"path": path}),
                "logging": settings.logging.model_copy(update={"file": log_file}),
                "secrets": secrets,
                "alerts": alerts,
                "errors": errors,
                "providers": providers,
                "routes": {name: self._route(name, section) for name, section in settings.routes.items()},
            }
        )

    def _route(self, name: str, section: RouteSettings) -> RouteSettings:
        """`[routes.NAME]` with its paths."""
        if section.auto.model is None:
            return section
        model = self._path(("routes", name, "auto", "model"), section.auto.model)
        return section.model_copy(update={"auto": section.auto.model_copy(update={"model": model})})

    def _told(self, name: str, section: W) -> W:
        """`[alerts]` or `[errors]` with its values. An address that is none is a problem."""
        update: dict[str, Secret | None] = {}
        for field_, literal in (("webhook", True), ("webhook_secret", False)):
            written: Secret | None = getattr(section, field_)
            if written is not None:
                (update[field_],) = self._secrets((name, field_), [written], literal=literal) or (None,)
        webhook = update.get("webhook")
        if webhook is not None and not is_web_address(webhook.reveal()):
            origin = self._layers.origin((name, "webhook"))
            wanted = "an address such as https://hooks.example.org/modelport"
            self.problems.append(Problem(origin.where, f"{name}.webhook", "no address", wanted))
        return section.model_copy(update=update) if update else section

    def _sealing(self, section: SecretsSettings) -> SecretsSettings:
        """`[secrets]` with its values, each of which can be used."""
        update: dict[str, Secret | None] = {}
        for name in SecretsSettings.model_fields:
            written: Secret | None = getattr(section, name)
            if written is None:
                continue
            (found,) = self._secrets(("secrets", name), [written]) or (None,)
            update[name] = found
            if found is not None:
                self._check_sealing(name, found.reveal(), self._layers.origin(("secrets", name)).where)
        if section.key is None and section.passphrase is None and self._environ.get(SEALING_VARIABLE, "").strip():
            (found,) = self._secrets(("secrets", "key"), [Secret.written(f"env:{SEALING_VARIABLE}")]) or (None,)
            update["key"] = found
            if found is not None:
                self._check_sealing("key", found.reveal(), SEALING_VARIABLE)
        return section.model_copy(update=update)

    def _check_sealing(self, name: str, value: str, where: str) -> None:
        passphrase = name.endswith("passphrase")
        wanted = f"{SHORTEST_PASSPHRASE} or more" if passphrase else "what `modelport secrets generate` prints"
        try:
            if passphrase:
                check_passphrase(value)
            else:
                key_from_text(value)
        except BadKey as error:
            self.problems.append(Problem(where, f"secrets.{name}", str(error), wanted))

    def _provider(self, name: str, section: ProviderSettings) -> ProviderSettings:
        key: Path_ = ("providers", name)
        update: dict[str, Any] = {}
        if section.keys is not None:
            update["keys"] = self._secrets((*key, "keys"), section.keys, stored=True)
        if section.headers:
            update["headers"] = {
                header: found
                for header, secret in section.headers.items()
                for found in self._secrets((*key, "headers", header), [secret], literal=True, stored=True)
            }
        if section.limits.model_fields_set and section.dialect != "llamacpp":
            self.warnings.append(f"{dotted((*key, 'limits'))}: accepted, but not enforced by this version")
        if isinstance(section.models, dict):
            update["models"] = {
                model: self._local((*key, "models", model), local) for model, local in section.models.items()
            }
        return section.model_copy(update=update) if update else section

    def _local(self, key: Path_, local: LocalModelSettings) -> LocalModelSettings:
        paths = {"path": local.path, "projector": local.projector}
        absolute = {name: self._path((*key, name), path) for name, path in paths.items() if path}
        return local.model_copy(update=absolute)

    def _secrets(
        self, key: Path_, written: Sequence[Secret], *, literal: bool = False, stored: bool = False
    ) -> tuple[Secret, ...]:
        """Those of *written* that lead somewhere; the others are warned of and left out.

        With *stored*, those that lead into the database stay as they are: it is opened later.
        """
        found = []
        for place, secret in enumerate(written):
            if stored and secret.stored_name:
                found.append(secret)
                continue
            name = dotted((*key, place) if key[-1] == "keys" else key)
            try:
                found.append(secret.resolved(self._environ, self._base(key)))
            except NoSecret as error:
                self.warnings.append(f"{name}: {error}; it is left out")
            except BadSecret as error:
                origin = self._layers.origin(key)
                wanted = '"env:NAME" or "file:PATH" that leads to a key of printable characters'
                self.problems.append(Problem(origin.where, name, str(error), wanted))
            if secret.reference is None and not literal:
                self.warnings.append(f'{name}: the key stands here as it is; write "env:NAME" or "file:PATH" instead')
        return tuple(found)

    def _path(self, key: Path_, path: Path) -> Path:
        return (self._base(key) / path.expanduser()).absolute()
