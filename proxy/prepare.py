"""A request made ready for one target: in its dialect, within its rules, with what was lost on the way."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from proxy.asked import Asked
from proxy.controls import LossMode
from proxy.errors import refused
from proxy.media import Fetch, inline_remote, refuse_addresses
from proxy.providers import ProviderSpec
from proxy.threads import threaded
from proxy.vendor_headers import understood, with_query
from routing.targets import Target
from routing.unrelayed import unrelayed
from translators.codec import REMOVED, dumps, loads_object, splice
from translators.custom_tools import as_functions, custom_names
from translators.dialect import BackendDialect, Rules
from translators.dialects import SPOKEN
from translators.errors import BadRequest
from translators.losses import Loss, field_of
from translators.neutral import Request, ToolCall, ToolResult
from translators.outward import for_others
from translators.vaulted import Found, reattached, taken_off
from translators.wishes import real_wishes


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request in the backend's dialect, for one target."""

    target: Target
    spec: ProviderSpec
    rules: Rules
    dialect: BackendDialect
    path: str
    body: bytes
    losses: Sequence[Loss]
    headers: Mapping[str, str] = field(default_factory=dict)
    tool_names: Mapping[str, str] = field(default_factory=dict)
    custom: frozenset[str] = frozenset()
    """Names of custom tools that the backend knows as functions."""
    verbatim: bool = False
    stream: bool = False
    """Whether the answer is asked for as a stream."""
    fan_out: int = 1
    """How many requests it takes to get as many choices as the client wants."""
    unlike: frozenset[str] = frozenset()
    """Because of which `Rules.not_relayed` the client's bytes were not sent as they came."""

    @property
    def sent(self) -> tuple[str, bytes, Mapping[str, str]]:
        """All that reaches the backend."""
        return self.path, self.body, self.headers


@dataclass(frozen=True, slots=True)
class _Way:
    """Where a request goes, and how.

    *lost* is what was lost before it was put into words for the target, *unread* the parts that lost what another
    provider signed: the words for the target may say more of them.
    """

    asked: Asked
    target: Target
    spec: ProviderSpec
    rules: Rules
    spoken: str
    stream: bool
    lost: Sequence[Loss]
    unread: Sequence[Loss] = ()


async def prepare(
    asked: Asked,
    target: Target,
    spec: ProviderSpec,
    fetch: Fetch,
    recalled: Mapping[bytes, Found] | None = None,
    *,
    whole: bool = False,
    may_relay: bool = True,
) -> Prepared:
    """*asked* for *target*: relayed where both speak the same dialect, translated otherwise.

    *recalled* is what is kept of the conversation's reasoning; what this provider made is given back to it, and what
    another did is taken off. With *whole* the answer is asked for in one piece, also for a client of a stream.
    Without *may_relay* the client's bytes are not what is asked.

    Raises:
        Refused, BadRequest: it cannot be put to this target.
    """
    spoken = dialect_for(asked.request, spec, target.model)
    rules = spec.rules(target.model, spoken)
    remembered: Sequence[Loss] = ()
    if asked.memory:
        asked, remembered = asked.memory.facing(asked, spec, spoken, may_relay=may_relay)
    request = asked.request
    if request.dialect != spoken or not rules.image_urls or not may_relay:
        # What a client says in the vendor's own dialect the vendor takes; a server that fetches nothing still does not.
        request = await inline_remote(request, rules, fetch)
    refuse_addresses(request, rules, spoken)
    unread: Sequence[Loss] = ()
    if recalled:
        returned = reattached(
            request, recalled, spoken, lambda origin: knows_again(origin, target, spoken), rules.reasoning_replay
        )
        unread, request = taken_off(request, returned, spoken), returned
    way = _Way(asked, target, spec, rules, spoken, asked.request.stream and not whole, remembered, unread)
    large = asked.large
    if may_relay and request is asked.request and request.dialect == spoken and ids_fit(request):
        relayed = await threaded(large, _relayed, way)
        unlike = await threaded(large, _unlike, way, relayed) if rules.not_relayed and not asked.memory else frozenset()
        if not unlike:
            return relayed
        request = await inline_remote(request, rules, fetch)
        return replace(await threaded(large, _rendered, way, request), unlike=unlike)
    return await threaded(large, _rendered, way, request)


def _relayed(way: _Way) -> Prepared:
    """The client's own bytes, with what must change."""
    asked, request, rules = way.asked, way.asked.request, way.rules
    relayed = asked.dialect.relay_request(asked.raw, asked.body, request, rules, way.target.model)
    body = relayed.body
    if "stream" in asked.body and way.stream is not request.stream:
        body = splice(body, {"stream": False, "stream_options": REMOVED})
    path = way.spec.path(way.spoken, way.target.model, stream=way.stream)
    return Prepared(
        way.target,
        way.spec,
        rules,
        SPOKEN[way.spoken],
        with_query(path, asked.query),
        body,
        [*way.lost, *relayed.losses],
        {**rules.headers, **understood(asked.forward, way.spec, (way.spoken,))},
        verbatim=True,
        stream=way.stream,
    )


def _rendered(way: _Way, request: Request) -> Prepared:
    """*request*, which is the client's or grew out of it, as the target's rules have it."""
    dialect, spoken, rules = SPOKEN[way.spoken], way.spoken, way.rules
    lost = [*way.lost]
    if request.dialect != spoken:
        request, outward = for_others(real_wishes(request, rules))
        lost.extend(outward)
    fan_out = 1 if dialect.TAKES_N else request.n or 1
    if fan_out > MOST_CHOICES:
        place = field_of(request, "n")
        raise BadRequest(f"{place}: expected at most {MOST_CHOICES}, found {fan_out}", place, "invalid_value")
    custom = frozenset() if dialect.TAKES_CUSTOM_TOOLS else custom_names(request)
    if custom:
        request, custom_losses = as_functions(request)
        lost.extend(custom_losses)
    n = None if fan_out > 1 else request.n
    stream = way.stream and fan_out == 1
    rendered = dialect.render_request(replace(request, model=way.target.model, n=n, stream=stream), rules)
    lost.extend(rendered.losses)
    said = {loss.field for loss in lost}
    lost.extend(loss for loss in way.unread if not any(f"{field}.".startswith(f"{loss.field}.") for field in said))
    if fan_out > 1:
        place = field_of(way.asked.request, "n")
        lost.append(Loss(place, "emulated", f"{spoken} gives one answer; it is asked {fan_out} times"))
    path = way.spec.path(spoken, way.target.model, stream=stream)
    return Prepared(
        way.target,
        way.spec,
        rules,
        dialect,
        with_query(path, way.asked.query if request.dialect == spoken else ""),
        dumps(rendered.body),
        lost,
        {**rules.headers, **rendered.headers, **understood(way.asked.forward, way.spec, (spoken,))},
        rendered.tool_names,
        custom,
        stream=stream,
        fan_out=fan_out,
    )


def _unlike(way: _Way, relayed: Prepared) -> frozenset[str]:
    """In which fields that the target has refused before its rules say something else than the client."""
    try:
        rendered = _rendered(way, way.asked.request)
    except BadRequest:
        return frozenset()  # the vendor's own words will tell more
    return unrelayed(way.rules.not_relayed, differences(rendered, relayed), wishes(relayed))


_SPOKEN: Final = frozenset(
    {"stream", "stream_options", "model", "messages", "contents", "input", "system", "instructions", "tools"}
)
"""What may be written in several ways that mean the same."""
_ROOMS: Final = frozenset({"generationConfig", "output_config"})
"""Fields that only hold others together, which are looked at one by one."""
_POSITIONS: Final = re.compile(r"\[\d+\]")


def differences(rendered: Prepared, relayed: Prepared) -> frozenset[str]:
    """In what two requests of one dialect differ.

    Fields of the body beside the conversation (`thinking`, `output_config.effort`), and what only *rendered* has lost,
    by its place without positions (`messages[].cache_control`). A field that is `false` asks nothing.
    """
    one, other = wishes(rendered), wishes(relayed)
    fields = {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
    lost = {_POSITIONS.sub("[]", loss.field) for loss in set(rendered.losses) - set(relayed.losses)}
    return frozenset(fields | lost)


def wishes(prepared: Prepared) -> dict[str, Any]:
    """What is asked beside the conversation, by name."""
    body = loads_object(prepared.body)
    found = {name: value for name, value in body.items() if value and name not in _SPOKEN | _ROOMS}
    for room in _ROOMS & body.keys():
        if isinstance(inside := body[room], dict):
            found.update({f"{room}.{name}": value for name, value in inside.items() if value})
    return found


MOST_CHOICES: Final = 128
"""As many as OpenAI gives at once; each costs a call where the target gives one."""

_IDS: Final[Mapping[str, re.Pattern[str]]] = {
    "anthropic": re.compile(r"[a-zA-Z0-9_-]+"),
    "openai_responses": re.compile(r".{1,64}", re.DOTALL),
}
"""Ids of calls as a vendor takes them. Another server's may have come here through a client that changed its model."""


_ONCE: Final = frozenset({"anthropic"})
"""Dialects whose vendors take each id of a call once in a conversation. Some servers number every turn's from 0."""


def ids_fit(request: Request) -> bool:
    """Whether the vendor of the client's dialect takes every id of a call in *request* (WIRE 21)."""
    form, used = _IDS.get(request.dialect), set[str]()
    if form is None:
        return True
    for message in request.messages:
        for part in message.parts:
            match part:
                case ToolCall(id=name) | ToolResult(call_id=name) if not form.fullmatch(name):
                    return False
                case ToolCall(id=name) if request.dialect in _ONCE:
                    if name in used:
                        return False
                    used.add(name)
                case _:
                    continue
    return True


_EVERYWHERE: Final[Mapping[str, str]] = {"anthropic": "claude", "gemini": "gemini"}
"""Dialect -> what stands in the names of models that read one another's signatures, whoever serves them.

Anthropic says so of its own API, Bedrock and Vertex (platform.claude.com, extended thinking). OpenAI's encrypted
reasoning belongs to one organisation.
"""


def knows_again(origin: str, target: Target, dialect: str) -> bool:
    """Whether *target* reads what *origin* (`provider/model`) signed or encrypted in *dialect*."""
    provider, _, model = origin.partition("/")
    if provider == target.provider:
        return True
    stem = _EVERYWHERE.get(dialect)
    return stem is not None and stem in model.lower() and stem in target.model.lower()


def dialect_for(request: Request, spec: ProviderSpec, model: str) -> str:
    """In which of the provider's dialects *request* is put to *model*.

    The client's own where the server speaks it, else the provider's first. OpenAI's chat endpoint gives way to its
    Responses endpoint where the model's rules say that it does not take such a request (WIRE 104, 105).
    """
    own = request.dialect if request.dialect in spec.speaks_for(model) else spec.dialect
    if own == "openai_chat" and "openai_responses" in spec.speaks and needs_responses(request, spec.rules(model, own)):
        return "openai_responses"
    return own


def needs_responses(request: Request, rules: Rules) -> bool:
    """Whether OpenAI's chat endpoint would refuse *request* for a model of these *rules*."""
    match rules.responses:
        case "never":
            return False
        case "always":
            return True
        case "tools":
            return bool(request.tools)
        case "reasoning_with_tools":
            effort = request.reasoning.effort if request.reasoning else None
            return bool(request.tools) and effort != "none"


def refuse_losses(losses: Sequence[Loss], target: str, mode: LossMode) -> None:
    """Raises Refused, 400 naming the first loss, where the client or the route says `reject`."""
    if losses and mode == "reject":
        first = losses[0]
        raise refused(
            400,
            f"{first.field}: would be {first.action} for {target}: {first.reason} (losses = reject)",
            param=first.field,
            code="loss_rejected",
        )
