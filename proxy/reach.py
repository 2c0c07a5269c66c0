"""What the globs of a scope reach: whether one can match anything at all, and whether it matches anything now.

A glob that nothing can ever match is a slip and is refused. One that matches nothing now may wait for a provider or a
route that comes later; whoever wrote it is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final

from proxy.services import Services
from proxy.setup import Setup
from storage.keys import Settings

CATCH_ALL: Final = "/v1/{}"
"""The path of what is passed on to providers: what stands there is theirs."""
NEAR: Final = 0.85
MOST_COMPARED: Final = 500
MOST_TOLD: Final = 12
_WILD: Final = re.compile(r"[*?\[]")


def unreachable(glob: str, endpoints: Sequence[str]) -> str | None:
    """Why *glob* cannot match the path of any request; None when it can. *endpoints* are the paths that there are."""
    if any(_meets(glob, path) for path in endpoints):
        return None
    near = _near(glob, [path for path in endpoints if not path.endswith("{}")])
    return f"{glob!r} matches no path of this server, which begin with / as in /v1/chat/*{near}"


def warnings(services: Services, settings: Settings) -> list[str]:
    """What is to be told of globs in *settings* that match nothing now, a sentence each."""
    found: list[str] = []
    names, patterns = _models(services.setup)
    routes = list(services.setup.loaded.settings.routes)
    found += _idle("models", settings.models, [*names, *routes], patterns, "model or route")
    found += _idle("routes", settings.routes, routes, (), "route")
    exact = [path for path in services.endpoints if not path.endswith("{}")]
    rest = [path for path in services.endpoints if path.endswith("{}") and path != CATCH_ALL]
    for glob in settings.endpoints:
        if not any(_meets(glob, path) for path in (*exact, *rest)) and (near := _near(glob, exact)):
            found.append(f"endpoints: {glob!r} matches only what is passed on to providers{near}")
    return found[:MOST_TOLD]


def _models(setup: Setup) -> tuple[list[str], list[str]]:
    """The names that models have now, and the patterns of those that providers take besides."""
    names = [name for listed in setup.names.listed for name in {listed, listed.partition("/")[2] or listed}]
    patterns: list[str] = []
    for spec in setup.enabled:
        for pattern in spec.patterns or (() if spec.models else ("*",)):
            patterns += [f"{spec.name}/{pattern}", *([pattern] if spec.patterns else ())]
    return names, patterns


def _idle(field: str, globs: Iterable[str], names: Sequence[str], patterns: Sequence[str], what: str) -> Iterable[str]:
    for glob in globs:
        if any(fnmatchcase(name, glob) for name in names) or any(_overlap(glob, pattern) for pattern in patterns):
            continue
        yield f"{field}: {glob!r} matches no {what} that there is now{_near(glob, names)}"


def _meets(glob: str, path: str) -> bool:
    """Whether *glob* may match *path*, one of the server's: as it is, or with something in the place of `{}`."""
    if path.endswith("{}"):
        return _overlap(glob, f"{path[:-2]}?*")
    return fnmatchcase(path, glob)


def _overlap(one: str, other: str) -> bool:
    """Whether some text may match both, judged by what stands before their first wildcards: rather yes than no."""
    if not _WILD.search(one):
        return fnmatchcase(one, other)
    if not _WILD.search(other):
        return fnmatchcase(other, one)
    first, second = _WILD.split(one, maxsplit=1)[0], _WILD.split(other, maxsplit=1)[0]
    return first.startswith(second) or second.startswith(first)


def _near(glob: str, names: Sequence[str]) -> str:
    near = get_close_matches(glob, names[:MOST_COMPARED], n=1, cutoff=NEAR)
    return f"; did you mean {near[0]}?" if near else ""
