"""An answer of one text is written a shorter way, which gives exactly what the careful one does."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from translators.dialect import ReplyTo
from translators.dialects import CLIENTS
from translators.neutral import Choice, Failure, Response, Text, TokenLogprob, ToolResult
from translators.openai_chat import parse_request

CITED: Final = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}
UNSEEN: Final = ToolResult("c", ())
"""No client is shown one, and no short way takes it."""
TEXTS: Final[st.SearchStrategy[Text]] = st.builds(
    Text,
    st.sampled_from(["", " ", "x", "one\ntwo", "naïve"]),
    st.sampled_from([(), (CITED,), ({"type": "file_citation", "file_id": "f"},)]),
    st.dictionaries(
        st.sampled_from(["openai_chat", "openai_responses", "anthropic", "gemini"]),
        st.dictionaries(st.sampled_from(["id", "phase", "thoughtSignature", "citations"]), st.just("s")),
    ),
)
CHOICES: Final = st.builds(
    Choice,
    st.builds(lambda text: (text,), TEXTS),
    st.sampled_from([None, "stop", "length", "tool_calls", "content_filter", "pause"]),
    logprobs=st.sampled_from([None, (TokenLogprob("x", -0.5, (120,), (TokenLogprob("y", -2.0),)),)]),
    native=st.sampled_from(
        [{}, {"openai_responses": {"status": "incomplete"}}, {"openai_chat": {"message": {"a": 1}}}]
    ),
)


@pytest.mark.parametrize("client", CLIENTS)
@given(choice=CHOICES, failed=st.booleans())
def test_one_text_is_written_as_the_careful_way_writes_it(client: str, choice: Choice, failed: bool) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    to = ReplyTo(parse_request(asked), asked, "1", 1)
    failure = Failure("server", "broke off", 502) if failed else None

    def written(*more: Any) -> Any:
        full = Choice((*choice.parts, *more), choice.finish_reason, 0, choice.logprobs, choice.native)
        return CLIENTS[client].render_response(Response("id", "m", 1, (full,), None, failure), to)

    assert written() == written(UNSEEN)
