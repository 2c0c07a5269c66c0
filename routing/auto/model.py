"""What each target's answer to a request is expected to be worth: a linear model over hashed words and shape.

    quality = the target's mean + what is common to all targets + what is the target's own, clipped to 0..1

Weights are whole numbers from -32767 to 32767, with a scale for each row. Row 0 is common to all targets, row
1 + i that of target i. Columns are the words that training has seen twice or more, then the numbers of the shape.

Packed: `modelport-router 1`, a line of JSON, and the columns and weights, compressed.
"""

from __future__ import annotations

import math
import sys
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from routing.auto.errors import BadModel
from routing.auto.features import SHAPES, Traits, shape, words
from translators.codec import JsonError, dumps, loads

MAGIC: Final = b"modelport-router 1\n"
MAX_BYTES: Final = 5_000_000
SHAPE_SCALE: Final = 0.1
"""How much a number of the shape weighs beside a word."""
HARDER: Final = 0.6
"""How much further apart targets are, in proportion, for a request of unknown words that is one deviation longer."""


@dataclass(frozen=True, slots=True)
class Vector:
    """A request as columns and values; *novelty* is the share of its words that training has not seen, by weight."""

    columns: Sequence[int]
    values: Sequence[float]
    novelty: float
    longer: float
    """By how many deviations it is longer than the requests of the training."""


@dataclass(frozen=True)
class Scaling:
    """How requests become vectors: columns by hashed word, rarity by column, means and deviations of the shape."""

    buckets: Sequence[int]
    """Hashed words, rising."""
    rarity: Sequence[float]
    rarest: float
    means: Sequence[float]
    deviations: Sequence[float]

    @cached_property
    def _columns(self) -> dict[int, int]:
        return {bucket: column for column, bucket in enumerate(self.buckets)}

    def vector(self, traits: Traits) -> Vector:
        """*traits* as a vector whose words have length 1."""
        columns, values, unknown = [], [], 0.0
        rarity, known, log = self.rarity, self._columns, math.log
        for bucket, count in words(traits).items():
            column = known.get(bucket)
            weight = 1.0 if count == 1 else 1.0 + log(count)
            if column is None:
                unknown += (weight * self.rarest) ** 2
                continue
            columns.append(column)
            values.append(weight * rarity[column])
        seen = sum(value * value for value in values)
        norm = math.sqrt(seen) or 1.0
        values = [value / norm for value in values]
        first = len(self.buckets)
        scaled = [
            min(3.0, max(-3.0, (number - mean) / deviation))
            for number, mean, deviation in zip(shape(traits), self.means, self.deviations, strict=True)
        ]
        columns.extend(range(first, first + SHAPES))
        values.extend(SHAPE_SCALE * number for number in scaled)
        return Vector(columns, values, unknown / (seen + unknown) if unknown else 0.0, scaled[0])


@dataclass(frozen=True)
class Model:
    """A trained model. *costs_usd* are means of the training, None where unknown; *spread* how much targets differ."""

    targets: tuple[str, ...]
    means: Sequence[float]
    costs_usd: Sequence[float | None]
    scaling: Scaling
    rows: Sequence[array[int]]
    """Weights, of type h."""
    scales: Sequence[float]
    spread: float
    novelty: float
    """That of requests of the domain which training has not seen."""
    samples: int
    made: float = 0.0
    """Unix seconds."""
    measured: dict[str, float] = field(default_factory=dict)
    """What held-out samples said while it was trained."""

    def place(self, name: str) -> int | None:
        """The position of the target *name*: by its whole name, else by the model's, whoever it was trained at."""
        for known in (name, name.partition("/")[2], name.rpartition("/")[2]):
            if (place := self._places.get(known)) is not None:
                return place
        return None

    @cached_property
    def _places(self) -> dict[str, int]:
        short = {name.rpartition("/")[2]: at for at, name in enumerate(self.targets)}
        return {**short, **{name: at for at, name in enumerate(self.targets)}}

    def expected(self, traits: Traits, places: Sequence[int]) -> list[float]:
        """The expected quality at the targets in *places*."""
        vector = self.scaling.vector(traits)
        common = self._dot(0, vector)
        middle = sum(self.means[place] for place in places) / max(len(places), 1)
        strange = max(0.0, vector.novelty - self.novelty) / max(1.0 - self.novelty, 0.05)
        stretch = HARDER * strange * vector.longer
        return [
            min(1.0, max(0.0, mean + common + self._dot(1 + place, vector) + stretch * (mean - middle)))
            for place in places
            for mean in (self.means[place],)
        ]

    def gain(self, traits: Traits, strong: int, weak: int) -> float:
        """By how much the target *strong* is expected to be better than *weak*; not clipped."""
        vector = self.scaling.vector(traits)
        apart = self.means[strong] - self.means[weak]
        strange = max(0.0, vector.novelty - self.novelty) / max(1.0 - self.novelty, 0.05)
        own = self._dot(1 + strong, vector) - self._dot(1 + weak, vector)
        return apart * (1 + HARDER * strange * vector.longer) + own

    def _dot(self, row: int, vector: Vector) -> float:
        weights = self.rows[row]
        found = sum([weights[column] * value for column, value in zip(vector.columns, vector.values, strict=True)])
        return found * self.scales[row]


# --- files -------------------------------------------------------------------------------------------


def pack(model: Model) -> bytes:
    """*model* as the bytes of a file.

    Raises:
        BadModel: it would be larger than MAX_BYTES.
    """
    scaling = model.scaling
    head = {
        "targets": list(model.targets),
        "means": list(model.means),
        "costs_usd": list(model.costs_usd),
        "columns": len(scaling.buckets),
        "rarest": scaling.rarest,
        "shape_means": list(scaling.means),
        "shape_deviations": list(scaling.deviations),
        "scales": list(model.scales),
        "spread": model.spread,
        "novelty": model.novelty,
        "samples": model.samples,
        "made": model.made,
        "measured": model.measured,
    }
    top = scaling.rarest or 1.0
    body = b"".join(
        [
            b"".join(bucket.to_bytes(3, "little") for bucket in scaling.buckets),
            bytes(round(rarity / top * 255) for rarity in scaling.rarity),
            *(_little(row).tobytes() for row in model.rows),
        ]
    )
    packed = MAGIC + dumps(head) + b"\n" + zlib.compress(body, 9)
    if len(packed) > MAX_BYTES:
        raise BadModel(f"the model has {len(packed)} bytes; at most {MAX_BYTES}")
    return packed


def _little(row: array[int]) -> array[int]:
    """*row* from or to the order of bytes in a file, which is little-endian."""
    if sys.byteorder == "little":
        return row
    turned = row[:]
    turned.byteswap()
    return turned


def unpack(packed: bytes) -> Model:
    """The model in *packed*.

    Raises:
        BadModel: it holds none, or one that this version cannot read.
    """
    if not packed.startswith(MAGIC):
        raise BadModel(
            f"expected a file that begins with {MAGIC.decode().strip()!r}; `modelport router train` writes it"
        )
    if len(packed) > MAX_BYTES:
        raise BadModel(f"{len(packed)} bytes; at most {MAX_BYTES}")
    line, _, squeezed = packed[len(MAGIC) :].partition(b"\n")
    try:
        head = loads(line)
        targets, count = tuple(head["targets"]), int(head["columns"])
        wide = 2 * (count + SHAPES)
        size = count * 4 + wide * (1 + len(targets))
        body = zlib.decompressobj().decompress(squeezed, size + 1)
        if len(body) != size or not len(targets) == len(head["means"]) == len(head["costs_usd"]):
            raise BadModel("its parts do not fit together")
        if len(head["scales"]) != 1 + len(targets) or len(head["shape_means"]) != SHAPES:
            raise BadModel("its parts do not fit together")
        rarity = [byte * head["rarest"] / 255 for byte in body[count * 3 : count * 4]]
        buckets = [int.from_bytes(body[at : at + 3], "little") for at in range(0, count * 3, 3)]
        scaling = Scaling(buckets, rarity, head["rarest"], head["shape_means"], head["shape_deviations"])
        rows = [_little(array("h", body[at : at + wide])) for at in range(count * 4, size, wide)]
        return Model(
            targets,
            head["means"],
            head["costs_usd"],
            scaling,
            rows,
            head["scales"],
            float(head["spread"]),
            float(head["novelty"]),
            int(head["samples"]),
            float(head["made"]),
            dict(head["measured"]),
        )
    except (JsonError, KeyError, TypeError, ValueError, zlib.error) as error:
        if isinstance(error, BadModel):
            raise
        raise BadModel(f"the file is damaged ({type(error).__name__})") from error
