"""The dialects by name: one line for each. Apart from the package itself, so that one module can be imported alone."""

from collections.abc import Mapping
from typing import Final

from translators import anthropic, gemini, llamacpp, openai_chat, openai_responses
from translators.anthropic import client as anthropic_client
from translators.dialect import BackendDialect, ClientDialect
from translators.gemini import client as gemini_client
from translators.openai_chat import client as openai_chat_client
from translators.openai_responses import client as openai_responses_client
from translators.openai_text import backend as openai_text
from translators.openai_text import client as openai_text_client

BACKENDS: Final[Mapping[str, BackendDialect]] = {
    "openai_chat": openai_chat,
    "openai_responses": openai_responses,
    "anthropic": anthropic,
    "gemini": gemini,
    "llamacpp": llamacpp,
}
"""The dialects in which a backend can be asked, by name."""

SPOKEN: Final[Mapping[str, BackendDialect]] = {**BACKENDS, "openai_completions": openai_text}
"""The same with those that only pass on what a client of the same dialect has asked."""

CLIENTS: Final[Mapping[str, ClientDialect]] = {
    "openai_chat": openai_chat_client,
    "openai_completions": openai_text_client,
    "openai_responses": openai_responses_client,
    "anthropic": anthropic_client,
    "gemini": gemini_client,
}
"""The dialects in which a client can ask, by name."""
