"""Targets that cannot take a request are passed over; when none can, the error says why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from routing.abilities import able, missing
from routing.errors import LacksAbilities
from routing.targets import Target
from translators.dialect import Rules
from translators.neutral import Audio, Document, Image, Message, OutputFormat, Request, Source, Text, Tool, ToolResult

TEXT = Request("openai_chat", "m", (Message("user", (Text("hi"),)),))
IMAGE = replace(TEXT, messages=(Message("user", (Text("hi"), Image(Source(url="https://x/y.png")))),))
AUDIO = replace(TEXT, messages=(*TEXT.messages, Message("user", (Audio(Source("audio/wav", "")),))))
PDF = replace(TEXT, messages=(Message("user", (Document(Source("application/pdf", "")),)),))
SHOWN = replace(TEXT, messages=(Message("tool", (ToolResult("1", (Image(Source(url="u")),)),)),))
TOOLS = replace(TEXT, tools=(Tool("f"),))
SCHEMA = replace(TEXT, output=OutputFormat("json_schema", {}))
JSON = replace(TEXT, output=OutputFormat("json_object"))
TOOLS_SCHEMA = replace(TOOLS, output=SCHEMA.output)

ALL = Rules()
BLIND = Rules(modalities=frozenset({"text"}))
PLAIN = Rules(structured_output=False, refuses=frozenset({"tools"}))
EITHER = Rules(schema_with_tools=False)


@pytest.mark.parametrize(
    ("request_", "rules", "lacking"),
    [
        (TEXT, BLIND, []),
        (IMAGE, ALL, []),
        (IMAGE, BLIND, ["image"]),
        (AUDIO, BLIND, ["audio"]),
        (PDF, BLIND, ["document"]),
        (SHOWN, BLIND, ["image"]),
        (AUDIO, Rules(modalities=frozenset({"text", "image"})), ["audio"]),
        (TOOLS, PLAIN, ["tools"]),
        (SCHEMA, PLAIN, ["schema"]),
        (JSON, PLAIN, []),
        (TOOLS_SCHEMA, PLAIN, ["tools", "schema"]),
        (TOOLS_SCHEMA, EITHER, ["schema"]),
        (SCHEMA, EITHER, []),
    ],
)
def test_what_is_missing(request_: Request, rules: Rules, lacking: list[str]) -> None:
    assert missing(request_, rules) == lacking


def test_able_targets_are_kept_in_order_and_emulation_is_a_last_resort() -> None:
    rules = {Target("blind", "m"): BLIND, Target("all", "m"): ALL, Target("either", "m"): EITHER}
    chain = list(rules)

    assert able(IMAGE, chain, rules.__getitem__) == chain[1:]
    assert able(TOOLS_SCHEMA, chain, rules.__getitem__) == chain
    assert able(TOOLS_SCHEMA, chain[::-1], rules.__getitem__) == [chain[1], chain[0], chain[2]]
    assert able(TOOLS_SCHEMA, chain[2:], rules.__getitem__) == chain[2:]


def test_when_no_target_is_able_the_error_names_what_each_lacks() -> None:
    with pytest.raises(LacksAbilities, match="blind/m takes no audio"):
        able(AUDIO, [Target("blind", "m")], lambda _: BLIND)
