"""An answer as Gemini's GenerateContentResponse.

| what | where |
|---|---|
| thinking | `{thought: true, text, thoughtSignature}` |
| another vendor's signatures, ids, ... | packed into the `thoughtSignature` of their part (translators.sealed) |
| another vendor's own block | a thought without words; its `thoughtSignature` is the block, packed |
| refusal | a text; a prompt that was blocked before anything was said is `promptFeedback` |
| citations of pages | `groundingMetadata`, whose offsets count bytes of UTF-8 |
| other citations | candidate `extraContent.modelport.annotations` |
| a call whose arguments are no JSON object | `finishMessage`; MALFORMED_FUNCTION_CALL if it was not just cut |
| a turn that its vendor wants sent again | STOP, and candidate `extraContent.modelport.finishReason` |
| fields of other vendors | `extraContent.{dialect}` of the candidate, or of the answer |

`extraContent` is no field of Google's; the official SDKs leave it aside.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, assert_never

from translators.codec import JsonError, loads_exact
from translators.dialect import ReplyTo
from translators.gemini.finish import finish_name
from translators.neutral import (
    Audio,
    Choice,
    Document,
    FinishReason,
    Image,
    Native,
    Opaque,
    Part,
    Refusal,
    Response,
    Source,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    ToolResult,
    Usage,
)
from translators.sealed import seal

DIALECT: Final = "gemini"
_FINISH: Final[Mapping[FinishReason, str]] = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "pause": "STOP",
}
_RAW_COUNTS: Final = frozenset({"promptTokenCount", "candidatesTokenCount", "totalTokenCount"})
_LAST_TIME: Final = 2**31

Json = dict[str, Any]


def render_response(response: Response, to: ReplyTo) -> Json:
    """*response* as a GenerateContentResponse. What the vendor left out (id, model) comes from *to*."""
    candidates: list[Json] = []
    feedback: Mapping[str, Any] | None = None
    for choice in response.choices:
        told = Told()
        for part in choice.parts:
            told.add(part)
        blocked = prompt_feedback(choice, said=bool(told.parts))
        if blocked is not None and len(response.choices) == 1:
            feedback = blocked
            continue
        content = {"parts": told.parts, "role": "model"} if told.parts else {"role": "model"}
        candidates.append({"content": content, **told.ending(choice), "index": choice.index})
    body: Json = {"candidates": candidates} if candidates else {}
    if feedback is not None and not candidates:
        body["promptFeedback"] = feedback
    if response.usage is not None:
        body["usageMetadata"] = render_usage(response.usage)
    body |= head(response.id or to.id, response.model or to.request.model, response.created, response.native)
    if extra := extra_content(response.native):
        body["extraContent"] = extra
    return body


def head(response_id: str, model: str, created: int, native: Native) -> Json:
    """The fields of the answer as a whole; *created* in Unix seconds, 0 when the vendor did not say."""
    told: Json = {"modelVersion": model, "responseId": response_id}
    if 0 < created < _LAST_TIME:
        told["createTime"] = datetime.fromtimestamp(created, UTC).isoformat()[:19] + "Z"
    return told | dict(native.get(DIALECT, {}))


def prompt_feedback(choice: Choice, *, said: bool) -> Mapping[str, Any] | None:
    """Why the prompt was blocked, where nothing but that was said; None for an answer."""
    own = choice.native.get(DIALECT, {})
    if isinstance(own.get("promptFeedback"), Mapping):
        return dict(own["promptFeedback"])
    if choice.finish_reason == "content_filter" and not said and not own:
        return {"blockReason": "SAFETY"}
    return None


def extra_content(native: Native) -> Json:
    """What other dialects have for themselves."""
    if not native:
        return {}
    return {dialect: dict(fields) for dialect, fields in native.items() if dialect != DIALECT and fields}


def render_usage(usage: Usage) -> Json:
    """usageMetadata: Google's own object as it was, else its counts.

    The prompt contains its cached part, the candidates do not contain the thoughts. Tokens that were written to a
    cache have no field and are the prompt's.
    """
    if _RAW_COUNTS & usage.raw.keys():
        return dict(usage.raw)
    thoughts = min(usage.reasoning_tokens, usage.output_tokens)  # some servers report more than all they wrote
    told: Json = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens - thoughts,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }
    if usage.cached_input_tokens:
        told["cachedContentTokenCount"] = usage.cached_input_tokens
    if thoughts:
        told["thoughtsTokenCount"] = thoughts
    for name, audio, count in (
        ("promptTokensDetails", usage.audio_input_tokens, usage.input_tokens),
        ("candidatesTokensDetails", usage.audio_output_tokens, told["candidatesTokenCount"]),
    ):
        if audio:
            told[name] = [
                {"modality": "TEXT", "tokenCount": max(count - audio, 0)},
                {"modality": "AUDIO", "tokenCount": audio},
            ]
    return told


def render_logprobs(logprobs: Iterable[TokenLogprob]) -> Json:
    """logprobsResult."""
    tokens = list(logprobs)
    told: Json = {"chosenCandidates": [_logprob(token) for token in tokens]}
    if any(token.top for token in tokens):
        told["topCandidates"] = [{"candidates": [_logprob(top) for top in token.top]} for token in tokens]
    return told


def _logprob(token: TokenLogprob) -> Json:
    return {"token": token.token, "logProbability": token.logprob}


# --- parts -----------------------------------------------------------------------------------------


def signature(native: Native) -> Json:
    """A part's `thoughtSignature` and other fields that only Gemini reads, or what other vendors read, packed."""
    if native.get(DIALECT):
        return dict(native[DIALECT])
    foreign = extra_content(native)
    return {"thoughtSignature": seal(foreign)} if foreign else {}


def opaque_part(part: Opaque) -> Json:
    """Gemini's own part as it is; another vendor's packed."""
    if part.dialect == DIALECT:
        return dict(part.value)
    packed = seal({part.dialect: {"type": part.type, "opaque": part.value}})
    return {"text": "", "thought": True, "thoughtSignature": packed}


def media_part(source: Source) -> Json:
    """A picture, sound or file."""
    kind = {"mimeType": source.media_type} if source.media_type else {}
    if source.data is not None:
        return {"inlineData": {**kind, "data": source.data}}
    return {"fileData": {**kind, "fileUri": source.file_id or source.url or ""}}


def _text_file(text: str, source: Source) -> Json:
    """A file of plain text."""
    encoded = b64encode(text.encode("utf-8", "surrogatepass")).decode()
    return {"inlineData": {"mimeType": source.media_type or "text/plain", "data": encoded}}


def arguments(call: ToolCall) -> Json | None:
    """The arguments as an object; None when they are none (cut, or not JSON)."""
    if call.kind == "custom":
        return {"input": call.arguments}
    if not call.arguments.strip():
        return {}
    try:
        value = loads_exact(call.arguments)
    except JsonError:
        return None
    return value if isinstance(value, dict) else None if value is not None else {}


@dataclass(slots=True)
class Told:
    """What the parts of one choice come to, and what they leave for its end."""

    parts: list[Json] = field(default_factory=list)
    spoken: list[str] = field(default_factory=list)
    """The text of each text part."""
    places: list[int] = field(default_factory=list)
    """Where each of them stands among *parts*."""
    cited: list[tuple[int, int, Mapping[str, Any]]] = field(default_factory=list)
    """(which of the texts, where in it the citation's offsets count from, citation)"""
    broken: list[ToolCall] = field(default_factory=list)
    _open: bool = False
    """The last part is a text that the next one may go on with."""

    def add(self, part: Part) -> None:
        """Take in one part."""
        match part:
            case Text() | Refusal():
                self._text(part)
                return
            case Thinking():
                own = signature(part.native)
                if part.text or own:
                    self.parts.append({"text": part.text, "thought": True, **own})
            case ToolCall():
                self.parts.extend(self.call(part))
            case Audio() if part.source == Source() and part.transcript is not None:
                self._text(Text(part.transcript))
                return
            case Document(text=str(text)) if part.source.data is None:
                self.parts.append({**_text_file(text, part.source), **signature(part.native)})
            case Image() | Document() | Audio():
                self.parts.append({**media_part(part.source), **signature(part.native)})
            case Opaque():
                self.parts.append(opaque_part(part))
            case ToolResult():
                # No vendor answers with one outside of an Opaque.
                return
            case _:
                assert_never(part)
        self._open = False

    def _text(self, part: Text | Refusal) -> None:
        """A text. Neighbours are one part, for clients count the bytes of citations in the whole text."""
        own = signature(part.native)
        if not part.text and not own:
            return
        if self._open:
            begins, self.spoken[-1] = len(self.spoken[-1]), self.spoken[-1] + part.text
            self.parts[-1] = {"text": self.spoken[-1], **own}
        else:
            begins = 0
            self.places.append(len(self.parts))
            self.spoken.append(part.text)
            self.parts.append({"text": part.text, **own})
        citations = part.annotations if isinstance(part, Text) else ()
        self.cited.extend((len(self.spoken) - 1, begins, citation) for citation in citations)
        self._open = not own

    def call(self, part: ToolCall) -> list[Json]:
        """A whole call."""
        args = arguments(part)
        if args is None:
            self.broken.append(part)
            return []
        return [{"functionCall": {"id": part.id, "name": part.name, "args": args}, **signature(part.native)}]

    def ending(self, choice: Choice) -> Json:
        """The candidate's fields beside its content: why it ended, its citations and log probabilities."""
        own = dict(choice.native.get(DIALECT, {}))
        extra = extra_content(choice.native)
        proxy: Json = {"finishReason": "pause"} if choice.finish_reason == "pause" and not own else {}
        ending: Json = {"finishReason": _FINISH[choice.finish_reason or "stop"]}
        if self.broken:
            if choice.finish_reason != "length":
                ending["finishReason"] = "MALFORMED_FUNCTION_CALL"
            told = "; ".join(f"{call.name}({call.arguments})" for call in self.broken)
            ending["finishMessage"] = f"a call's arguments are not a JSON object: {told}"
        if choice.logprobs:
            ending["logprobsResult"] = render_logprobs(choice.logprobs)
        if "groundingMetadata" not in own:
            grounding, rest = self._grounding()
            if grounding:
                ending["groundingMetadata"] = grounding
            if rest:
                proxy["annotations"] = rest
        ending |= own
        # A server that writes enums as numbers (`$alt=json;enum-encoding=int`) is not what this client asked for.
        ending["finishReason"] = finish_name(ending["finishReason"])
        if proxy:
            extra["modelport"] = proxy
        if extra:
            ending["extraContent"] = extra
        return ending

    def _grounding(self) -> tuple[Json, list[Json]]:
        """(groundingMetadata, the citations that it has no place for)."""
        pages: dict[tuple[str, str], int] = {}
        supports: list[Json] = []
        rest: list[Json] = []
        for which, begins, citation in self.cited:
            cited = citation.get("url_citation")
            if not isinstance(cited, Mapping) or not cited.get("url"):
                rest.append(dict(citation))
                continue
            page = pages.setdefault((str(cited["url"]), str(cited.get("title") or "")), len(pages))
            segment = self._segment(which, begins, cited)
            if segment is not None and supports and supports[-1]["segment"] == segment:
                supports[-1]["groundingChunkIndices"].append(page)
            elif segment is not None:
                supports.append({"segment": segment, "groundingChunkIndices": [page]})
        if not pages:
            return {}, rest
        grounding: Json = {"groundingChunks": [{"web": {"uri": uri, "title": title}} for uri, title in pages]}
        if supports:
            grounding["groundingSupports"] = supports
        return grounding, rest

    def _segment(self, which: int, begins: int, cited: Mapping[str, Any]) -> Json | None:
        """Bytes [startIndex, endIndex) of the part at partIndex; None for a citation of no words."""
        text = self.spoken[which]
        start, end = cited.get("start_index"), cited.get("end_index")
        if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < end <= len(text) - begins:
            return None
        start, end = start + begins, end + begins
        segment: Json = {"startIndex": _bytes(text[:start]), "endIndex": _bytes(text[:end]), "text": text[start:end]}
        return {"partIndex": self.places[which], **segment} if self.places[which] else segment


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
