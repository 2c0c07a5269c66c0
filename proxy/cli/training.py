"""What `modelport router` does: train a model for the policy `auto`, look at one, measure how good one would be."""

from __future__ import annotations

import gzip
import os
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

from proxy.cli.client import Refused
from proxy.cli.terminal import write, write_json, write_table
from routing.auto.errors import BadModel, BadSamples
from routing.auto.judging import apgr, folds, reached, weak_and_strong
from routing.auto.model import MAX_BYTES, Model, pack, unpack
from routing.auto.samples import Sample, read_samples
from routing.auto.training import train as fitted

SEED: Final = 7
SHOWN: Final = 20
"""Targets in a table."""
KNOBS: Final = (0.0, 0.3, 0.5, 0.7, 0.9, 1.0)
GZIP: Final = b"\x1f\x8b"


def train(sources: Sequence[str], out: Path, *, as_json: bool) -> None:
    """Train on *sources* and write the model to *out*. Raises Refused."""
    samples = _samples(sources)
    started = time.monotonic()
    try:
        model = fitted(samples, _rng(), time.time())
        packed = pack(model)
    except (BadSamples, BadModel) as error:
        raise Refused(f"{', '.join(sources)}: {error}") from error
    _put(out, packed)
    if as_json:
        write_json({"model": str(out), "bytes": len(packed), **_described(model)})
        return
    took_s = time.monotonic() - started
    write(f"{out}: {len(model.targets)} targets from {model.samples} samples, {len(packed):,} bytes, {took_s:.0f} s")


def show(path: Path, *, as_json: bool) -> None:
    """What a model's file holds. Raises Refused."""
    try:
        with path.open("rb") as file:
            model = unpack(file.read(MAX_BYTES + 1))
    except (OSError, BadModel) as error:
        raise Refused(f"{path}: {error}") from error
    if as_json:
        write_json(_described(model))
        return
    made = datetime.fromtimestamp(model.made, UTC).isoformat(timespec="seconds") if model.made else "unknown"
    write(f"{path}: {model.samples} samples, {len(model.scaling.buckets):,} words, made {made}")
    order = sorted(range(len(model.targets)), key=lambda at: -model.means[at])
    write_table(
        ("target", "mean quality", "mean cost USD"),
        [(model.targets[at], f"{model.means[at]:.3f}", _dollars(model.costs_usd[at])) for at in order[:SHOWN]],
        right=("mean quality", "mean cost USD"),
    )
    if len(order) > SHOWN:
        write(f"and {len(order) - SHOWN} more")


def evaluate(
    sources: Sequence[str], *, count: int, targets: Sequence[str], weak: str | None, strong: str | None, as_json: bool
) -> None:
    """Measure by *count* folds what a model trained on *sources* would reach. Raises Refused."""
    samples = _samples(sources)
    names = {name for sample in samples for name in sample.outcomes}
    chosen = list(dict.fromkeys([*targets, *filter(None, (weak, strong))]))
    for name in chosen:
        if name not in names:
            raise Refused(f"{name}: there are no outcomes of this target; there are {', '.join(sorted(names)[:10])}")
    pair = (weak, strong) if weak and strong else weak_and_strong(samples)
    if pair is None:
        raise Refused("no two targets with outcomes for all samples, of which one is better; say --weak and --strong")
    chosen = chosen or list(pair)
    samples = [_only(sample, {*chosen, *pair}) for sample in samples if {*chosen, *pair} <= sample.outcomes.keys()]
    try:
        result = _measured(samples, pair, chosen, count)
    except BadSamples as error:
        raise Refused(f"{', '.join(sources)}: {error}") from error
    if as_json:
        write_json(result)
        return
    write(f"{result['samples']} samples, {count} folds; weak {pair[0]}, strong {pair[1]}")
    write(f"APGR {_share(result['apgr'])} (by length alone {_share(result['apgr_by_length'])}, chance 0.500)")
    write_table(
        ("", "quality", "cost USD"),
        [(each["name"], f"{each['quality']:.4f}", _dollars(each["cost_usd"])) for each in result["ways"]],
        right=("quality", "cost USD"),
    )


def _measured(samples: Sequence[Sample], pair: tuple[str, str], targets: Sequence[str], count: int) -> dict[str, Any]:
    weak, strong = pair
    scores: list[float] = []
    tested: list[Sample] = []
    by_knob: dict[float, list[tuple[float, float | None]]] = {knob: [] for knob in KNOBS}
    for model, held in folds(samples, count, _rng()):
        high, low = model.place(strong), model.place(weak)
        if high is None or low is None:
            raise BadSamples("too few samples for as many folds")
        scores += [model.gain(sample.traits, high, low) for sample in held]
        tested += held
        for knob in KNOBS:
            found = reached(model, held, targets, knob)
            by_knob[knob].append((found.quality, found.cost_usd))
    ways = [
        {"name": name, **_mean([(s.outcomes[name].quality, s.outcomes[name].cost_usd) for s in samples])}
        for name in targets
    ]
    ways += [{"name": f"auto, quality {knob:g}", **_mean(values)} for knob, values in by_knob.items()]
    outcomes = [[sample.outcomes[name].quality for sample in tested] for name in (strong, weak)]
    lengths = [float(len(sample.traits.text)) for sample in tested]
    return {
        "samples": len(samples),
        "weak": weak,
        "strong": strong,
        "apgr": apgr(scores, *outcomes),
        "apgr_by_length": apgr(lengths, *outcomes),
        "ways": ways,
    }


def _mean(values: Sequence[tuple[float, float | None]]) -> dict[str, float | None]:
    costs = [cost for _, cost in values if cost is not None]
    return {
        "quality": sum(quality for quality, _ in values) / len(values),
        "cost_usd": sum(costs) / len(costs) if len(costs) == len(values) else None,
    }


def _rng() -> Random:
    return Random(SEED)  # noqa: S311  the same data give the same model; nothing is secret


def _only(sample: Sample, names: set[str]) -> Sample:
    return Sample(sample.traits, {name: each for name, each in sample.outcomes.items() if name in names})


def _samples(sources: Sequence[str]) -> list[Sample]:
    found: list[Sample] = []
    for source in sources:
        try:
            found += read_samples(_lines(source))
        except (OSError, EOFError, BadSamples) as error:
            raise Refused(f"{source}: {error}") from error
    return found


def _lines(source: str) -> Iterable[bytes]:
    """The lines of a file, packed by gzip or not; `-` is standard input."""
    if source == "-":
        yield from sys.stdin.buffer
        return
    with Path(source).open("rb") as file:
        packed = file.peek(2)[:2] == GZIP
        if packed:
            with gzip.open(file) as lines:
                yield from lines
        else:
            yield from file


def _put(out: Path, packed: bytes) -> None:
    """Write *packed* so that whoever reads *out* meanwhile sees the old file or the new one."""
    beside = out.with_name(f"{out.name}.{os.getpid()}.new")
    try:
        beside.write_bytes(packed)
        beside.replace(out)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise Refused(f"{out}: cannot be written ({error})") from error


def _described(model: Model) -> dict[str, Any]:
    return {
        "samples": model.samples,
        "words": len(model.scaling.buckets),
        "made": model.made or None,
        "held_out": model.measured,
        "targets": [
            {"name": name, "mean_quality": mean, "mean_cost_usd": cost}
            for name, mean, cost in zip(model.targets, model.means, model.costs_usd, strict=True)
        ],
    }


def _dollars(cost: float | None) -> str:
    return "unknown" if cost is None else f"{cost:.6f}"


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
