"""Whether an answer is the JSON that the client asked for, and what to do when it is not.

answer_text(choice)            the text that ought to be JSON; None for a refusal, a tool call, a cut answer
problems(schema, text)         what is wrong with it, in words that a model can act on; empty: nothing
fenced(text)                   the one JSON value inside code fences or prose: no second call is needed
repair_request(request, ...)   the conversation with the answer and its problems: one more call
enforced(request, ...)         the target holds the schema itself, so that none of this is needed

No `$ref` is ever fetched: one that leaves the schema allows everything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from translators.codec import JsonError, canonical, depth_over, loads, type_name
from translators.dialect import Rules
from translators.losses import Loss, weakens_output
from translators.neutral import Choice, Message, Opaque, Request, Response, Text, Thinking, ToolCall

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError

MAX_PROBLEMS: Final = 5
MAX_PROBLEM_CHARS: Final = 300
MAX_MEMOISED: Final = 128
"""Compiled schemas that are kept, the least recently used going first."""
MAX_MEMOISED_BYTES: Final = 64 * 1024
"""Longer schemas are compiled each time, so that the memory they take is bounded."""
MAX_ANSWER_DEPTH: Final = 200
_MAX_STARTS: Final = 64
"""How many brackets of a text are tried as the beginning of a JSON value."""

_BRACKET: Final = re.compile(r"[{\[]")
_NO_VERDICT: Final = frozenset({"BacktrackLimitExceeded", "RegexEngineFailure"})
"""Errors of the validator's own: a pattern that would take forever says nothing about the answer."""


# --- what is wrong -------------------------------------------------------------------------------


def answer_text(choice: Choice) -> str | None:
    """The text of *choice* that the asked-for form applies to.

    None when the form does not apply: the model called a tool, refused, was cut off or interrupted.
    """
    if choice.finish_reason not in ("stop", None) or any(isinstance(part, ToolCall) for part in choice.parts):
        return None
    texts = [part.text for part in choice.parts if isinstance(part, Text)]
    others = [part for part in choice.parts if not isinstance(part, Text | Thinking | Opaque)]
    return None if others else "".join(texts)


def problems(schema: Mapping[str, Any] | None, text: str) -> list[str]:
    """What keeps *text* from being the JSON that *schema* describes: at most MAX_PROBLEMS, each with its place.

    Without a schema (`json_object`) it has to be a JSON object. A schema that is none itself is not held against
    the answer, which then has to be JSON only.
    """
    try:
        value = loads(text)
    except JsonError as error:
        return [_bounded(f"$: {error}")]
    if isinstance(value, dict | list) and depth_over(value, MAX_ANSWER_DEPTH):
        return [f"$: nested deeper than {MAX_ANSWER_DEPTH} levels"]
    if schema is None:
        return [] if isinstance(value, dict) else [f"$: expected a JSON object, found {type_name(value)}"]
    errors_of = _compiled(schema)
    return list(_first(errors_of(value))) if errors_of is not None else []


def _first(errors: Iterator[ValidationError]) -> Iterator[str]:
    found: list[str] = []
    for error in errors:
        if type(error.kind).__name__ in _NO_VERDICT:
            continue
        said = _bounded(f"{_path(error.instance_path)}: {_reason(error)}")
        if said in found:
            continue
        found.append(said)
        yield said
        if len(found) == MAX_PROBLEMS:
            return


def _reason(error: ValidationError) -> str:
    """What is wrong; for alternatives what each of them misses, which the validator's own words leave out."""
    if type(error.kind).__name__ not in ("AnyOf", "OneOfNotValid"):
        return error.message
    missed = [branch[0].message for branch in getattr(error.kind, "context", ()) if branch]
    return f"fits none of the alternatives: {'; or '.join(missed)}" if missed else error.message


def _bounded(words: str) -> str:
    return words if len(words) <= MAX_PROBLEM_CHARS else words[: MAX_PROBLEM_CHARS - 1] + "…"


def _path(path: Sequence[str | int]) -> str:
    """`$.items[2].name`; a name that is no identifier stands in brackets."""
    steps = (
        f"[{step}]" if isinstance(step, int) else f".{step}" if step.isidentifier() else f"[{json.dumps(step)}]"
        for step in path
    )
    return "$" + "".join(steps)


_Errors = Callable[[Any], "Iterator[ValidationError]"]


def _compiled(schema: Mapping[str, Any]) -> _Errors | None:
    """What finds the errors of a value; None when *schema* is not valid JSON Schema."""
    written = canonical(dict(schema))
    return _memoised(written) if len(written) <= MAX_MEMOISED_BYTES else _new(written)


def _new(written: bytes) -> _Errors | None:
    # Imported here: a second library in Rust, which most requests never need.
    from jsonschema_rs import ReferencingError, ValidationError, validator_for

    schema = loads(written)
    # Without its name for itself no reference is relative to a server, and a schema is read as the newest draft;
    # lists under `items` are of an older one.
    bare = {key: value for key, value in schema.items() if key not in ("$schema", "$id")}
    for variant in (schema, bare, {"$schema": "http://json-schema.org/draft-07/schema#", **bare}):
        try:
            return validator_for(variant, validate_formats=True, retriever=_allow_all, offline=False).iter_errors
        except (ValidationError, ReferencingError, ValueError):
            continue
    return None


_memoised = lru_cache(maxsize=MAX_MEMOISED)(_new)


def _allow_all(_uri: str) -> Any:
    """In place of whatever a remote `$ref` names: the schema that allows everything."""
    return {}


# --- what can be done ----------------------------------------------------------------------------


def fenced(text: str) -> str | None:
    """The JSON inside *text*, when there is exactly one value: in a code fence, else an object or array in prose.

    None when *text* is JSON as it stands, holds none, or holds several of which one would have to be picked.
    """
    if _is_json(text):
        return None
    values = [block for block in _blocks(text) if _is_json(block)]
    if len(values) == 1:
        return values[0]
    return None if values else _in_prose(text)


def _blocks(text: str) -> Iterator[str]:
    """What stands between lines that begin with three backticks and lines that are nothing else."""
    block: list[str] | None = None
    for line in text.splitlines():
        fence = line.strip()
        if block is None:
            block = [] if fence.startswith("```") and "`" not in fence[3:] else None
        elif fence == "```":
            yield "\n".join(block)
            block = None
        else:
            block.append(line)


def _is_json(text: str) -> bool:
    try:
        loads(text)
    except JsonError:
        return False
    return True


def _in_prose(text: str) -> str | None:
    """The one object or array in *text*."""
    decoder = json.JSONDecoder()
    found: list[str] = []
    position, starts = 0, 0
    while (bracket := _BRACKET.search(text, position)) is not None and len(found) < 2:
        start, starts = bracket.start(), starts + 1
        if starts > _MAX_STARTS:
            return None
        try:
            end = decoder.raw_decode(text, start)[1]
        except ValueError:
            position = start + 1
            continue
        except RecursionError:
            return None
        found.append(text[start:end])
        position = end
    return found[0] if len(found) == 1 and _is_json(found[0]) else None


def repair_request(request: Request, response: Response, problems: Sequence[str]) -> Request:
    """*request* once more, with the first choice of *response* and a demand to mend its *problems*.

    One choice is asked for, and no tool: the answer has to be the JSON.
    """
    answer = response.choices[0] if response.choices else Choice((), "stop")
    said = tuple(part for part in answer.parts if isinstance(part, Text | Thinking | Opaque))
    if not any(isinstance(part, Text) and part.text.strip() for part in said):
        said = (*said, Text("(no answer)"))
    listed = "\n".join(f"- {problem}" for problem in problems)
    demand = (
        "Your last answer is not the JSON that was asked for:\n"
        f"{listed}\n"
        "Give the whole corrected JSON and nothing else: no explanation, no code fence."
    )
    turns = (Message("assistant", said, place="repair"), Message("user", (Text(demand),), place="repair"))
    choice = replace(request.tool_choice, kind="none", names=()) if request.tool_choice else None
    return replace(request, messages=(*request.messages, *turns), n=None, tool_choice=choice)


def enforced(request: Request, rules: Rules, losses: Iterable[Loss]) -> bool:
    """Whether a target that follows *rules* can answer in the form of *request* alone, after these *losses*.

    OpenAI-compatible servers promise it for `strict` schemas, and only the vendor is believed;
    elsewhere a schema that arrived whole is held by the decoder.
    """
    output = request.output
    if output is None:
        return True
    if any(weakens_output(request, loss) for loss in losses):
        return False
    if not rules.structured_output:
        return False
    if rules.dialect in ("openai_chat", "openai_responses"):
        return rules.conformant and (output.kind == "json_object" or output.strict is True)
    return True
