"""What OpenAI's clients say beside the schema of an answer: its name and description, for dialects with a schema alone.

Both go into the schema, as `title` and `description`, unless it has its own there.
"""

from __future__ import annotations

from typing import Any

from translators.losses import Loss, field_of
from translators.neutral import Request


def labelled(schema: dict[str, Any], request: Request, losses: list[Loss]) -> dict[str, Any]:
    """*schema* of the answer that *request* asks for, with its labels; what has no place is added to *losses*."""
    output = request.output
    if output is None:
        return schema
    labels = {"title": ("output.name", output.name), "description": ("output.description", output.description)}
    written: dict[str, Any] = {}
    for word, (name, label) in labels.items():
        if not label or schema.get(word) == label:
            continue
        if "$ref" in schema:
            losses.append(Loss(field_of(request, name), "dropped", "the target takes nothing beside a reference"))
        elif word in schema:
            losses.append(Loss(field_of(request, name), "dropped", f"the schema has a {word} of its own"))
        else:
            written[word] = label
    return {**written, **schema}
