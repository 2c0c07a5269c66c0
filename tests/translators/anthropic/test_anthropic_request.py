"""Neutral requests as bodies for Anthropic Messages: the numbered wire cases, each a row with body and losses."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from translators.anthropic import render_request
from translators.anthropic.blocks import Rendering, assistant_block, plain_block, user_block
from translators.anthropic.tools import ToolNames
from translators.dialect import Rendered, Rules
from translators.errors import BadRequest, Unsupported
from translators.neutral import (
    Audio,
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Part,
    Reasoning,
    Refusal,
    Request,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

RULES = Rules(dialect="anthropic", thinking="adaptive", max_output_tokens=64000)
BUDGET = replace(RULES, thinking="budget")
EPHEMERAL = {"type": "ephemeral"}
EMPTY_SCHEMA = {"type": "object", "properties": {}}
WEATHER = Tool("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
CLOCK = Tool("clock")


def says(role: Any, *parts: str | Part, **more: Any) -> Message:
    return Message(role, tuple(Text(part) if isinstance(part, str) else part for part in parts), **more)


def gave(call_id: str, *parts: str | Part, **more: Any) -> Message:
    return says("tool", ToolResult(call_id, says("user", *parts).parts, **more))


def call(call_id: str, arguments: str = "{}", name: str = "weather", **more: Any) -> ToolCall:
    return ToolCall(call_id, name, arguments, **more)


def ask(*messages: Message, **more: Any) -> Request:
    return Request("openai_chat", "claude-test", messages or (says("user", "Hello"),), **more)


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def tool_use(call_id: str, name: str = "weather", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def tool_result(call_id: str, *blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": list(blocks), **more}


NO_RESULT = text("This call gave no result.")
HELLO = user(text("Hello"))


@cache
def sdk_type() -> Any:
    pydantic = pytest.importorskip("pydantic")
    params = pytest.importorskip("anthropic.types.message_create_params")
    return pydantic.TypeAdapter(params.MessageCreateParamsNonStreaming)


def forced(value: Any) -> Any:
    """*value* with the SDK's lazily checked iterables read to their end."""
    if isinstance(value, Mapping):
        return {key: forced(item) for key, item in value.items()}
    if isinstance(value, list | tuple) or hasattr(value, "__next__"):
        return [forced(item) for item in value]
    return value


def rendered(request: Request, rules: Rules = RULES) -> Rendered:
    """The rendering, once it is known to be what the SDK's types allow, without a field more, and the same again.

    Sampling parameters are left out: the SDK's types no longer know them.
    """
    result = render_request(request, rules)
    unknown = {"stream", "temperature", "top_p", "top_k"}
    plain = {key: value for key, value in result.body.items() if key not in unknown}
    assert forced(sdk_type().validate_python(plain)) == plain
    assert json.loads(json.dumps(result.body)) == result.body
    assert render_request(request, rules) == result
    return result


def lost(result: Rendered) -> list[tuple[str, str]]:
    return [(loss.field, loss.action) for loss in result.losses]


@dataclass(frozen=True)
class Case:
    """*body* is the part of the body that the case is about (None: absent); *losses* are all losses."""

    number: str
    request: Request
    body: Mapping[str, Any]
    losses: tuple[tuple[str, str], ...] = ()
    rules: Rules = field(default=RULES)
    names: Mapping[str, str] = field(default_factory=dict)


TWO_CALLS = says("assistant", call("a"), call("b"))
PNG = Source("image/png", "aGk=")
PDF = Source("application/pdf", "aGk=")
MARKED = {"openai_chat": {"prompt_cache_breakpoint": {"mode": "explicit"}}}


def breakpoint_of(ttl: str) -> dict[str, Any]:
    return {"openai_chat": {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": ttl}}}


SAMPLING = [
    Case(
        "1-sampling-refused",
        ask(temperature=0.5, top_p=0.9, top_k=3),
        {"temperature": None, "top_p": None, "top_k": None},
        (("temperature", "dropped"), ("top_k", "dropped"), ("top_p", "dropped")),
        replace(RULES, refuses=frozenset({"temperature", "top_p", "top_k"})),
    ),
    Case("1-sampling-taken", ask(top_p=0.9, top_k=3), {"top_p": 0.9, "top_k": 3}),
    Case(
        "1-sampling-refused-while-thinking",
        ask(temperature=0.5, reasoning=Reasoning("high")),
        {"temperature": None, "thinking": {"type": "adaptive"}},
        (("temperature", "dropped"),),
        replace(RULES, refuses_while_thinking=frozenset({"temperature"})),
    ),
    Case(
        "1-sampling-taken-without-thinking",
        ask(temperature=0.5),
        {"temperature": 0.5},
        (),
        replace(RULES, refuses_while_thinking=frozenset({"temperature"})),
    ),
    Case("3-temperature-above-1", ask(temperature=1.6), {"temperature": 1.0}, (("temperature", "clamped"),)),
    Case("3-temperature-of-1", ask(temperature=1.0), {"temperature": 1.0}),
    Case(
        "4-one-of-temperature-top-p",
        ask(temperature=0.5, top_p=0.9),
        {"temperature": 0.5, "top_p": None},
        (("top_p", "dropped"),),
        replace(RULES, one_of_temperature_top_p=True),
    ),
    Case("4-top-p-alone", ask(top_p=0.9), {"top_p": 0.9}, (), replace(RULES, one_of_temperature_top_p=True)),
    Case(
        "5-no-equivalent",
        ask(
            presence_penalty=1,
            frequency_penalty=1,
            seed=7,
            logprobs=True,
            top_logprobs=2,
            logit_bias={"5": 1},
            verbosity="low",
            metadata={"team": "a"},
            modalities=("text", "audio"),
            native={"openai_chat": {"prediction": {}, "store": True}},
        ),
        {"metadata": None},
        (
            ("presence_penalty", "dropped"),
            ("frequency_penalty", "dropped"),
            ("seed", "dropped"),
            ("logprobs", "dropped"),
            ("top_logprobs", "dropped"),
            ("logit_bias", "dropped"),
            ("verbosity", "dropped"),
            ("metadata", "dropped"),
            ("modalities", "dropped"),
            ("prediction", "dropped"),
            ("store", "dropped"),
        ),
    ),
    Case("5-defaults-lose-nothing", ask(presence_penalty=0, logprobs=False, n=1, modalities=("text",)), {}),
    Case("6-n", ask(n=3), {"n": None}, (("n", "emulated"),)),
    Case("7-max-of-the-model", ask(), {"max_tokens": 64000}),
    Case(
        "7-max-unknown",
        ask(),
        {"max_tokens": 4096},
        (("max_completion_tokens", "emulated"),),
        replace(RULES, max_output_tokens=None),
    ),
    Case("7-max-clamped", ask(max_output_tokens=99999), {"max_tokens": 64000}, (("max_completion_tokens", "clamped"),)),
    Case("8-max-as-given", ask(max_output_tokens=77), {"max_tokens": 77}),
    Case("9-max-of-0", ask(max_output_tokens=0), {"max_tokens": 0}),
]

SYSTEM = [
    Case(
        "10-leading-system",
        ask(
            says("system", "One."),
            says("developer", Text("Two.", native={"anthropic": {"cache_control": EPHEMERAL}})),
            says("user", "Hello"),
        ),
        {"system": [text("One."), text("Two.", cache_control=EPHEMERAL)], "messages": [HELLO]},
    ),
    Case(
        "11-later-system-as-user",
        ask(says("user", "Hello"), says("system", "Be short."), says("user", "Now.")),
        {"system": None, "messages": [user(text("Hello"), text("Be short."), text("Now."))]},
        (("messages[1].role", "emulated"),),
    ),
    Case(
        "11-later-system-in-place",
        ask(says("user", "Hello"), says("developer", "Be short."), says("user", "Now.")),
        {"messages": [HELLO, {"role": "system", "content": [text("Be short.")]}, user(text("Now."))]},
        (),
        replace(RULES, system_in_messages=True),
    ),
    Case(
        "11-system-between-call-and-result",
        ask(
            says("user", "Hello"),
            says("assistant", call("a")),
            says("system", "Hurry."),
            gave("a", "ok"),
            tools=(WEATHER,),
        ),
        {
            "messages": [
                HELLO,
                assistant(tool_use("a")),
                user(tool_result("a", text("ok"))),
                {"role": "system", "content": [text("Hurry.")]},
            ]
        },
        (),
        replace(RULES, system_in_messages=True),
    ),
    Case(
        "11-system-alone",
        ask(says("system", "One."), says("system", "Two.")),
        {"system": [text("One.")], "messages": [user(text("Two."))]},
        (("messages", "emulated"),),
    ),
]

TOOL_TURNS = [
    Case(
        "12-results-in-one-turn",
        ask(says("user", "Hello"), TWO_CALLS, gave("a", "1"), gave("b", "2"), tools=(WEATHER,)),
        {
            "messages": [
                HELLO,
                assistant(tool_use("a"), tool_use("b")),
                user(tool_result("a", text("1")), tool_result("b", text("2"))),
            ]
        },
    ),
    Case(
        "13-results-before-text",
        ask(says("user", "Hello"), TWO_CALLS, gave("a", "1"), says("user", "Well?"), gave("b", "2"), tools=(WEATHER,)),
        {
            "messages": [
                HELLO,
                assistant(tool_use("a"), tool_use("b")),
                user(tool_result("a", text("1")), tool_result("b", text("2")), text("Well?")),
            ]
        },
    ),
    Case(
        "14-missing-result",
        ask(says("user", "Hello"), TWO_CALLS, gave("b", "2"), says("user", "Well?"), tools=(WEATHER,)),
        {
            "messages": [
                HELLO,
                assistant(tool_use("a"), tool_use("b")),
                user(tool_result("b", text("2")), tool_result("a", NO_RESULT, is_error=True), text("Well?")),
            ]
        },
        (("messages[1].tool_calls[0]", "emulated"),),
    ),
    Case(
        "14-no-results-at-all",
        ask(says("user", "Hello"), says("assistant", call("a")), tools=(WEATHER,)),
        {"messages": [HELLO, assistant(tool_use("a")), user(tool_result("a", NO_RESULT, is_error=True))]},
        (("messages[1].tool_calls[0]", "emulated"),),
    ),
    Case(
        "14-second-result-of-a-call",
        ask(says("user", "Hello"), says("assistant", call("a")), gave("a", "1"), gave("a", "2"), tools=(WEATHER,)),
        {"messages": [HELLO, assistant(tool_use("a")), user(tool_result("a", text("1")))]},
        (("messages[3]", "dropped"),),
    ),
    Case(
        "14-calls-over-two-messages",
        ask(
            says("user", "Hello"),
            says("assistant", call("a")),
            says("assistant", call("b")),
            gave("a", "1"),
            gave("b", "2", is_error=True),
            tools=(WEATHER,),
        ),
        {
            "messages": [
                HELLO,
                assistant(tool_use("a"), tool_use("b")),
                user(tool_result("a", text("1")), tool_result("b", text("2"), is_error=True)),
            ]
        },
    ),
    Case(
        "15-empty-content-with-calls",
        ask(says("user", "Hello"), says("assistant", "", call("a")), gave("a", "1"), tools=(WEATHER,)),
        {"messages": [HELLO, assistant(tool_use("a")), user(tool_result("a", text("1")))]},
    ),
    Case(
        "16-blank-text",
        ask(says("user", "Hello"), says("assistant", " \n"), says("user", "\t", "Well?")),
        {"messages": [user(text("Hello"), text("Well?"))]},
        (("messages[1].content", "dropped"), ("messages[2].content[0]", "dropped")),
    ),
    Case(
        "16-blank-result",
        ask(says("user", "Hello"), says("assistant", call("a")), gave("a", ""), tools=(WEATHER,)),
        {"messages": [HELLO, assistant(tool_use("a")), user({"type": "tool_result", "tool_use_id": "a"})]},
    ),
    Case(
        "17-empty-arguments",
        ask(says("user", "Hello"), says("assistant", call("a", "")), gave("a", "1"), tools=(WEATHER,)),
        {"messages": [HELLO, assistant(tool_use("a")), user(tool_result("a", text("1")))]},
    ),
    Case(
        "17-cut-arguments",
        ask(says("user", "Hello"), says("assistant", call("a", '{"city": "Par')), gave("a", "1"), tools=(WEATHER,)),
        {"messages": [HELLO, assistant(tool_use("a", city="Par")), user(tool_result("a", text("1")))]},
        (("messages[1].tool_calls[0].function.arguments", "emulated"),),
    ),
    Case(
        "21-foreign-call-ids",
        ask(
            says("user", "Hello"),
            says("assistant", call("functions.x:0"), call("functions_x_0")),
            gave("functions.x:0", "1"),
            gave("functions_x_0", "2"),
            tools=(WEATHER,),
        ),
        {
            "messages": [
                HELLO,
                assistant(tool_use("functions_x_0"), tool_use("functions_x_0_2")),
                user(tool_result("functions_x_0", text("1")), tool_result("functions_x_0_2", text("2"))),
            ]
        },
    ),
    Case(
        "21-equal-ids-in-one-turn",
        ask(
            says("user", "Hello"),
            says("assistant", call("a"), call("a")),
            gave("a", "1"),
            gave("a", "2"),
            tools=(WEATHER,),
        ),
        {
            "messages": [
                HELLO,
                assistant(tool_use("a"), tool_use("a_2")),
                user(tool_result("a", text("1")), tool_result("a_2", text("2"))),
            ]
        },
    ),
    Case(
        "21-ids-numbered-anew-each-turn",
        ask(
            says("user", "Hello"),
            says("assistant", call("0")),
            gave("0", "1"),
            says("assistant", call("0")),
            gave("0", "2"),
            tools=(WEATHER,),
        ),
        {
            "messages": [
                HELLO,
                assistant(tool_use("0")),
                user(tool_result("0", text("1"))),
                assistant(tool_use("0_2")),
                user(tool_result("0_2", text("2"))),
            ]
        },
    ),
    Case(
        "25-history-without-tools",
        ask(says("user", "Hello"), says("assistant", call("a")), gave("a", "1")),
        {"tools": [{"name": "weather", "input_schema": EMPTY_SCHEMA}], "tool_choice": {"type": "none"}},
        (("tools", "emulated"),),
    ),
    Case(
        "41-image-in-result",
        ask(says("user", "Hello"), says("assistant", call("a")), gave("a", Image(PNG)), tools=(WEATHER,)),
        {
            "messages": [
                HELLO,
                assistant(tool_use("a")),
                user(
                    tool_result(
                        "a", {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
                    )
                ),
            ]
        },
    ),
]

WEATHER_WIRE = {"name": "weather", "description": "Tells the weather.", "input_schema": WEATHER.parameters}
CLOCK_WIRE = {"name": "clock", "input_schema": EMPTY_SCHEMA}

TOOLS = [
    Case("18-no-parameters", ask(tools=(CLOCK,)), {"tools": [CLOCK_WIRE], "tool_choice": None}),
    Case(
        "18-untyped-parameters",
        ask(tools=(Tool("f", parameters={"properties": {}}),)),
        {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]},
    ),
    Case(
        "19-strict",
        ask(tools=(replace(WEATHER, strict=True),)),
        {
            "tools": [
                {
                    **WEATHER_WIRE,
                    "strict": True,
                    "input_schema": {**(WEATHER.parameters or {}), "additionalProperties": False},
                }
            ]
        },
    ),
    Case(
        "20-illegal-names",
        ask(
            says("user", "Hello"),
            says("assistant", call("a", name="db.look up")),
            gave("a", "1"),
            tools=(Tool("db.look up"), Tool("db_look_up")),
            tool_choice=ToolChoice("named", ("db.look up",)),
        ),
        {
            "messages": [HELLO, assistant(tool_use("a", "db_look_up_2")), user(tool_result("a", text("1")))],
            "tools": [
                {"name": "db_look_up_2", "input_schema": EMPTY_SCHEMA},
                {"name": "db_look_up", "input_schema": EMPTY_SCHEMA},
            ],
            "tool_choice": {"type": "tool", "name": "db_look_up_2"},
        },
        (("tools[0].function.name", "renamed"),),
        names={"db_look_up_2": "db.look up"},
    ),
    Case("22-required", ask(tools=(CLOCK,), tool_choice=ToolChoice("required")), {"tool_choice": {"type": "any"}}),
    Case("22-none", ask(tools=(CLOCK,), tool_choice=ToolChoice("none")), {"tool_choice": {"type": "none"}}),
    Case("22-auto", ask(tools=(CLOCK,), tool_choice=ToolChoice("auto")), {"tool_choice": {"type": "auto"}}),
    Case(
        "22-named",
        ask(tools=(CLOCK, WEATHER), tool_choice=ToolChoice("named", ("clock",))),
        {"tools": [CLOCK_WIRE, WEATHER_WIRE], "tool_choice": {"type": "tool", "name": "clock"}},
    ),
    Case(
        "22-allowed",
        ask(tools=(CLOCK, WEATHER), tool_choice=ToolChoice("allowed", ("clock",), "required")),
        {"tools": [CLOCK_WIRE], "tool_choice": {"type": "any"}},
        (("tool_choice", "emulated"),),
    ),
    Case(
        "22-allowed-auto",
        ask(tools=(CLOCK, WEATHER), tool_choice=ToolChoice("allowed", ("weather",))),
        {"tools": [WEATHER_WIRE], "tool_choice": {"type": "auto"}},
        (("tool_choice", "emulated"),),
    ),
    Case(
        "22-named-of-several",
        ask(tools=(CLOCK, WEATHER, Tool("date")), tool_choice=ToolChoice("named", ("clock", "weather"), "required")),
        {"tools": [CLOCK_WIRE, WEATHER_WIRE], "tool_choice": {"type": "any"}},
        (("tool_choice", "emulated"),),
    ),
    Case(
        "22-all-allowed",
        ask(tools=(CLOCK, WEATHER), tool_choice=ToolChoice("allowed", ("weather", "clock"))),
        {"tools": [CLOCK_WIRE, WEATHER_WIRE], "tool_choice": {"type": "auto"}},
    ),
    Case(
        "22-allowed-beside-a-foreign-tool",
        ask(
            tools=(CLOCK, WEATHER, Tool("googleSearch", kind="native", native={"gemini": {"googleSearch": {}}})),
            tool_choice=ToolChoice("allowed", ("clock",)),
        ),
        {"tools": [CLOCK_WIRE], "tool_choice": {"type": "auto"}},
        (("tool_choice", "emulated"), ("tools[2]", "dropped")),
    ),
    Case(
        "22-a-foreign-tool-alone-is-left-out",
        ask(
            tools=(CLOCK, Tool("googleSearch", kind="native", native={"gemini": {"googleSearch": {}}})),
            tool_choice=ToolChoice("allowed", ("clock",)),
        ),
        {"tools": [CLOCK_WIRE], "tool_choice": {"type": "auto"}},
        (("tools[1]", "dropped"),),
    ),
    Case(
        "20-illegal-name-of-a-tool-that-is-left-out",
        ask(
            says("user", "Hello"),
            says("assistant", Text("Let me look."), call("a", name="get weather!"), call("b", name="get weather!")),
            gave("a", "1"),
            gave("b", "2"),
            tools=(CLOCK, Tool("get weather!")),
            tool_choice=ToolChoice("allowed", ("clock",)),
        ),
        {"tools": [CLOCK_WIRE]},
        (("tool_choice", "emulated"), ("messages[1].tool_calls[0].function.name", "renamed")),
        names={"get_weather_": "get weather!"},
    ),
    Case(
        "20-illegal-name-in-the-history-alone",
        ask(says("user", "Hello"), says("assistant", call("a", name="get weather!")), gave("a", "1")),
        {
            "tools": [{"name": "get_weather_", "input_schema": EMPTY_SCHEMA}],
            "tool_choice": {"type": "none"},
        },
        (("messages[1].tool_calls[0].function.name", "renamed"), ("tools", "emulated")),
        names={"get_weather_": "get weather!"},
    ),
    Case(
        "22-choice-without-tools",
        ask(tool_choice=ToolChoice("required")),
        {"tool_choice": None},
        (("tool_choice", "dropped"),),
    ),
    Case(
        "23-not-parallel",
        ask(tools=(CLOCK,), parallel_tool_calls=False),
        {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    Case(
        "23-not-parallel-required",
        ask(tools=(CLOCK,), parallel_tool_calls=False, tool_choice=ToolChoice("required")),
        {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
    ),
    Case(
        "24-forced-while-thinking",
        ask(tools=(CLOCK,), tool_choice=ToolChoice("required"), reasoning=Reasoning("high")),
        {"tool_choice": {"type": "auto"}},
        (("tool_choice", "emulated"),),
        replace(RULES, forced_tools="not_while_thinking"),
    ),
    Case(
        "24-forced-without-thinking",
        ask(tools=(CLOCK,), tool_choice=ToolChoice("required"), reasoning=Reasoning("none")),
        {"tool_choice": {"type": "any"}},
        (),
        replace(RULES, forced_tools="not_while_thinking"),
    ),
    Case(
        "24-never-forced",
        ask(tools=(CLOCK,), tool_choice=ToolChoice("named", ("clock",))),
        {"tool_choice": {"type": "auto"}},
        (("tool_choice", "emulated"),),
        replace(RULES, forced_tools="never"),
    ),
    Case(
        "59-own-server-tool",
        ask(
            tools=(
                Tool(
                    "web_search_20250305",
                    kind="native",
                    native={"anthropic": {"type": "web_search_20250305", "name": "web_search"}},
                ),
            )
        ),
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
    ),
    Case(
        "59-foreign-server-tool",
        ask(tools=(Tool("google_search", kind="native", native={"gemini": {"google_search": {}}}), CLOCK)),
        {"tools": [CLOCK_WIRE]},
        (("tools[0]", "dropped"),),
    ),
]


def thinks(effort: Any = None, **more: Any) -> Request:
    return ask(reasoning=Reasoning(effort, **more))


THINKING = [
    Case("26-none", thinks("none"), {"thinking": {"type": "disabled"}, "output_config": None}),
    *(
        Case(f"26-{word}", thinks(word), {"thinking": {"type": "adaptive"}, "output_config": {"effort": word}})
        for word in ("low", "medium", "high", "xhigh", "max")
    ),
    Case(
        "26-minimal",
        thinks("minimal"),
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        (("reasoning_effort", "clamped"),),
    ),
    Case("26-visible", thinks("low", visible=True), {"thinking": {"type": "adaptive", "display": "summarized"}}),
    Case("26-hidden", thinks("low", visible=False), {"thinking": {"type": "adaptive", "display": "omitted"}}),
    Case(
        "26-model-that-never-thinks",
        thinks("high"),
        {"thinking": None, "output_config": None},
        (("reasoning_effort", "dropped"),),
        replace(RULES, thinking="none"),
    ),
    Case(
        "26-model-that-always-thinks",
        thinks("none"),
        {"thinking": None, "output_config": {"effort": "low"}},
        (("reasoning_effort", "clamped"),),
        replace(RULES, thinking="effort", efforts=("low", "high")),
    ),
    Case(
        "27-budget",
        ask(reasoning=Reasoning("medium"), max_output_tokens=20000),
        {"thinking": {"type": "enabled", "budget_tokens": 8192}, "max_tokens": 20000, "output_config": None},
        (),
        BUDGET,
    ),
    Case(
        "27-budget-raises-max-tokens",
        ask(reasoning=Reasoning("low"), max_output_tokens=500),
        {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 2548},
        (("max_completion_tokens", "emulated"),),
        BUDGET,
    ),
    Case(
        "27-budget-within-the-model",
        ask(reasoning=Reasoning("max")),
        {"thinking": {"type": "enabled", "budget_tokens": 4096}, "max_tokens": 8192},
        (("reasoning_effort", "clamped"),),
        replace(BUDGET, max_output_tokens=8192),
    ),
    Case(
        "27-budget-too-small",
        thinks(budget_tokens=10),
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        (("reasoning_effort", "clamped"),),
        BUDGET,
    ),
    Case(
        "27-budget-for-no-tokens",
        ask(reasoning=Reasoning("low"), max_output_tokens=0),
        {"thinking": None, "max_tokens": 0},
        (("reasoning_effort", "dropped"),),
        BUDGET,
    ),
    Case(
        "27-budget-left-open",
        thinks(budget_tokens=-1),
        {"thinking": {"type": "enabled", "budget_tokens": 8192}},
        (),
        BUDGET,
    ),
    Case("27-budget-none", thinks("none"), {"thinking": {"type": "disabled"}}, (), BUDGET),
    Case(
        "27-budget-in-an-unsigned-tool-turn",
        ask(
            says("user", "Hello"),
            says("assistant", call("a")),
            gave("a", "1"),
            tools=(WEATHER,),
            reasoning=Reasoning("low"),
        ),
        {"thinking": None},
        (("reasoning_effort", "dropped"),),
        BUDGET,
    ),
    Case(
        "28-budget-to-effort",
        thinks(budget_tokens=10000),
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        (("thinking.budget_tokens", "emulated"),),
    ),
    Case(
        "28-open-budget-to-effort",
        thinks(budget_tokens=-1),
        {"output_config": {"effort": "medium"}},
        (("thinking.budget_tokens", "emulated"),),
    ),
    Case(
        "29-no-xhigh",
        thinks("xhigh"),
        {"output_config": {"effort": "high"}},
        (("reasoning_effort", "clamped"),),
        replace(RULES, efforts=("none", "low", "medium", "high")),
    ),
    Case(
        "29-effort-capped-without-thinking",
        replace(thinks("none"), native={"anthropic": {"output_config": {"effort": "max"}}}),
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}},
        (("output_config.effort", "clamped"),),
        replace(RULES, effort_cap_without_thinking="high"),
    ),
]

POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}

OUTPUT = [
    Case(
        "30-json-schema",
        ask(output=OutputFormat("json_schema", POINT, "point", "A place.", strict=True), reasoning=Reasoning("low")),
        {
            "output_config": {
                "effort": "low",
                "format": {
                    "type": "json_schema",
                    "schema": {"title": "point", "description": "A place.", **POINT, "additionalProperties": False},
                },
            }
        },
    ),
    Case(
        "30-json-schema-of-a-reference",
        ask(
            output=OutputFormat(
                "json_schema", {"$ref": "#/$defs/Point", "$defs": {"Point": POINT}}, "point", "A place."
            )
        ),
        {
            "output_config": {
                "format": {
                    "type": "json_schema",
                    "schema": {"$ref": "#/$defs/Point", "$defs": {"Point": {**POINT, "additionalProperties": False}}},
                }
            }
        },
        (("response_format.json_schema.name", "dropped"), ("response_format.json_schema.description", "dropped")),
    ),
    Case(
        "30-json-schema-emulated",
        ask(output=OutputFormat("json_schema", POINT)),
        {
            "output_config": None,
            "system": [
                text(
                    "Answer with exactly one JSON object, without any text or code fence before or after it. "
                    "It must match this JSON Schema: " + json.dumps(POINT, separators=(",", ":"))
                )
            ],
        },
        (("response_format", "emulated"),),
        replace(RULES, structured_output=False),
    ),
    Case(
        "31-json-object",
        ask(says("system", "Be kind."), says("user", "Hello"), output=OutputFormat("json_object")),
        {
            "output_config": None,
            "messages": [HELLO],
            "system": [
                text("Be kind."),
                text("Answer with exactly one JSON object, without any text or code fence before or after it."),
            ],
        },
        (("response_format", "emulated"),),
    ),
    Case(
        "32-prefill",
        ask(says("user", "Hello"), says("assistant", "The answer is ")),
        {"messages": [HELLO, assistant(text("The answer is"))]},
        (("messages[1].content", "clamped"),),
    ),
    Case(
        "32-interrupted-turn-is-no-prefill",
        ask(
            says("user", "Hello"),
            says(
                "assistant",
                "Let me look.",
                Opaque(
                    "anthropic",
                    "server_tool_use",
                    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
                ),
            ),
        ),
        {
            "messages": [
                HELLO,
                assistant(
                    text("Let me look."),
                    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
                ),
            ]
        },
        (),
        replace(RULES, prefill=False),
    ),
    Case("33-stop", ask(stop=("END", " \n")), {"stop_sequences": ["END"]}, (("stop", "dropped"),)),
    Case("33-stop-of-blanks-alone", ask(stop=("\n",)), {"stop_sequences": None}, (("stop", "dropped"),)),
    Case("34-user", ask(user="u-1"), {"metadata": {"user_id": "u-1"}}),
    *(
        Case(f"34-tier-{tier}", ask(service_tier=tier), {"service_tier": wire}, losses)
        for tier, wire, losses in (
            ("auto", "auto", ()),
            ("default", "standard_only", ()),
            ("priority", "auto", (("service_tier", "renamed"),)),
            ("flex", None, (("service_tier", "dropped"),)),
        )
    ),
]

CONTENT = [
    Case(
        "35-image-url",
        ask(says("user", Image(Source(url="https://x.test/a.png")))),
        {"messages": [user({"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}})]},
    ),
    Case(
        "36-image-data",
        ask(says("user", "Look:", Image(Source("image/jpg", "aGk="), detail="high"))),
        {
            "messages": [
                user(
                    text("Look:"),
                    {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "aGk="}},
                )
            ]
        },
        (("messages[0].content[1].image_url.detail", "dropped"),),
    ),
    Case(
        "37-pdf",
        ask(says("user", Document(PDF, "a.pdf"))),
        {
            "messages": [
                user(
                    {
                        "type": "document",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                        "title": "a.pdf",
                    }
                )
            ]
        },
    ),
    *(
        Case(
            f"37-text-file-{media_type}",
            ask(says("user", Document(Source(media_type, base64.b64encode("Ünder".encode()).decode())))),
            {
                "messages": [
                    user({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Ünder"}})
                ]
            },
        )
        for media_type in ("text/plain", "text/csv", "application/json")
    ),
    Case(
        "37-own-file",
        ask(says("user", Document(Source(file_id="file_1", vendor="anthropic")))),
        {"messages": [user({"type": "document", "source": {"type": "file", "file_id": "file_1"}})]},
    ),
    *(
        Case(
            f"39-breakpoint-{ttl}",
            ask(says("user", Text("Hello", native=breakpoint_of(ttl)))),
            {"messages": [user(text("Hello", cache_control={"type": "ephemeral", "ttl": wire}))]},
            (("messages[0].content.prompt_cache_breakpoint.ttl", "clamped"),),
        )
        for ttl, wire in (("30m", "5m"), ("12h", "1h"))
    ),
    Case(
        "39-four-at-most",
        ask(*(says("user", Text(str(number), native=MARKED)) for number in range(6))),
        {
            "messages": [
                user(text("0"), text("1"), *(text(str(number), cache_control=EPHEMERAL) for number in range(2, 6)))
            ]
        },
        (("prompt_cache_breakpoint", "dropped"),),
    ),
    Case(
        "40-marks-everywhere",
        ask(
            says("user", Image(PNG, native={"anthropic": {"cache_control": EPHEMERAL}})),
            says("assistant", call("a", native={"openai_chat": {"cache_control": EPHEMERAL}})),
            says("tool", ToolResult("a", (Text("1", native={"anthropic": {"cache_control": EPHEMERAL}}),))),
            tools=(replace(CLOCK, native={"anthropic": {"cache_control": EPHEMERAL}}),),
        ),
        {
            "messages": [
                user(
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
                        "cache_control": EPHEMERAL,
                    }
                ),
                assistant({**tool_use("a"), "cache_control": EPHEMERAL}),
                user(tool_result("a", text("1"), cache_control=EPHEMERAL)),
            ],
            "tools": [{**CLOCK_WIRE, "cache_control": EPHEMERAL}],
        },
    ),
    Case(
        "40-mark-of-a-message",
        ask(says("user", "One.", "Two.", native={"anthropic": {"cache_control": EPHEMERAL}})),
        {"messages": [user(text("One."), text("Two.", cache_control=EPHEMERAL))]},
    ),
    Case(
        "42-document-of-an-assistant-moves",
        ask(says("user", "Hello"), says("assistant", "Here:", Document(PDF)), says("user", "Thanks.")),
        {
            "messages": [
                HELLO,
                assistant(text("Here:")),
                user(
                    {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}},
                    text("Thanks."),
                ),
            ]
        },
        (("messages[1].content[1]", "emulated"),),
    ),
    Case(
        "42-citations-of-a-user",
        ask(says("user", Text("Hello", native={"anthropic": {"citations": [{"type": "char_location"}]}}))),
        {"messages": [HELLO]},
        (("messages[0].content.citations", "dropped"),),
    ),
    Case(
        "42-own-fields-of-parts",
        ask(
            says("user", Document(PDF, native={"anthropic": {"citations": {"enabled": True}, "context": "Old."}})),
            says("assistant", call("a", native={"anthropic": {"caller": {"type": "direct"}}})),
            gave("a", "1"),
            tools=(WEATHER,),
        ),
        {
            "messages": [
                user(
                    {
                        "type": "document",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                        "citations": {"enabled": True},
                        "context": "Old.",
                    }
                ),
                assistant({**tool_use("a"), "caller": {"type": "direct"}}),
                user(tool_result("a", text("1"))),
            ]
        },
    ),
    Case(
        "57-signed-thinking-is-replayed",
        ask(
            says("user", "Hello"),
            says(
                "assistant",
                Thinking("Hm.", native={"anthropic": {"signature": "s1"}}),
                Thinking("", native={"anthropic": {"redacted_data": "r1"}}),
                call("a"),
            ),
            gave("a", "1"),
            tools=(WEATHER,),
            reasoning=Reasoning("low"),
        ),
        {
            "messages": [
                HELLO,
                assistant(
                    {"type": "thinking", "thinking": "Hm.", "signature": "s1"},
                    {"type": "redacted_thinking", "data": "r1"},
                    tool_use("a"),
                ),
                user(tool_result("a", text("1"))),
            ],
            "thinking": {"type": "enabled", "budget_tokens": 2048},
        },
        (),
        BUDGET,
    ),
    Case(
        "58-signature-without-text-is-replayed",
        ask(
            says("user", "A"),
            says("assistant", Thinking("", native={"anthropic": {"signature": "s1"}}), "B"),
            says("user", "C"),
        ),
        {
            "messages": [
                user(text("A")),
                assistant({"type": "thinking", "thinking": "", "signature": "s1"}, text("B")),
                user(text("C")),
            ]
        },
    ),
    Case(
        "138-unsigned-and-foreign-thinking",
        ask(
            says("user", "A"),
            says(
                "assistant",
                Thinking("Hm."),
                Text("B", native={"gemini": {"thoughtSignature": "g"}}),
                Refusal("No."),
                Audio(Source("audio/wav", "aGk="), transcript="Said."),
                Opaque("openai_responses", "web_search_call", {}),
            ),
            says("user", "C", name="bob"),
        ),
        {"messages": [user(text("A")), assistant(text("B"), text("No."), text("Said.")), user(text("C"))]},
        (
            ("messages[1].reasoning_content", "dropped"),
            ("messages[1].extra_content.google.thought_signature", "dropped"),
            ("messages[1].refusal", "emulated"),
            ("messages[1].content[1]", "emulated"),
            ("messages[1].content[2]", "dropped"),
            ("messages[2].name", "dropped"),
        ),
    ),
]

CASES = [*SAMPLING, *SYSTEM, *TOOL_TURNS, *TOOLS, *THINKING, *OUTPUT, *CONTENT]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"wire-{case.number}")
def test_case(case: Case) -> None:
    result = rendered(case.request, case.rules)

    assert {name: result.body.get(name) for name in case.body} == case.body
    assert lost(result) == list(case.losses)
    assert result.tool_names == case.names


REFUSED = [
    ("14-orphan-result", ask(gave("a", "1")), RULES, "messages[0].tool_call_id"),
    (
        "14-result-after-another-turn",
        ask(says("user", "A"), says("assistant", call("a")), gave("a", "1"), says("assistant", "B"), gave("a", "2")),
        RULES,
        "messages[4].tool_call_id",
    ),
    ("16-nothing-said", ask(says("user", " ")), RULES, "messages"),
    (
        "17-unreadable-arguments",
        ask(says("user", "A"), says("assistant", call("a"), call("b", "not json")), gave("a", "1")),
        RULES,
        "messages[1].tool_calls[1].function.arguments",
    ),
    (
        "17-arguments-no-object",
        ask(says("user", "A"), says("assistant", call("a", "[1]"))),
        RULES,
        "messages[1].tool_calls[0].function.arguments",
    ),
    ("22-unknown-name", ask(tools=(CLOCK,), tool_choice=ToolChoice("named", ("x",))), RULES, "tool_choice"),
    (
        "32-prefill-refused",
        ask(says("user", "A"), says("assistant", "B")),
        replace(RULES, prefill=False),
        "messages[1]",
    ),
]
UNSUPPORTED = [
    (
        "35-no-urls",
        ask(says("user", Image(Source(url="https://x.test/a.png")))),
        replace(RULES, image_urls=False),
        "messages[0].content[0]",
    ),
    *(
        (f"35-no-web-address-{url.partition(':')[0]}", ask(says("user", part)), RULES, "messages[0].content[0]")
        for url in ("data:image/png,notbase64", "gs://bucket/a.png", "file-123", "")
        for part in (Image(Source(url=url)), Document(Source(url=url)))
    ),
    ("36-media-type", ask(says("user", Image(Source("image/tiff", "aGk=")))), RULES, "messages[0].content[0]"),
    (
        "36-no-pictures",
        ask(says("user", Image(PNG))),
        replace(RULES, modalities=frozenset({"text"})),
        "messages[0].content[0]",
    ),
    (
        "37-foreign-file",
        ask(says("user", Document(Source(file_id="file_1", vendor="openai_chat")))),
        RULES,
        "messages[0].content[0]",
    ),
    (
        "37-office-file",
        ask(says("user", Document(Source("application/msword", "aGk=")))),
        RULES,
        "messages[0].content[0]",
    ),
    ("38-audio", ask(says("user", "Listen:", Audio(Source("audio/wav", "aGk=")))), RULES, "messages[0].content[1]"),
    ("38-foreign-part", ask(says("user", Opaque("gemini", "video", {}))), RULES, "messages[0].content[0]"),
    ("19-free-form-tool", ask(tools=(Tool("shell", kind="custom"),)), RULES, "tools[0].custom"),
]


@pytest.mark.parametrize(
    ("request_", "rules", "place", "error"),
    [
        pytest.param(request, rules, place, error, id=f"wire-{number}")
        for error, rows in ((BadRequest, REFUSED), (Unsupported, UNSUPPORTED))
        for number, request, rules, place in rows
    ],
)
def test_what_cannot_be_said_names_its_place(
    request_: Request, rules: Rules, place: str, error: type[BadRequest]
) -> None:
    with pytest.raises(error) as raised:
        render_request(request_, rules)

    assert raised.value.param == place
    assert raised.value.message.startswith(place)


def test_case_2_headers_come_with_the_rules() -> None:
    """A model that still takes sampling parameters is spoken to in the older version of the API."""
    result = rendered(ask(temperature=0.2), replace(RULES, headers={"anthropic-version": "2023-06-01"}))

    assert result.headers == {"anthropic-version": "2023-06-01"}


def test_server_of_the_dialect_can_rename_and_add_fields() -> None:
    rules = replace(RULES, rename={"model": "model_id"}, extra_body={"anthropic_version": "bedrock-2023-05-31"})

    body = render_request(ask(), rules).body

    assert body["model_id"] == "claude-test"
    assert body["anthropic_version"] == "bedrock-2023-05-31"
    assert "model" not in body


def test_own_native_fields_of_a_request_reach_the_body() -> None:
    result = rendered(ask(native={"anthropic": {"speed": "fast", "max_tokens": 1}}, max_output_tokens=9))

    assert (result.body["speed"], result.body["max_tokens"], result.losses) == ("fast", 9, ())


def test_no_more_than_twenty_tools_are_strict() -> None:
    tools = tuple(Tool(f"t{number}", strict=True) for number in range(22))

    result = rendered(ask(tools=tools))

    assert sum("strict" in tool for tool in result.body["tools"]) == 20
    assert lost(result) == [("tools[20].function.strict", "dropped"), ("tools[21].function.strict", "dropped")]


# A value for every field of Request that is not its default.
VALUES: dict[str, Any] = {
    "dialect": "gemini",
    "model": "claude-other",
    "messages": (says("user", "Other"),),
    "tools": (WEATHER,),
    "tool_choice": ToolChoice("required"),
    "parallel_tool_calls": False,
    "max_output_tokens": 5,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "seed": 5,
    "stop": ("x",),
    "n": 2,
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": {"1": 1},
    "reasoning": Reasoning("high"),
    "output": OutputFormat("json_object"),
    "verbosity": "low",
    "modalities": ("text", "audio"),
    "user": "u",
    "metadata": {"a": "b"},
    "service_tier": "flex",
    "stream": True,
    "include_usage": True,
    "native": {"gemini": {"safetySettings": []}},
}
ABOUT_THE_CLIENT = {"dialect", "include_usage"}
"""Neither changes what is asked: the one says how the client speaks, the other is what Anthropic does anyway."""


@pytest.mark.parametrize("name", [item.name for item in fields(Request) if item.compare])
def test_every_field_ends_in_the_body_or_in_a_loss(name: str) -> None:
    plain = render_request(ask(), RULES)

    result = render_request(replace(ask(), **{name: VALUES[name]}), RULES)

    assert result.body != plain.body or result.losses or name in ABOUT_THE_CLIENT


@pytest.mark.parametrize("name", sorted(set(VALUES) - {"dialect", "model", "messages", "native"}))
def test_a_refused_field_is_reported_and_leaves_no_trace(name: str) -> None:
    rules = replace(RULES, refuses=frozenset({name}))

    result = render_request(replace(ask(), **{name: VALUES[name]}), rules)

    assert result.body == render_request(ask(), RULES).body
    assert len(result.losses) == 1


PARTS = st.sampled_from(
    [
        Text(""),
        Text(" "),
        Text("Hi"),
        Text("Marked", native=MARKED),
        Thinking("Hm."),
        Image(PNG),
        call("a"),
        call("b:1"),
        call(""),
    ]
)
MESSAGES = st.one_of(
    st.builds(says, st.sampled_from(["system", "user"]), st.sampled_from(["", " ", "Hi"])),
    st.builds(
        lambda parts: says("user", *(p for p in parts if isinstance(p, Text | Image))), st.lists(PARTS, max_size=3)
    ),
    st.builds(lambda parts: says("assistant", *parts), st.lists(PARTS, max_size=4)),
    st.builds(gave, st.sampled_from(["a", "b:1", ""]), st.sampled_from(["", "ok"])),
)


@given(st.lists(MESSAGES, max_size=8), st.booleans())
def test_any_conversation_is_refused_or_well_formed(messages: list[Message], system_in_messages: bool) -> None:
    """Roles alternate, no text is blank, each call has one id and one result, which begins the next turn."""
    rules = replace(RULES, system_in_messages=system_in_messages)
    try:
        body = rendered(replace(ask(), messages=tuple(messages)), rules).body
    except BadRequest:
        return

    turns = body["messages"]
    blocks = [block for turn in turns for block in turn["content"]]
    ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
    assert all(turn["content"] for turn in turns)
    assert all(one["role"] != other["role"] for one, other in pairwise(turns))
    assert all(block["text"].strip() for block in blocks if block["type"] == "text")
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", call_id) for call_id in ids)
    assert sum("cache_control" in block for block in blocks) <= 4
    answered = 0
    for turn, following in pairwise([*turns, user()]):
        calls = [block["id"] for block in turn["content"] if block["type"] == "tool_use"]
        answers = following["content"][: len(calls)]
        assert sorted(calls) == sorted(block.get("tool_use_id", "") for block in answers)
        answered += len(calls)
    assert answered == sum(block["type"] == "tool_result" for block in blocks)


@given(st.text(" \n\tab\u00e9", max_size=6))
def test_a_plain_text_is_the_block_that_its_role_gives_it(words: str) -> None:
    rendering = Rendering(ask(), RULES, ToolNames(ask()))

    plain = plain_block(Text(words))

    assert plain == user_block(Text(words), "", rendering) == assistant_block(Text(words), "", rendering)
    assert (plain is None) == (not words.strip())
