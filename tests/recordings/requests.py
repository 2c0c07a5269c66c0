"""Requests that real clients sent, put to the other vendors.

Every recorded request body is parsed as its dialect and made ready for a typical model of each other dialect. What
comes out is held against the types of that vendor's SDK, in which an unknown field is an error.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from anthropic.types.message_create_params import MessageCreateParams
from google.genai import types as genai
from openai.types.chat.completion_create_params import CompletionCreateParams
from openai.types.responses.response_create_params import ResponseCreateParams
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import SchemaValidator

from proxy.asked import Asked
from proxy.config.model import Settings
from proxy.controls import Controls
from proxy.errors import Refused
from proxy.prepare import Prepared, prepare
from proxy.providers import ProviderSpec, providers
from routing.targets import Target
from translators.dialects import CLIENTS
from translators.errors import BadRequest
from translators.gemini import client as gemini_client
from translators.neutral import Request, Source

ROOT: Final = Path(__file__).resolve().parents[2]
RECORDINGS: Final = Path(os.environ.get("MODELPORT_SHARED", ROOT.parent / "shared")) / "recordings"
DIALECTS: Final = {
    "chat_completions": "openai_chat",
    "responses": "openai_responses",
    "messages": "anthropic",
    "generate_content": "gemini",
    "stream_generate_content": "gemini",
}
TARGETS: Final = {
    "openai_chat": Target("openai", "gpt-4.1"),
    "openai_responses": Target("openai", "gpt-6-sol"),
    "anthropic": Target("anthropic", "claude-opus-5-5"),
    "gemini": Target("gemini", "gemini-3.8-flash"),
}
PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

REFUSED: Final[Mapping[str, str]] = {
    r"a file of \w+ (means nothing here|cannot be read|is unknown)": "an uploaded file lies at its own vendor",
    r"a document has to be sent as base64 data": "OpenAI's chat takes files as data alone",
    r"takes no audio": "these models do not listen",
    r"takes PDF and text, not video|takes no video": "these models do not watch films",
    r"has nothing like '\w+_url'|takes no \w+_url here": "a part of OpenRouter's or Mistral's own",
    r"does not continue an assistant message": "claude-opus-5-5 takes no prefilled answer",
    r"is no call of the assistant message before it|no call before it has the id": "the call lies at OpenAI, under a "
    "`previous_response_id`",
    r"nothing in them says anything": "the prompt is a template that lies at OpenAI",
}
"""What a refusal says (a pattern) -> why that request cannot be put to that target."""

EXCEPTIONS: Final[Mapping[tuple[str, str], str]] = {
    ("llamacpp-chat-completions-err400-rig-f1e763", "gemini"): "its picture is no base64; llama.cpp refused it, too",
}
"""(recording id, target's dialect) -> why what comes out does not fit the SDK's types."""

NO_FILES: Final = re.compile(r'"file_data":\s*"data:(video|audio)/')
"""What the types of OpenAI's files leave open."""

# --- the vendors' types ------------------------------------------------------------------------------


@cache
def _sdk_type(dialect: str) -> SchemaValidator:
    """The SDK's type of a whole request, strict, in which unknown fields are errors."""
    # In a list, for settings of a bare TypedDict would have to be its own.
    kinds: Mapping[str, Any] = {
        "openai_chat": list[CompletionCreateParams],
        "openai_responses": list[ResponseCreateParams],
        "anthropic": list[MessageCreateParams],
    }
    config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
    adapter: TypeAdapter[Any] = TypeAdapter(kinds[dialect], config=config)
    return SchemaValidator(_tightened(adapter.core_schema))


def _tightened(schema: Any) -> Any:
    """*schema* with lists for iterables, which are otherwise not looked into, and without models.

    A model among a request's types stands for an answer that is sent back as an object, and takes any field.
    """
    match schema:
        case dict():
            if schema.get("type") == "model":
                kept = {name: schema[name] for name in ("cls", "ref") if name in schema}
                return {"type": "is-instance", **kept}
            changed = {name: _tightened(value) for name, value in schema.items()}
            if changed.get("type") == "generator":
                changed["type"] = "list"
            return changed
        case list() | tuple():
            return type(schema)(map(_tightened, schema))
        case _:
            return schema


def misfits(dialect: str, body: Mapping[str, Any]) -> list[str]:
    """What the SDK of *dialect* does not know or want in *body*."""
    if dialect == "gemini":
        return [wrong for kind, value, place in _gemini_pieces(body) for wrong in _against_model(kind, value, place)]
    found = NO_FILES.findall(json.dumps(body)) if dialect.startswith("openai") else []
    wrong = [f"OpenAI reads no files of {kind}" for kind in found]
    try:
        _sdk_type(dialect).validate_python([body])
    except ValidationError as error:
        return [*wrong, *_deepest(error)]
    return wrong


def _deepest(error: ValidationError) -> list[str]:
    """Of the complaints of all members of the unions those that lie deepest: the member that was meant."""
    found = sorted(error.errors(include_url=False), key=lambda one: -len(one["loc"]))
    return [f"{'.'.join(map(str, one['loc'][2:]))}: {one['msg']}: {one['input']!r:.80}" for one in found[:4]]


def _gemini_pieces(body: Mapping[str, Any]) -> Iterator[tuple[type[BaseModel], Any, str]]:
    """The SDK has no type for the whole body; (type, value, place) of each of its fields."""
    top: dict[str, Any] = {}
    for name, value in body.items():
        match name:
            case "contents":
                yield from ((genai.Content, each, f"contents[{at}]") for at, each in enumerate(value))
            case "systemInstruction":
                yield genai.Content, value, name
            case "tools":
                yield from ((genai.Tool, each, f"tools[{at}]") for at, each in enumerate(value))
            case "toolConfig":
                yield genai.ToolConfig, value, name
            case "generationConfig":
                yield genai.GenerationConfig, value, name
            case "safetySettings":
                yield from ((genai.SafetySetting, each, f"{name}[{at}]") for at, each in enumerate(value))
            case _:
                top[name] = value
    yield genai.GenerateContentConfig, top, "the body"


def _against_model(kind: type[BaseModel], value: Any, place: str) -> list[str]:
    try:
        kind.model_validate_json(json.dumps(value))
    except ValidationError as error:
        return [f"{place}.{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False)]
    return []


# --- requests ----------------------------------------------------------------------------------------


def recorded_requests() -> Iterator[tuple[str, str, dict[str, Any], Mapping[str, Any]]]:
    """(id, dialect, body, the whole recording)."""
    for line in (RECORDINGS / "index.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        if row["api"] in DIALECTS:
            recording = json.loads((RECORDINGS / row["provider"] / f"{row['id']}.json").read_text("utf-8"))
            if isinstance(body := recording["request"].get("body"), dict):
                yield row["id"], DIALECTS[row["api"]], body, recording


def parsed(dialect: str, body: dict[str, Any], recording: Mapping[str, Any]) -> Request:
    """*body* as a client's request."""
    if dialect == "gemini":
        return gemini_client.parse_request(body, str(recording.get("model") or "gemini"), bool(recording["stream"]))
    request: Request = CLIENTS[dialect].parse_request(body)  # type: ignore[attr-defined]  # each ingress has its own
    return request


@cache
def _specs() -> Mapping[str, ProviderSpec]:
    keys = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"), "sk-loopback-000000000000")
    return providers(Settings(), keys)


async def _fetched(url: str, kinds: tuple[str, ...], place: str) -> Source:
    """A picture or a file that nobody fetches here."""
    del url, place
    media_type = "image/png" if "image/" in kinds else "audio/wav" if "audio/" in kinds else "application/pdf"
    return Source(media_type=media_type, data=PIXEL)


def put_to(dialect: str, request: Request, body: dict[str, Any]) -> Prepared:
    """*request* as the target of *dialect* is asked.

    Raises:
        Refused, BadRequest: it cannot be.
    """
    target = TARGETS[dialect]
    spec = replace(_specs()[target.provider], dialect=dialect, also_speaks=())
    asked = Asked(CLIENTS[request.dialect], b"", body, request, Controls(), created=0, id="0")
    return asyncio.run(prepare(asked, target, spec, _fetched, may_relay=False))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request for one target: *misfits* of what comes out, or *refused* at *place*."""

    id: str
    dialect: str
    target: str
    was_refused: bool
    """By the vendor that it was recorded at."""
    misfits: Sequence[str] = ()
    refused: str = ""
    place: str = ""
    place_exists: bool = True

    @property
    def reason(self) -> str | None:
        """The pattern among REFUSED that fits."""
        return next((pattern for pattern in REFUSED if re.search(pattern, self.refused)), None)

    @property
    def told(self) -> str:
        """For a failing test."""
        return f"{self.id}: " + (f"refused, {self.place}: {self.refused}" if self.refused else str(self.misfits))


@cache
def outcomes() -> Sequence[Outcome]:
    """Every recorded request for every target of another dialect."""
    return [
        _outcome(name, dialect, target, {"model": "m", **body}, recording)
        for name, dialect, body, recording in recorded_requests()
        for target in TARGETS
        if dialect != target
    ]


def _outcome(name: str, dialect: str, target: str, body: dict[str, Any], recording: Mapping[str, Any]) -> Outcome:
    was_refused = recording["response"]["status"] >= 400
    try:
        prepared = put_to(target, parsed(dialect, body, recording), body)
    except Refused as error:
        message, place = error.failure.message, error.failure.param or ""
    except BadRequest as error:
        message, place = error.message, error.param or ""
    else:
        return Outcome(name, dialect, target, was_refused, misfits=misfits(target, json.loads(prepared.body)))
    exists = _leads_somewhere(place, body, dialect)
    return Outcome(name, dialect, target, was_refused, (), message, place, exists)


MESSAGES: Final = {
    "openai_chat": "messages",
    "anthropic": "messages",
    "gemini": "contents",
    "openai_responses": "input",
}
"""What each dialect calls the conversation."""


def _leads_somewhere(place: str, body: Any, dialect: str) -> bool:
    """Whether the client wrote something at *place*; its last name may be what is missing there."""
    *steps, last = re.findall(r"\w+", place) or [""]
    first = [*steps, last][0]
    if first in MESSAGES.values() and first != MESSAGES[dialect]:
        return False
    found = body
    for step in steps:
        try:
            found = found[int(step)] if isinstance(found, list) else found[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return False
    return place != "" and isinstance(found, dict | list)
