"""How often the merged answer is right, beside the single models that it is made of.

Use: python benchmarks/consensus.py [--data FOLDER] [--committees N] [--write]        (`make bench-consensus`)

Random committees of 3 to 12 models answer the items of the sets in FOLDER (`consensus_*.jsonl.gz`). Each committee has
its own random split into halves: everything is learnt on the one, counted on the other. `best single` is the model of
the committee that is best on the half that counts, which nobody can know beforehand.

Function calls are merged as the proxy does it, with the schema of the function.

labels      the history knows of every answer of its half whether it was right
values      the history was told the right value of each item of its half, where it has just one (CRUXEval)
no labels   the history has seen the answers of its half and nothing else
cold        no history
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import math
import platform
import random
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from proxy.structured import problems
from routing.consensus import Answer, History, Label, Learned, Options, merge

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "routing"
REPORT = Path(__file__).with_name("consensus.md")
SEED = 20261121
BINS = 10

KINDS = {"dict": "object", "float": "number", "tuple": "array"}

Judge = Callable[[Any, Any], bool]

BOUND = (
    "What is left to gain is little and nothing tells where it is: of the 125 wrong answers with labels in 4,800, "
    "those to 31 items, no model of the committee is right in 43, and the models differ in taste in most others "
    "(`pumpkin`, `pumpkins`). Weights by kind of field (type, required or not), the default that a description states, "
    "whether a text or a number stands in the question, and whether an argument is optional, each as a feature of the "
    "candidates and all together, moved the mean by -0.04 to +0.02 points and the AUROC by 0.004 at most."
)


@dataclass(frozen=True)
class Item:
    """One question: the answers of all models, which of them are right, and which hold against its *schema*."""

    outputs: Sequence[Any]
    right: Sequence[bool]
    gold: Any
    schema: Mapping[str, Any] | None = None
    valid: Sequence[bool | None] = ()

    def answers_of(self, committee: Sequence[int]) -> list[Answer]:
        """Those of the models in *committee*."""
        return [Answer(str(model), self.outputs[model], valid=self.valid[model]) for model in committee]


@dataclass
class Result:
    """What happened in all committees of a set, a value per committee; shares of right answers."""

    best: list[float] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)
    oracle: list[float] = field(default_factory=list)
    merged: dict[str, list[float]] = field(default_factory=dict)
    sure: dict[str, list[tuple[float, bool]]] = field(default_factory=dict)
    methods: dict[str, list[str]] = field(default_factory=dict)
    alike: dict[str, list[bool]] = field(default_factory=dict)
    """Of each wrong answer, whether all models gave it."""


# --- the sets


def read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        next(lines)
        return [json.loads(line) for line in lines]


def items(path: Path, judge: Judge) -> list[Item]:
    found = []
    for row in read(path):
        right = [output is not None and judge(output, row["gold"]) for output in row["outputs"]]
        schema = call_schema(row["tools"][0]["parameters"]) if "tools" in row else None
        valid = [None if schema is None else not problems(schema, json.dumps(output)) for output in row["outputs"]]
        found.append(Item(row["outputs"], right, row["gold"], schema, valid))
    return found


def call_schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an answer that calls the function with these *parameters*, which are in the set's own words."""
    members = {"function": {"type": "string"}, "args": in_json_schema(parameters)}
    return {"type": "object", "properties": members, "required": list(members)}


def in_json_schema(said: Any) -> Any:
    if isinstance(said, list):
        return [in_json_schema(each) for each in said]
    if not isinstance(said, dict):
        return said
    kind = said.get("type")
    found = {name: in_json_schema(held) for name, held in said.items() if name != "type" or kind != "any"}
    return {**found, "type": KINDS[kind]} if isinstance(kind, str) and kind in KINDS else found


def literal(text: str) -> tuple[str, Any]:
    try:
        return "literal", ast.literal_eval(text.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return "text", text.strip()


def same_literal(output: Any, gold: Any) -> bool:
    """Equal as Python literals; a text without its quotes is none."""
    return isinstance(output.get("answer"), str) and literal(output["answer"]) == literal(gold["answer"])


def same_but_for_quotes(output: Any, gold: Any) -> bool:
    """Equal as Python literals; what is no literal counts as a text without its quotes, as the source counts it."""
    return isinstance(output.get("answer"), str) and literal(output["answer"])[1] == literal(gold["answer"])[1]


def acceptable_call(output: Any, gold: Any) -> bool:
    """The function and all arguments are among the acceptable ones, by the rules in the data's README."""
    if not isinstance(output.get("function"), str) or not isinstance(output.get("args"), dict):
        return False
    if output["function"].replace("_", ".") != gold["function"].replace("_", "."):
        return False
    return acceptable_members(output["args"], gold["args"])


def acceptable_members(given: Mapping[str, Any], accepted: Mapping[str, Any]) -> bool:
    for name, value in given.items():
        if name not in accepted:
            return False
        choices = accepted[name] if isinstance(accepted[name], list) else [accepted[name]]
        if not any(acceptable(value, choice) for choice in choices):
            return False
    return all(name in given or (isinstance(choices, list) and "" in choices) for name, choices in accepted.items())


def acceptable(value: Any, choice: Any) -> bool:
    if isinstance(value, dict) and isinstance(choice, dict):
        return acceptable_members(value, choice)
    if isinstance(value, list) and isinstance(choice, list):
        return len(value) == len(choice) and all(map(acceptable, value, choice))
    if isinstance(value, str) and isinstance(choice, str):
        return bare(value) == bare(choice)
    return type(value) is type(choice) and value == choice if isinstance(value, bool) else value == choice


def bare(text: str) -> str:
    return text.casefold().translate(str.maketrans("'", '"', " ,./-_*^"))


# --- nested documents, made up


NAMES = (
    "Ada Lovelace",
    "Alan Turing",
    "Grace Hopper",
    "Edsger Dijkstra",
    "Barbara Liskov",
    "Donald Knuth",
    "Tony Hoare",
)
GOODS = (
    "copper pipe",
    "steel bolt",
    "oak plank",
    "paint, white",
    "door hinge",
    "window frame",
    "roof tile",
    "sand, fine",
)


def invoice(rng: random.Random) -> dict[str, Any]:
    lines = [
        {
            "goods": goods,
            "count": rng.randint(1, 40),
            "price": rng.randint(100, 9999) / 100,
            "taxed": rng.random() < 0.7,
        }
        for goods in rng.sample(GOODS, rng.randint(2, 6))
    ]
    day = f"2026-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    return {"number": f"R-{rng.randint(1000, 9999)}", "date": day, "buyer": {"name": rng.choice(NAMES)}, "lines": lines}


def misread(document: dict[str, Any], error: float, rng: random.Random) -> dict[str, Any]:
    """*document* as a model with this rate of errors reads it: lines in another order, some lost, values changed."""
    lines = [
        {name: wrong(value, rng) if rng.random() < error else value for name, value in line.items()}
        for line in document["lines"]
        if rng.random() > error / 2
    ]
    if rng.random() < 0.5:
        rng.shuffle(lines)
    number, day = document["number"], document["date"]
    return {
        "number": wrong(number, rng) if rng.random() < error else number,
        "date": wrong(day, rng) if rng.random() < error else day,
        "buyer": {"name": wrong(document["buyer"]["name"], rng) if rng.random() < error else document["buyer"]["name"]},
        "lines": lines,
    }


def wrong(value: Any, rng: random.Random) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return value + rng.choice((-1, 1, 10))
        case float():
            return round(value * rng.choice((0.1, 10, 1.01)), 2)
        case _:
            at = rng.randrange(len(value))
            return value[:at] + rng.choice("abcdefgh123") + value[at + 1 :]


def facts(document: Mapping[str, Any]) -> set[tuple[Any, ...]]:
    """What a document says, each line by its goods, for order does not matter."""
    lines = document.get("lines") or []
    return {
        ("number", document.get("number")),
        ("date", document.get("date")),
        ("buyer", (document.get("buyer") or {}).get("name")),
        *(("line", line.get("goods"), name, value) for line in lines for name, value in line.items()),
    }


def score(document: Any, gold: Mapping[str, Any]) -> float:
    """F1 over the facts."""
    if not isinstance(document, dict):
        return 0.0
    said, true = facts(document), facts(gold)
    return 2 * len(said & true) / (len(said) + len(true))


def nested(documents: int, rng: random.Random) -> list[str]:
    rows = [
        "| models | best single | mean single | by position | aligned, cold | aligned, labels |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for size in (3, 5, 8):
        errors = [0.08 + 0.22 * at / (size - 1) for at in range(size)]
        targets = [f"model-{at}" for at in range(size)]
        truths = [invoice(rng) for _ in range(documents)]
        read_as = [[misread(truth, error, rng) for error in errors] for truth in truths]
        history = History()
        half = documents // 2
        for truth, outputs in zip(truths[:half], read_as[:half], strict=True):
            history.learn(answers(targets, outputs), Label(expected=truth))
        history.refit()
        rest = list(zip(truths[half:], read_as[half:], strict=True))
        singles = [statistics.fmean(score(outputs[at], truth) for truth, outputs in rest) for at in range(size)]
        position = statistics.fmean(score(by_position(outputs), truth) for truth, outputs in rest)
        cold = statistics.fmean(
            score(merge(answers(targets, outputs), Learned()).value, truth) for truth, outputs in rest
        )
        learnt = statistics.fmean(
            score(merge(answers(targets, outputs), history).value, truth) for truth, outputs in rest
        )
        figures = (max(singles), statistics.fmean(singles), position, cold, learnt)
        rows.append(f"| {size} | {' | '.join(f'{figure:.4f}' for figure in figures)} |")
    return rows


def by_position(outputs: Sequence[Any]) -> Any:
    """The vote that takes the lines in the order they are written in."""
    as_objects = [{**one, "lines": {str(at): line for at, line in enumerate(one["lines"])}} for one in outputs]
    merged = merge(
        answers([str(at) for at in range(len(outputs))], as_objects), Learned(), Options(method="majority")
    ).value
    return {**merged, "lines": list((merged.get("lines") or {}).values())}


# --- committees


def answers(targets: Sequence[str], outputs: Iterable[Any]) -> list[Answer]:
    return [Answer(target, output) for target, output in zip(targets, outputs, strict=True)]


def measure(found: Sequence[Item], judge: Judge, committees: int) -> Result:
    rng = random.Random(SEED)
    result = Result()
    for _ in range(committees):
        size = rng.randint(3, 12)
        committee = rng.sample(range(len(found[0].outputs)), size)
        order = rng.sample(range(len(found)), len(found))
        half = len(order) // 2
        seen, counted = [found[at] for at in order[:half]], [found[at] for at in order[half:]]
        singles = [statistics.fmean(item.right[model] for item in counted) for model in committee]
        result.best.append(max(singles))
        result.mean.append(statistics.fmean(singles))
        result.oracle.append(statistics.fmean(any(item.right[model] for model in committee) for item in counted))
        known = learnt(seen, committee)
        for name, learned in known.items():
            run(result, name, learned, Options(), committee, counted, judge)
        taught = known["labels"]
        for method in ("majority", "jaro_winkler", "em", "calibrated", "whole", "best_single"):
            run(result, f"labels, {method}", taught, Options(method=method), committee, counted, judge)
    return result


def learnt(seen: Sequence[Item], committee: Sequence[int]) -> dict[str, Learned]:
    told, values, untold = History(), History(), History()
    for item in seen:
        given, options = item.answers_of(committee), Options(schema=item.schema)
        if item.schema is None:
            values.learn(given, Label(expected=item.gold), options)
        told.learn(given, Label(rights={str(model): item.right[model] for model in committee}), options)
        untold.observe(given, options)
    known = {"labels": told, **({"values": values} if len(values) else {}), "no labels": untold}
    for history in known.values():
        history.refit()
    return {**{name: history.learned for name, history in known.items()}, "cold": Learned()}


def run(
    result: Result,
    name: str,
    learned: Learned,
    options: Options,
    committee: Sequence[int],
    counted: Sequence[Item],
    judge: Judge,
) -> None:
    sure, alike = [], result.alike.setdefault(name, [])
    for item in counted:
        merged = merge(item.answers_of(committee), learned, replace(options, schema=item.schema))
        right = merged.value is not None and judge(merged.value, item.gold)
        sure.append((merged.confidence, right))
        if not right:
            alike.append(not merged.losers)
    result.merged.setdefault(name, []).append(statistics.fmean(right for _, right in sure))
    result.sure.setdefault(name, []).extend(sure)
    result.methods.setdefault(name, []).append(options.method or learned.method)


def auroc(cases: Sequence[tuple[float, bool]]) -> float:
    """The chance that a right answer has more confidence than a wrong one; equal ones count half."""
    ranked = sorted(cases)
    ranks, at = 0.0, 0
    while at < len(ranked):
        end = at
        while end < len(ranked) and ranked[end][0] == ranked[at][0]:
            end += 1
        ranks += sum(right for _, right in ranked[at:end]) * (at + end + 1) / 2
        at = end
    right = sum(came for _, came in cases)
    wrong_ones = len(cases) - right
    return (ranks - right * (right + 1) / 2) / (right * wrong_ones) if right and wrong_ones else math.nan


def calibration_error(cases: Sequence[tuple[float, bool]]) -> float:
    """Expected calibration error over ten bins of equal width."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for case in cases:
        bins.setdefault(min(BINS - 1, int(case[0] * BINS)), []).append(case)
    apart = (abs(sum(sure for sure, _ in one) - sum(came for _, came in one)) for one in bins.values())
    return sum(apart) / len(cases)


def table(result: Result) -> list[str]:
    size = len(result.best)
    rows = [
        f"{size} committees; best single {100 * statistics.fmean(result.best):.2f} %, mean single "
        f"{100 * statistics.fmean(result.mean):.2f} %, oracle {100 * statistics.fmean(result.oracle):.2f} %.",
        "",
        "| | right | against best single, points | worst | below | against mean single | AUROC | ECE |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, merged in result.merged.items():
        apart = [100 * (one - best) for one, best in zip(merged, result.best, strict=True)]
        gain = statistics.fmean(one / mean - 1 for one, mean in zip(merged, result.mean, strict=True))
        rows.append(
            f"| {name} | {100 * statistics.fmean(merged):.2f} % | {statistics.fmean(apart):+.2f} | {min(apart):+.2f} | "
            f"{sum(one < -1e-9 for one in apart)} of {size} | {100 * gain:+.1f} % | {auroc(result.sure[name]):.3f} | "
            f"{calibration_error(result.sure[name]):.3f} |"
        )
    unseen = statistics.fmean(result.alike["labels"])
    rows += ["", f"Of the wrong answers with labels {100 * unseen:.0f} % are what every model of the committee says."]
    return rows


def speed() -> list[str]:
    """The CPU time of a merge of 5 answers with 30 fields, without history, on values not seen before."""
    rng = random.Random(SEED)
    targets = [f"model-{at}" for at in range(5)]
    rows = ["| 5 answers of 30 fields | median | slowest of 200 |", "|---|---:|---:|"]
    flat = {f"field_{at}": rng.choice(NAMES) + f", no. {at}" if at % 2 else at * 1.5 for at in range(30)}
    listed = {
        "buyer": "Ada",
        "lines": [{"goods": g, "count": at, "price": at * 1.5, "taxed": True} for at, g in enumerate(GOODS)][:7],
    }
    for name, document in (("flat", flat), ("2 fields and a list of 7 objects", listed)):
        took = []
        for round_ in range(200):
            noisy = [disturbed(document, random.Random(f"{round_} {target}")) for target in targets]
            given = answers(targets, noisy)
            began = time.thread_time()
            merge(given, Learned())
            took.append(1000 * (time.thread_time() - began))
        rows.append(f"| {name} | {statistics.median(took):.2f} ms | {max(took):.2f} ms |")
    return rows


def disturbed(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        return {name: disturbed(held, rng) for name, held in value.items()}
    if isinstance(value, list):
        return [disturbed(held, rng) for held in rng.sample(value, len(value))]
    return wrong(value, rng) if rng.random() < 0.2 else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--committees", type=int, default=24)
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.name}")
    options = parser.parse_args()
    warnings.simplefilter("ignore", SyntaxWarning)
    warnings.simplefilter("ignore", DeprecationWarning)
    bfcl, cruxeval = "consensus_bfcl_simple.jsonl.gz", "consensus_cruxeval.jsonl.gz"
    sets: tuple[tuple[str, str, Judge, list[str]], ...] = (
        ("BFCL simple: function calls with several arguments", bfcl, acceptable_call, [BOUND, ""]),
        ("CRUXEval: one field, equal as literals", cruxeval, same_literal, []),
        ("CRUXEval: one field, a text without its quotes counts", cruxeval, same_but_for_quotes, []),
    )
    written: list[str] = []
    sure: dict[str, list[tuple[float, bool]]] = {}
    for title, name, judge, remarks in sets:
        result = measure(items(options.data / name, judge), judge, options.committees)
        section = [f"## {title}", "", *table(result), "", *remarks]
        print("\n".join(section), flush=True)
        written += section
        for history in ("labels", "no labels", "cold"):
            sure.setdefault(history, []).extend(result.sure[history])
    section = ["## Confidence over all sets", "", "| | AUROC | ECE |", "|---|---:|---:|"]
    section += [f"| {name} | {auroc(of):.3f} | {calibration_error(of):.3f} |" for name, of in sure.items()]
    section += [
        "",
        "## Nested documents, F1 over their facts",
        "",
        *nested(120, random.Random(SEED)),
        "",
        "## Time",
        "",
        *speed(),
        "",
    ]
    print("\n".join(section), flush=True)
    written += section
    if options.write:
        REPORT.write_text(heading() + "\n".join(written), "utf-8")


def heading() -> str:
    return (
        "# Consensus\n\n"
        "Written by `make bench-consensus`; what is counted stands in `benchmarks/consensus.py`.\n"
        f"Measured on {time.strftime('%Y-%m-%d')}, Python {platform.python_version()}.\n\n"
    )


if __name__ == "__main__":
    main()
