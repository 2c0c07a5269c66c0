"""What promtool's `check metrics` says of a scrape, and that its labels are bounded."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

NOT_BASE_UNITS = frozenset(
    {"milliseconds", "ms", "microseconds", "us", "nanoseconds", "ns", "minutes", "hours", "days", "s", "sec", "secs"}
    | {"kilobytes", "kb", "megabytes", "mb", "mib", "gigabytes", "gb", "bits", "percent", "nanousd", "cents"}
)
TYPES = frozenset({"counter", "gauge", "histogram", "summary"})
OURS = re.compile(r"modelport_[a-z][a-z0-9_]*[a-z0-9]")
NAMES = re.compile(r"[a-z][a-z0-9_]*")
MOST_SERIES = 200
"""Of one family, in the small servers of the tests."""


def families(text: str) -> list[Metric]:
    """The families of a scrape."""
    return list(text_string_to_metric_families(text))


def complaints(text: str) -> Iterator[str]:
    """Everything that is against the conventions."""
    names = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    yield from (f"{name}: twice" for name, count in Counter(names).items() if count > 1)
    helps = set(re.findall(r"^# HELP (\S+) \S", text, re.MULTILINE))
    yield from (f"{name}: no help" for name in names if name not in helps)
    for kind, name in ((kind, name) for name, kind in re.findall(r"^# TYPE (\S+) (\S+)", text, re.MULTILINE)):
        yield from (f"{name}: {told}" for told in _of_name(name, kind))
    for family in families(text):
        yield from (f"{family.name}: {told}" for told in _of_family(family))


def _of_name(name: str, kind: str) -> Iterator[str]:
    if kind not in TYPES:
        yield f"its type is {kind}"
    if not OURS.fullmatch(name) and not name.startswith("process_"):
        yield "its name is not one of ours"
    if (kind == "counter") is not name.endswith("_total"):
        yield "counters, and nothing else, end in _total"
    if name.endswith(("_count", "_sum", "_bucket")):
        yield "its end is taken for a part of a histogram"
    words = set(name.split("_"))
    if found := (words & NOT_BASE_UNITS) - {"ms" if name.endswith("_items") else ""}:
        yield f"{sorted(found)} is no base unit"
    if words & {"gauge", "counter", "histogram", "summary"}:
        yield "its name holds its type"


def _of_family(family: Metric) -> Iterator[str]:
    labels = [tuple(sorted(sample.labels.items())) for sample in family.samples]
    seen = Counter(zip([sample.name for sample in family.samples], labels, strict=True))
    yield from (f"{each} comes twice" for each, count in seen.items() if count > 1)
    if len(seen) > MOST_SERIES:
        yield f"{len(seen)} series"
    for name in {name for each in labels for name, _ in each}:
        if not NAMES.fullmatch(name):
            yield f"the label {name}"
        if (name == "quantile" and family.type != "summary") or (name == "le" and family.type != "histogram"):
            yield f"the label {name} in a {family.type}"
    if family.type == "histogram":
        ends = [each["le"] for each in (sample.labels for sample in family.samples) if "le" in each]
        if family.samples and "+Inf" not in ends:
            yield "no bucket holds everything"
