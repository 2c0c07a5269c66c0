"""What differs between the facts of a recording and what a client got, one line each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from tests.recordings.asking import Case
from tests.recordings.clients import Got
from tests.recordings.facts import DIALECTS, Call, Expected, Said, arguments_object, seen_by

TOLD: Final = ("x-request-id", "x-modelport-target", "x-modelport-attempts", "x-modelport-cache")
CONFORMANT: Final = frozenset({"openai", "anthropic", "gemini"})
"""The shipped rows that say so: what they send is relayed without mending."""
NEVER_MENDED: Final = frozenset({"gemini", "openai_responses"})
"""Dialects whose answers are relayed as they are, whoever sends them."""


def compare(case: Case, got: Got, sent: bytes | None = None) -> list[str]:
    """What is wrong with *got* as the answer to *case*, whose upstream *sent* these bytes; empty when all is right."""
    expected = seen_by(case.client, case.expected, case.api)
    if expected.statuses:
        return _compare_error(case, expected, got)
    if got.status != 200 or got.error is not None:
        return [f"status {got.status}: {json.dumps(got.error)[:300]}", *got.wrong]
    wrong = [f"no header {name}" for name in TOLD if name not in got.headers]
    if sent is not None and is_verbatim(case, sent):
        if not (changed := _changed_bytes(case, sent, got.body)):
            return wrong  # whatever else is odd about them is the vendor's to say
        wrong += changed
    wrong += list(dict.fromkeys(got.wrong))
    wrong += _compare_choices(expected, got)
    wrong += _compare_usage(case, expected, got)
    return wrong


def _compare_choices(expected: Expected, got: Got) -> list[str]:
    if set(expected.choices) != set(got.choices):
        return [f"choices {sorted(got.choices)}, not {sorted(expected.choices)}"]
    wrong = []
    for index, said in expected.choices.items():
        wrong += [f"choice {index}: {line}" for line in _compare_choice(said, got.choices[index])]
        if "broken" in said.finish and not got.aside:
            wrong.append(f"choice {index}: nothing is said of the call that cannot be shown")
    return wrong


def _compare_usage(case: Case, expected: Expected, got: Got) -> list[str]:
    wrong = []
    if expected.usage and (got.usage or case.wants_usage):
        for key in {**expected.usage, **got.usage}:
            if key == "written" and case.own and case.client == "openai_chat":
                continue  # routers in front of Anthropic tell it in a field of their own
            if expected.usage.get(key, 0) != got.usage.get(key, 0):
                wrong.append(f"usage {key} {got.usage.get(key)}, not {expected.usage.get(key)}")
    has_total = case.client != "anthropic"
    if has_total and got.usage and not got.total_tokens and sum(got.usage.values()):
        wrong.append("usage without total_tokens")
    return wrong


# --- errors ----------------------------------------------------------------------------------------


def _compare_error(case: Case, expected: Expected, got: Got) -> list[str]:
    if got.status not in expected.statuses:
        return [f"status {got.status}, not {sorted(expected.statuses)}: {json.dumps(got.error)[:300]}"]
    message = _ENVELOPES[case.client](got)
    if message is None:
        return [f"not the error envelope: {got.error}"]
    wrong = []
    sent = "x-modelport-attempts" in got.headers
    if sent and got.headers.get("x-should-retry") != "false":
        wrong.append(f"x-should-retry is {got.headers.get('x-should-retry')}")
    if sent and expected.message[:24] not in message:
        wrong.append(f"the vendor's {expected.message[:60]!r} is not in {message[:200]!r}")
    if expected.retry_after and got.headers.get("retry-after") is None and got.status == 429:
        wrong.append("retry-after is lost")
    return wrong


def _inner(got: Got) -> Mapping[str, Any]:
    error = got.error.get("error") if isinstance(got.error, dict) else None
    return error if isinstance(error, dict) else {}


def _openai_envelope(got: Got) -> str | None:
    error = _inner(got)
    good = set(error) >= {"message", "type", "param", "code"} and isinstance(error["type"], str)
    return _message(error) if good else None


def _anthropic_envelope(got: Got) -> str | None:
    error = _inner(got)
    good = got.error.get("type") == "error" and isinstance(error.get("type"), str) and "request_id" in got.error
    return _message(error) if good else None


def _gemini_envelope(got: Got) -> str | None:
    error = _inner(got)
    good = error.get("code") == got.status and isinstance(error.get("status"), str)
    return _message(error) if good else None


def _message(error: Mapping[str, Any]) -> str | None:
    message = error.get("message")
    return message if isinstance(message, str) and message else None


_ENVELOPES: Final = {
    "openai_chat": _openai_envelope,
    "openai_completions": _openai_envelope,
    "openai_responses": _openai_envelope,
    "anthropic": _anthropic_envelope,
    "gemini": _gemini_envelope,
}


# --- the verbatim way ------------------------------------------------------------------------------


def is_verbatim(case: Case, sent: bytes) -> bool:
    """Whether the client must get the very bytes that the vendor sent."""
    if not case.own or isinstance(case.recording["response"].get("body"), list):
        return False
    dialect = DIALECTS[case.api]
    if dialect not in NEVER_MENDED and case.provider not in CONFORMANT:
        return False
    if dialect in ("openai_chat", "openai_completions") and case.stream:
        # The proxy asks for the usage whether or not the client did; it tells the client only what that asked for.
        return case.wants_usage is (b'"choices":[],"usage"' in sent.replace(b" ", b"") or b'"choices": []' in sent)
    return True


def _changed_bytes(case: Case, sent: bytes, came: bytes) -> list[str]:
    """Where *came*, without the proxy's receipt, differs from *sent*."""
    if case.stream and case.client == "gemini":
        sent, came = _without_last_field(sent), _without_last_field(came)
    elif case.stream:
        blocks = came.decode().split("\n\n")
        came = "\n\n".join(block for block in blocks if not block.startswith(": modelport ")).encode()
    asked, got = sent.decode().rstrip(), came.decode().rstrip()
    return [] if asked == got else [f"the vendor's bytes {_apart(asked, got)}"]


def _without_last_field(stream: bytes) -> bytes:
    """A stream whose last frame is normal JSON without the receipt, with LF for CRLF."""
    head, mark, last = stream.decode().replace("\r\n", "\n").rstrip().rpartition("data: ")
    if not mark:
        return stream
    value = json.loads(last)
    value.pop("modelport", None)
    return f"{head}{mark}{json.dumps(value)}".encode()


# --- choices ---------------------------------------------------------------------------------------


def _compare_choice(said: Said, got: Said) -> list[str]:
    wrong = []
    if said.text != got.text:
        wrong.append(f"text {_apart(said.text, got.text)}")
    if "".join(said.reasoning.split()) != "".join(got.reasoning.split()):
        wrong.append(f"reasoning {_apart(said.reasoning, got.reasoning)}")
    if said.refusal != got.refusal:
        wrong.append(f"refusal {got.refusal[:60]!r}, not {said.refusal[:60]!r}")
    if said.media != got.media:
        wrong.append(f"media {got.media}, not {said.media}")
    if [(call.name, call.custom) for call in said.calls] != [(call.name, call.custom) for call in got.calls]:
        wrong.append(f"calls {got.calls}, not {said.calls}")
    else:
        for asked, came in zip(said.calls, got.calls, strict=True):
            if not _same_arguments(asked, came):
                wrong.append(f"arguments of {asked.name}: {came.arguments[:120]!r}, not {asked.arguments[:120]!r}")
    if said.function_call != got.function_call:
        wrong.append(f"function_call {got.function_call}, not {said.function_call}")
    if not got.finish or not got.finish <= said.finish:
        wrong.append(f"finish {sorted(map(str, got.finish))}, not {sorted(said.finish)}")
    return wrong


def _same_arguments(asked: Call, came: Call) -> bool:
    """Equal as JSON, or as the text that was cut off.

    A dialect that has objects alone gets what could be saved of such a text, and nothing that is not in it.
    """
    if asked.arguments == came.arguments or (not asked.arguments and came.arguments == "{}"):
        return True
    try:
        return bool(json.loads(asked.arguments) == json.loads(came.arguments)) or (
            asked.arguments == "null" and came.arguments == "{}"
        )
    except ValueError:
        saved = arguments_object(came.arguments)
        return saved is not None and all(word in asked.arguments for word in _words(saved))


def _words(value: Any) -> list[str]:
    """The keys and texts in *value*, as JSON writes them."""
    if isinstance(value, dict):
        return [*(json.dumps(key)[1:-1] for key in value), *_words(list(value.values()))]
    if isinstance(value, list):
        return [word for inner in value for word in _words(inner)]
    return [json.dumps(value).strip('"')]


def _apart(asked: str, came: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(asked, came, strict=False)) if a != b), min(len(asked), len(came)))
    return f"differs at {at} of {len(asked)}/{len(came)}: {came[at : at + 40]!r}, not {asked[at : at + 40]!r}"
