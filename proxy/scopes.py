"""What a key may ask: routes, models and endpoints, by globs.

A glob of *models* is held against the route's name, `provider/model` and the bare model; one of *routes* against the
name of a configured route. A key with *routes* alone asks nothing but these. A route that a key may ask with only some
of its targets is that route without the others.

A glob that begins with a provider's name and a slash speaks of that provider's models and of nobody else's: others
may have models with such names (`openrouter/openai/gpt-5.5` is no model of the provider `openai`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from proxy.errors import Refused, refused
from proxy.identity import Identity, Scope
from routing.errors import NoProvider, UnknownModel
from routing.targets import Route, Target

if TYPE_CHECKING:
    from proxy.setup import Setup

MOST_NAMED: Final = 12
"""Globs that a refusal names."""


def check_scope(identity: Identity, route: Route, asked: str, *, configured: bool, providers: Iterable[str]) -> Route:
    """*route* with the targets that *identity* may ask. *configured*: it is one of the configuration's, by its name.

    *providers* are the names of all that there are, also of those that are off.

    Raises:
        Refused: 403 naming what it may ask, when it may ask none of them.
    """
    if not identity.scopes:
        return route
    targets = route.targets
    for scope in identity.scopes:
        targets = _within(scope, route.name if configured else None, targets, providers)
        if not targets:
            chained = not configured and _matches(scope.routes, asked)
            raise _out_of_scope(scope, asked, "; ask for it as `model`, without `models`" if chained else "")
    return route if len(targets) == len(route.targets) else replace(route, targets=targets)


def check_account(identity: Identity, route: Route, asked: str) -> Route:
    """*route* with the targets at whose provider *identity* may ask every model.

    What is asked there without a model of its own (files, batches, ...) may come to any model of the account.

    Raises:
        Refused: 403 naming what it may ask, when there is no such target.
    """
    targets = route.targets
    for scope in identity.scopes:
        if scope.models or scope.routes:
            targets = tuple(each for each in targets if _opens(scope.models, each.provider))
        if not targets:
            needed = " or ".join(dict.fromkeys(f"{each.provider}/*" for each in route.targets))
            raise _out_of_scope(scope, asked, f"; what names no model of its own needs {needed}")
    return route if len(targets) == len(route.targets) else replace(route, targets=targets)


def may_ask(identity: Identity, route: Route, *, configured: bool, providers: Iterable[str]) -> bool:
    """Whether *identity* may ask any target of *route*."""
    try:
        check_scope(identity, route, "", configured=configured, providers=providers)
    except Refused:
        return False
    return True


def is_open(identity: Identity, setup: Setup, name: str) -> bool:
    """Whether *identity* may ask *name*, which *setup* knows."""
    if not identity.scopes:
        return True
    configured = name in setup.loaded.settings.routes
    try:
        route = setup.names.resolve(name)
    except NoProvider:
        return False
    return may_ask(identity, route, configured=configured, providers=setup.specs)


def unknown_to(identity: Identity, setup: Setup, error: UnknownModel) -> UnknownModel:
    """*error* without the names that *identity* may not ask: they may be others' secrets."""
    return UnknownModel(error.model, [name for name in error.nearest if is_open(identity, setup, name)])


def check_endpoint(identity: Identity, path: str) -> None:
    """Raises Refused, 403 naming the endpoints that *identity* may use, when *path* is none of them."""
    for scope in identity.scopes:
        if scope.endpoints and not _matches(scope.endpoints, path):
            told = f"{path[:200]} is not open to {scope.who}: it may use {_list(scope.endpoints)}"
            raise refused(403, told, kind="permission", code="endpoint_not_allowed")


def _within(
    scope: Scope, route: str | None, targets: tuple[Target, ...], providers: Iterable[str]
) -> tuple[Target, ...]:
    if route is not None:
        if scope.routes and not _matches(scope.routes, route):
            return ()
        if _matches(scope.models, route):
            return targets
    elif scope.routes and not scope.models:
        return ()
    if not scope.models:
        return targets
    bare = [glob for glob in scope.models if not _speaks_of(glob, providers)]
    return tuple(target for target in targets if _matches(scope.models, target.name) or _matches(bare, target.model))


def _speaks_of(glob: str, providers: Iterable[str]) -> bool:
    """Whether *glob* is one of `provider/model`."""
    head, slash, _ = glob.partition("/")
    return bool(slash) and any(fnmatchcase(provider, head) for provider in providers)


def _opens(globs: Iterable[str], provider: str) -> bool:
    """Whether one of *globs* fits every model of *provider*."""
    return any(glob.endswith("*") and fnmatchcase(f"{provider}/", glob) for glob in globs)


def _matches(globs: Iterable[str], *names: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs for name in names)


def _out_of_scope(scope: Scope, asked: str, more: str = "") -> Refused:
    kinds = (("routes", scope.routes), ("models", scope.models))
    allowed = " and ".join(f"the {kind} {_list(globs)}" for kind, globs in kinds if globs)
    told = f"{asked[:200]!r} is not open to {scope.who}: it may use {allowed}{more}"
    return refused(403, told, kind="permission", code="model_not_allowed", param="model")


def _list(globs: Sequence[str]) -> str:
    more = f" and {len(globs) - MOST_NAMED} more" if len(globs) > MOST_NAMED else ""
    return ", ".join(globs[:MOST_NAMED]) + more
