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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from routing.auto.bandit import Bandit
from routing.auto.cascade import cheap_first, judge
from routing.auto.choice import Candidate, worths
from routing.auto.judging import apgr, folds
from routing.auto.model import Model, pack
from routing.auto.samples import Sample, read_samples
from routing.auto.training import train

SEED = 7
FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "routing"
PAIRS = 3


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
        shares = []
        for seed in range(5):
            rng, bandit, earned = Random(seed), Bandit(), 0.0
            for rewards in outcomes:
                expert = bandit.pick({str(at): 0.5 for at in range(len(rewards))}, rng)
                earned += rewards[int(expert)]
                bandit.learn(expert, rewards[int(expert)])
            shares.append(earned / best)
        row(name, statistics.mean(shares), min(shares))


def cascade(folder: Path) -> None:
    """Two cheap targets, a dear one where they disagree: chosen on one half of CRUXEval, counted on the other."""
    with gzip.open(folder / "consensus_cruxeval.jsonl.gz", "rt", encoding="utf-8") as file:
        models, *items = map(json.loads, file)
    costs = load(folder / "routing_cruxeval_many.jsonl.gz")
    names = models["meta"]["models"]
    outputs = {item["id"]: item["outputs"] for item in items}
    with gzip.open(folder / "routing_cruxeval_many.jsonl.gz", "rt", encoding="utf-8") as file:
        ids = [item["id"] for item in map(json.loads, file) if "meta" not in item]
    rows = [(outputs[each], [sample.outcomes[name] for name in names]) for each, sample in zip(ids, costs, strict=True)]
    rng = Random(SEED)
    rng.shuffle(rows)
    learning, held = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    total = len(learning)
    means = [sum(known[at].quality for _, known in learning) / total for at in range(len(names))]
    spent = [sum(known[at].cost_usd or 0.0 for _, known in learning) / total for at in range(len(names))]
    best = max(range(len(names)), key=means.__getitem__)
    cheap = sorted((at for at in range(len(names)) if spent[at] < spent[best] / 8), key=lambda at: -means[at])[:6]
    tried = [(one, two) for place, one in enumerate(cheap) for two in cheap[place + 1 :]]
    one, two = max(tried, key=lambda pair: _cascaded(learning, (*pair, best), spent, means)[0])
    row("best single", names[best], *_alone(held, best))
    row("cascade", f"{names[one]}, {names[two]}, then the best", *_cascaded(held, (one, two, best), spent, means))


def _alone(rows: Sequence[tuple], at: int) -> tuple[float, str]:
    quality = sum(known[at].quality for _, known in rows) / len(rows)
    return quality, f"{sum(known[at].cost_usd or 0.0 for _, known in rows) / len(rows):.6f}"


def _cascaded(rows: Sequence[tuple], places: Sequence[int], spent: Sequence[float], means: Sequence[float]):
    first, later = cheap_first([spent[at] for at in places], [means[at] for at in places])
    quality = cost = 0.0
    for outputs, known in rows:
        verdict = judge([(outputs[places[at]] or {}).get("answer") for at in first])
        chosen = places[later[0]] if verdict.keep is None else places[first[verdict.keep]]
        quality += known[chosen].quality
        asked = [places[at] for at in first] + ([places[later[0]]] if verdict.keep is None else [])
        cost += sum(known[at].cost_usd or 0.0 for at in asked)
    return quality / len(rows), f"{cost / len(rows):.6f}"


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
