"""What a worker has in common with the others.

Limits are counted in common memory (`routing.shared`), budgets and the books in the database. What each worker holds in
memory besides follows from what the others tell:

    at once (the answer to the change waits for it)   keys, places, budgets, routes, providers, log levels, purges
    some milliseconds later                           breakers, keys that rest, wrong keys, stored answers, cancels
"""

from __future__ import annotations

import asyncio
import logging
import time
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from typing_extensions import override

from proxy.ingress.health import health_report
from proxy.logs import choose_level
from proxy.stored import Stored, unpack
from proxy.workers.files import worker_file
from proxy.workers.guard import FileGuard
from proxy.workers.marks import Marks
from proxy.workers.peers import Peers
from proxy.workers.sharing import Sharing
from proxy.workers.sums import records_of, samples_of
from routing.breaker import Word
from routing.limits import Rest
from routing.shared import TABLE_BYTES, Table
from routing.targets import Target
from storage.errors import StorageError
from storage.flights import Outcome

if TYPE_CHECKING:
    from proxy.services import Services
    from proxy.workers.member import Member

log = logging.getLogger("modelport.workers")

QUERY_S: Final = 5.0
"""How long a worker may take to end a query."""


class Shared(Sharing):
    """One of several workers. *alone* is called when the keeper is gone."""

    several = True

    def __init__(self, member: Member, alone: Callable[[], None]) -> None:
        self.member = member
        self.first = member.number == 0
        self.begins = self.first and not member.again
        self.mark = member.mark
        memory, guard = memoryview(member.memory), FileGuard(member.locks)
        self.throttle = Table(memory[:TABLE_BYTES], member.number, guard, time.monotonic).throttle
        self._marks = Marks(memory[TABLE_BYTES:], guard)
        self.say = self._say
        self._peers = Peers(self._heard, self._gone, alone)
        self._landings: dict[bytes, _Landing] = {}
        """What is asked elsewhere and waited for here."""
        self._welcome = asyncio.Event()
        self._services: Services | None = None

    @override
    def own_file(self, path: Path, suffix: str) -> Path:
        return worker_file(path, suffix, self.member.number)

    @override
    def prepare(self, services: Services) -> None:
        self._services = services
        services.started = self.member.started
        services.db.others_write = self._others_write
        services.cache.told = self._kept
        services.guesses.told = self._guessed
        services.flights.elsewhere = self._fly
        if self.begins:
            keys = [entry.key for entry in services.keyring.entries.values()]
            self._marks.before_s = max((key.signed_until_s or 0 for key in keys), default=0)
        services.signatures.share(self._marks.claim, services.started_unix, self._marks.before_s)
        if not self.first:
            services.watch.courier.elsewhere = lambda: self._peers.tell("alert", to=0)

    @override
    async def join(self, services: Services) -> None:
        await self._peers.open(self.member.line)
        self._peers.tell_keeper("here")
        await self._welcome.wait()
        if not self.begins:  # something may have changed since it was read
            for renew in _RENEWALS.values():
                await renew(services)

    @override
    def ready(self, banner: str) -> None:
        self._peers.tell_keeper("ready", banner)

    @override
    async def close(self) -> None:
        await self._peers.close()

    # --- what others are told

    def _say(self, target: Target, word: Word) -> None:
        self._peers.tell("breaker", (target.provider, target.model, word))

    @override
    def rested(self, provider: str, index: int, model: str, for_s: float, rest: Rest) -> None:
        self._peers.tell("rest", (provider, index, model, for_s, asdict(rest)))

    @override
    def cancelled(self, tenant: str, response_id: str) -> None:
        self._peers.tell("cancel", (tenant, response_id))

    @override
    async def query_cancelled(self, tenant: str, query_id: str) -> None:
        owner = query_id[-len(self.mark) :]
        if owner.isalnum() and owner != self.mark:
            await self._peers.ask("cancel_query", (tenant, query_id), _number(owner), QUERY_S)

    @override
    async def changed(self, path: str) -> None:
        if any(path.startswith(prefix) for prefix in _RENEWALS):
            await self._peers.ask("changed", path)

    @override
    async def level_chosen(self, logger: str, level: str | None) -> None:
        await self._peers.ask("level", (logger, level))

    @override
    async def reports(self) -> Sequence[Mapping[str, Any]]:
        return list((await self._peers.ask("report")).values())

    @override
    async def samples(self) -> Sequence[Mapping[str, Any]]:
        return list((await self._peers.ask("samples")).values())

    async def _fly(self, key: bytes) -> Outcome[Stored] | None:
        """How the flight of another worker ends, if there is one."""
        landing = self._landings[key] = _Landing(asyncio.get_running_loop().create_future())
        try:
            told = await self._peers.ask("flying", (key.hex(), self.member.number))
            landing.leaders = {number for number, leads in told.items() if leads} - landing.gone
            return await landing.outcome if landing.leaders or landing.outcome.done() else None
        finally:
            del self._landings[key]

    def _gone(self, number: int) -> None:
        """A worker has died: nobody need wait for it."""
        for landing in self._landings.values():
            landing.gone.add(number)
            if number in landing.leaders:
                landing.end(Outcome("failed"))

    def _landed(self, key: str, packed: str | None) -> None:
        if landing := self._landings.get(bytes.fromhex(key)):
            stored = None if packed is None else unpack(b64decode(packed))
            landing.end(Outcome("failed") if stored is None else Outcome("landed", stored))

    async def _flying(self, services: Services, key: bytes, asker: int) -> bool:
        """Whether this worker leads the flight of *key*, as far as *asker* is concerned; it hears of the end then."""
        flight = services.flights.led(key, yields=asker < self.member.number)
        if flight is not None:
            flight.add_done_callback(partial(self._tell_of_landing, key, asker))
        return flight is not None

    def _tell_of_landing(self, key: bytes, asker: int, flight: asyncio.Future[Outcome[Stored]]) -> None:
        stored = None if flight.cancelled() else flight.result().answer
        packed = None if stored is None else b64encode(stored.pack()).decode()
        self._peers.tell("landed", (key.hex(), packed), to=asker)

    async def _others_write(self) -> None:
        await self._peers.ask("write")

    def _kept(self, key: bytes, entries: int, size_bytes: int) -> None:
        self._peers.tell("kept", (key.hex(), entries, size_bytes))

    def _guessed(self, address: str) -> None:
        self._peers.tell("guess", address)

    # --- what others tell

    async def _heard(self, topic: str, said: Any) -> Any:
        if topic == "welcome":
            self._welcome.set()
            return None
        services = self._services
        if services is None:
            return None
        if topic == "flying":
            key, asker = said
            return await self._flying(services, bytes.fromhex(key), asker)
        if topic == "landed":
            self._landed(*said)
            return None
        return await _TOPICS[topic](services, said)


@dataclass(slots=True, eq=False)
class _Landing:
    """What is waited for: *leaders* lead the flight, as far as they have said so; those *gone* do not."""

    outcome: asyncio.Future[Outcome[Stored]]
    leaders: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)

    def end(self, outcome: Outcome[Stored]) -> None:
        """The first word counts."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)


def _number(mark: str) -> int:
    try:
        return int(mark, 16)
    except ValueError:
        return -2  # nobody's


# --- topics ------------------------------------------------------------------------------------------


async def _breaker(services: Services, said: Any) -> None:
    provider, model, word = said
    services.breakers.heard(Target(provider, model), cast("Word", word))


async def _rest(services: Services, said: Any) -> None:
    provider, index, model, for_s, rest = said
    if ring := services.setup.rings.get(provider):
        ring.heard(index, model, for_s, Rest(**rest))


async def _cancel(services: Services, said: Any) -> None:
    services.running.cancel(*said)


async def _cancel_query(services: Services, said: Any) -> None:
    if (run := services.queries.find(*said)) is not None:
        run.cancel()
        await run.done.wait()


async def _changed(services: Services, path: str) -> None:
    for prefix, renew in _RENEWALS.items():
        if path.startswith(prefix):
            await renew(services)


async def _level(_services: Services, said: Any) -> None:
    choose_level(*said)


async def _alert(services: Services, _said: Any) -> None:
    services.watch.courier.wake()


async def _kept(services: Services, said: Any) -> None:
    key, entries, size_bytes = said
    services.cache.heard(bytes.fromhex(key), entries, size_bytes)


async def _guess(services: Services, address: str) -> None:
    services.guesses.heard(address, services.setup.loaded.settings.auth.wrong_keys_per_minute)


async def _write(services: Services, _said: Any) -> None:
    try:
        await services.db.write(lambda _: None)
    except StorageError as error:
        log.debug("what waits cannot be written: %s", error)


async def _report(services: Services, _said: Any) -> Any:
    names = [spec.name for spec in services.setup.enabled]
    return {"report": health_report(services), "records": records_of(services.health, names)}


async def _samples(services: Services, _said: Any) -> Any:
    from proxy.ingress.metrics import own_families

    names = [spec.name for spec in services.setup.enabled]
    return {
        "samples": samples_of(own_families(services, health_report(services))),
        "records": records_of(services.health, names),
        "refusals": dict(services.watch.refusals),
    }


_TOPICS: Final[Mapping[str, Callable[[Services, Any], Awaitable[Any]]]] = {
    "breaker": _breaker,
    "rest": _rest,
    "cancel": _cancel,
    "cancel_query": _cancel_query,
    "changed": _changed,
    "level": _level,
    "alert": _alert,
    "kept": _kept,
    "guess": _guess,
    "write": _write,
    "report": _report,
    "samples": _samples,
}


async def _renew_keys(services: Services) -> None:
    await services.keyring.renew()
    await services.renew_budgets()


async def _renew_credentials(services: Services) -> None:
    await services.credentials.load()
    await services.keyring.renew()
    services.renew_setup()
    if services.warming is None:
        services.warm_prices()


async def _renew_providers(services: Services) -> None:
    await services.provider_book.load()
    services.renew_prices()


async def _renew_cache(services: Services) -> None:
    await services.cache.renew()
    await services.semantic.renew()


_RENEWALS: Final[Mapping[str, Callable[[Services], Awaitable[None]]]] = {
    "/api/v1/keys": _renew_keys,
    "/api/v1/organisations": _renew_keys,
    "/api/v1/teams": _renew_keys,
    "/api/v1/budgets": lambda services: services.renew_budgets(),
    "/api/v1/routes": lambda services: services.renew_choices(),
    "/api/v1/credentials": _renew_credentials,
    "/api/v1/secrets": _renew_credentials,
    "/api/v1/llm/providers": _renew_providers,
    "/api/v1/catalog": lambda services: services.know_models(),
    "/api/v1/cache": _renew_cache,
}
"""What has to be read again when a path that begins so has changed something."""
