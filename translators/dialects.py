"""The dialects by name: one line for each. Apart from the package itself, so that one module can be imported alone.

A dialect is imported when its name is looked up for the first time: most processes speak one or two of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from translators.dialect import BackendDialect, ClientDialect


class Modules(Mapping[str, Any]):
    """Modules by a name of ours, from the places where they can be imported."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = dict(places)
        self._found: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        found = self._found.get(name)
        if found is None:
            found = self._found[name] = import_module(self._places[name])
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


_BACKENDS: Final = {
    "openai_chat": "translators.openai_chat",
    "openai_responses": "translators.openai_responses",
    "anthropic": "translators.anthropic",
    "gemini": "translators.gemini",
    "llamacpp": "translators.llamacpp",
}
_SPOKEN: Final = {**_BACKENDS, "openai_completions": "translators.openai_text.backend"}

BACKENDS: Final[Mapping[str, BackendDialect]] = Modules(_BACKENDS)
"""The dialects in which a backend can be asked, by name."""

SPOKEN: Final[Mapping[str, BackendDialect]] = Modules(_SPOKEN)
"""The same with those that only pass on what a client of the same dialect has asked."""

CLIENTS: Final[Mapping[str, ClientDialect]] = Modules(
    {
        "openai_chat": "translators.openai_chat.client",
        "openai_completions": "translators.openai_text.client",
        "openai_responses": "translators.openai_responses.client",
        "anthropic": "translators.anthropic.client",
        "gemini": "translators.gemini.client",
    }
)
"""The dialects in which a client can ask, by name."""


def import_spoken(names: Iterable[str]) -> None:
    """Import the dialects of SPOKEN with these *names* now, because requests will want them."""
    for name in names:
        import_module(_SPOKEN[name])


if TYPE_CHECKING:  # mypy holds each module to what a dialect is
    from translators import anthropic, gemini, llamacpp, openai_chat, openai_responses
    from translators.anthropic import client as anthropic_client
    from translators.gemini import client as gemini_client
    from translators.openai_chat import client as openai_chat_client
    from translators.openai_responses import client as openai_responses_client
    from translators.openai_text import backend as openai_text
    from translators.openai_text import client as openai_text_client

    _backends: tuple[BackendDialect, ...] = (
        openai_chat,
        openai_responses,
        anthropic,
        gemini,
        llamacpp,
        openai_text,
    )
    _clients: tuple[ClientDialect, ...] = (
        openai_chat_client,
        openai_text_client,
        openai_responses_client,
        anthropic_client,
        gemini_client,
    )
