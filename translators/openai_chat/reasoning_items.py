"""What an answer of OpenAI's Responses API needs to come back, in the fields of a chat message.

`reasoning_details` hold a reasoning item in OpenRouter's form: an entry for each text of its summary, each of its
content, and its encrypted form, all with the item's `id`.
`extra_content.openai_responses` has `messages`, which says of which phase (commentary, final answer) the characters of
`content` are, and `annotations`, the citations of files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from translators.neutral import Native, Text
from translators.openai_chat.parts import extra_content, objects_in

RESPONSES: Final = "openai_responses"
REASONING_FORMAT: Final = "openai-responses-v1"
"""OpenRouter's word for `reasoning_details` that hold reasoning items of the Responses API."""
_FILE_CITATIONS: Final = frozenset({"file_citation", "container_file_citation", "file_path"})


# --- reasoning -----------------------------------------------------------------------------------


def details_of(native: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The fields of one reasoning item as entries of `reasoning_details`, without their `index`."""
    about: dict[str, Any] = {"format": _text(native.get("format")) or REASONING_FORMAT}
    if item_id := native.get("id"):
        about["id"] = item_id
    entries: list[dict[str, Any]] = [
        {"type": "reasoning.summary", "summary": text, **about} for text in _texts(native.get("summary"))
    ]
    entries += [{"type": "reasoning.text", "text": text, **about} for text in _texts(native.get("content"))]
    if encrypted := native.get("encrypted_content"):
        entries.append({"type": "reasoning.encrypted", "data": encrypted, **about})
    return entries


def items_of_details(details: Any) -> list[dict[str, Any]]:
    """The reasoning items in `reasoning_details`; entries of other formats are left out.

    Entries of one item follow one another, the encrypted form last. An `id` may stand on any of them.
    """
    items: list[dict[str, Any]] = []
    ended = True
    for entry in objects_in(details):
        if entry.get("format") != REASONING_FORMAT:
            continue
        entry_id = entry.get("id")
        if ended or (entry_id and items[-1].get("id") not in (None, entry_id)):
            items.append({"type": "reasoning", "summary": []})
        item = items[-1]
        ended = entry.get("type") == "reasoning.encrypted"
        if entry_id:
            item["id"] = entry_id
        if ended:
            item["encrypted_content"] = _text(entry.get("data"))
        elif entry.get("type") == "reasoning.summary":
            item["summary"].append({"type": "summary_text", "text": _text(entry.get("summary"))})
        elif entry.get("type") == "reasoning.text":
            item.setdefault("content", []).append({"type": "reasoning_text", "text": _text(entry.get("text"))})
    return [item for item in items if item["summary"] or item.get("content") or item.get("encrypted_content")]


def _texts(value: Any) -> Iterator[str]:
    return (text for entry in objects_in(value) if (text := _text(entry.get("text"))))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


# --- calls and citations ---------------------------------------------------------------------------


def call_extra(native: Native) -> dict[str, Any]:
    """`extra_content` of a tool call, without the item's id: it names what a server stored and goes back by itself."""
    extra = extra_content(native)
    if "id" in extra.get(RESPONSES, ()):
        extra[RESPONSES] = {name: value for name, value in extra[RESPONSES].items() if name != "id"}
        if not extra[RESPONSES]:
            del extra[RESPONSES]
    return extra


def sorted_citations(
    annotations: Sequence[Mapping[str, Any]],
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The annotations that a chat message has a place for, and the Responses API's citations of files."""
    files = [annotation for annotation in annotations if str(annotation.get("type")) in _FILE_CITATIONS]
    if not files:
        return list(annotations), []
    return [annotation for annotation in annotations if str(annotation.get("type")) not in _FILE_CITATIONS], files


# --- phases --------------------------------------------------------------------------------------


def message_entry(native: Mapping[str, Any], characters: int) -> dict[str, Any] | None:
    """The entry for a text of *characters*; None for one whose message has no phase."""
    if native.get("phase") is None:
        return None
    item_id = native.get("id")
    return {**({"id": item_id} if item_id else {}), "phase": native["phase"], "characters": characters}


def with_phases(texts: Sequence[Text], entries: Any) -> list[Text]:
    """*texts* cut where the messages of *entries* end, each with its message's fields.

    Entries that do not measure the text, because the client changed it, give their last phase to all of it.
    """
    found = [entry for entry in objects_in(entries) if entry.get("phase") is not None]
    if not found or not texts:
        return list(texts)
    lengths = [length for entry in found if type(length := entry.get("characters")) is int and length > 0]
    if len(texts) > 1 or len(lengths) < len(found) or sum(lengths) != len(texts[0].text):
        return [_phased(text, found[-1]) for text in texts]
    cut: list[Text] = []
    begin = 0
    for entry, length in zip(found, lengths, strict=True):
        piece = replace(texts[0], text=texts[0].text[begin : begin + length])
        cut.append(_phased(piece, entry))
        begin += length
    if len(cut) > 1 and texts[0].annotations:
        # Their offsets count in the whole text.
        cut = [replace(piece, annotations=()) for piece in cut]
    return cut


def _phased(text: Text, entry: Mapping[str, Any]) -> Text:
    own = {name: entry[name] for name in ("id", "phase") if entry.get(name) is not None}
    return replace(text, native={**text.native, RESPONSES: {**text.native.get(RESPONSES, {}), **own}})
