"""What every cell of the matrix is put through: one table, told in no dialect.

A cell is a client's endpoint, a backend's dialect, and whether the answer is streamed. A scenario is what a client
asks and what the vendor says to it, in as many rounds as it has answers: after each but the last the client sends
back what it got, with the results of the calls in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

ENDPOINTS: Final = ("chat", "responses", "messages", "gemini", "completions")
BACKENDS: Final = ("openai_chat", "openai_responses", "anthropic", "gemini", "llamacpp")

INPUT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS, REASONING_TOKENS = 20, 5, 9, 3
"""What every vendor counts for every answer."""

CAPITAL = "Paris is the capital of France."
THOUGHT = "The user asks about a city; that is easy to say."
SEAL = "c2VhbGVkLWJ5LXRoZS12ZW5kb3I="
"""What a vendor signs its reasoning with."""

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOL: Final = "get_weather"
TOOL_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
ANSWER_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "population": {"type": "integer"}},
    "required": ["city", "population"],
    "additionalProperties": False,
}
RESULTS: Final = {"Paris": "18 degrees in Paris", "Oslo": "9 degrees in Oslo"}

SAMPLING: Final[Mapping[str, Any]] = {
    "max_output_tokens": 2345,
    "temperature": 0.53,
    "top_p": 0.91,
    "top_k": 41,
    "presence_penalty": 0.37,
    "frequency_penalty": 0.29,
    "seed": 7171,
    "stop": "THE-END",
    "user": "user-5150",
    "metadata": "search-team",
    "verbosity": "low",
    "service_tier": "flex",
}
"""Every value is unlike every other, so that it is found again wherever a vendor has its place."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client wants. With *sampling*, all of SAMPLING that its dialect has a field for."""

    question: str
    tools: bool = False
    image: bool = False
    schema: bool = False
    think: bool = False
    sampling: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """One answer of a vendor. *cities* are those that TOOL is called for."""

    text: str = ""
    thought: str = ""
    cities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trouble:
    """A vendor's error: with this status in place of an answer, or (200) after the first words of a stream."""

    status: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """*title* is what a passing cell proves. *streamed* None: whole and streamed."""

    name: str
    title: str
    ask: Ask
    answers: tuple[Said | Trouble, ...]
    streamed: bool | None = None


_TALKS = (
    Scenario("text", "text, finish, usage", Ask("What is the capital of France?"), (Said(CAPITAL),)),
    Scenario(
        "call",
        "one tool call",
        Ask("How warm is it in Paris?", tools=True),
        (Said(cities=("Paris",)),),
    ),
    Scenario(
        "calls",
        "text and parallel tool calls",
        Ask("How warm is it in Paris and in Oslo?", tools=True),
        (Said("Looking both up.", cities=("Paris", "Oslo")),),
    ),
    Scenario(
        "results",
        "the calls' results sent back",
        Ask("Is Paris warmer than Oslo?", tools=True),
        (Said(cities=("Paris", "Oslo")), Said("Yes, by nine degrees.")),
    ),
    Scenario("image", "a picture sent", Ask("What is in the picture?", image=True), (Said("One pixel."),)),
    Scenario(
        "schema",
        "an answer by JSON Schema",
        Ask("How many people live in Paris?", schema=True),
        (Said('{"city": "Paris", "population": 2100000}'),),
    ),
    Scenario(
        "reasoning",
        "reasoning shown apart from the text",
        Ask("Think, then say: what is the capital of France?", think=True),
        (Said(CAPITAL, THOUGHT),),
    ),
    Scenario(
        "reasoning_back",
        "reasoning given back to its vendor",
        Ask("Think, then say how warm it is in Paris.", tools=True, think=True),
        (Said("", THOUGHT, ("Paris",)), Said("18 degrees.")),
    ),
    Scenario(
        "sampling",
        "every parameter sent on or reported",
        Ask("Say the capital of France with care.", sampling=True),
        (Said(CAPITAL),),
    ),
)
_FAILS = (
    Scenario("error_400", "a vendor's 400", Ask("Be refused."), (Trouble(400),)),
    Scenario("error_401", "a refused key, 502", Ask("Have no key."), (Trouble(401),)),
    Scenario("error_429", "a rate limit with Retry-After", Ask("Be too many."), (Trouble(429),)),
    Scenario("error_500", "a vendor's 500", Ask("Break."), (Trouble(500),)),
    Scenario("error_late", "an error after the first byte", Ask("Break later."), (Trouble(200),), streamed=True),
)
SCENARIOS: Final = {scenario.name: scenario for scenario in (*_TALKS, *_FAILS)}

_NO_TOOLS = "a legacy completion has no field for tools"
_NO_PICTURES = "a legacy prompt is text"
_NO_SCHEMA = "a legacy completion has no field for a schema"

IMPOSSIBLE: Final[Mapping[tuple[str, str, str], str]] = {
    ("completions", "*", "call"): _NO_TOOLS,
    ("completions", "*", "calls"): _NO_TOOLS,
    ("completions", "*", "results"): _NO_TOOLS,
    ("completions", "*", "image"): _NO_PICTURES,
    ("completions", "*", "schema"): _NO_SCHEMA,
    ("completions", "*", "reasoning_back"): "a legacy completion is one turn",
    ("*", "llamacpp", "error_401"): "a local model has no key that could be refused",
    ("*", "llamacpp", "error_429"): "a local model has a queue and no rate limit",
}
"""(endpoint, backend, scenario) that cannot be, with the reason; `*` is any."""

LEFT_OUT: Final[Mapping[tuple[str, str, str], str]] = {
    ("completions", "*", "reasoning"): "a legacy completion has no field for reasoning; none of it gets into the text",
    ("*", "llamacpp", "reasoning_back"): "chat templates want no earlier reasoning; it is reported as a loss",
}
"""(endpoint, backend, scenario) that is tried and holds, but for what the target or the client has no place for."""

BROKEN: Final[Mapping[tuple[str, str, str], str]] = {}
"""(endpoint, backend, scenario) that does not hold yet, with what goes wrong. A cell that holds fails its test here."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One square of the matrix in one scenario."""

    endpoint: str
    backend: str
    stream: bool
    scenario: str

    @property
    def form(self) -> str:
        return "stream" if self.stream else "whole"

    @property
    def id(self) -> str:
        return f"{self.endpoint}-{self.backend}-{self.form}-{self.scenario}"

    @property
    def impossible(self) -> str:
        """Why it cannot be; empty when it can."""
        return self._reason(IMPOSSIBLE)

    @property
    def left_out(self) -> str:
        """What there is no place for in it; empty when there is for everything."""
        return self._reason(LEFT_OUT)

    @property
    def broken(self) -> str:
        """What goes wrong in it; empty when nothing is known to."""
        return self._reason(BROKEN)

    def _reason(self, table: Mapping[tuple[str, str, str], str]) -> str:
        for endpoint in (self.endpoint, "*"):
            for backend in (self.backend, "*"):
                if reason := table.get((endpoint, backend, self.scenario)):
                    return reason
        return ""


def cells() -> Iterator[Cell]:
    """All cells, the impossible ones among them."""
    for endpoint in ENDPOINTS:
        for backend in BACKENDS:
            for stream in (False, True):
                for scenario in SCENARIOS.values():
                    if scenario.streamed in (None, stream):
                        yield Cell(endpoint, backend, stream, scenario.name)
