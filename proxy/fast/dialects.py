"""The dialects of the fast lane: each is a row here and a file beside it.

    row      how its requests begin, whose headers go along with them, where their conversation stands
    file     `Speech`: which conversations are nothing but words, and which whole answers are plain

All else is what the dialect's own modules in `translators` say of it. A file is imported with the first shape of its
dialect: most processes hear one or two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

from proxy.fast.words import Said
from translators.dialect import ClientDialect, Rules
from translators.dialects import CLIENTS, Modules
from translators.losses import Loss
from translators.neutral import Request, Response

if TYPE_CHECKING:
    from proxy.fast.plain import Counts


class Client(ClientDialect, Protocol):
    """The half of a dialect that talks to clients, of one whose requests are relayed."""

    def parse_request(self, body: Mapping[str, Any], /) -> Request:
        """*body* in the neutral form. Raises BadRequest."""

    def changed_messages(self, messages: Sequence[Any], rules: Rules, /) -> tuple[Sequence[Any] | None, list[Loss]]:
        """A conversation as a server of *rules* gets it, None where it stays as it is; and what it loses."""


class Speech(Protocol):
    """What the lane reads of a dialect by types, in C."""

    @property
    def words(self) -> Callable[[bytes], Sequence[Said]]:
        """Reads a conversation of nothing but words. Raises msgspec.DecodeError for any other."""

    def plain(self, payload: bytes, rules: Rules, /) -> Counts | None:
        """What a plain answer of a server of *rules* counts: its bytes go to the client as they are. None: no such."""

    @property
    def streamed(self) -> Callable[[Response], Counts | None]:
        """The same of an answer that was streamed."""


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """One row. *name* is the dialect's, *vendor* the one whose headers go along."""

    name: str
    path: str
    vendor: str
    queries: tuple[str, ...] = ("",)
    """What may stand behind the path."""
    signs: bool = False
    """Whether its servers sign thoughts, which they want back: what clients drop of them is looked up."""
    varies: tuple[str, ...] = ("messages",)
    """The members that differ from request to request: the conversation, and instructions beside it."""

    @property
    def client(self) -> Client:
        """The side that faces clients."""
        return cast("Client", CLIENTS[self.name])

    @property
    def speech(self) -> Speech:
        """What the lane reads of it."""
        return _SPEECH[self.name]


ROWS: Final = (
    Dialect("openai_chat", "/v1/chat/completions", "openai"),
    # The SDK's beta methods, and so Claude Code, ask with that query.
    Dialect(
        "anthropic", "/v1/messages", "anthropic", queries=("", "?beta=true"), signs=True, varies=("system", "messages")
    ),
)
BY_NAME: Final[Mapping[str, Dialect]] = {row.name: row for row in ROWS}

_SPEECH: Final[Mapping[str, Speech]] = Modules({"openai_chat": "proxy.fast.chat", "anthropic": "proxy.fast.messages"})


class Manner(NamedTuple):
    """How somebody asks, as the head says it: the dialect, the query, and the headers that go along."""

    dialect: Dialect
    query: str
    forward: tuple[tuple[str, str], ...]


if TYPE_CHECKING:  # mypy holds each of them to it
    from proxy.fast import chat, messages
    from translators.anthropic import client as anthropic_client
    from translators.openai_chat import client as openai_chat_client

    _clients: tuple[Client, ...] = (openai_chat_client, anthropic_client)
    _speech: tuple[Speech, ...] = (chat, messages)
