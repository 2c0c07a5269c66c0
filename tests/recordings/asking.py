"""What a client asks so that the upstream answers with a recording: the recorded request, or a plain one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from tests.recordings.facts import DIALECTS, Expected
from tests.recordings.recorded import expected_of
from tests.replay import Split

CLIENTS: Final = ("openai_chat", "anthropic", "gemini", "openai_responses", "openai_completions")
"""The dialects in which the recordings are asked for."""

SHORT: Final = {
    "openai_chat": "chat",
    "anthropic": "messages",
    "gemini": "gemini",
    "openai_responses": "responses",
    "openai_completions": "completions",
}
"""What a client is called in tables and on the command line."""

_PLAIN: Final = "Please answer."
_SCHEMA: Final = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Case:
    """One recording at one split for one client. *model* is unique, so that the upstream knows what to answer."""

    recording: Mapping[str, Any]
    split: Split
    provider: str
    model: str
    client: str
    expected: Expected

    @property
    def api(self) -> str:
        """The API that was recorded."""
        return str(self.recording["api"])

    @property
    def stream(self) -> bool:
        """Whether the client asks for a stream."""
        return bool(self.recording["stream"])

    @property
    def own(self) -> bool:
        """Whether client and server speak the same dialect."""
        return self.client == DIALECTS[self.api]

    @property
    def wants_usage(self) -> bool:
        """Whether the client is to be told the usage.

        Of OpenAI's older dialects streams tell it only when asked: in the finely cut runs, so that both ways are seen.
        """
        if self.client not in ("openai_chat", "openai_completions"):
            return True
        asked = (self.recording["request"].get("body") or {}).get("stream_options") or {}
        return not self.stream or self.split != "whole" or bool(asked.get("include_usage"))

    @property
    def path(self) -> str:
        """Where the client asks."""
        model = quote(f"{self.provider}/{self.model}", safe="/")
        match self.client:
            case "anthropic":
                return "/v1/messages"
            case "gemini" if self.stream:
                return f"/v1beta/models/{model}:streamGenerateContent?alt=sse"
            case "gemini":
                return f"/v1beta/models/{model}:generateContent"
            case "openai_responses":
                return "/v1/responses"
            case "openai_completions":
                return "/v1/completions"
            case _:
                return "/v1/chat/completions"

    def request(self) -> dict[str, Any]:
        """The client's body."""
        recorded = self.recording["request"].get("body")
        own = self.own and isinstance(recorded, dict) and recorded
        body = dict(recorded) if own else _PLAIN_REQUESTS[self.client](self.expected)
        if self.client == "gemini":
            body.pop("model", None)
            return body
        body["model"] = f"{self.provider}/{self.model}"
        if self.stream:
            body["stream"] = True
        if self.stream and self.wants_usage and self.client in ("openai_chat", "openai_completions"):
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        return body


def _tools(expected: Expected) -> Iterator[tuple[str, bool]]:
    """(name, whether it is a custom tool) of every tool that is called."""
    yield from dict.fromkeys((call.name, call.custom) for said in expected.choices.values() for call in said.calls)


def _n(expected: Expected) -> int:
    return max(expected.choices, default=0) + 1


def _chat(expected: Expected) -> dict[str, Any]:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": _PLAIN}], "max_tokens": 1024}
    tools = [
        {"type": "custom", "custom": {"name": name}}
        if custom
        else {"type": "function", "function": {"name": name, "parameters": _SCHEMA}}
        for name, custom in _tools(expected)
    ]
    return body | ({"tools": tools} if tools else {}) | ({"n": _n(expected)} if _n(expected) > 1 else {})


def _messages(expected: Expected) -> dict[str, Any]:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": _PLAIN}], "max_tokens": 1024}
    tools = [{"name": name, "input_schema": _SCHEMA} for name, _ in _tools(expected)]
    return body | ({"tools": tools} if tools else {})


def _gemini(expected: Expected) -> dict[str, Any]:
    body: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": _PLAIN}]}]}
    tools = [{"name": name, "parametersJsonSchema": _SCHEMA} for name, _ in _tools(expected)]
    several = {"generationConfig": {"candidateCount": _n(expected)}} if _n(expected) > 1 else {}
    return body | ({"tools": [{"functionDeclarations": tools}]} if tools else {}) | several


def _responses(expected: Expected) -> dict[str, Any]:
    tools = [
        {"type": "custom", "name": name}
        if custom
        else {"type": "function", "name": name, "parameters": _SCHEMA, "strict": False}
        for name, custom in _tools(expected)
    ]
    return {"input": _PLAIN} | ({"tools": tools} if tools else {})


def _completions(expected: Expected) -> dict[str, Any]:
    body: dict[str, Any] = {"prompt": _PLAIN, "max_tokens": 1024}
    return body | ({"n": _n(expected)} if _n(expected) > 1 else {})


_PLAIN_REQUESTS: Final = {
    "openai_chat": _chat,
    "anthropic": _messages,
    "gemini": _gemini,
    "openai_responses": _responses,
    "openai_completions": _completions,
}


# --- all of them -----------------------------------------------------------------------------------

FINEST: Final[Sequence[Split]] = ("whole", 7, 1)


def splits_for(client: str, api: str, number: int, chosen: str) -> Sequence[Split]:
    """Where the stream of recording *number* is cut.

    Fine cuts are for the clients through which the bytes pass in most ways: the chat client's, and those of the
    recorded dialect. `default` makes one of them for each recording; `all` makes both, and cuts every 7 bytes for all
    other clients.
    """
    fine = client == "openai_chat" or client == DIALECTS[api]
    match chosen:
        case "default":
            return ("whole", FINEST[1 + number % 2]) if fine else ("whole",)
        case "all":
            return FINEST if fine else ("whole", 7)
        case "whole":
            return ("whole",)
        case size:
            return (int(size),)


def can_be_asked(client: str, recording: Mapping[str, Any], expected: Expected) -> bool:
    """Whether *client*'s dialect has the question: completions have no tools, and no other client asks for them."""
    if DIALECTS[recording["api"]] == "openai_completions":
        return client == "openai_completions"
    said = expected.choices.values()
    return client != "openai_completions" or not any(choice.calls or choice.function_call for choice in said)


def cases_of(recordings: Sequence[Mapping[str, Any]], clients: Sequence[str], chosen: str) -> list[Case]:
    """Every recording for every client at every split that makes a difference.

    An error gets a provider row of its own: a refused key cools down and would take the others with it.
    """
    cases = []
    for number, recording in enumerate(recordings):
        expected = expected_of(recording)
        stem = str(recording.get("model") or "model").split("/")[-1]
        for client in clients:
            if not can_be_asked(client, recording, expected):
                continue
            splits = splits_for(client, recording["api"], number, chosen)
            for split in splits if "sse" in recording["response"] else splits[:1]:
                row = _row(recording, f"{number}_{SHORT[client]}_{split}" if expected.statuses else "")
                model = f"{stem}--{number}-{SHORT[client]}-{split}"
                cases.append(Case(recording, split, row, model, client, expected))
    return cases


def _row(recording: Mapping[str, Any], own: str) -> str:
    """The provider's row: the shipped one for the dialect that it is known for."""
    name, dialect = recording["provider"], DIALECTS[recording["api"]]
    suffixes = [own] if own else []
    if dialect in ("openai_responses", "openai_completions") or name == "vertex":
        suffixes.insert(0, dialect)
    return "_".join([name, *suffixes])
