"""The dialects by name: one line for each. Apart from the package itself, so that one module can be imported alone."""

from collections.abc import Mapping
from typing import Final

from translators import anthropic, gemini, llamacpp, openai_chat, openai_responses
from translators.anthropic import client as anthropic_client
from translators.dialect import BackendDialect, ClientDialect
from translators.gemini import client as gemini_client
from translators.openai_chat import client as openai_chat_client

BACKENDS: Final[Mapping[str, BackendDialect]] = {
    "openai_chat": openai_chat,
    "openai_responses": openai_responses,
    "anthropic": anthropic,
    "gemini": gemini,
    "llamacpp": llamacpp,
}
"""The dialects in which a backend can be asked, by name."""

CLIENTS: Final[Mapping[str, ClientDialect]] = {
    "openai_chat": openai_chat_client,
    "anthropic": anthropic_client,
    "gemini": gemini_client,
}
"""The dialects in which a client can ask, by name."""
