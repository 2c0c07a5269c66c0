"""The layers of the configuration merged, each value with its origin; nothing is validated.

The stronger over the weaker: defaults, file, profile, environment, command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.config.errors import Problem, nearest
from proxy.config.sources import PREFIX, Layers, Origin, Override, Path_, environment, find, read

Stamp = tuple[int, int, int]
"""mtime in ns, size, inode of a file."""
_FROM_FILE: Final = frozenset({"file", "profile"})


@dataclass(frozen=True, slots=True)
class Merged:
    """What all sources say together.

    *path* is the file, None when there was none; *stamp* is what it was when it was read. *profile* is the one that
    was chosen; *folder* is what paths are relative to that do not stand in the file.
    """

    layers: Layers
    folder: Path
    path: Path | None
    profile: str | None
    stamp: Stamp | None
    warnings: tuple[str, ...]
    problems: tuple[Problem, ...]

    def base(self, key: Path_) -> Path:
        """What a path at *key* is relative to: the file's folder if it stands there."""
        return self.path.parent if self.path and self.layers.origin(key).kind in _FROM_FILE else self.folder


def merged(
    config: Path | None,
    profile: str | None,
    overrides: Sequence[Override],
    environ: Mapping[str, str],
    folder: Path,
) -> Merged:
    """Everything that is said, the stronger over the weaker.

    Raises:
        ConfigError: the file cannot be read.
    """
    path, warnings = find(environ, folder, config)
    stamp = stamp_of(path)
    layers = Layers()
    if path:
        shown = path.relative_to(folder) if path.is_relative_to(folder) else path
        layers.add(read(path), Origin("file", str(shown)))
    profile = profile or environ.get("MODELPORT_PROFILE") or None
    problems = _choose_profile(layers, profile)
    for each in [*environment(environ), *overrides]:
        if problem := _misplaced(each):
            problems.append(problem)
        else:
            layers.override(each)
    return Merged(layers, folder, path, profile, stamp, tuple(warnings), tuple(problems))


def stamp_of(path: Path | None) -> Stamp | None:
    """What tells one state of a file from another; None when there is no file."""
    if path is None:
        return None
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _choose_profile(layers: Layers, profile: str | None) -> list[Problem]:
    profiles = layers.tree.pop("profiles", {})
    where = {key[1]: origin.where for key, origin in layers.origins.items() if key[0] == "profiles" and len(key) > 1}
    for key in [key for key in layers.origins if key[0] == "profiles"]:
        del layers.origins[key]
    if not isinstance(profiles, dict):
        return [Problem("profiles", "", "no table", "a table for each profile")]
    if profile is None:
        return []
    if profile not in profiles:
        names = ", ".join(profiles) or "none, as the configuration has no [profiles.NAME]"
        return [Problem("--profile", "", repr(profile), f"one of {names}{nearest(profile, list(profiles))}")]
    chosen = profiles[profile]
    origin = Origin("profile", f"{where.get(profile, '')} [profiles.{profile}]".strip())
    if not isinstance(chosen, dict):
        return [Problem(origin.where, "", "no table", "sections such as server, providers, routes")]
    layers.add(chosen, origin)
    return []


def _misplaced(each: Override) -> Problem | None:
    where = each.origin.where
    if not all(each.key) or not each.key:
        return Problem(where, "", "an empty name", f"{PREFIX}SECTION__KEY")
    if each.key[0] == "profiles":
        return Problem(where, "", "a profile", "a value; profiles stand in the file, --profile chooses one")
    return None
