"""The dialects by name: one line for each. Apart from the package itself, so that one module can be imported alone."""

from collections.abc import Mapping
from typing import Final

from translators import anthropic, gemini, llamacpp, openai_chat
from translators.dialect import BackendDialect, ClientDialect
from translators.openai_chat import client as openai_chat_client

BACKENDS: Final[Mapping[str, BackendDialect]] = {
    "openai_chat": openai_chat,
    "anthropic": anthropic,
    "gemini": gemini,
    "llamacpp": llamacpp,
}
"""The dialects in which a backend can be asked, by name."""

CLIENTS: Final[Mapping[str, ClientDialect]] = {
    "openai_chat": openai_chat_client,
}
"""The dialects in which a client can ask, by name."""
