"""LangChain's own standard tests for chat models, each client package in front of backends of foreign dialects.

Run by run_frameworks.py in an environment with LangChain, not by the ordinary tests.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

URL = os.environ.get("MODELPORT_URL", "http://127.0.0.1:4100")
TO_OPENAI = "to-openai/gpt-4.1"
TO_ANTHROPIC = "to-anthropic/claude-sonnet-4-5"


class Standard(ChatModelIntegrationTests):
    """What all have in common."""

    @property
    def supports_image_inputs(self) -> bool:
        return False  # the test downloads its picture; pictures are in the matrix

    @pytest.fixture
    def model(self, request: Any) -> BaseChatModel:
        return self.chat_model_class(**{**self.standard_chat_model_params, **self.chat_model_params})


class TestOpenAIChat(Standard):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": TO_ANTHROPIC,
            "base_url": f"{URL}/v1",
            "api_key": "none",
            "stream_usage": True,
            "use_responses_api": False,
        }

    @property
    def supports_json_mode(self) -> bool:
        return False  # the scripted vendor writes JSON by schema only


class TestOpenAIResponses(TestOpenAIChat):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**super().chat_model_params, "use_responses_api": True}


class TestAnthropic(Standard):
    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatAnthropic

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": TO_OPENAI, "base_url": URL, "api_key": "none"}


class TestGoogle(Standard):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatGoogleGenerativeAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": TO_ANTHROPIC, "base_url": URL, "api_key": "none", "vertexai": False}
