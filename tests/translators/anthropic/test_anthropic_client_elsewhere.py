"""A client's Messages request in front of other models and dialects: what it says stays, or is a loss with its name."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from translators.anthropic.client import parse_request
from translators.codec import dumps_text
from translators.dialect import Rendered, Rules
from translators.dialects import BACKENDS, CLIENTS
from translators.outward import for_others

MARK = {"type": "ephemeral", "ttl": "1h"}
MARKED = {"cache_control": MARK}
HELLO = {"role": "user", "content": "Hello"}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
TOOL = {"name": "weather", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "a", "name": "weather", "input": {}}
GAVE = {"type": "tool_result", "tool_use_id": "a", "content": "mild"}
FOUND = {"type": "search_result", "source": "https://a", "title": "T"}
MILD = {"type": "text", "text": "mild"}

CLAUDE = Rules(dialect="anthropic", thinking="adaptive", max_output_tokens=128_000, conformant=True)
OLDER = replace(CLAUDE, thinking="budget")
ALWAYS = replace(CLAUDE, efforts=("low", "medium", "high", "xhigh", "max"))
OPENAI = Rules(dialect="openai_chat")
MARKING = replace(OPENAI, cache_breakpoints=True)
GEMINI = Rules(dialect="gemini", thinking="level", efforts=("low", "medium", "high"))


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def body_of(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 4096, "messages": list(messages or (HELLO,)), **fields}


def told(body: dict[str, Any], rules: Rules) -> Rendered:
    request, _ = for_others(parse_request(copy.deepcopy(body)))
    return BACKENDS[rules.dialect].render_request(request, rules)


def lost(rendered: Rendered) -> list[tuple[str, str]]:
    return [(loss.field, loss.action) for loss in rendered.losses]


# --- cache marks ---------------------------------------------------------------------------------

MARKS: dict[str, tuple[dict[str, Any], str]] = {
    "system": (body_of(system=[{"type": "text", "text": "Be kind.", **MARKED}]), "system[0]"),
    "text": (body_of(user({**MILD, **MARKED})), "messages[0].content[0]"),
    "image": (body_of(user({**PNG, **MARKED})), "messages[0].content[0]"),
    "search result": (body_of(user({**FOUND, "content": [MILD], **MARKED})), "messages[0].content[0]"),
    "within a search result": (body_of(user({**FOUND, "content": [{**MILD, **MARKED}]})), "messages[0].content[0]"),
    "assistant": (body_of(HELLO, assistant({**MILD, **MARKED}), HELLO), "messages[1].content[0]"),
    "redacted thinking": (
        body_of(HELLO, assistant({"type": "redacted_thinking", "data": "D", **MARKED}, MILD), HELLO),
        "messages[1].content[0]",
    ),
    "call": (body_of(HELLO, assistant({**CALL, **MARKED}), user(GAVE), tools=[TOOL]), "messages[1].content[0]"),
    "result": (body_of(HELLO, assistant(CALL), user({**GAVE, **MARKED}), tools=[TOOL]), "messages[2].content[0]"),
    "within a result": (
        body_of(HELLO, assistant(CALL), user({**GAVE, "content": [{**MILD, **MARKED}]}), tools=[TOOL]),
        "messages[2].content[0].content[0]",
    ),
    "tool": (body_of(tools=[{**TOOL, **MARKED}]), "tools[0]"),
    "the whole request": (body_of(**MARKED), ""),
}
NOT_MARKED_THERE = {"call", "tool", "redacted thinking", "the whole request"}
"""OpenAI marks parts of content alone."""


@pytest.mark.parametrize(("body", "place"), MARKS.values(), ids=MARKS)
@pytest.mark.parametrize(
    "rules", [OPENAI, GEMINI, replace(OPENAI, dialect="openai_responses")], ids=lambda r: r.dialect
)
def test_a_cache_mark_that_the_target_has_no_word_for_is_lost_aloud(
    body: dict[str, Any], place: str, rules: Rules
) -> None:
    rendered = told(body, rules)

    assert (f"{place}.cache_control".removeprefix("."), "dropped") in lost(rendered)


@pytest.mark.parametrize(("name", "body", "place"), [(name, *row) for name, row in MARKS.items()], ids=MARKS)
def test_a_cache_mark_is_a_breakpoint_where_the_target_has_them(name: str, body: dict[str, Any], place: str) -> None:
    """WIRE 39, the other way round."""
    rendered = told(body, MARKING)

    marks = dumps_text(rendered.body).count('"prompt_cache_breakpoint":')
    expected = "dropped" if name in NOT_MARKED_THERE else "clamped"
    assert marks == (0 if name in NOT_MARKED_THERE else 1)
    assert [action for field, action in lost(rendered) if field.startswith(f"{place}.cache_control".strip("."))] == [
        expected
    ]


@pytest.mark.parametrize("name", ["search result", "within a search result", "redacted thinking", "result"])
def test_a_cache_mark_is_written_again_for_claude(name: str) -> None:
    body, _ = MARKS[name]

    rendered = told(body, CLAUDE)

    assert dumps_text(rendered.body).count('"cache_control":') == 1
    assert lost(rendered) == []


def test_an_empty_text_cannot_be_marked() -> None:
    rendered = told(body_of(user(MILD, {"type": "text", "text": "", **MARKED})), CLAUDE)

    assert rendered.body["messages"] == [user(MILD)]
    assert lost(rendered) == [("messages[0].content[1].cache_control", "dropped")]


def test_of_the_marks_within_a_result_the_last_stands_for_all() -> None:
    inner = [{**MILD, **MARKED}, {"type": "text", "text": "dry", "cache_control": {"type": "ephemeral"}}]
    rendered = told(body_of(HELLO, assistant(CALL), user({**GAVE, "content": inner}), tools=[TOOL]), CLAUDE)

    assert rendered.body["messages"][2]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert lost(rendered) == [("messages[2].content[0].content[0].cache_control", "dropped")]


# --- thinking ------------------------------------------------------------------------------------

BUDGET = {"type": "enabled", "budget_tokens": 2048}
ADAPTIVE = {"type": "adaptive"}
BETWEEN = {"type": "between_tools"}
OFF = {"type": "disabled"}
MAX = {"output_config": {"effort": "max"}}

THINKING: dict[str, tuple[dict[str, Any], Rules, dict[str, Any], list[tuple[str, str]]]] = {
    "effort over budget, OpenAI": (
        {"thinking": BUDGET, **MAX},
        OPENAI,
        {"reasoning_effort": "max"},
        [("thinking.budget_tokens", "dropped")],
    ),
    "effort over budget, Gemini": (
        {"thinking": BUDGET, "output_config": {"effort": "high"}},
        GEMINI,
        {
            "generationConfig": {
                "maxOutputTokens": 4096,
                "thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": True},
            }
        },
        [("thinking.budget_tokens", "dropped")],
    ),
    "effort over budget, adaptive Claude": (
        {"thinking": BUDGET, **MAX},
        CLAUDE,
        {"thinking": ADAPTIVE, **MAX},
        [("thinking.budget_tokens", "dropped")],
    ),
    "effort and budget, older Claude": ({"thinking": BUDGET, **MAX}, OLDER, {"thinking": BUDGET, **MAX}, []),
    "WIRE 28 budget, adaptive Claude": (
        {"thinking": BUDGET},
        CLAUDE,
        {"thinking": ADAPTIVE, "output_config": {"effort": "low"}},
        [("thinking.budget_tokens", "emulated")],
    ),
    "WIRE 27 adaptive with effort, older Claude": (
        {"thinking": ADAPTIVE, "output_config": {"effort": "low"}},
        OLDER,
        {"thinking": BUDGET, "output_config": None},
        [("thinking.type", "emulated")],
    ),
    "adaptive alone, older Claude": (
        {"thinking": ADAPTIVE, "max_tokens": 9000},
        OLDER,
        {"thinking": {"type": "enabled", "budget_tokens": 8192}},
        [("thinking.type", "emulated")],
    ),
    "between tools, older Claude": (
        {"thinking": BETWEEN, "max_tokens": 9000},
        OLDER,
        {"thinking": {"type": "enabled", "budget_tokens": 8192}},
        [("thinking.type", "emulated")],
    ),
    "effort without thinking, OpenAI": (
        {"thinking": OFF, **MAX},
        OPENAI,
        {"reasoning_effort": "none"},
        [("output_config.effort", "dropped")],
    ),
    "effort without thinking, Claude that cannot": (
        {"thinking": OFF, **MAX},
        replace(CLAUDE, thinking="none"),
        {"thinking": None, "output_config": None},
        [("output_config.effort", "dropped")],
    ),
    "effort without thinking, Claude that always thinks": (
        {"thinking": OFF, **MAX},
        ALWAYS,
        {"thinking": ADAPTIVE, **MAX},
        [("thinking.type", "clamped")],
    ),
    "a budget beside adaptive thinking": (
        {"thinking": {**ADAPTIVE, "budget_tokens": 2048}, **MAX},
        CLAUDE,
        {"thinking": ADAPTIVE, **MAX},
        [("thinking.budget_tokens", "dropped")],
    ),
}


@pytest.mark.parametrize(("fields", "rules", "expected", "losses"), THINKING.values(), ids=THINKING)
def test_an_effort_decides_and_what_gives_way_is_named(
    fields: dict[str, Any], rules: Rules, expected: dict[str, Any], losses: list[tuple[str, str]]
) -> None:
    rendered = told(body_of() | fields, rules)

    assert {name: rendered.body.get(name) for name in expected} == expected
    assert lost(rendered) == losses


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "message", "place"),
    [
        ("openai_chat", {"role": "assistant", "refusal": "No."}, "messages[1].refusal"),
        (
            "openai_chat",
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            "messages[1].content[0]",
        ),
        (
            "openai_responses",
            {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            "input[1].content[0]",
        ),
    ],
    ids=["beside the content", "in the content", "Responses"],
)
def test_an_earlier_refusal_is_told_as_text_and_said_to_be(client: str, message: dict[str, Any], place: str) -> None:
    talk = {"openai_chat": "messages", "openai_responses": "input"}[client]
    parse: Any = CLIENTS[client]
    request = parse.parse_request({"model": "m", talk: [HELLO, message, HELLO]})

    rendered = BACKENDS["anthropic"].render_request(request, CLAUDE)

    assert rendered.body["messages"][1] == assistant({"type": "text", "text": "No."})
    assert (place, "emulated") in lost(rendered)
