"""The dialects by name: one line for each. Apart from the package itself, so that one module can be imported alone."""

from collections.abc import Mapping
from typing import Final

from translators import anthropic, gemini, llamacpp, openai_chat
from translators.dialect import BackendDialect

BACKENDS: Final[Mapping[str, BackendDialect]] = {
    "openai_chat": openai_chat,
    "anthropic": anthropic,
    "gemini": gemini,
    "llamacpp": llamacpp,
}
"""The dialects in which a backend can be asked, by name."""
