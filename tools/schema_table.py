"""The table of schemas (tests/translators/schemas.json) and its page (docs/schemas.md).

python -m tools.schema_table renew     # write the renderings anew: read the difference before you keep it
python -m tools.schema_table page      # write the page
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from translators.json_schema import (
    anthropic_output_schema,
    gemini_response_schema,
    gemini_tool_schema,
    openai_strict_obstacle,
    openapi_subset,
)
from translators.llamacpp.grammar import grammar_schema
from translators.losses import Loss

ROOT: Final = Path(__file__).parents[1]
TABLE: Final = ROOT / "tests" / "translators" / "schemas.json"
PAGE: Final = ROOT / "docs" / "schemas.md"

RENDERERS: Final[Mapping[str, Callable[[Mapping[str, Any], str], tuple[dict[str, Any], list[Loss]]]]] = {
    "anthropic": anthropic_output_schema,
    "gemini answer": gemini_response_schema,
    "gemini tool": gemini_tool_schema,
    "gemini legacy": openapi_subset,
    "grammar": grammar_schema,
}
_ABOUT: Final = {
    "anthropic": "`output_config.format.schema` and the `input_schema` of strict tools: closed objects, no circular "
    "references, no bounds of numbers and texts, ten formats. `oneOf` is sent as `anyOf`, `allOf` is merged.",
    "gemini answer": "`responseJsonSchema`: what its keywords do not say is told in the description.",
    "gemini tool": "`parametersJsonSchema`: JSON Schema as it is, with references put in place.",
    "gemini legacy": "`parameters`, for servers that take nothing else: a subset of OpenAPI 3.0. "
    "Closed objects are open here, and nothing is reported for it.",
    "grammar": "llama.cpp: the decoder can write nothing else. Keywords that a grammar cannot hold are reported.",
    "openai strict": "whether `strict: true` is passed on for clients of other dialects. "
    "Where it is not, the schema goes out without it and the answer is checked.",
}
_BEGIN: Final = """# What becomes of a JSON Schema

No two vendors take the same part of JSON Schema.
Modelport translates a client's schema for each target.
What the target has no keyword for is told in a description that the model can read, and reported as a loss.
An answer that the target could not hold to the schema is checked against the client's own.

This page is written by `python -m tools.schema_table page` from the table that the tests use.

"""


def table() -> list[dict[str, Any]]:
    """The rows: name, schema, values that fit and do not, and the rendering for each target."""
    rows: list[dict[str, Any]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return rows


def rendering(schema: Mapping[str, Any], target: str) -> dict[str, Any]:
    """What *target* is told: `schema` unless it is the client's own, and `losses` as `field: action`."""
    rendered, losses = RENDERERS[target](schema, "")
    said: dict[str, Any] = {} if rendered == schema else {"schema": rendered}
    if losses:
        said["losses"] = [f"{loss.field}: {loss.action}" for loss in losses]
    return said


def renewed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """*rows* with the renderings as they are now."""
    return [
        {
            **row,
            "renderings": {target: rendering(row["schema"], target) for target in RENDERERS},
            "strict": openai_strict_obstacle(row["schema"]),
        }
        for row in rows
    ]


def written(rows: list[dict[str, Any]]) -> str:
    """*rows* as the table's file: one line for each value."""
    lines: list[str] = []
    for row in rows:
        fields: list[str] = []
        for name, value in row.items():
            if name == "renderings":
                inner = [f"   {json.dumps(target)}: {_compact(said)}" for target, said in value.items()]
                fields.append('  "renderings": {\n' + ",\n".join(inner) + "\n  }")
            else:
                fields.append(f"  {json.dumps(name)}: {_compact(value)}")
        lines.append(" {\n" + ",\n".join(fields) + "\n }")
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def page(rows: list[dict[str, Any]]) -> str:
    """The page for *rows*."""
    names = [*RENDERERS, "openai strict"]
    about = "".join(f"- **{name}**: {_ABOUT[name]}\n" for name in names)
    head = "| schema | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|\n"
    body = "".join(_row(row) for row in rows)
    return f"{_BEGIN}{about}\n`whole` means that nothing is lost.\n\n{head}{body}"


def _row(row: dict[str, Any]) -> str:
    cells = [_cell(row["renderings"][target].get("losses", [])) for target in RENDERERS]
    strict = "yes" if row["strict"] is None else f"no: {row['strict']}"
    return f"| {row['name']} | {' | '.join(cells)} | {strict} |\n"


def _cell(losses: list[str]) -> str:
    said = [f"`{field.rpartition('.')[2]}` {action}" for field, action in (loss.split(": ") for loss in losses)]
    return ", ".join(dict.fromkeys(said)) or "whole"


def main(arguments: list[str]) -> None:
    """Write the table or the page."""
    match arguments:
        case ["renew"]:
            TABLE.write_text(written(renewed(table())), encoding="utf-8")
        case ["page"]:
            PAGE.write_text(page(table()), encoding="utf-8")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
