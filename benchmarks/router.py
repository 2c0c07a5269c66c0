"""How good the learned choice of a target is, and how long it takes; see router.md.

python benchmarks/router.py [FOLDER] [--only history,cold,others,adaptive,cascade,time]

FOLDER has the sets of outcomes (../shared/data/routing). Every number is of requests that the model has not seen:
folds, groups of subjects left out, or a second half. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from routing.auto.bandit import MOST_TRUST, TRUST, Bandit
from routing.auto.choice import Candidate, worths
from routing.auto.judging import apgr, folds
from routing.auto.model import Model, pack
from routing.auto.samples import Outcome, Sample, read_samples
from routing.auto.training import train
from routing.consensus import Answer, Learned, merge

SEED = 7
FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "routing"
PAIRS = 3
CHOICES = 200


def load(path: Path) -> list[Sample]:
    with gzip.open(path) as file:
        return read_samples(file)


def subjects(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [item["cat"] for item in map(json.loads, file) if "meta" not in item]


def pair_of(samples: Sequence[Sample]) -> tuple[str, str]:
    """The weak and the strong one of two targets."""
    first, second = samples[0].outcomes
    means = [sum(sample.outcomes[name].quality for sample in samples) for name in (first, second)]
    return (first, second) if means[0] < means[1] else (second, first)


def areas(model: Model, held: Sequence[Sample], weak: str, strong: str) -> tuple[float, float]:
    """APGR of the model and of length alone."""
    high, low = model.place(strong), model.place(weak)
    scores = [model.gain(sample.traits, high, low) for sample in held]
    outcomes = [[sample.outcomes[name].quality for sample in held] for name in (strong, weak)]
    lengths = [float(len(sample.traits.text)) for sample in held]
    return apgr(scores, *outcomes) or math.nan, apgr(lengths, *outcomes) or math.nan


def row(*cells: object) -> None:
    print(
        "| " + " | ".join(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |", flush=True
    )


def history(folder: Path) -> None:
    """The MMLU pair with history of its domain."""
    samples = load(folder / "routing_mmlu_pair.jsonl.gz")
    weak, strong = pair_of(samples)
    found = []
    for fold, (model, held) in enumerate(folds(samples, 5, Random(SEED)), 1):
        found.append(areas(model, held, weak, strong))
        row(f"MMLU pair, fold {fold}", *found[-1])
    row("**MMLU pair, mean of 5 folds**", *map(statistics.mean, zip(*found, strict=True)))


def cold(folder: Path) -> None:
    """The MMLU pair, trained on other subjects."""
    path = folder / "routing_mmlu_pair.jsonl.gz"
    samples, named = load(path), subjects(path)
    weak, strong = pair_of(samples)
    names = sorted(set(named))
    Random(SEED).shuffle(names)
    found = []
    for part in range(4):
        left_out = set(names[part::4])
        learning = [sample for sample, name in zip(samples, named, strict=True) if name not in left_out]
        held = [sample for sample, name in zip(samples, named, strict=True) if name in left_out]
        found.append(areas(train(learning, Random(SEED)), held, weak, strong))
        row(f"MMLU pair, subjects of part {part + 1} never seen", *found[-1])
    row("**MMLU pair, never seen subjects, mean**", *map(statistics.mean, zip(*found, strict=True)))


def others(folder: Path) -> None:
    """Small sets with many targets: the best one beside others, from the worst up."""
    for name in ("routing_cruxeval_many", "routing_bfcl_simple"):
        samples = load(folder / f"{name}.jsonl.gz")
        targets = list(samples[0].outcomes)
        means = {each: sum(sample.outcomes[each].quality for sample in samples) / len(samples) for each in targets}
        ranked = sorted(targets, key=means.__getitem__)
        strong = ranked[-1]
        found = []
        for step in range(PAIRS):
            weak = ranked[step * (len(ranked) * 3 // 4) // (PAIRS - 1)]
            narrowed = [
                Sample(sample.traits, {each: sample.outcomes[each] for each in (weak, strong)}) for sample in samples
            ]
            folded = [areas(model, held, weak, strong) for model, held in folds(narrowed, 5, Random(SEED))]
            found.append(tuple(map(statistics.mean, zip(*folded, strict=True))))
            row(f"{name}: {weak} ({means[weak]:.2f}) and {strong} ({means[strong]:.2f})", *found[-1])
        row(f"**{name}, mean of {PAIRS} pairs**", *map(statistics.mean, zip(*found, strict=True)))


def streams(folder: Path) -> Iterator[tuple[str, list[list[float]]]]:
    """Outcomes of all targets, request by request."""
    rng, length = Random(SEED), 10_000

    def coins(*chances: Callable[[int], float]) -> list[list[float]]:
        return [[float(rng.random() < chance(at)) for chance in chances] for at in range(length)]

    yield "stationary 0.80 0.70 0.60", coins(lambda _: 0.8, lambda _: 0.7, lambda _: 0.6)
    yield "stationary, near: 0.80 0.78 0.76 0.75 0.70", coins(*(lambda _, p=p: p for p in (0.8, 0.78, 0.76, 0.75, 0.7)))
    yield "drifting", coins(*(lambda at, k=k: 0.7 + 0.2 * math.sin(at / 1500 + 2 * k) for k in range(3)))
    yield "the best one breaks", coins(lambda at: 0.9 if at < 4000 else 0.3, lambda at: 0.6 if at < 4000 else 0.8)
    yield "taking turns", [[float(at % 2 == 0), float(at % 2 == 1)] for at in range(length)]
    yield "in blocks of 250", coins(*(lambda at, k=k: 0.85 if at // 250 % 2 == k else 0.6 for k in range(2)))
    samples = load(folder / "routing_mmlu_pair.jsonl.gz")
    real = [[outcome.quality for outcome in sample.outcomes.values()] for sample in samples]
    yield "MMLU pair, subject after subject", real
    rng.shuffle(real)
    yield "MMLU pair, shuffled", real
    for name, places in (("routing_cruxeval_many", (1, 5, 12, 39)), ("routing_bfcl_simple", (10, 12, 39, 45))):
        samples = load(folder / f"{name}.jsonl.gz")
        values = [[outcome.quality for outcome in sample.outcomes.values()] for sample in samples]
        yield f"{name}, 4 targets, {len(values)} requests", [[each[at] for at in places] for each in values]


def adaptive(folder: Path) -> None:
    """One outcome for each request: what is earned by that of the best single target in hindsight."""
    for name, outcomes in streams(folder):
        best = max(map(sum, zip(*outcomes, strict=True)))
        shares = [_earned(outcomes, [0.5] * len(outcomes[0]), TRUST, seed) / best for seed in range(5)]
        row(name, statistics.mean(shares), min(shares))
    short(folder)


def short(folder: Path) -> None:
    """Random targets on the second half of the small sets: without expectations, and with means of the first half."""
    rng = Random(SEED)
    for name in ("routing_cruxeval_many", "routing_bfcl_simple"):
        samples = load(folder / f"{name}.jsonl.gz")
        rng.shuffle(samples)
        values = [[outcome.quality for outcome in sample.outcomes.values()] for sample in samples]
        half = len(values) // 2
        nothing, means = [], []
        for seed in range(CHOICES):
            places = rng.sample(range(len(values[0])), rng.choice((2, 3, 4, 6)))
            seen, stream = ([[each[at] for at in places] for each in part] for part in (values[:half], values[half:]))
            best = max(map(sum, zip(*stream, strict=True)))
            known = [statistics.fmean(of) for of in zip(*seen, strict=True)]
            nothing.append(_earned(stream, [0.5] * len(places), TRUST, seed) / best)
            means.append(_earned(stream, known, min(MOST_TRUST, half / 2), seed) / best)
        title = f"{name}, {len(values) - half} requests, {CHOICES} choices of 2 to 6 targets"
        row(f"{title}, nothing known", statistics.mean(nothing), min(nothing))
        row(f"{title}, trained on {half} others", statistics.mean(means), min(means))
    for length in (200, 400, 2000):
        shares = []
        for _ in range(200):
            chances = [min(0.99, max(0.05, rng.gauss(0.75, 0.08))) for _ in range(4)]
            stream = [[float(rng.random() < chance) for chance in chances] for _ in range(length)]
            at = chances.index(max(chances))
            shares.append(sum(rewards[at] for rewards in stream) / max(map(sum, zip(*stream, strict=True))))
        row(
            f"for comparison: 4 targets, {length} requests, the best one known from the start",
            statistics.mean(shares),
            min(shares),
        )


def _earned(stream: Sequence[Sequence[float]], expected: Sequence[float], trust: float, seed: int) -> float:
    """What the bandit earns of *stream*."""
    rng, bandit, earned = Random(seed), Bandit(), 0.0
    for rewards in stream:
        expert = bandit.pick({str(at): each for at, each in enumerate(expected)}, rng, trust)
        earned += rewards[int(expert)]
        bandit.learn(expert, rewards[int(expert)])
    return earned


def cascade(folder: Path) -> None:
    """Two cheap targets, a dear one where they disagree: chosen on one half of a set, counted on the other."""
    for title, name, consensus in (
        ("CRUXEval", "routing_cruxeval_many", "consensus_cruxeval"),
        ("BFCL simple", "routing_bfcl_simple", "consensus_bfcl_simple"),
    ):
        rows, names = _answered(folder / f"{name}.jsonl.gz", folder / f"{consensus}.jsonl.gz")
        Random(SEED).shuffle(rows)
        learning, held = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        ranked = sorted(range(len(names)), key=lambda at: -_alone(learning, at)[0])
        for strong in ranked[:1] + ranked[4:5]:
            weaker = [at for at in ranked if _alone(learning, at)[1] < _alone(learning, strong)[1] / 3][:6]
            pairs = [(one, two) for place, one in enumerate(weaker) for two in weaker[place + 1 :]]
            if not pairs:
                continue
            one, two = max(pairs, key=lambda pair: _cascaded(learning, (*pair, strong))[0])
            row(f"{title}: alone", names[strong], *_money(*_alone(held, strong)))
            told = f"{names[one]}, {names[two]}, then {names[strong]}"
            row(f"{title}: cascade", told, *_money(*_cascaded(held, (one, two, strong))))


Row = tuple[Sequence[Any], Sequence[Outcome]]
"""What each target answered, and what came of it."""


def _answered(outcomes: Path, answers: Path) -> tuple[list[Row], list[str]]:
    """The items of both sets, and the targets that both know and whose costs are known."""
    with gzip.open(answers, "rt", encoding="utf-8") as file:
        head, *items = map(json.loads, file)
    with gzip.open(outcomes, "rt", encoding="utf-8") as file:
        ids = [item["id"] for item in map(json.loads, file) if "meta" not in item]
    samples = dict(zip(ids, load(outcomes), strict=True))
    known = [item for item in items if item["id"] in samples]
    priced = {
        name
        for name in head["meta"]["models"]
        if all((found := samples[item["id"]].outcomes.get(name)) and found.cost_usd is not None for item in known)
    }
    places = [at for at, name in enumerate(head["meta"]["models"]) if name in priced]
    names = [head["meta"]["models"][at] for at in places]
    rows = [
        ([item["outputs"][at] for at in places], [samples[item["id"]].outcomes[name] for name in names])
        for item in known
    ]
    return rows, names


def _alone(rows: Sequence[Row], at: int) -> tuple[float, float]:
    """Mean quality and cost of one target."""
    quality = sum(known[at].quality for _, known in rows) / len(rows)
    return quality, sum(known[at].cost_usd or 0.0 for _, known in rows) / len(rows)


def _cascaded(rows: Sequence[Row], places: Sequence[int]) -> tuple[float, float]:
    """Mean quality and cost of the first two, and the third where they disagree."""
    *first, later = places
    quality = cost = 0.0
    for outputs, known in rows:
        merged = merge([Answer(str(at), outputs[at]) for at in first], Learned())
        agree = merged.method != "single" and merged.value is not None and not merged.losers
        quality += known[first[0] if agree else later].quality
        cost += sum(known[at].cost_usd or 0.0 for at in (first if agree else places))
    return quality / len(rows), cost / len(rows)


def _money(quality: float, cost_usd: float) -> tuple[float, str]:
    return quality, f"{cost_usd:.6f}"


def timing(folder: Path) -> None:
    """One decision between two targets, with the request's words; time of the processor alone."""
    samples = load(folder / "routing_mmlu_pair.jsonl.gz")
    model = train(samples[:3000], Random(SEED))
    texts = [sample.traits for sample in samples[3000:6000]]
    longest = max(samples, key=lambda sample: len(sample.traits.text)).traits
    for name, asked in (("MMLU questions", texts), ("the longest of them", [longest] * 500)):
        took = []
        for traits in asked:
            started = time.thread_time_ns()
            expected = model.expected(traits, (0, 1))
            worths([Candidate("a", expected[0], 1.0), Candidate("b", expected[1], 9.0)], 0.7, model.spread)
            took.append((time.thread_time_ns() - started) / 1000)
        took.sort()
        row(name, f"{took[len(took) // 2]:.0f} us", f"{took[int(len(took) * 0.99)]:.0f} us")
    row("a model's file, 3000 questions", f"{len(pack(model)):,} bytes", "")


SECTIONS: dict[str, tuple[Callable[[Path], None], str]] = {
    "history": (history, "| APGR | auto | length alone |\n|---|---:|---:|"),
    "cold": (cold, "| APGR | auto | length alone |\n|---|---:|---:|"),
    "others": (others, "| APGR | auto | length alone |\n|---|---:|---:|"),
    "adaptive": (adaptive, "| share of the best single target | mean of 5 seeds | worst |\n|---|---:|---:|"),
    "cascade": (cascade, "| | targets | quality | cost USD |\n|---|---|---:|---:|"),
    "time": (timing, "| one decision | median | p99 |\n|---|---:|---:|"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--only", default=",".join(SECTIONS))
    said = parser.parse_args()
    for name in said.only.split(","):
        measure, head = SECTIONS[name]
        print(f"\n### {name}\n\n{head}", flush=True)
        measure(said.folder)


if __name__ == "__main__":
    main()
