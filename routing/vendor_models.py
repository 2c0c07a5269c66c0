"""What vendors' lists of models say: `GET /v1/models` and its kin to facts and rules.

Anthropic and Gemini have lists of their own form. The others answer in OpenAI's form, of which only `id` is common:
what else a server tells is looked for under every name that one of them uses, and nothing is concluded from silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, get_args

from translators.neutral import Effort

EFFORTS: Final[tuple[Effort, ...]] = get_args(Effort)
MAX_TOKENS: Final = 1 << 31
"""A larger limit is a mistake of the list."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One model as its vendor describes it; None or empty where the list does not say.

    *context* is the longest input, in tokens. *modalities* are those of the input, in the words of Rules.
    *created* is Unix seconds; *retires_at* is ISO 8601. *chats*: whether it answers conversations at all.
    *rules* are the fields of Rules that follow, in the form of rules.toml, for `Overlay.put_facts`.
    """

    id: str
    title: str = ""
    context: int | None = None
    max_output_tokens: int | None = None
    modalities: frozenset[str] = frozenset()
    rules: Mapping[str, Any] = field(default_factory=dict)
    created: int | None = None
    retires_at: str | None = None
    chats: bool = True


def parse_models(dialect: str, body: Any) -> list[ModelFacts]:
    """The models of one page, in the vendor's order; entries without a name are left out.

    *dialect* is the provider's. A list that is no list gives nothing: whoever asked sees that it is empty.
    """
    read = _READERS.get(dialect, _openai_like)
    return [facts for entry in _entries(body) if (facts := read(entry)) is not None]


def next_page(dialect: str, body: Any) -> Mapping[str, str] | None:
    """The query parameters that ask for the page after *body*; None after the last one."""
    if not isinstance(body, Mapping):
        return None
    if dialect == "anthropic":
        last = body.get("last_id")
        return {"after_id": last} if body.get("has_more") is True and isinstance(last, str) and last else None
    for name, parameter in (("nextPageToken", "pageToken"), ("next_page_token", "page_token")):
        if isinstance(token := body.get(name), str) and token:
            return {parameter: token}
    return None


def _entries(body: Any) -> Iterator[Mapping[str, Any]]:
    """The entries of `data`, of `models`, of a bare list (Together), or the one model that *body* is."""
    found = body
    if isinstance(body, Mapping):
        lists = (body.get(name) for name in ("data", "models"))
        found = next((value for value in lists if isinstance(value, list)), [body] if _id_of(body) else [])
    if isinstance(found, list):
        yield from (entry for entry in found if isinstance(entry, Mapping))


# --- Anthropic -----------------------------------------------------------------------------------------


def _anthropic(entry: Mapping[str, Any]) -> ModelFacts | None:
    """anthropic.types.ModelInfo (2.11.0). `capabilities` is absent in what gateways copy of it."""
    has = _supported(entry.get("capabilities"))
    rules: dict[str, Any] = {}
    modalities: set[str] = set()
    if has("image_input") is not None:
        modalities = {"text", *(["image"] if has("image_input") else []), *(["document"] if has("pdf_input") else [])}
    if has("thinking") is False:
        rules["thinking"] = "none"
    elif has("thinking", "types", "adaptive"):
        rules["thinking"] = "adaptive"
    elif has("thinking", "types", "enabled"):
        rules["thinking"] = "budget"
    told = [effort for effort in EFFORTS if has("effort", effort)]
    off = has("thinking", "types", "disabled")
    # `none` is thinking `disabled`: a list that does not speak of it (until mid-2026) is too old for the newer words.
    if rules.get("thinking") == "adaptive" and told and off is not None:
        rules["efforts"] = [*(["none"] if off else []), *told]
    if has("structured_outputs") is not None:
        rules["structured_output"] = has("structured_outputs")
    return _facts(
        entry,
        context=_tokens(entry, "max_input_tokens"),
        most=_tokens(entry, "max_tokens"),
        modalities=modalities,
        rules=rules,
    )


def _supported(capabilities: Any) -> Callable[..., bool | None]:
    """Whether the capability at a path is `supported`; None where the list does not say."""

    def has(*path: str) -> bool | None:
        found = capabilities
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        answer = found.get("supported") if isinstance(found, Mapping) else None
        return answer if isinstance(answer, bool) else None

    return has


# --- Gemini --------------------------------------------------------------------------------------------


def _gemini(entry: Mapping[str, Any]) -> ModelFacts | None:
    """google.ai.generativelanguage Model. `thinking` is told where it is true, and not told where it is false."""
    methods = _words(entry.get("supportedGenerationMethods"))
    chats = "generateContent" in methods if methods else True
    rules: dict[str, Any] = {}
    if (
        isinstance(highest := entry.get("maxTemperature"), int | float)
        and not isinstance(highest, bool)
        and highest > 0
    ):
        rules["temperature_max"] = float(highest)
    if chats and methods and entry.get("thinking") is not True:
        rules["thinking"] = "none"
    return _facts(
        entry,
        context=_tokens(entry, "inputTokenLimit"),
        most=_tokens(entry, "outputTokenLimit"),
        rules=rules if chats else {},
        chats=chats,
    )


# --- OpenAI's form, as all the others fill it ------------------------------------------------------------

_CONTEXT: Final = (
    "context_length",  # OpenRouter, Together, Fireworks, Cohere
    "context_window",  # Groq
    "max_model_len",  # vLLM, SGLang
    "max_context_length",  # Mistral, LM Studio
    "max_input_tokens",
    "meta.n_ctx",  # llama-server: what it was started with
    "meta.n_ctx_train",
    "model_spec.availableContextTokens",  # Venice
    "capabilities.limits.max_prompt_tokens",  # Copilot
    "capabilities.limits.max_context_window_tokens",
)
_OUTPUT: Final = (
    "top_provider.max_completion_tokens",  # OpenRouter
    "max_completion_tokens",  # Groq
    "max_output_length",
    "max_output_tokens",
    "model_spec.maxCompletionTokens",  # Venice
    "capabilities.limits.max_output_tokens",  # Copilot
)
_MODALITIES: Final[Mapping[str, str]] = {
    "text": "text",
    "image": "image",
    "audio": "audio",
    "video": "video",
    "file": "document",
    "pdf": "document",
    "document": "document",
}
_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "tools": (
        "capabilities.function_calling",  # Mistral
        "capabilities.supports.tool_calls",  # Copilot
        "model_spec.capabilities.supportsFunctionCalling",  # Venice
        "supports_tools",  # Fireworks
    ),
    "schema": (
        "capabilities.supports.structured_outputs",
        "model_spec.capabilities.supportsResponseSchema",
    ),
    "image": (
        "capabilities.vision",
        "capabilities.supports.vision",
        "model_spec.capabilities.supportsVision",
        "supports_image_input",
        "supports_vision",
    ),
    "audio": ("model_spec.capabilities.supportsAudioInput",),
    "video": ("model_spec.capabilities.supportsVideoInput",),
    "thinking": ("capabilities.reasoning", "model_spec.capabilities.supportsReasoning"),
    "effort": ("model_spec.capabilities.supportsReasoningEffort",),
    "logprobs": ("model_spec.capabilities.supportsLogProbs",),
    "chats": ("capabilities.completion_chat", "supports_chat"),
}
"""Where servers say yes or no to what."""
_LISTED_EFFORTS: Final = (
    "capabilities.supports.reasoning_effort",  # Copilot
    "reasoning.supported_efforts",  # OpenRouter
    "model_spec.capabilities.reasoningEffortOptions",  # Venice
)
_PARAMETERS: Final = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "seed", "stop")
"""What a list of parameters may leave out, so that a target is known not to take it."""
_CHAT_TYPES: Final = frozenset({"", "chat", "text", "llm", "vlm", "language", "model"})


def _openai_like(entry: Mapping[str, Any]) -> ModelFacts | None:
    flags = {name: _first(entry, places, bool) for name, places in _FLAGS.items()}
    modalities = _listed_modalities(entry)
    rules: dict[str, Any] = {}
    if not modalities and (modalities := _told_modalities(flags)):
        # Flags are silent about files, which whoever reads pictures may read.
        rules["modalities"] = sorted(modalities | ({"document"} if "image" in modalities else set()))
    if refused := sorted(_refused(entry, flags)):
        rules["refuses"] = refused
    if _takes_no_schema(entry, flags):
        rules["structured_output"] = False
    if flags["thinking"] is False or _lacks(_parameters(entry) or _features(entry), "reasoning", "reasoning_effort"):
        rules["thinking"] = "none"
    elif efforts := _efforts(entry):
        rules["efforts"] = efforts
    if _is_served_by_responses_alone(entry):
        rules["responses"] = "always"
    chats = _chats(entry, flags)
    return _facts(
        entry,
        context=_first_tokens(entry, _CONTEXT),
        most=_first_tokens(entry, _OUTPUT),
        modalities=modalities,
        rules=rules if chats else {},
        chats=chats,
    )


def _chats(entry: Mapping[str, Any], flags: Mapping[str, bool | None]) -> bool:
    if flags["chats"] is not None:
        return flags["chats"]
    if endpoints := _words(entry.get("endpoints")):  # Cohere
        return "chat" in endpoints
    if outputs := _words(_at(entry, "architecture.output_modalities") or entry.get("output_modalities")):
        return "text" in outputs
    kind = entry.get("type") or _at(entry, "capabilities.type")
    return not isinstance(kind, str) or kind in _CHAT_TYPES


def _listed_modalities(entry: Mapping[str, Any]) -> set[str]:
    words = _words(_at(entry, "architecture.input_modalities") or entry.get("input_modalities"))
    return {"text", *(_MODALITIES[word] for word in words if word in _MODALITIES)} if words else set()


def _told_modalities(flags: Mapping[str, bool | None]) -> set[str]:
    told = [name for name in ("image", "audio", "video") if flags[name] is not None]
    return {"text", *(name for name in told if flags[name])} if told else set()


def _parameters(entry: Mapping[str, Any]) -> list[str]:
    """OpenRouter's `supported_parameters`: unknown ones are ignored there, so that a loss would go unsaid."""
    return _words(entry.get("supported_parameters"))


def _features(entry: Mapping[str, Any]) -> list[str]:
    return _words(entry.get("supported_features"))  # Groq


def _lacks(listed: list[str], *names: str) -> bool:
    return bool(listed) and not set(names) & set(listed)


def _refused(entry: Mapping[str, Any], flags: Mapping[str, bool | None]) -> Iterator[str]:
    parameters, features = _parameters(entry), _features(entry)
    sampling = parameters or _words(entry.get("supported_sampling_parameters"))  # Groq
    yield from (name for name in _PARAMETERS if _lacks(sampling, name))
    if _lacks(parameters, "logprobs") or flags["logprobs"] is False:
        yield from ("logprobs", "top_logprobs")
    if flags["tools"] is False or _lacks(parameters, "tools") or _lacks(features, "tools"):
        yield "tools"
    if flags["effort"] is False and flags["thinking"] is True:
        yield "reasoning"


def _takes_no_schema(entry: Mapping[str, Any], flags: Mapping[str, bool | None]) -> bool:
    return (
        flags["schema"] is False
        or _lacks(_parameters(entry), "structured_outputs", "response_format")
        or _lacks(_features(entry), "structured_outputs")
    )


def _efforts(entry: Mapping[str, Any]) -> list[Effort]:
    listed = next((words for place in _LISTED_EFFORTS if (words := _words(_at(entry, place)))), [])
    return [effort for effort in EFFORTS if effort in listed]


def _is_served_by_responses_alone(entry: Mapping[str, Any]) -> bool:
    """Copilot lists the paths of each model."""
    paths = [path.removeprefix("/v1") for path in _words(entry.get("supported_endpoints"))]
    return "/responses" in paths and "/chat/completions" not in paths


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], ModelFacts | None]]] = {
    "anthropic": _anthropic,
    "gemini": _gemini,
}


# --- shared ----------------------------------------------------------------------------------------------


def _facts(
    entry: Mapping[str, Any],
    *,
    context: int | None,
    most: int | None,
    rules: Mapping[str, Any],
    modalities: Iterable[str] = (),
    chats: bool = True,
) -> ModelFacts | None:
    """The facts with the rules that follow from limits and modalities; None for an entry without a name."""
    name = _id_of(entry)
    if not name:
        return None
    found = dict(rules)
    inputs = frozenset(modalities)
    if chats:
        found.update({"max_output_tokens": most} if most else {})
        found.update({"context_tokens": context} if context else {})
        found = {**({"modalities": sorted(inputs)} if inputs else {}), **found}
    titles = (entry.get(key) for key in ("display_name", "displayName", "name"))
    title = next((text for text in (*titles, _at(entry, "model_spec.name")) if isinstance(text, str) and text), "")
    return ModelFacts(
        id=name,
        title="" if title in (name, f"models/{name}") else title,
        context=context,
        max_output_tokens=most,
        modalities=inputs,
        rules=found,
        created=_created(entry),
        retires_at=_retires_at(entry),
        chats=chats,
    )


def _id_of(entry: Mapping[str, Any]) -> str:
    """`id`, else Gemini's, Cohere's or Ollama's `name`."""
    found = entry.get("id") or entry.get("name") or entry.get("model")
    return found.removeprefix("models/") if isinstance(found, str) else ""


def _created(entry: Mapping[str, Any]) -> int | None:
    """Unix seconds; zero and the epoch mean that the vendor does not know."""
    for value in (entry.get("created"), entry.get("created_at")):
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return int(value)
        if isinstance(value, str) and (moment := _moment(value)) is not None and moment > 0:
            return moment
    return None


def _moment(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _retires_at(entry: Mapping[str, Any]) -> str | None:
    """Anthropic, OpenAI, OpenRouter and Mistral, in this order."""
    for name in ("retires_at", "shutdown_date", "expiration_date", "deprecation"):
        if isinstance(value := entry.get(name), str) and _moment(value) is not None:
            return value
    return None


def _tokens(entry: Mapping[str, Any], place: str) -> int | None:
    value = _at(entry, place)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < MAX_TOKENS else None


def _first_tokens(entry: Mapping[str, Any], places: Iterable[str]) -> int | None:
    return next((value for place in places if (value := _tokens(entry, place)) is not None), None)


def _first(entry: Mapping[str, Any], places: Iterable[str], kind: type[bool]) -> bool | None:
    return next((value for place in places if isinstance(value := _at(entry, place), kind)), None)


def _at(entry: Mapping[str, Any], place: str) -> Any:
    found: Any = entry
    for name in place.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _words(value: Any) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []
