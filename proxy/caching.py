"""What a request has to do with the cache: its place there, what lies in it, and what is put into it.

fresh    given
stale    given, while one renewal asks in the background
nothing  is the same question there in other words (where the route looks for that)? given; else asked, and kept
"""

from __future__ import annotations

import asyncio
import logging
import time
from array import array
from base64 import b64decode
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from aiohttp import web

from proxy.asked import Asked
from proxy.controls import Controls
from proxy.embedding import Wanted, embed, tags_of
from proxy.errors import Refused
from proxy.identity import Identity
from proxy.metering import Metered
from proxy.server import Incoming, new_id
from proxy.services import Services
from proxy.setup import Caching, Setup
from proxy.stored import Stored, unpack
from proxy.vendor_headers import ACCOUNT
from routing.targets import Route
from storage.cache import cache_key
from storage.errors import StorageError
from storage.semantic import MAX_CHARACTERS
from storage.semantic.store import Found, Scope, scope_of
from translators.codec import REMOVED, JsonError, dumps, loads_object, splice
from translators.embeddings import parse_request
from translators.errors import BadRequest
from translators.frozen import described
from translators.neutral import Request, Text

log = logging.getLogger("modelport")

EMBEDDING_S: Final = 5.0
"""How long a vector may take. Without one the question is looked for by its words alone."""
STOP_CHECK_S: Final = 0.5
"""How often a renewal looks whether the process is to stop."""


@dataclass(frozen=True, slots=True)
class Question:
    """The last words of the user, and the scope in which they may mean the same as others.

    *embeddings* is the `provider/model` that makes vectors, None: words alone. *vector*: as far as it is known.
    """

    scope: Scope
    text: str
    embeddings: str | None
    threshold: float
    vector: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where the answer to a request lies, and for how long.

    *question*: None where only the same request is the same.
    """

    key: bytes
    tenant: str
    route: str
    ttl_s: float
    stale_s: float
    tags: tuple[str, ...]
    question: Question | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer out of the cache. *found*: the question that it was the answer to, where that was another one.

    *value*: what it was read from, where that is what the cache has for this very question.
    """

    stored: Stored
    age_s: float = 0
    stale: bool = False
    found: Found | None = None
    value: bytes | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What the client is told of it."""
        told = {"age": str(int(self.age_s))}
        if self.stale:
            told["x-modelport-cache-stale"] = "true"
        if self.found is not None:
            told["x-modelport-cache-similarity"] = f"{min(1.0, self.found.similarity):.3f}"
        return told


def place_of(setup: Setup, route: Route, identity: Identity, asked: Asked) -> Place | None:
    """Where the answer is looked up and stored; None when this request stays outside the cache.

    `deterministic`: only what would come out the same again, by temperature 0 or a seed.
    An idempotency key asks for one and the same answer, whatever the mode, and for no other.
    """
    request, controls, caching = asked.request, asked.controls, setup.caching(route.name)
    once = controls.idempotency_key is not None
    mode = identity.cache or caching.mode
    wanted = mode == "all" or (mode == "deterministic" and (request.temperature == 0 or request.seed is not None))
    if not once and (not wanted or not (controls.look_up or controls.store)):
        return None
    told = {"policy": controls.policy} if controls.policy else {}
    if controls.quality is not None:
        told["quality"] = f"{controls.quality:.3g}"
    told.update((name, value) for name, value in asked.forward.items() if name in ACCOUNT)
    losses = controls.losses or route.losses
    question = None if once else _question(caching, route, identity, request, {**told, "losses": losses})
    if controls.idempotency_key is not None:
        told["idempotency_key"] = controls.idempotency_key
    return Place(
        cache_key(identity.tenant, route.name, {**described(request), **told}),
        identity.tenant,
        route.name,
        caching.ttl_s,
        0 if once else caching.stale_s,
        tags_of(controls, identity, caching),
        question,
    )


def _question(
    caching: Caching, route: Route, identity: Identity, request: Request, told: dict[str, str]
) -> Question | None:
    """What may be asked in other words: the last turn, where it is the user's and nothing but text.

    All else of the request is a part of the scope, so that it has to be equal.
    """
    if caching.semantic is None or not request.messages:
        return None
    last = request.messages[-1]
    if last.role != "user" or len(last.parts) != 1:
        return None
    part = last.parts[0]
    if not isinstance(part, Text) or not part.text.strip() or len(part.text) > MAX_CHARACTERS:
        return None
    bare = replace(last, parts=(replace(part, text=""),))
    rest = described(replace(request, messages=(*request.messages[:-1], bare)))
    embeddings = caching.semantic.embeddings
    scope = scope_of(identity.tenant, route.name, {**told, "request": rest, "embeddings": embeddings})
    return Question(scope, part.text, embeddings, caching.semantic.threshold)


# --- looking -----------------------------------------------------------------------------------------


async def look_up(services: Services, place: Place) -> Hit | None:
    """The answer to the same request, if there is one that can be read."""
    kept = await services.cache.find(place.key, stale=place.stale_s > 0)
    stored = unpack(kept.value) if kept else None
    return Hit(stored, kept.age_s, kept.stale, value=kept.value) if kept and stored else None


async def look_up_similar(services: Services, incoming: Incoming, place: Place) -> tuple[Hit | None, Place]:
    """The answer to the same question in other words; and *place* with what was learnt of the question."""
    question = place.question
    if question is None:
        return None, place
    semantic = services.semantic
    found = await semantic.find(question.scope, question.text, final=question.embeddings is None)
    if found is None and question.embeddings is not None:
        place, vector = await with_vector(services, incoming, place)
        found = await semantic.find(question.scope, question.text, vector, vector_threshold=question.threshold)
    if found is None:
        return None, place
    kept = await services.cache.find(found.key, stale=False, again=True)
    stored = unpack(kept.value) if kept else None
    if kept is None or stored is None:
        semantic.forget(found)
        return None, place
    return Hit(stored, kept.age_s, found=found), place


async def with_vector(services: Services, incoming: Incoming, place: Place) -> tuple[Place, Sequence[float] | None]:
    """*place* with the vector of its question, where one is wanted and can be had; and the vector."""
    question = place.question
    if question is None or question.embeddings is None:
        return place, None
    vector = question.vector or await _vector(services, incoming, question.embeddings, question.text)
    return replace(place, question=replace(question, vector=vector)), vector


async def _vector(services: Services, incoming: Incoming, model: str, text: str) -> Sequence[float] | None:
    """The vector of *text*, by an exchange of its own, which is booked to whoever asks. None: there is none to be had.

    The scopes of a key are about what it may ask for itself, which this is not.
    """
    body = {"model": model, "input": text, "encoding_format": "base64"}
    own = replace(
        incoming,
        id=new_id(),
        started=time.perf_counter(),
        identity=replace(incoming.identity, scopes=()),
        client_request_id=incoming.id,
        metered=Metered(),
    )
    try:
        wanted = Wanted(dumps(body), body, parse_request(body), Controls(timeout_s=EMBEDDING_S))
        reply = await embed(services, own, wanted)
        if not isinstance(reply, web.Response) or not isinstance(reply.body, bytes):
            return None
        vector = array("f", b64decode(loads_object(reply.body)["data"][0]["embedding"]))
    except (Refused, BadRequest, StorageError) as error:
        why = services.clean(str(error))
    except (JsonError, LookupError, TypeError, ValueError):
        why = "its answer cannot be read"
    else:
        services.without_vectors.discard(model)
        return vector
    if model not in services.without_vectors:
        services.without_vectors.add(model)
        log.warning("the semantic cache goes by words alone, as %s gives no vectors: %s", model, why)
    return None


# --- keeping -----------------------------------------------------------------------------------------


def keep(services: Services, place: Place, stored: Stored) -> None:
    """Store an answer, and the question that it answers."""
    services.cache.put(
        place.key,
        stored.pack(),
        tenant=place.tenant,
        route=place.route,
        model=stored.target,
        cost_nanousd=stored.cost_nanousd,
        ttl_s=place.ttl_s,
        stale_s=place.stale_s,
        tags=place.tags,
    )
    if question := place.question:
        services.semantic.add(
            question.scope, question.text, place.key, question.vector, ttl_s=place.ttl_s, tags=place.tags
        )


def in_background(asked: Asked, incoming: Incoming) -> Asked:
    """*asked* once more, in one piece and for nobody: what a renewal asks."""
    request = replace(asked.request, stream=False, include_usage=False)
    raw, body, memory = asked.raw, dict(asked.body), asked.memory
    if "stream" in body:
        raw = splice(raw, {"stream": False, "stream_options": REMOVED})
        body.pop("stream_options", None)
        body["stream"] = False
    if memory is not None:
        own = {name: value for name, value in memory.body.items() if name != "store"}
        memory = replace(memory, keeps=False, background_id=None, body=own)
    created = int(time.time())
    return replace(asked, raw=raw, body=body, request=request, memory=memory, id=incoming.answer_id, created=created)


async def unless_stopping(services: Services, work: Coroutine[Any, Any, Any]) -> None:
    """Do *work*, which nobody waits for: a process that is to stop ends it at once."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done() and not services.draining:
            await asyncio.wait({task}, timeout=STOP_CHECK_S)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    task.result()
