"""The verbatim way: the client's bytes to an OpenAI-compatible server, and the server's bytes back.

Mended is only what the client could not read: the form of the numbers where the server ignored `encoding_format`,
missing `prompt_tokens`, `index` and `object`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from translators.codec import REMOVED, JsonError, dumps, loads, splice, type_name
from translators.dialect import RelayedRequest
from translators.embeddings.embedder import EmbeddingRules, size_losses, weight_of
from translators.embeddings.openai_chat import MAX_INPUTS, MAX_TOKENS, decodes, entries_of, refused, usage_of
from translators.embeddings.request import DIALECT, EmbeddingRequest
from translators.embeddings.vectors import decoded, encoded, size_of, vector_of
from translators.errors import BadAnswer
from translators.fields import PROXY_FIELDS
from translators.losses import Loss
from translators.neutral import Usage

_NUMBER_FIELDS: Final = ("output_dtype", "embedding_type", "embedding_types")
"""Mistral's, Voyage's and Jina's wish for other numbers than floats: such vectors are not looked at."""


@dataclass(frozen=True, slots=True)
class RelayedAnswer:
    """Bytes for the client, the tokens that they tell, and what the server did not do."""

    body: bytes
    usage: Usage | None
    losses: tuple[Loss, ...] = ()


def can_relay(request: EmbeddingRequest, rules: EmbeddingRules) -> bool:
    """Whether *request* can go to the server in one call and as it is."""
    if request.dialect != DIALECT or len(request.inputs) > (rules.max_inputs or MAX_INPUTS) or decodes(request, rules):
        return False
    return len(request.inputs) == 1 or sum(map(weight_of, request.inputs)) <= (rules.max_tokens or MAX_TOKENS)


def relay_request(
    raw: bytes, body: Mapping[str, Any], request: EmbeddingRequest, rules: EmbeddingRules, model: str
) -> RelayedRequest:
    """*raw* (parsed: *body* and *request*) with *model* as the model's name, without what the server refuses."""
    changes: dict[str, Any] = {name: REMOVED for name in PROXY_FIELDS if name in body}
    losses: list[Loss] = []
    if request.model != model:
        changes["model"] = model
    for name in sorted(rules.refuses & body.keys() - {"model", "input"}):
        changes[name] = REMOVED
        if body[name] is not None:
            losses.extend(refused(name))
    for name, other in rules.rename.items():
        if name in body and name not in changes and name != other:
            changes[name] = REMOVED
            changes[other] = body[name]
    return RelayedRequest(splice(raw, changes) if changes else raw, tuple(losses))


def relay_answer(raw: bytes, request: EmbeddingRequest) -> RelayedAnswer:
    """The server's answer to the whole of *request*.

    Raises:
        BadAnswer: it is no JSON, or has not one embedding for each input.
    """
    try:
        # Not loads_object: its look at the depth would visit every number.
        body = loads(raw)
    except JsonError as error:
        raise BadAnswer(f"the answer is {error}") from error
    if not isinstance(body, dict):
        raise BadAnswer(f"the answer is {type_name(body)}, not an object")
    entries = entries_of(body, len(request.inputs))
    usage = usage_of(body)
    if any(request.own.get(name) is not None for name in _NUMBER_FIELDS):
        return RelayedAnswer(raw, usage)
    losses = size_losses(request, [size_of(entry.get("embedding")) for entry in entries])
    return RelayedAnswer(dumps(body) if _mend(body, entries, request, usage) else raw, usage, losses)


def _mend(body: dict[str, Any], entries: list[dict[str, Any]], request: EmbeddingRequest, usage: Usage | None) -> bool:
    """Make *body* what the client asked for, in place; whether anything had to be changed."""
    changed = body.get("object") != "list" or body["data"] != entries
    body["object"], body["data"] = "list", entries
    if usage is not None and type(body["usage"].get("prompt_tokens")) is not int:
        body["usage"] = {**body["usage"], "prompt_tokens": usage.input_tokens}
        body["usage"].setdefault("total_tokens", usage.input_tokens)
        changed = True
    for index, entry in enumerate(entries):
        value = entry.get("embedding")
        if request.encoding_format == "base64" and not isinstance(value, str):
            entry["embedding"] = encoded(vector_of(value, f"data[{index}].embedding"))
            changed = True
        elif request.encoding_format != "base64" and isinstance(value, str):
            entry["embedding"] = decoded(value).tolist()
            changed = True
        for name, right in (("index", index), ("object", "embedding")):
            if entry.get(name) != right:
                entry[name] = right
                changed = True
    return changed
