"""What a Responses request asks the server to remember: the conversation before it, and the answer to it.

`store`, `previous_response_id`, `item_reference` and `background` are served here, whatever the target. A target that
keeps the conversation itself (the provider of the previous response, if it said that it stored it and has one key)
is told its id; any other gets it in full, which is reported as `previous_response_id=emulated`. So each attempt sees
the request as its own target has to: a failover needs no more than that.

An id that is not stored here goes to a Responses server as it is, which may know it. Where there are keys, only with
the master key: the provider's account is one for all keys, and nobody is to go on from another's conversation.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from proxy.errors import Refused, refused
from proxy.past import Past, Reference, continued, is_kept, past_of, references_in, referred, resolved
from proxy.threads import THREAD_BYTES, threaded
from routing.targets import Target
from storage.errors import StorageError
from storage.responses import Responses, ResponseStatus, StoredResponse
from translators.codec import REMOVED, JsonError, dumps, loads_object, splice
from translators.losses import Loss
from translators.neutral import NO_NATIVE, Failure, Request
from translators.openai_responses.client import NOT_KNOWN, SERVED_FIELDS, chained, items_of, keeps_nothing
from translators.sse import SseDecoder, SseEvent, frame

if TYPE_CHECKING:
    from proxy.asked import Asked
    from proxy.providers import ProviderSpec
    from proxy.stored import Stored

log = logging.getLogger("modelport")

DIALECT: Final = "openai_responses"
_ENDS: Final[Mapping[str, ResponseStatus]] = {"completed": "completed", "incomplete": "incomplete"}
_LAST_EVENTS: Final = frozenset({"response.completed", "response.incomplete"})


@dataclass(frozen=True, slots=True)
class Memory:
    """The state of one request.

    *own* is the request without what came before it, *body* its JSON, *items* its input with references resolved.
    *keeps*: whether the answer is stored. *background_id* is the id that a client was told before there was an answer.
    """

    responses: Responses
    tenant: str
    own: Request
    body: Mapping[str, Any]
    items: Sequence[Any] = ()
    references: Mapping[int, Reference] = field(default_factory=dict)
    previous_id: str | None = None
    past: Past | None = None
    keeps: bool = False
    asks_vendor: bool = True
    """Whether an id that is not stored here may be the vendor's."""
    owns_conversation: bool = False
    """Whether the conversation that the request names is known as the client's own."""
    forgotten: bool = False
    """Whether the vendor has said that it does not keep the response any more."""
    background_id: str | None = None
    created: int = 0
    """Unix seconds."""

    # --- before the answer

    def facing(
        self, asked: Asked, spec: ProviderSpec, spoken: str, *, may_relay: bool = True
    ) -> tuple[Asked, list[Loss]]:
        """*asked* as *spec*'s server has to see it, which is asked in the dialect *spoken*, and what that loses.

        Without *may_relay* its neutral form has been changed, and counts as it is.

        Raises:
            Refused: it has no way to know what the request refers to.
        """
        self.check(spoken)
        if spoken == DIALECT:
            # Several keys may be those of several accounts, of which only one keeps the response.
            told = len(spec.keys) < 2 and not self.forgotten and spec.name not in self.responses.not_keeping
            keeper = spec.name if told else ""
            return self._for_responses(asked, keeper) if may_relay else (asked, [])
        losses = self._attended()
        if self.past:
            losses.append(self._emulated())
        losses.extend(_sent_in_full(position) for position in self.references)
        if self.body.get("store") is True and not self.keeps:
            losses.append(Loss("store", "dropped", "neither the proxy ([memory] responses) nor the target keeps it"))
        return replace(asked, request=without(asked.request, SERVED_FIELDS)), losses

    def told_otherwise(self, failure: Failure, provider: str) -> Memory | None:
        """The state in which *provider* is told everything, after it has answered an id with *failure*.

        None when that is no help. One that refuses the field itself is not told ids any more.
        """
        if self.past is None or self.forgotten or failure.code != NOT_KNOWN:
            return None
        if keeps_nothing(failure):
            self.responses.not_keeping.add(provider)
        return replace(self, forgotten=True)

    def check(self, spoken: str) -> None:
        """Raises Refused: 400 for what a target of the dialect *spoken* cannot be told of."""
        if self.previous_id is not None and self.past is None and (spoken != DIALECT or not self.asks_vendor):
            raise not_found(self.previous_id)
        if spoken == DIALECT:
            self._check_owned()
            return
        if self.past and self.past.missing:
            raise not_found(self.past.missing)
        if self.body.get("conversation") is not None:
            raise refused(
                400,
                "conversation: conversations are the vendor's; a target of another API cannot read them. "
                "Use previous_response_id",
                param="conversation",
                code="unsupported_parameter",
            )
        if self.body.get("prompt") is not None and not self.body.get("input") and self.past is None:
            raise refused(
                400,
                "prompt: stored prompts are the vendor's; a target of another API cannot read them, and there is "
                "nothing else to answer. Send `input`",
                param="prompt",
                code="unsupported_parameter",
            )

    def _check_owned(self) -> None:
        """Raises Refused: for what lies with the vendor and may be another client's."""
        if self.asks_vendor:
            return
        if self.body.get("conversation") is not None and not self.owns_conversation:
            told = f"Conversation with id {str(named_conversation(self.body))[:200]!r} not found."
            raise refused(404, told, kind="not_found", param="conversation", code="not_found")
        for position, item in enumerate(self.items):
            if name := referred(item):
                place = f"input[{position}]"
                raise refused(400, f"Item with id {name[:200]!r} not found.", param=place, code="item_not_found")

    def _for_responses(self, asked: Asked, provider: str) -> tuple[Asked, list[Loss]]:
        changes: dict[str, Any] = {}
        losses = self._attended()
        body = dict(self.body)
        if body.get("background"):
            # The proxy itself is the background, so the server answers at once.
            del body["background"]
            changes["background"] = REMOVED
        moved = [position for position, found in self.references.items() if not is_kept(found.link, provider)]
        before: list[Any] | None = None
        if self.past and not self.past.kept_by(provider):
            if self.past.missing:
                raise not_found(self.past.missing)
            before = self.past.items(provider)
            losses.append(self._emulated())
        losses.extend(_sent_in_full(position) for position in moved)
        request = without(self.own, frozenset({"background"}))
        if before is not None or moved:
            own = resolved(_input_of(self.body), self.references, provider)
            changes["input"] = [*(before or ()), *own]
            body = {**body, "input": own}
            request = continued(body, before or ())
            if before is None:
                body["input"] = changes["input"]
                request = _with_previous(request, self.previous_id)
            else:
                body = chained(before, body)
                changes["previous_response_id"] = REMOVED
        raw = splice(asked.raw, changes) if changes else asked.raw
        return replace(asked, raw=raw, body=body, request=request), losses

    def _attended(self) -> list[Loss]:
        """What a stream in the background loses: it ends with its client. Without a stream nothing is lost."""
        if not self.body.get("background") or self.background_id is not None:
            return []
        return [Loss("background", "emulated", "a stream is made, and stored, while its client reads it")]

    def _emulated(self) -> Loss:
        return Loss("previous_response_id", "emulated", "the target does not keep that response; it is sent in full")

    # --- after it

    def renewed(self, stored: Stored, asked: Asked, *, own: bool) -> Stored:
        """An answer of the cache as the answer to this request: its id names one stored response and no other.

        *own*: its payload, if it has one, is of this dialect.
        """
        response = replace(stored.response, id="")
        if stored.payload is None or not own:
            return replace(stored, response=response)
        body = asked.body
        told = {"id": f"resp_{asked.id}", "previous_response_id": self.previous_id, "metadata": body.get("metadata")}
        told |= {"metadata": told["metadata"] or {}, "store": body.get("store") is not False}
        return replace(stored, response=response, payload=splice(stored.payload, told))

    async def kept(self, body: bytes, target: Target | None, *, by_vendor: bool) -> bytes:
        """Store a whole answer, and give it as the client is to get it. *by_vendor*: these are the vendor's bytes.

        An answer that cannot be stored says `store: false`: it is paid for, and the client is to have it.
        """
        if not self.keeps and self.previous_id is None:
            return body
        try:
            told = loads_object(body)
        except JsonError as error:
            raise AssertionError("a whole answer is a JSON object") from error
        if mine := self._mine(told):
            told, body = {**told, **mine}, splice(body, mine)
        if not self.keeps or await self._save(told, body, target, by_vendor=by_vendor):
            return body
        return splice(body, {"store": False})

    async def kept_frames(self, frames: bytes, target: Target | None, *, by_vendor: bool) -> bytes:
        """The same for a stream's closing *frames*, whose last event holds the whole answer."""
        if (not self.keeps and self.previous_id is None) or (last := _last_event(frames)) is None:
            return frames
        event, told = last
        mine = self._mine(told["response"])
        response = {**told["response"], **mine}
        if self.keeps and not await self._save(response, dumps(response), target, by_vendor=by_vendor):
            response["store"] = False
        elif not mine:
            return frames
        return frames.replace(event.raw, frame(dumps({**told, "response": response}), told["type"]))

    def _mine(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of an answer that are the proxy's to say, where the target said something else."""
        mine: dict[str, Any] = {"previous_response_id": self.previous_id}
        if self.background_id is not None:
            mine |= {"id": self.background_id, "background": True, "created_at": self.created}
        return {name: value for name, value in mine.items() if told.get(name) != value}

    async def _save(self, told: Mapping[str, Any], body: bytes, target: Target | None, *, by_vendor: bool) -> bool:
        """Whether the answer *told*, which is *body*, is on disk."""
        status = _ENDS.get(told.get("status", ""))
        response_id = told.get("id")
        if status is None or not isinstance(response_id, str) or not response_id:
            return False
        stored = self.opening(response_id, status, body, str(told.get("model") or self.own.model))
        stored = replace(
            stored,
            output=dumps(items_of(told)),
            provider=target.provider if target else None,
            vendor_stored=by_vendor and told.get("store") is True and self.background_id is None,
        )
        try:
            saved = await self.responses.save(stored)
        except StorageError as error:
            log.warning("response %s could not be stored: %s", response_id, error)
            return False
        if not saved and self.background_id is None:
            log.warning("response %s could not be stored: there is one of that id already", response_id)
        return saved

    def opening(self, response_id: str, status: ResponseStatus, body: bytes, model: str) -> StoredResponse:
        """The row of this request, without an answer."""
        return StoredResponse(
            tenant=self.tenant,
            id=response_id,
            created=self.created,
            status=status,
            model=model,
            input=dumps(list(self.items)),
            output=b"[]",
            body=body,
            previous_id=self.previous_id,
        )


async def remembered(
    responses: Responses,
    tenant: str,
    asked: Asked,
    *,
    keeps: bool,
    reads: bool,
    asks_vendor: bool,
    owns_conversation: bool = False,
) -> Asked:
    """*asked* with its memory, and with the conversation that it continues in the neutral form.

    *keeps*: whether the answer may be stored; *reads*: whether anything is.

    Raises:
        Refused: the response that it continues has not ended.
        TooLarge: the conversation is too long.
    """
    previous_id = asked.body.get("previous_response_id")
    own_items = _input_of(asked.body)
    past = await past_of(responses, tenant, previous_id) if reads and isinstance(previous_id, str) else None
    if past and past.last.status in ("queued", "in_progress"):
        raise refused(
            400,
            f"Previous response with id '{past.last.id}' is {past.last.status}; wait for its end.",
            param="previous_response_id",
            code="previous_response_not_ended",
        )
    references = await references_in(responses, tenant, own_items, past) if reads else {}
    items = resolved(own_items, references)
    memory = Memory(
        responses,
        tenant,
        own=asked.request,
        body=asked.body,
        items=items,
        references=references,
        previous_id=previous_id if isinstance(previous_id, str) else None,
        past=past,
        keeps=keeps,
        asks_vendor=asks_vendor,
        owns_conversation=owns_conversation,
        created=asked.created,
    )
    size = sum(len(link.input) + len(link.output) for link in past.links) if past else 0
    request = await threaded(size > THREAD_BYTES, _in_full, memory)
    told = asked.body if reads else {**asked.body, "store": False}  # which answers repeat
    return replace(asked, body=told, request=request, memory=memory)


def named_conversation(body: Mapping[str, Any]) -> str | None:
    """The id of the vendor's conversation that a request is to go on with."""
    conversation = body.get("conversation")
    name = conversation.get("id") if isinstance(conversation, Mapping) else conversation
    return name if isinstance(name, str) else None


def _in_full(memory: Memory) -> Request:
    """The request with all that it refers to, as far as it is stored here."""
    past = memory.past
    if not memory.references and not (past and past.links):
        return without(memory.own, frozenset({"background"}))
    body = {**memory.body, "input": memory.items}
    body.pop("background", None)
    request = continued(body, past.items() if past else ())
    return request if past and past.links else _with_previous(request, memory.previous_id)


def not_found(response_id: str) -> Refused:
    """OpenAI's answer to an unknown `previous_response_id`."""
    return refused(
        400,
        f"Previous response with id '{response_id[:200]}' not found.",
        param="previous_response_id",
        code=NOT_KNOWN,
    )


def without(request: Request, names: frozenset[str]) -> Request:
    """*request* without those fields of the Responses API."""
    own = request.native.get(DIALECT, {})
    if not names & own.keys():
        return request
    left = {name: value for name, value in own.items() if name not in names}
    others = {dialect: fields for dialect, fields in request.native.items() if dialect != DIALECT}
    return replace(request, native={**others, **({DIALECT: left} if left else {})} or NO_NATIVE)


def _with_previous(request: Request, previous_id: str | None) -> Request:
    """*request* with the id that `continued` has taken away, for a vendor who knows it."""
    if previous_id is None:
        return request
    own = {**request.native.get(DIALECT, {}), "previous_response_id": previous_id}
    return replace(request, native={**request.native, DIALECT: own})


def _input_of(body: Mapping[str, Any]) -> list[Any]:
    items: list[Any] = chained([], body)["input"]
    return items


def _sent_in_full(position: int) -> Loss:
    return Loss(f"input[{position}]", "emulated", "the target does not keep that item; it is sent in full")


def _last_event(frames: bytes) -> tuple[SseEvent, dict[str, Any]] | None:
    """The event that holds the whole answer, and what it says."""
    decoder = SseDecoder()
    for event in reversed([*decoder.feed(frames), *decoder.close()]):
        try:
            told = loads_object(event.data) if event.data else {}
        except JsonError:
            continue
        if told.get("type") in _LAST_EVENTS and isinstance(told.get("response"), dict):
            return event, told
    return None
