"""What a vendor's refusal teaches: the change of Rules under which the same request is sent again.

    the vendor's words -> the parameters that they refuse -> a change of Rules, if the request holds one of them

Nothing is learned from words that name no parameter, from a parameter that the request does not hold, from a value
that is the client's own mistake, nor about what carries the request's meaning: model, messages, tools, stream.
What is refused beside something else is learned only where Rules can say beside what, and then as no more than that.
Nor is anything learned where a header was missing, which the next client may send: Anthropic refuses a field of a beta
that was not asked for in the words that it has for fields that it does not know.
A lesson always changes the rules; that it also changes the bytes is for the sender to see.

The wordings are recorded answers, or quoted in the issues of the projects that met them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Final, get_args

from routing.catalog import merged, with_changes
from routing.refusals import QUOTES, names_in, neutral, path_of, unconditional, words_of
from translators.dialect import Rules
from translators.neutral import Effort, Failure, Request, ToolCall
from translators.openai_chat.outgoing import limit_field
from translators.openai_chat.quirks import VISIBLE, thinking_is_on, thinks

Change = Mapping[str, Any]

RESPONSES: Final = "openai_responses"
EFFORTS: Final[tuple[Effort, ...]] = get_args(Effort)
TEACHING: Final = frozenset({400, 404, 422})
"""404 for those that refuse a parameter by finding no endpoint that takes it (OpenAI, OpenRouter)."""

_SAMPLING: Final = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "presence_penalty",
        "frequency_penalty",
        "seed",
        "stop",
        "n",
        "logprobs",
        "top_logprobs",
        "logit_bias",
    }
)
_DROPPABLE: Final = _SAMPLING | {
    "parallel_tool_calls",
    "tool_choice",
    "reasoning",
    "verbosity",
    "user",
    "metadata",
    "service_tier",
}
"""Neutral fields without which a request still means the same."""
_MEANING: Final = frozenset(
    {"previous_response_id", "conversation", "prompt", "container", "thread", "cachedContent", "input", "system"}
)
"""Fields of single dialects that hold the conversation, or say where it lies: without them another thing is asked."""
_SECOND_NAMES: Final[Mapping[str, str]] = {
    "thinking": "reasoning",
    "include_reasoning": "reasoning",
    "safety_identifier": "user",
}
"""Of chat completions alone: Anthropic's renderer writes `thinking` from the neutral field."""
_OUT_OF_RANGE: Final = re.compile(
    r"not allowed to exceed|must not exceed|cannot exceed|exceeds? the max", re.IGNORECASE
)
"""The client's own mistake about a value."""
_BETAS: Final[Mapping[str, str]] = {"anthropic": "anthropic-beta"}
"""Dialect -> the header that opens its vendor's fields in preparation."""
_ABOUT_HEADERS: Final = re.compile(
    # As "Unexpected value(s) `x` for the `anthropic-beta` header", "requires the `x-2026-01-01` beta header"
    r"\b(?:anthropic|openai)-beta\b|\bbeta[` '\"]+(?:header|flag)|\b20\d\d-\d\d-\d\d[`'\"]? (?:beta|header)",
    re.IGNORECASE,
)
_DEFAULTS: Final = {
    item.name: item.default if item.default_factory is MISSING else item.default_factory()
    for item in fields(Request)
    if item.default is not MISSING or item.default_factory is not MISSING
}


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one refusal taught.

    *change* holds fields of Rules in the form of rules.toml (lists, not sets), ready to be stored as JSON.
    *field* is the neutral name of the parameter, or the wire name of one that only its own dialect has.
    *reason* is one short clause, for the loss and the log.
    """

    change: Change
    field: str
    reason: str


def is_about_headers(failure: Failure) -> bool:
    """Whether the vendor missed a header, or took offence at one: that is the client's to mend."""
    return _ABOUT_HEADERS.search(words_of(failure)) is not None


def understood(
    failure: Failure, request: Request, rules: Rules, lessons: Change | None = None, headers: Mapping[str, str] = {}
) -> Lesson | None:
    """What *failure* teaches about the target that answered *request*, sent under *rules*; None: nothing certain.

    *lessons* are those that *rules* already hold: what was learned once is not learned the other way round. *headers*
    went along with the request.
    """
    if failure.status not in TEACHING or failure.kind not in ("invalid_request", "not_found"):
        return None
    if _OUT_OF_RANGE.search(failure.message) or is_about_headers(failure):
        return None
    case = _Case(failure, words_of(failure), request, rules, lessons or {}, headers)
    known = False
    for pattern, read in _PHRASES:
        if match := pattern.search(case.words if read in _CONDITIONAL else case.plain):
            known = True
            if lesson := _certain(read(match, case), case):
                return lesson
    if known or failure.status == 404:
        return None
    return (_certain(_efforts(case), case) if _EFFORT_REFUSED.search(case.plain) else None) or _of_named(case)


@dataclass(frozen=True, slots=True)
class _Case:
    """One refusal: what the vendor said, in all its places, about which request.

    *plain* is what it said of a parameter alone, not of one beside another.
    """

    failure: Failure
    words: str
    request: Request
    rules: Rules
    lessons: Change
    headers: Mapping[str, str]
    thinks: bool = field(init=False)
    plain: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plain", unconditional(self.words))
        object.__setattr__(self, "thinks", thinks(self.request, self.rules))


def _certain(lesson: Lesson | None, case: _Case) -> Lesson | None:
    """*lesson* if it changes anything; a change that was learned before and did not help is not one."""
    if lesson is None or not lesson.change or with_changes(case.rules, lesson.change) == case.rules:
        return None
    return lesson


# --- whole phrases -----------------------------------------------------------------------------------

_Reader = Callable[[re.Match[str], _Case], Lesson | None]


def _responses(_: re.Match[str], case: _Case) -> Lesson | None:
    """Tools beside reasoning, which OpenAI's newer models take at the other endpoint alone."""
    if not case.request.tools or case.rules.dialect != "openai_chat":
        return None
    change: dict[str, Any] = {"responses": "reasoning_with_tools" if case.thinks else "tools"}
    if not case.thinks and _says_nothing_of_reasoning(case.request):
        change = {"responses": "reasoning_with_tools", "thinks_by_default": True}
    return Lesson(change, "tools", "the model takes tools beside reasoning at the Responses endpoint alone")


def _responses_alone(_: re.Match[str], case: _Case) -> Lesson | None:
    if case.rules.dialect != "openai_chat":
        return None
    return Lesson({"responses": "always"}, "model", "the model is served at the Responses endpoint alone")


def _forced(_: re.Match[str], case: _Case) -> Lesson | None:
    choice = case.request.tool_choice
    if choice is None or not (choice.kind in ("required", "named") or choice.mode == "required"):
        return None
    if case.thinks and case.rules.forced_tools == "not_while_thinking":
        return None
    # A model that thinks unasked looks like one that does not: then only `never` changes the request.
    only_thinking = case.thinks and case.rules.forced_tools == "yes"
    change = {"forced_tools": "not_while_thinking" if only_thinking else "never"}
    return Lesson(change, "tool_choice", f"no tool can be forced{' while it thinks' if only_thinking else ''}")


def _prefill(_: re.Match[str], case: _Case) -> Lesson | None:
    if not case.request.messages or case.request.messages[-1].role != "assistant":
        return None
    return Lesson({"prefill": False}, "messages", "the model does not continue an answer")


def _developer(_: re.Match[str], case: _Case) -> Lesson | None:
    if not any(message.role == "developer" for message in case.request.messages):
        return None
    return Lesson({"developer_role": False}, "messages", "the target knows no role developer")


def _replay(_: re.Match[str], case: _Case) -> Lesson | None:
    """Reasoning that the server demands back."""
    rules = case.rules
    calls = any(isinstance(part, ToolCall) for message in case.request.messages for part in message.parts)
    if not calls or rules.dialect != "openai_chat" or rules.reasoning_replay == "always":
        return None
    change: dict[str, Any] = {"reasoning_replay": "tool_turns" if rules.reasoning_replay == "never" else "always"}
    if "reasoning_content" not in rules.takes_back:
        change["takes_back"] = sorted({*rules.takes_back, "reasoning_content"})
    return Lesson(change, "messages", "the target wants its reasoning back")


def _adaptive(_: re.Match[str], case: _Case) -> Lesson | None:
    if case.request.reasoning is None or case.rules.thinking != "budget":
        return None
    efforts = [effort for effort in case.rules.efforts if effort != "minimal"]
    change = {"thinking": "adaptive", "efforts": efforts}
    return Lesson(change, "reasoning", "the model takes adaptive thinking with an effort, no budget")


def _budget(_: re.Match[str], case: _Case) -> Lesson | None:
    if case.request.reasoning is None or case.rules.thinking not in ("adaptive", "level"):
        return None
    return Lesson({"thinking": "budget"}, "reasoning", "the model takes a budget of thinking tokens alone")


def _level(_: re.Match[str], case: _Case) -> Lesson | None:
    if case.request.reasoning is None or case.rules.thinking != "budget" or case.rules.dialect != "gemini":
        return None
    return Lesson({"thinking": "level"}, "reasoning", "the model takes a thinking level, no budget")


def _no_thinking(_: re.Match[str], case: _Case) -> Lesson | None:
    if case.request.reasoning is None:
        return None
    return Lesson({"thinking": "none"}, "reasoning", "the model cannot be told how to think")


def _always_thinks(_: re.Match[str], case: _Case) -> Lesson | None:
    reasoning = case.request.reasoning
    if reasoning is None or reasoning.effort != "none" or "none" not in case.rules.efforts:
        return None
    efforts = [effort for effort in case.rules.efforts if effort != "none"]
    return Lesson({"efforts": efforts}, "reasoning", "the model cannot be told not to think") if efforts else None


def _effort_cap(match: re.Match[str], case: _Case) -> Lesson | None:
    if case.request.reasoning is None or case.rules.dialect != "anthropic":
        return None
    cap = match["cap"].lower()
    return Lesson({"effort_cap_without_thinking": cap}, "reasoning", f"without thinking the effort is {cap} at most")


def _one_of_two(_: re.Match[str], case: _Case) -> Lesson | None:
    if case.request.temperature is None or case.request.top_p is None:
        return None
    return Lesson({"one_of_temperature_top_p": True}, "top_p", "the model takes either temperature or top_p")


def _while_thinking(match: re.Match[str], case: _Case) -> Lesson | None:
    name = neutral(match["name"], case.rules)
    if name not in _SAMPLING or not _is_sent(name, case):
        return None
    reason = f"the model takes no {name} while it thinks"
    if case.thinks or thinking_is_on(case.request.reasoning):
        return Lesson({"refuses_while_thinking": [name]}, name, reason)
    if _says_nothing_of_reasoning(case.request) and case.rules.dialect == "openai_chat":
        return Lesson({"refuses_while_thinking": [name], "thinks_by_default": True}, name, reason)
    if case.request.reasoning is None:
        return Lesson({"refuses": [name]}, name, reason)  # it thinks unasked, whatever its rules say
    return None  # it was told not to think, or how: what the vendor speaks of is not known


def _output_limit(match: re.Match[str], case: _Case) -> Lesson | None:
    """The model's own maximum, which says how much to ask for; not the room that a long prompt leaves."""
    most = int(match["most"].replace(",", ""))
    wanted = case.request.max_output_tokens or case.rules.max_output_tokens or 0
    if not 0 < most < wanted:
        return None
    return Lesson({"max_output_tokens": most}, "max_output_tokens", f"the model writes at most {most} tokens")


def _no_schema(_: re.Match[str], case: _Case) -> Lesson | None:
    return _output_refused(case)


def _no_schema_beside_tools(_: re.Match[str], case: _Case) -> Lesson | None:
    if case.request.output is None or not case.request.tools:
        return None
    return Lesson({"schema_with_tools": False}, "output", "the model gives no forced JSON beside tools")


def _penalties(_: re.Match[str], case: _Case) -> Lesson | None:
    return _refuses(("presence_penalty", "frequency_penalty"), case)


def _log_probabilities(_: re.Match[str], case: _Case) -> Lesson | None:
    return _refuses(("logprobs", "top_logprobs"), case)


def _several_choices(_: re.Match[str], case: _Case) -> Lesson | None:
    return _refuses(("n",), case) if (case.request.n or 1) > 1 else None


def _summary_refused(_: re.Match[str], case: _Case) -> Lesson | None:
    return _no_summary(case)


def _encrypted_refused(_: re.Match[str], case: _Case) -> Lesson | None:
    """Reasoning in its encrypted form, which is asked for unasked where nothing is stored."""
    if case.rules.dialect != RESPONSES or "include" in case.rules.refuses:
        return None
    from translators.openai_responses.includes import ENCRYPTED  # here, as all of a dialect: translators/dialects.py

    if case.request.dialect == RESPONSES and ENCRYPTED not in case.request.native.get(RESPONSES, {}).get("include", ()):
        return None
    return Lesson({"refuses": [ENCRYPTED]}, "include", "the target gives no encrypted reasoning")


def _efforts(case: _Case) -> Lesson | None:
    """Effort words: those that the vendor lists, else all but the one that it names."""
    reasoning = case.request.reasoning
    rules = case.rules
    listed = _LISTED.search(case.words)
    if reasoning is None or "function tools" in case.words.lower():
        return None
    if listed:
        words = set(_EFFORT_WORDS.findall(listed["list"].lower()))
        if rules.dialect == "anthropic" and "none" in rules.efforts:
            words.add("none")  # there it is no effort but thinking switched off
    else:
        refused = _QUOTED_EFFORT.search(case.words)
        words = set(rules.efforts) - {refused["word"].lower()} if refused else set()
        if not refused or refused["word"].lower() not in rules.efforts:
            return None
    efforts = [effort for effort in EFFORTS if effort in words]
    if reasoning.effort in efforts and reasoning.effort in rules.efforts:
        return None
    if not [effort for effort in efforts if effort != "none"] and reasoning.effort != "none":
        return Lesson({"refuses": ["reasoning"]}, "reasoning", "the model takes no effort")
    return Lesson({"efforts": efforts}, "reasoning", f"the model takes the efforts {', '.join(efforts)}")


_WORD: Final = "|".join(EFFORTS)
_EFFORT_WORDS: Final = re.compile(rf"\b(?:{_WORD})\b")
_QUOTED_EFFORT: Final = re.compile(
    rf"(?:[`'\"]|effort level |effort |thinking level )(?P<word>{_WORD})\b", re.IGNORECASE
)
_LISTED: Final = re.compile(
    r"(?:(?:supported|allowed|valid|accepted|available)(?: effort| reasoning)?(?: values| levels| efforts| options)?"
    r"(?: are| is| include)?|must be one of|not one of(?: the allowed values)?|expected one of|supports only)"
    rf"\s*:?\s*(?P<list>[\[\]`'\",\s\\]*(?:{_WORD}|default)\b(?:[\[\]`'\",\s\\]|\band\b|\bor\b|\b(?:{_WORD}|default)\b)*)",
    re.IGNORECASE,
)


def _phrase(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace("<q>", QUOTES), re.IGNORECASE)


_PHRASES: Final[tuple[tuple[re.Pattern[str], _Reader], ...]] = (
    # As "Function tools with reasoning_effort are not supported for gpt-5.4 in /v1/chat/completions."
    (_phrase(r"tools with reasoning_effort are not supported"), _responses),
    # As "This model is only supported in v1/responses and not in v1/chat/completions."
    (
        _phrase(r"only supported in <q>/?v1/responses|only available (?:in|through|via) the responses api"),
        _responses_alone,
    ),
    # As "Thinking may not be enabled when tool_choice forces tool use." (Anthropic)
    # As "Thinking mode does not support this tool_choice" (DeepSeek)
    # As "The tool_choice parameter does not support being set to required or object in thinking mode" (Qwen)
    # As "No endpoints found that support the provided 'tool_choice' value." (OpenRouter)
    (
        _phrase(
            r"when <q>tool_choice<q> forces|thinking mode does not support this <q>tool_choice"
            r"|tool_choice<q> parameter does not support being set to|support the provided <q>tool_choice"
            r"|tool_choice<q>[^.]{0,60}(?:not (?:supported|compatible)|incompatible)[^.]{0,40}(?:model|thinking)"
            r"|(?:forced tool use|forcing tools?)[^.]{0,40}(?:not (?:supported|compatible|allowed)|incompatible)"
        ),
        _forced,
    ),
    # As "This model does not support assistant message prefill. The conversation must end with a user message."
    (_phrase(r"does not support assistant message prefill|prefill[^.]{0,60}(?:is|are) not supported"), _prefill),
    # As "Unsupported value: 'messages[0].role' does not support 'developer' with this model." (OpenAI)
    # As "developer is not one of ['system', 'assistant', 'user', 'tool', 'function'] - 'messages.['0].role'" (Qwen)
    # As "invalid value: `developer`, supported values are: `system`, ..." (Volcengine), "Unexpected message role."
    (
        _phrase(
            r"does not support <q>developer<q> with|<q>developer<q> is not one of|unexpected message role"
            r"|(?:invalid (?:value|role)|unknown variant|unsupported role):? <q>developer\b"
        ),
        _developer,
    ),
    # As "The `reasoning_content` in the thinking mode must be passed back to the API." (DeepSeek)
    # As "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2" (Moonshot)
    (_phrase(r"reasoning_content<q>[^.]{0,60}(?:must be passed back|is missing in assistant)"), _replay),
    # As "output_config.effort 'xhigh' is not supported when thinking is disabled on this model. Use effort 'high' or
    # below, or enable thinking." (Anthropic)
    (
        _phrase(rf"not supported when thinking is disabled[^.]*\.\s*use effort <q>(?P<cap>{_WORD})\b"),
        _effort_cap,
    ),
    # As '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and ...' (Anthropic)
    (
        _phrase(r"thinking\.(?:type\.)?enabled<q> is not supported|thinking\.budget_tokens<q> is not supported"),
        _adaptive,
    ),
    # As "adaptive thinking is not supported on this model" (Anthropic)
    # As "Only 'enabled' and 'disabled' are supported for thinking; 'adaptive' is not supported." (Qwen)
    # As "`thinking.type` must be `enabled` or `disabled`" (NVIDIA); "thinking type should be enabled or disabled"
    (
        _phrase(
            r"adaptive thinking is not supported|thinking\.(?:type\.)?adaptive<q> is not supported"
            r"|<q>adaptive<q> is not supported|thinking[. ]type<q> (?:must|should) be <q>enabled<q> or <q>disabled"
            r"|does not support (?:the )?<q>(?:output_config\.)?effort<q> parameter"
        ),
        _budget,
    ),
    # As "Thinking level is not supported for this model"; "Thinking budget is not supported for this model." (Gemini)
    (_phrase(r"thinking[ _]?level<q> is not supported|unknown name <q>thinking_?level"), _budget),
    (_phrase(r"thinking[ _]?budget<q> is not supported|unknown name <q>thinking_?budget"), _level),
    # As "The model does not support setting thinking_budget to 0", "Budget 0 is invalid. This model only works in
    # thinking mode.", "Reasoning is mandatory for this endpoint and cannot be disabled." (OpenRouter)
    (
        _phrase(
            r"thinking\.(?:type\.)?disabled<q> is not supported|setting thinking_budget to 0"
            r"|only works in thinking mode"
            r"|(?:thinking|reasoning)[^.]{0,40}(?:cannot|can't|may not) be (?:disabled|turned off)"
        ),
        _always_thinks,
    ),
    # As "thinking_config is not supported", "Thinking is not enabled for models/..." (Gemini), "\"gemma\" does not
    # support thinking" (Ollama)
    (
        _phrase(
            r"(?<!adaptive )(?<![\w.])thinking(?:_?config)?<q> is not (?:supported|enabled)(?! when)"
            r"|does not support (?:extended )?thinking\b(?!\.)"
        ),
        _no_thinking,
    ),
    # As "`temperature` may only be set to 1 when thinking is enabled.", "`top_p` must be greater than or equal to 0.95
    # or unset when thinking is enabled." (Anthropic)
    # As "Unsupported parameter: 'temperature' is not supported when reasoning effort is 'high'." (OpenAI)
    (
        _phrase(
            r"(?P<name>temperature|top_p|top_k|(?:top_)?logprobs|(?:presence|frequency)_penalty|logit_bias|stop)<q>"
            r" (?:may only be set to|must be|is not (?:supported|compatible|allowed))[^`]{0,60}"
            r"when (?:thinking is (?:enabled|on|adaptive)"
            rf"|reasoning(?:[._ ]effort)?<q> is (?!<q>none)(?:set|on|enabled|<q>(?:{_WORD})\b))"
        ),
        _while_thinking,
    ),
    # As "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
    (_phrase(r"temperature<q> and <q>top_p<q> cannot both be"), _one_of_two),
    # As "max_tokens: 8192 > 4096, which is the maximum allowed number of output tokens for claude-3-opus" (Anthropic)
    (
        _phrase(r"max_tokens: \d+ > (?P<most>[\d,]+), which is the maximum allowed number of output tokens"),
        _output_limit,
    ),
    # As "max_tokens is too large: 100000. This model supports at most 16384 completion tokens" (OpenAI)
    (_phrase(r"this model supports at most (?P<most>[\d,]+) (?:completion|output) tokens"), _output_limit),
    # As "`max_completion_tokens` must be less than or equal to `8192`, the maximum value for ..." (Groq)
    (
        _phrase(r"max_(?:completion_)?tokens<q> must be less than or equal to <q>(?P<most>\d+)<q>, the maximum value"),
        _output_limit,
    ),
    # As "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]" (DeepSeek)
    (_phrase(r"valid range of <q>max_tokens<q> is \[\d+, ?(?P<most>\d+)\]"), _output_limit),
    # As "Function calling with a response mime type: 'application/json' is unsupported" (Gemini)
    # As "json mode cannot be combined with tool/function calling" (Groq)
    (
        _phrase(
            r"function calling with a response mime type|json mode cannot be combined with tool"
            r"|response_format<q>[^.]{0,40}cannot be (?:used|combined) with tools"
        ),
        _no_schema_beside_tools,
    ),
    # As "This response_format type is unavailable now" (DeepSeek)
    # As "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model." (OpenAI)
    # As "This model does not support response format `json_schema`." (Groq); "JSON mode is not enabled for models/..."
    (
        _phrase(
            r"response_format[^\n]{0,40} is unavailable now|response_format<q> of type <q>\w+<q> is not supported"
            r"|does not support (?:the )?(?:response[ _]format|structured outputs?|output format|json mode)"
            r"|json mode is not (?:enabled|supported)|structured outputs? (?:is|are) not (?:supported|available)"
        ),
        _no_schema,
    ),
    # As "Your organization must be verified to generate reasoning summaries." (OpenAI)
    (_phrase(r"verified to (?:generate|get|use|see|view) reasoning summar"), _summary_refused),
    # As "Encrypted content is not supported with this model." (OpenAI)
    (_phrase(r"\bencrypted content<q> is not (?:supported|available|enabled)(?! when)"), _encrypted_refused),
    # As "Penalty is not enabled for models/gemini-2.5-flash", "Logprobs are not enabled for this model" (Mistral),
    # or "logprobs are not supported with reasoning models." (OpenAI)
    (_phrase(r"\bpenalty is not (?:enabled|supported) for"), _penalties),
    (_phrase(r"\blogprobs (?:is|are) not (?:enabled|supported|available)(?! when)"), _log_probabilities),
    (
        _phrase(
            r"(?:multiple|more than one) (?:candidates?|choices?|completions?) (?:is|are) not (?:enabled|supported)"
        ),
        _several_choices,
    ),
)
"""Refusals that are more than `this parameter is not taken`, in the order in which they are tried."""
_CONDITIONAL: Final = frozenset(
    {_responses, _forced, _effort_cap, _while_thinking, _one_of_two, _no_schema_beside_tools, _replay, _always_thinks}
)
"""Readers that learn of a combination no more than that; the others are not shown what a combination refuses."""


_EFFORT_REFUSED: Final = _phrase(
    # As "Unsupported value: 'reasoning_effort' does not support 'none' with this model. Supported values are: 'low',
    # 'medium', and 'high'." (OpenAI), or "`reasoning_effort` must be one of `none` or `default`" (Groq),
    # or "output_config.effort \"high\" is not supported by model ...; supported values: [medium]" (Copilot),
    # or "This model does not support effort level 'xhigh'. Supported levels: high, low, max, medium." (Anthropic)
    r"(?:reasoning[._]?effort|output_config\.effort|effort level|thinking[ _]level)<q>"
    rf"[^.\n]{{0,80}}?(?:does not support|not supported|must be one of|not one of|<q>(?:{_WORD})<q>)"
    rf"|(?:unsupported|invalid) value: <q>(?:{_WORD})<q> is not supported with|does not support effort level"
)


# --- named parameters --------------------------------------------------------------------------------


def _of_named(case: _Case) -> Lesson | None:
    """The lesson of a refusal that does no more than name parameters; several become one."""
    found = [
        lesson
        for name in dict.fromkeys(names_in(case.failure, case.words))
        if (lesson := _certain(_of_name(name, case), case))
    ]
    if not found:
        return None
    change: Change = {}
    for lesson in found:
        change = merged(change, lesson.change)
    return Lesson(change, ", ".join(dict.fromkeys(lesson.field for lesson in found)), found[0].reason)


def _of_name(name: str, case: _Case) -> Lesson | None:
    path = path_of(name)
    last = path.rpartition(".")[2]
    if path.startswith("messages.") or (last == "reasoning_content" and last == path):
        return _not_taken_back(last, case)
    if path == "output_config":
        return _output_refused(case) or _budget_for_effort(case)
    field_name = neutral(name, case.rules)
    if _is_second_name(path, case):
        return Lesson({"refuses": [path]}, path, "the target refuses it")
    match field_name:
        case "max_output_tokens":
            return _limit_refused(path, case)
        case "stream_options":
            if not case.request.stream:
                return None
            return Lesson({"stream_options": False}, "stream_options", "the target refuses stream_options")
        case "output":
            return _output_refused(case, wholly=True)
        case "logprobs":
            return _refuses(("logprobs", "top_logprobs"), case)
        case "reasoning.visible":
            return _no_summary(case)
        case str():
            return _refuses((field_name,), case)
    if path == "include":
        return _no_include(case)
    native = case.request.native.get(case.rules.dialect, {})
    own = next((key for key in native if path_of(key) == path and key not in _MEANING), None)
    if own is None or _may_want_header(own, case):
        return None
    return Lesson({"refuses": [own]}, own, "the target refuses it")


def _may_want_header(own: str, case: _Case) -> bool:
    """Whether the vendor may take its dialect's field *own* from a client that asks for the beta that has it.

    A beta is called after its field (`context_management`: `context-management-2025-06-27`); one that went along with
    a word of the field's name was asked for in vain.
    """
    header = _BETAS.get(case.rules.dialect)
    asked_for = " ".join(value for name, value in case.headers.items() if name.lower() == header)
    return header is not None and not set(own.split("_")) & set(re.split(r"[-,\s]+", asked_for))


def _is_second_name(path: str, case: _Case) -> bool:
    """Whether *path* is a second name of a field, which only a client of the same dialect can have written.

    A chat client may ask for reasoning by `thinking`, and name its user by `safety_identifier`: only what it wrote is
    refused, not what the name is read as.
    """
    request = case.request
    if path not in _SECOND_NAMES or not request.dialect == case.rules.dialect == "openai_chat":
        return False
    return getattr(request, _SECOND_NAMES[path]) is not None or path in request.native.get(request.dialect, {})


def _refuses(names: tuple[str, ...], case: _Case) -> Lesson | None:
    sent = sorted(name for name in names if name in _DROPPABLE and _is_sent(name, case))
    return Lesson({"refuses": sent}, ", ".join(sent), "the target refuses it") if sent else None


def _limit_refused(path: str, case: _Case) -> Lesson | None:
    """The limit under the name that was not tried yet; where that was learned already, none at all."""
    if not _is_sent("max_output_tokens", case) or case.rules.dialect == "anthropic":
        return None
    if case.rules.dialect == "openai_chat" and path != limit_field(case.request, case.rules):
        return None
    if case.rules.dialect != "openai_chat" or "max_tokens_field" in case.lessons:
        return Lesson({"refuses": ["max_output_tokens"]}, "max_output_tokens", "the target takes no limit")
    other = "max_tokens" if path == "max_completion_tokens" else "max_completion_tokens"
    return Lesson({"max_tokens_field": other}, "max_output_tokens", f"the target takes {other} in place of {path}")


def _output_refused(case: _Case, *, wholly: bool = False) -> Lesson | None:
    """No schema; where none is sent any more and JSON is refused *wholly*, no format at all."""
    output = case.request.output
    if output is None:
        return None
    if output.kind == "json_schema" and case.rules.structured_output:
        return Lesson({"structured_output": False}, "output", "the target takes no schema")
    if wholly or output.kind == "json_object":
        return Lesson({"refuses": ["output"]}, "output", "the target cannot be held to JSON")
    return None


def _no_summary(case: _Case) -> Lesson | None:
    reasoning = case.request.reasoning
    if case.rules.dialect != RESPONSES or reasoning is None or not reasoning.visible:
        return None
    return Lesson({"refuses": [VISIBLE]}, VISIBLE, "the target gives no summary of its reasoning")


def _no_include(case: _Case) -> Lesson | None:
    """No `include` at all: a client's of the same dialect, or what is asked for unasked."""
    if case.rules.dialect != RESPONSES:
        return None
    if case.request.dialect == RESPONSES and not case.request.native.get(RESPONSES, {}).get("include"):
        return None
    return Lesson({"refuses": ["include"]}, "include", "the target refuses it")


def _budget_for_effort(case: _Case) -> Lesson | None:
    if case.request.reasoning is None or case.rules.thinking != "adaptive":
        return None
    return Lesson({"thinking": "budget"}, "reasoning", "the target takes no effort")


def _not_taken_back(name: str, case: _Case) -> Lesson | None:
    """A field of earlier answers that the server does not know."""
    if name not in case.rules.takes_back or not any(message.role == "assistant" for message in case.request.messages):
        return None
    change = {"takes_back": sorted(case.rules.takes_back - {name}), "reasoning_replay": "never"}
    return Lesson(change, "messages", f"the target does not take {name} back")


def _is_sent(name: str, case: _Case) -> bool:
    if name == "reasoning" and case.rules.thinking == "none":
        return False
    refused = case.rules.refuses | (case.rules.refuses_while_thinking if case.thinks else frozenset())
    return name not in refused and getattr(case.request, name) != _DEFAULTS[name]


def _says_nothing_of_reasoning(request: Request) -> bool:
    reasoning = request.reasoning
    return reasoning is None or (reasoning.effort is None and reasoning.budget_tokens is None)
