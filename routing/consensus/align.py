"""Lays several JSON answers over one another, so that each place has the values that the answers give it.

object             its members by name
list of objects    rows, matched by content before anything is voted on; a row that few answers have is voted out
list of texts      its elements by content, where lengths or orders differ (tags, names); else one value
anything else      one value

Where answers differ in what stands at a place (an object, a list, a single value, nothing), that is a place of its own,
voted on first; the places below it belong to the answers that have the object or the list.

A path is `items[0].name`; the name of a field, under which reliability is learnt, is the path without positions:
`items[].name`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar

from routing.consensus.answers import ABSENT, SILENT, Json, Mark
from routing.consensus.literals import Key
from routing.consensus.values import normal, similarity

ALIKE: Final = 0.45
"""Objects less similar than this are never the same row."""
HERE: Final = 0.05
"""What the same position adds to the similarity of two rows; it decides only between equals."""
COMPARED: Final = 2
"""An item is compared with so many items of a row, the first ones."""
DEEPEST: Final = 32
MOST_PLACES: Final = 2000
"""What lies deeper or comes later than these is one value, whatever it is."""


@dataclass(slots=True)
class Place:
    """A place and what each answer has there, in the order of the answers."""

    path: str
    name: str
    values: list[Json | Mark]


@dataclass(slots=True)
class Leaf:
    """One value at *place*."""

    place: int


@dataclass(slots=True)
class Branch:
    """What may be an object or a list. *shape* is the place that decides, None where the answers agree on *kind*."""

    kind: Mark
    shape: int | None
    members: list[tuple[str, Node]] = field(default_factory=list)
    """The members of an object."""
    rows: list[Node] = field(default_factory=list)
    """The rows or elements of a list."""


Node: TypeAlias = Leaf | Branch
T = TypeVar("T", bound=Hashable)


@dataclass(slots=True)
class Layout:
    """All places of some answers, and how a value is built from what was chosen for each."""

    places: list[Place]
    root: Node

    def build(self, chosen: Sequence[Json | Mark]) -> Json | Mark:
        """The value in which each place has what was *chosen*, in the order of `places`."""
        return _built(self.root, chosen)


def lay_out(values: Sequence[Json]) -> Layout:
    """The places of *values*, one value for each answer."""
    return _Layer(len(values)).lay_out(values)


def _built(node: Node, chosen: Sequence[Json | Mark]) -> Json | Mark:
    if isinstance(node, Leaf):
        return chosen[node.place]
    if node.shape is not None and chosen[node.shape] is not node.kind:
        return chosen[node.shape]
    if node.kind is Mark.OBJECT:
        built = ((name, _built(member, chosen)) for name, member in node.members)
        return {name: value for name, value in built if not isinstance(value, Mark)}
    rows = (_built(row, chosen) for row in node.rows)
    return [row for row in rows if not isinstance(row, Mark)]


class _Layer:
    """Collects places while it goes through the answers."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.places: list[Place] = []

    def lay_out(self, values: Sequence[Json | Mark]) -> Layout:
        return Layout(self.places, self._node("", "", values, 0))

    def _node(self, path: str, name: str, values: Sequence[Json | Mark], depth: int) -> Node:
        kind = _kind(values) if depth < DEEPEST and len(self.places) < MOST_PLACES else None
        if kind is None:
            return Leaf(self._place(path, name, values))
        shapes = [kind if _has(value, kind) else value for value in values]
        said = [shape for shape in shapes if shape is not SILENT]
        shape = None if all(one is kind for one in said) else self._place(path, name, shapes)
        branch = Branch(kind, shape)
        held = [value if _has(value, kind) else SILENT for value in values]
        if kind is Mark.OBJECT:
            self._members(branch, path, name, held, depth)
        elif any(isinstance(item, dict) for value in held if isinstance(value, list) for item in value):
            self._rows(branch, path, name, held, depth)
        else:
            self._elements(branch, path, name, held)
        return branch

    def _members(self, branch: Branch, path: str, name: str, held: Sequence[Json | Mark], depth: int) -> None:
        dot = "." if path else ""
        for member in _in_order([list(value) for value in held if isinstance(value, dict)]):
            values = [value if isinstance(value, Mark) else value.get(member, ABSENT) for value in held]
            node = self._node(f"{path}{dot}{member}", f"{name}{dot}{member}", values, depth + 1)
            branch.members.append((member, node))

    def _rows(self, branch: Branch, path: str, name: str, held: Sequence[Json | Mark], depth: int) -> None:
        lists = [value if isinstance(value, list) else None for value in held]
        for at, row in enumerate(matched_rows(lists)):
            values = [
                SILENT if items is None else ABSENT if place is None else items[place]
                for items, place in zip(lists, row, strict=True)
            ]
            branch.rows.append(self._node(f"{path}[{at}]", f"{name}[]", values, depth + 1))

    def _elements(self, branch: Branch, path: str, name: str, held: Sequence[Json | Mark]) -> None:
        keyed = [{normal(item): item for item in value} if isinstance(value, list) else None for value in held]
        for at, key in enumerate(_in_order([list(items) for items in keyed if items is not None])):
            values = [SILENT if items is None else items.get(key, ABSENT) for items in keyed]
            branch.rows.append(Leaf(self._place(f"{path}[{at}]", f"{name}[]", values)))

    def _place(self, path: str, name: str, values: Sequence[Json | Mark]) -> int:
        self.places.append(Place(path, name, list(values)))
        return len(self.places) - 1


def _kind(values: Sequence[Json | Mark]) -> Mark | None:
    """What most answers with a branch here have: an object, a list with places of its own; None: one value."""
    objects = sum(isinstance(value, dict) for value in values)
    lists = [value for value in values if isinstance(value, list)]
    if objects and objects >= len(lists):
        return Mark.OBJECT
    if any(isinstance(item, dict) for value in lists for item in value):
        return Mark.LIST
    return Mark.LIST if _are_sets(lists) else None


def _has(value: Json | Mark, kind: Mark) -> bool:
    return isinstance(value, dict if kind is Mark.OBJECT else list)


def _are_sets(lists: Sequence[list[Json]]) -> bool:
    """Whether lists of texts, none with a repetition, differ in length or in nothing but their order.

    Lists of one length with other contents are tuples or sequences, where the position means something.
    """
    if len(lists) < 2 or not all(isinstance(item, str) for items in lists for item in items):
        return False
    keys = [[normal(item) for item in items] for items in lists]
    if any(len(set(items)) < len(items) for items in keys):
        return False
    if len({len(items) for items in keys}) > 1:
        return True
    return len({tuple(items) for items in keys}) > 1 and len({frozenset(items) for items in keys}) == 1


def _in_order(lists: Sequence[Sequence[T]]) -> list[T]:
    """All that occurs, by its mean relative position; what comes first in an earlier list decides ties."""
    seen: dict[T, list[float]] = {}
    for items in lists:
        for at, item in enumerate(items):
            seen.setdefault(item, []).append(at / len(items))
    return sorted(seen, key=lambda item: sum(seen[item]) / len(seen[item]))


def matched_rows(lists: Sequence[list[Json] | None]) -> list[list[int | None]]:
    """Which items of the lists are the same row: for each row its position in each list, None where it is missing.

    Rows grow answer by answer, from the list of the most usual length on. Identical items are matched first, then the
    most similar pairs (greedily; the pair that stands highest above the rest is nearly always the right one). Members
    with many different values, such as a name or a number, count more than those that hardly vary.
    """
    present = [at for at, items in enumerate(lists) if items is not None]
    sizes = Counter(len(lists[at] or ()) for at in present)
    order = sorted(present, key=lambda at: (-sizes[len(lists[at] or ())], -len(lists[at] or ()), at))
    keys = {at: [_member_keys(item) for item in lists[at] or ()] for at in present}
    weights = _weights([row for at in present for row in keys[at]])
    rows: list[dict[int, int]] = []
    for at in order:
        for place, row in _assigned(keys, rows, at, weights):
            if row is None:
                rows.append({at: place})
            else:
                rows[row][at] = place
    rows.sort(key=lambda row: sum(place / len(keys[at]) for at, place in row.items()) / len(row))
    return [[row.get(at) for at in range(len(lists))] for row in rows]


def _assigned(
    keys: dict[int, list[dict[str, Key]]], rows: Sequence[dict[int, int]], at: int, weights: dict[str, float]
) -> list[tuple[int, int | None]]:
    """Each item of list *at* with its row, None for a new one, in the order of the items."""
    pairs: list[tuple[float, int, int]] = []
    free = {
        row: [keys[other][place] for other, place in list(members.items())[:COMPARED]]
        for row, members in enumerate(rows)
    }
    taken: dict[int, int] = {}
    for place, item in enumerate(keys[at]):
        same = next((row for row, members in free.items() if item == members[0]), None)
        if same is not None:
            taken[place] = same
            del free[same]
    for place, item in enumerate(keys[at]):
        if place in taken:
            continue
        for row, members in free.items():
            alike = max(_alike(item, member, weights) for member in members)
            if alike >= ALIKE:
                pairs.append((-alike - HERE * (row == place), place, row))
    for _, place, row in sorted(pairs):
        if place not in taken and row in free:
            taken[place] = row
            del free[row]
    return [(place, taken.get(place)) for place in range(len(keys[at]))]


def _member_keys(item: Json) -> dict[str, Key]:
    return {name: normal(value) for name, value in item.items()} if isinstance(item, dict) else {"": normal(item)}


def _weights(rows: Sequence[dict[str, Key]]) -> dict[str, float]:
    """How much each member tells rows apart: the share of different values among its values, at least a tenth."""
    seen: dict[str, list[Key]] = {}
    for row in rows:
        for name, key in row.items():
            seen.setdefault(name, []).append(key)
    return {name: max(0.1, len(set(found)) / len(found)) for name, found in seen.items()}


def _alike(one: dict[str, Key], other: dict[str, Key], weights: dict[str, float]) -> float:
    """The weighted mean similarity of two rows' members, from 0 to 1; one that is missing on a side counts half."""
    total = alike = 0.0
    for name, key in one.items():
        weight = weights[name]
        if name not in other:
            total += weight / 2
            continue
        total += weight
        found = other[name]
        if key == found:
            alike += weight
        elif key[0] == "s" == found[0]:
            # Unrelated words have a Jaro-Winkler similarity of about a half.
            alike += weight * max(0.0, 2 * similarity(key, found) - 1)
    total += sum(weights[name] / 2 for name in other if name not in one)
    return alike / total if total else 1.0
