"""The reference of docs/configuration.md, from the models themselves.

python -m proxy.config.reference docs/configuration.md      # writes what stands between the two marks
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from proxy.config.explain import sections
from proxy.config.model import (
    AutoSettings,
    BalancedSettings,
    BudgetSettings,
    ConsensusSettings,
    EmbeddingSettings,
    KeyLimitSettings,
    LaterPriceSettings,
    LimitSettings,
    LocalModelSettings,
    PriceSettings,
    ProviderSettings,
    RaceSettings,
    RouteCacheSettings,
    RouteSettings,
    SemanticSettings,
    Settings,
    TargetSettings,
    TierSettings,
    TimeoutSettings,
)
from proxy.config.quirks import names
from proxy.config.shipped import rows

BEGIN: Final = "<!-- reference: begin (python -m proxy.config.reference docs/configuration.md) -->"
END: Final = "<!-- reference: end -->"

_TABLES: Final[tuple[tuple[str, type[BaseModel]], ...]] = (
    ("[budgets.NAME]", BudgetSettings),
    ("[providers.NAME]", ProviderSettings),
    ("timeouts of a provider", TimeoutSettings),
    ("limits of a provider", LimitSettings),
    ("limits.per_key of a provider", KeyLimitSettings),
    ("price of a provider", PriceSettings),
    ("tiers of a price", TierSettings),
    ("changes of a price", LaterPriceSettings),
    ("embeddings of a provider", EmbeddingSettings),
    ("models of a llamacpp provider", LocalModelSettings),
    ("[routes.NAME]", RouteSettings),
    ("targets of a route, as tables", TargetSettings),
    ("cache of a route, as a table", RouteCacheSettings),
    ("cache.semantic of a route", SemanticSettings),
    ("balanced of a route", BalancedSettings),
    ("race of a route", RaceSettings),
    ("consensus of a route", ConsensusSettings),
    ("auto of a route", AutoSettings),
)


def reference() -> str:
    """Every section, key, default and meaning, then the shipped providers, as Markdown."""
    parts = [_section(title, model) for title, model in [*_plain_sections(), *_TABLES]]
    return "\n\n".join([*parts, _quirks(), _providers()]) + "\n"


def renewed(page: str) -> str:
    """*page* with the reference as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"


def _plain_sections() -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in Settings.model_fields.items():
        for model in sections(field.annotation) if name not in {"providers", "routes"} else ():
            yield f"[{name}]", model


def _section(title: str, model: type[BaseModel]) -> str:
    lines = [f"### {title}", "", "| key | default | meaning |", "| --- | --- | --- |"]
    lines += [
        f"| `{name}` | {_default(field)} | {_cell(_meaning(field))} |" for name, field in model.model_fields.items()
    ]
    return "\n".join(lines)


def _meaning(field: FieldInfo) -> str:
    choices = [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
    said = field.description or ""
    return f"{said} One of {', '.join(choices)}." if choices and len(choices) > 1 else said


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is PydanticUndefined or field.default is None or isinstance(field.default, Path):
        return ""
    plain: Any = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{json.dumps(plain)}`"


def _quirks() -> str:
    listed = ", ".join(f"`{name}`" for name in names())
    return (
        f"### quirks of a provider\n\nFields of `Rules` in `translators/dialect.py`, where each is explained: {listed}."
    )


def _providers() -> str:
    lines = [
        "### Shipped providers",
        "",
        "| name | provider | dialect | switched on by | documentation |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in rows().items():
        variables = [*row.get("key_env", ()), *row.get("base_url_env", ())]
        if row.get("keyless"):
            variables = list(row.get("base_url_env", ()))
        on = " or ".join(f"`{variable}`" for variable in variables) or "always"
        if "base_url" not in row and row.get("base_url_env"):
            on = " and ".join(f"`{each}`" for each in (*row["key_env"], *row["base_url_env"]))
        lines.append(f"| `{name}` | {row['title']} | {row['dialect']} | {on} | {row['docs']} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(renewed(target.read_text(encoding="utf-8")), encoding="utf-8")
