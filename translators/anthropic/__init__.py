"""Anthropic Messages."""

from translators.anthropic.error import error_in, parse_error
from translators.anthropic.request import render_request
from translators.anthropic.response import parse_response
from translators.anthropic.stream import StreamParser

__all__ = ["StreamParser", "error_in", "parse_error", "parse_response", "render_request"]
