"""Tools that come again are read and written once, and what is remembered is what careful work gives."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest

from translators.dialect import Rules
from translators.dialects import BACKENDS, CLIENTS
from translators.errors import BadRequest
from translators.fields import Fields
from translators.neutral import Request
from translators.openai_chat import parse_request
from translators.toolbox import LONGEST_REMEMBERED, Toolbox, read_tools

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"city": {"type": "string", "format": "city"}, "again": {"$ref": "#/properties/city"}},
    "additionalProperties": False,
}


def function(name: str = "weather", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": SCHEMA, **more}}


SETS: Final[dict[str, list[dict[str, Any]]]] = {
    "plain": [function(), function("forecast")],
    "strict": [function(strict=True), function("loose", strict=False)],
    "illegal names": [function("what's new"), function("2"), function("n" * 140)],
    "without a schema": [{"type": "function", "function": {"name": "now"}}],
    "a mark": [{**function(), "cache_control": {"type": "ephemeral"}}],
    "an unknown field": [function(cost=3)],
    "free-form": [function(), {"type": "custom", "custom": {"name": "shell"}}],
    "a vendor's own": [function(), {"type": "web_search"}],
    "wide numbers": [function(parameters={"type": "object", "properties": {"id": {"minimum": 2**70}}})],
}
CHOICES: Final[Sequence[Any]] = (
    None,
    "required",
    {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [function()]}},
)
RULES: Final = [
    *(Rules(dialect=name, conformant=True) for name in ("openai_chat", "openai_responses", "anthropic", "gemini")),
    Rules(dialect="openai_chat"),
    Rules(dialect="gemini", tool_schema_field="parameters", refuses=frozenset({"strict"})),
]


def asked(tools: Sequence[Any], choice: Any = None) -> dict[str, Any]:
    chosen = {} if choice is None else {"tool_choice": choice}
    return {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": list(tools), **chosen}


def rendered(request: Request, rules: Rules) -> Any:
    """The body and the losses, or why there are none."""
    try:
        found = BACKENDS[rules.dialect].render_request(request, rules)
    except BadRequest as error:
        return str(error)
    return found.body, found.losses, dict(found.tool_names)


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: f"{rules.dialect} {rules.tool_schema_field}")
@pytest.mark.parametrize("choice", CHOICES, ids=str)
@pytest.mark.parametrize("name", SETS)
def test_remembered_tools_are_written_as_new_ones(name: str, choice: Any, rules: Rules) -> None:
    """The first time and the second, and nothing of what is remembered has changed by it."""
    request = parse_request(asked(SETS[name], choice))
    before = copy.deepcopy(tuple(request.tools))
    carefully = rendered(replace(request, tools=tuple(request.tools)), rules)

    assert isinstance(request.tools, Toolbox)
    assert [rendered(request, rules) for _ in range(2)] == [carefully] * 2
    assert tuple(request.tools) == before


@pytest.mark.parametrize("client", ["openai_chat", "openai_responses", "anthropic", "gemini"])
@pytest.mark.parametrize("name", ["plain", "strict", "illegal names"])
def test_every_client_has_its_tools_remembered(name: str, client: str) -> None:
    """A client's own form of them, read twice, is the same object, and is what reading it anew gives."""
    chat = parse_request({**asked(SETS[name]), "max_completion_tokens": 9})
    body = BACKENDS[client].render_request(chat, Rules(dialect=client, conformant=True)).body

    first, second = (_parsed(client, copy.deepcopy(dict(body))) for _ in range(2))

    assert first.tools is second.tools
    assert [tool.name for tool in first.tools] == [_name(client, body, at) for at in range(len(chat.tools))]
    for rules in RULES:
        if rules.dialect != client:
            assert rendered(first, rules) == rendered(replace(first, tools=tuple(first.tools)), rules)


def _parsed(client: str, body: Mapping[str, Any]) -> Request:
    dialect: Any = CLIENTS[client]
    found: Request = dialect.parse_request(body, "m", False) if client == "gemini" else dialect.parse_request(body)
    return found


def _name(client: str, body: Mapping[str, Any], at: int) -> str:
    match client:
        case "gemini":
            return str(body["tools"][0]["functionDeclarations"][at]["name"])
        case "openai_chat":
            return str(body["tools"][at]["function"]["name"])
        case _:
            return str(body["tools"][at]["name"])


def test_a_body_that_is_changed_later_does_not_change_what_is_remembered() -> None:
    body = asked([function("changed_later")])
    parse_request(body)
    body["tools"][0]["function"]["parameters"] = {"type": "string"}

    assert parse_request(asked([function("changed_later")])).tools[0].parameters == SCHEMA


def test_entries_of_one_request_are_not_those_of_another() -> None:
    """A renderer may add to the tools of its body."""
    request = parse_request(asked([function("added_to")]))
    rules = Rules(dialect="openai_responses", conformant=True)
    first = BACKENDS["openai_responses"].render_request(request, rules).body
    first["tools"].append({"type": "web_search"})

    assert len(BACKENDS["openai_responses"].render_request(request, rules).body["tools"]) == 1


@pytest.mark.parametrize("wrong", ["x", 3, {"a": 1}, ["x"], [{"type": "function"}], [function(""), function()]])
def test_wrong_tools_are_refused_each_time(wrong: Any) -> None:
    told = []
    for _ in range(2):
        with pytest.raises(BadRequest, match=r"^tools") as caught:
            parse_request({**asked([]), "tools": wrong})
        told.append((str(caught.value), caught.value.param))

    assert told[0] == told[1]


def test_what_is_too_long_is_read_anew() -> None:
    tools = [function(description="d" * LONGEST_REMEMBERED)]
    first, second = (parse_request(asked(tools)).tools for _ in range(2))

    assert first == second
    assert not isinstance(first, Toolbox)


def test_each_dialect_reads_for_itself() -> None:
    """The same JSON means what its own dialect makes of it."""
    body = Fields({"tools": [{"a": 1}]})

    assert read_tools(body, lambda _: []) is not read_tools(body, lambda _: [])
