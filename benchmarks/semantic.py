"""How often the semantic cache answers rightly, and how long a look takes.

Use: python benchmarks/semantic.py [PAIRS]        (`make bench-semantic`)

PAIRS is a gzip file of JSON lines with `a`, `b` and `same` (1: one answer serves both); without it only the project's
own near misses and light edits are tried. No network, no weights: by the words alone.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterable
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from storage.db import Database
from storage.migrations import MIGRATIONS
from storage.migrations.m0018_semantic import MIGRATION
from storage.semantic.reading import read
from storage.semantic.report import LabelledPair, report
from storage.semantic.store import Semantic, scope_of
from tests.storage.semantic.examples import Pair, light_edits, near_misses, written

PLAIN_THRESHOLD = 0.85
VECTOR_VALUES = 768
LOOKS = 200


def main() -> None:
    if len(sys.argv) > 1:
        with gzip.open(sys.argv[1], "rt", encoding="utf-8") as lines:
            rows = [row for row in map(json.loads, lines) if "a" in row]
        pairs = [LabelledPair(row["a"], row["b"], bool(row["same"])) for row in rows]
        show("labelled pairs", pairs)
    show("near misses, made", labelled(near_misses(), same=False))
    show("near misses, written", labelled(written("near_misses"), same=False))
    show("near misses, sharp", labelled(written("near_misses_sharp"), same=False))
    show("light edits, made", labelled(light_edits(), same=True))
    show("light edits, written", labelled(written("light_edits"), same=True))
    show("light edits, beside the sharp ones", labelled(written("light_edits_sharp"), same=True))
    for size in (1_000, 10_000):
        asyncio.run(measure(size))


def labelled(pairs: Iterable[Pair], *, same: bool) -> list[LabelledPair]:
    return [LabelledPair(pair.one, pair.other, same) for pair in pairs]


def show(name: str, pairs: list[LabelledPair]) -> None:
    guarded, plain = report(pairs), report(pairs, PLAIN_THRESHOLD, guarded=False)
    same, different = guarded.same, guarded.pairs - guarded.same
    print(f"{name}: {guarded.pairs} pairs, {same} the same")
    for label, found in (("guarded", guarded), (f"likeness {PLAIN_THRESHOLD} alone", plain)):
        parts = [f"{found.hits} hits"]
        if same and different:
            parts.append(f"precision {found.precision:.4f}")
        if same:
            parts.append(f"{found.hits - found.false_hits} of {same} that are the same ({found.recall:.1%})")
        if different:
            parts.append(f"{found.false_hits} of {different} that are not ({found.false_hit_rate:.2%})")
        print(f"  {label}: {', '.join(parts)}")


async def measure(size: int) -> None:
    """Looks in one scope of *size* questions with vectors, all of them new to the reader."""
    rng = Random(size)
    steps = (*(step for step in MIGRATIONS if step.name != MIGRATION.name), MIGRATION)
    words = [f"{one}{two}{three}" for one in "bdfgklmn" for two in "aeiou" for three in ("rt", "sk", "ndle", "mp")]

    def question(number: int) -> str:
        return f"What is the {rng.choice(words)} of the {rng.choice(words)} in {rng.choice(words)} {number}?"

    def vector() -> list[float]:
        return [rng.gauss(0, 1) for _ in range(VECTOR_VALUES)]

    with tempfile.TemporaryDirectory() as folder:
        async with Database(Path(folder) / "modelport.db", steps=steps) as db:
            semantic = Semantic(db)
            await semantic.open()
            scope = scope_of("t", "r", {})
            await semantic.find(scope, "Is anybody here?")
            stored = [question(number) for number in range(size)]
            for number, text in enumerate(stored):
                semantic.add(scope, text, number.to_bytes(4), vector(), ttl_s=3600)
                if number % 500 == 0:
                    await db.write(lambda _: None)
            await db.write(lambda _: None)
            asked = rng.sample(stored, LOOKS)
            texts = [f"hi, {text[0].lower()}{text[1:]}" for text in asked]
            hits = [await timed(semantic.find(scope, text)) for text in texts]
            misses = [await timed(semantic.find(scope, question(-number))) for number in range(2, LOOKS)]
            vectors = [vector() for _ in range(LOOKS)]
            far = [
                await timed(semantic.find(scope, question(-number), each)) for number, each in enumerate(vectors, LOOKS)
            ]
            assert semantic.stats()["word_hits"] == LOOKS
            reading = [clocked(text) for text in texts]
    print(f"{size} questions in the scope, median of the time [and of the CPU time] in ms:")
    for label, times in (("hit by words", hits), ("miss", misses), ("miss with a vector", far), ("reading", reading)):
        walls, cpus = zip(*times, strict=True)
        print(f"  {label}: {statistics.median(walls):.2f} [{statistics.median(cpus):.2f}]")


async def timed(look: Awaitable[object]) -> tuple[float, float]:
    began, worked = time.perf_counter(), time.process_time()
    await look
    return (time.perf_counter() - began) * 1000, (time.process_time() - worked) * 1000


def clocked(text: str) -> tuple[float, float]:
    """Reading *text* for the first time."""
    read.cache_clear()
    began, worked = time.perf_counter(), time.process_time()
    read(text)
    return (time.perf_counter() - began) * 1000, (time.process_time() - worked) * 1000


if __name__ == "__main__":
    main()
