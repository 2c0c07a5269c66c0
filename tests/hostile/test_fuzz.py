"""Bytes that nobody thought of, for every reader of foreign bytes.

A few in each test run; `make fuzz` tries many more, and `make fuzz-atheris` looks for those that take another branch.
What they find becomes a row of `FOUND`.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.hostile.targets import TARGETS

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "15"))
_SOURCES: Final = Path(__file__).resolve().parents[2] / "translators"
_WORD: Final = re.compile(r'"([a-z_$][A-Za-z_.$]{1,40})"')
WORDS: Final = sorted(
    {
        word
        for path in _SOURCES.rglob("*.py")
        if path.parent.name != "data"
        for word in _WORD.findall(path.read_text("utf-8"))
    }
)
"""What the dialects call things."""

FOUND: Final[tuple[tuple[str, bytes], ...]] = (
    ("arguments", b"[{" * 4000),
    ("arguments", b'"\\"{}"'),
    ("canonical_form", b'{"a":' + b"9" * 30 + b"}"),
    ("head", b"content-length: 5\r\nX: a\n\nb\r\n\r\n"),
)
"""What harmed once, or nearly did."""

names = st.sampled_from(WORDS) | st.text(max_size=3)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(WORDS),
    st.text(max_size=12),
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5),
    max_leaves=25,
)
objects = st.dictionaries(names, values, max_size=8)


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """JSON, or what is nearly JSON, or an event stream of it."""
    found: list[dict[str, Any]] = draw(st.lists(objects, min_size=1, max_size=4))
    texts = [json.dumps(each, ensure_ascii=draw(st.booleans())) for each in found]
    match draw(st.integers(0, 5)):
        case 0:
            end = draw(st.sampled_from(["\n\n", "\r\n\r\n", "\r\r", "\n\r\n"]))
            lead = draw(st.sampled_from(["data: ", "data:", "event: message\ndata: ", ": c\ndata: ", "id: 1\ndata: "]))
            text = "".join(f"{lead}{each}{end}" for each in texts) + draw(st.sampled_from(["", "data: [DONE]\n\n"]))
        case 1:
            cut = draw(st.integers(0, len(texts[0])))
            text = texts[0][:cut]
        case 2:
            at = draw(st.integers(0, len(texts[0])))
            text = texts[0][:at] + draw(st.text(max_size=4)) + texts[0][at:]
        case _:
            text = texts[0]
    return text.encode("utf-8", "surrogatepass")


anything = written() | st.binary(max_size=200)
heads = st.lists(
    st.sampled_from(
        (
            b"Host: a\r\nContent-Length: 5\r\n|content-length:5\r\n|Transfer-Encoding: chunked\r\n|\r\n|X-A: b\r\n"
            b"| c\r\n|\n|\r|\x00|X : b\r\n|Connection: keep-alive\r\n"
            b"|\xff|Content-Length: 5, 5\r\n|X:\tb\r\n|: b\r\n|X-B:\r\n|\r\n\r\n"
        ).split(b"|")
    ),
    max_size=10,
).map(b"".join)


@pytest.mark.parametrize("target", TARGETS)
def test_any_bytes(target: str) -> None:
    tried = TARGETS[target]

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(heads if target == "head" else anything)
    @example(b"")
    def run(data: bytes) -> None:
        tried(data)

    run()


@pytest.mark.parametrize(("target", "data"), FOUND, ids=[f"{target} {at}" for at, (target, _) in enumerate(FOUND)])
def test_what_was_found(target: str, data: bytes) -> None:
    TARGETS[target](data)
