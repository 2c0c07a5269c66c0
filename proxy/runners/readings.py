"""What an answer says, as far as answers can be compared: JSON, the arguments of tool calls, or text.

calls     the model calls tools: `{tool: arguments}`, or `{tool: [arguments, ...]}` where one is called several times
json      the client has asked for JSON, and here it is
text      plain text
refusal   the model refuses
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from proxy.structured import fenced, problems
from routing.consensus import Answer
from routing.targets import Target
from translators.codec import JsonError, dumps_text, loads
from translators.neutral import Choice, Refusal, Request, Response, Text, ToolCall

Kind: TypeAlias = Literal["calls", "json", "text", "refusal"]
LEAST_TOKENS: Final = 1


@dataclass(frozen=True, slots=True)
class Form:
    """What kind of answer it is; answers of different forms cannot be merged. *tools* are the names that it calls."""

    kind: Kind
    tools: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"calls of {', '.join(self.tools)}" if self.tools else self.kind


@dataclass(frozen=True, slots=True)
class Reading:
    """One target's answer. *trouble* says why it has no say; empty: it has one.

    *calls* are names with their arguments, as JSON, or as text where the tool takes text; *value* is JSON or text.
    """

    target: Target
    response: Response
    form: Form
    value: Any = None
    calls: tuple[tuple[str, Any], ...] = ()
    valid: bool | None = None
    logprob: float | None = None
    trouble: str = ""


def read(target: Target, response: Response, request: Request) -> Reading:
    """What the first choice of *response* says."""
    if not response.choices:
        return Reading(target, response, Form("text"), trouble="the answer is empty")
    choice = response.choices[0]
    logprob = _mean_logprob(choice)
    calls = [part for part in choice.parts if isinstance(part, ToolCall)]
    if calls:
        return replace(_calls(target, response, calls, request), logprob=logprob)
    text = "".join(part.text for part in choice.parts if isinstance(part, Text))
    if not text.strip():
        refuses = any(isinstance(part, Refusal) for part in choice.parts) or choice.finish_reason == "content_filter"
        if refuses:
            return Reading(target, response, Form("refusal"), "refusal", logprob=logprob)
        return Reading(target, response, Form("text"), trouble="the answer has no text")
    if request.output is None:
        return Reading(target, response, Form("text"), text, logprob=logprob)
    return replace(_json(target, response, text, request), logprob=logprob)


def _json(target: Target, response: Response, text: str, request: Request) -> Reading:
    try:
        value = loads(text)
    except JsonError as error:
        inner = fenced(text)
        if inner is None:
            return Reading(target, response, Form("json"), trouble=f"the answer is no JSON: {error}")
        value, text = loads(inner), inner
    schema = request.output.schema if request.output else None
    return Reading(target, response, Form("json"), value, valid=not problems(schema, text))


def _calls(target: Target, response: Response, calls: Sequence[ToolCall], request: Request) -> Reading:
    schemas = {tool.name: tool.parameters for tool in request.tools}
    form = Form("calls", tuple(sorted({call.name for call in calls})))
    found: list[tuple[str, Any]] = []
    valid = True
    for call in calls:
        if call.kind == "custom":
            found.append((call.name, call.arguments))
            continue
        arguments = call.arguments.strip() or "{}"
        try:
            found.append((call.name, loads(arguments)))
        except JsonError as error:
            return Reading(target, response, form, trouble=f"the arguments of {call.name} are no JSON: {error}")
        valid = valid and call.name in schemas and not problems(schemas[call.name] or {}, arguments)
    return Reading(target, response, form, calls=tuple(found), valid=valid)


def _mean_logprob(choice: Choice) -> float | None:
    tokens = choice.logprobs or ()
    return sum(token.logprob for token in tokens) / len(tokens) if len(tokens) >= LEAST_TOKENS else None


# --- answers of one form ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Committee:
    """Answers of one form, as the consensus takes them."""

    form: Form
    answers: tuple[Answer, ...]
    schema: Mapping[str, Any] | None
    several: bool = False
    """Whether some answer calls a tool several times."""

    @property
    def is_plain(self) -> bool:
        """Whether the answers are text."""
        return self.form.kind in {"text", "refusal"}


def committee(form: Form, readings: Sequence[Reading], request: Request) -> Committee:
    """*readings*, all of which have *form* or no say."""
    several = any(count > 1 for one in readings for count in Counter(name for name, _ in one.calls).values())
    answers = tuple(
        Answer(one.target.name, _value(one, several=several), one.target.weight or 1.0, one.logprob, one.valid)
        for one in readings
    )
    return Committee(form, answers, _schema(form, request, several=several), several)


def _value(reading: Reading, *, several: bool) -> Any:
    if reading.trouble or reading.form.kind != "calls":
        return reading.value
    if not several:
        return dict(reading.calls)
    by_tool: dict[str, list[Any]] = {}
    for name, arguments in reading.calls:
        by_tool.setdefault(name, []).append(arguments)
    return by_tool


def _schema(form: Form, request: Request, *, several: bool) -> Mapping[str, Any] | None:
    if form.kind == "json":
        return request.output.schema if request.output else None
    if form.kind != "calls":
        return None
    known = {tool.name: dict(tool.parameters or {}) for tool in request.tools if tool.name in form.tools}
    members = {name: {"type": "array", "items": schema} if several else schema for name, schema in known.items()}
    return {"type": "object", "properties": members}


# --- and back --------------------------------------------------------------------------------------


def written(base: Reading, committee: Committee, value: Any) -> Response:
    """*value*, which was merged, as an answer in the place of *base*'s."""
    response = base.response
    if committee.form.kind != "calls":
        choice = Choice((Text(dumps_text(value)),), "stop")
        return replace(response, choices=(choice,))
    calls = [part for part in response.choices[0].parts if isinstance(part, ToolCall)]
    left = {name: list(given) if committee.several else [given] for name, given in (value or {}).items()}
    order = list(dict.fromkeys([*(call.name for call in calls), *left]))
    parts: list[ToolCall] = []
    for name in order:
        own = [call for call in calls if call.name == name]
        for at, arguments in enumerate(left.get(name, ())):
            begun = own[at] if at < len(own) else ToolCall(f"{(own or calls)[0].id}_{at}", name, "")
            parts.append(replace(begun, name=name, arguments=_arguments(begun, arguments)))
    return replace(response, choices=(Choice(tuple(parts), "tool_calls"),))


def _arguments(call: ToolCall, arguments: Any) -> str:
    return arguments if call.kind == "custom" and isinstance(arguments, str) else dumps_text(arguments)


def fits(committee: Committee, value: Any, request: Request) -> bool:
    """Whether the merged *value* holds against what the client asked for."""
    if committee.form.kind == "json":
        return not problems(request.output.schema if request.output else None, dumps_text(value))
    if committee.form.kind == "calls":
        return not problems(committee.schema, dumps_text(value))
    return True
