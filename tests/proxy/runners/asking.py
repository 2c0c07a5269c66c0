"""Three providers behind one route, and what they say."""

from __future__ import annotations

import json
from typing import Any

from tests.proxy.conftest import Serve
from tests.proxy.serving import QUICK, Served, completion, provider, route
from tests.replay import Answer, Upstream

COST = 10 * 1_000 + 5 * 2_000
"""Of one whole answer, in nano-dollars."""
TARGETS = ("one/a", "two/b", "three/c")

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "people": {"type": "integer"},
        "mayor": {"type": ["string", "null"]},
    },
    "required": ["city", "people", "mayor"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "town", "schema": SCHEMA, "strict": True}}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}


async def agreeing(
    serve: Serve, upstream: Upstream, *sections: str, policy: str = "consensus", more: str = ""
) -> Served:
    """A server with the route `town` over three targets."""
    return await serve(
        provider("one", upstream),
        provider("two", upstream),
        provider("three", upstream),
        route("town", *TARGETS, more=f'policy = "{policy}"\n{more}'),
        QUICK,
        *sections,
    )


def town(city: str = "Bonn", people: int = 330_000, mayor: str | None = "Dörner") -> Answer:
    """An answer in JSON."""
    return says_json({"city": city, "people": people, "mayor": mayor})


def says_json(value: Any) -> Answer:
    """*value* as the text of an answer."""
    return Answer.json(completion(json.dumps(value, ensure_ascii=False)))


def calls(*arguments: Any, name: str = "weather") -> Answer:
    """An answer that calls the tool once for each of *arguments*."""
    made = [
        {
            "id": f"call_{at}",
            "type": "function",
            "function": {"name": name, "arguments": each if isinstance(each, str) else json.dumps(each)},
        }
        for at, each in enumerate(arguments)
    ]
    return Answer.json(completion(None, reason="tool_calls", tool_calls=made))


def usd(nanousd: int) -> str:
    """As the API writes it."""
    return f"{nanousd / 1e9:.9f}"
