"""What is known of models beyond the shipped rules: what vendors list, and what their refusals have taught.

    refresh  -> lists   --\\
                            kept in the database -> in force: rules in the Overlay, names that can be asked for
    refusals -> lessons --/

A list holds for the address that it came from: a provider that has been moved elsewhere is not judged by it.
A lesson holds for `[catalog] lesson_ttl_s`; then the parameter is sent again, and the vendor may have changed its mind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, Final

from proxy.healing import Taught
from proxy.providers import ProviderSpec, call_url
from routing.catalog import Known, Overlay, checked
from routing.errors import BadRow
from routing.targets import Target
from routing.vendor_models import ModelFacts
from storage.catalog import CatalogDiff, CatalogStore
from storage.errors import StorageError
from storage.learned import Learned, LearnedRules
from translators.neutral import Request

log = logging.getLogger("modelport")

_USERINFO: Final = re.compile(r"(?<=://)[^/@]*@")
_REFUSALS: Final = frozenset({"refuses", "refuses_while_thinking"})
_UNSAID: Final[Mapping[str, Any]] = {
    item.name: item.default if item.default_factory is MISSING else item.default_factory()
    for item in fields(Request)
    if item.default is not MISSING or item.default_factory is not MISSING
}


@dataclass(frozen=True, slots=True)
class Listing:
    """A vendor's own list: facts by model, in the order of names, from the URL *source* at *fetched_at* (Unix s)."""

    source: str
    fetched_at: float
    models: Mapping[str, Mapping[str, Any]]


def facts_row(model: ModelFacts) -> dict[str, Any]:
    """What is kept of *model*, as JSON; what its vendor does not say is left out."""
    said = {
        "title": model.title,
        "context": model.context,
        "max_output_tokens": model.max_output_tokens,
        "modalities": sorted(model.modalities),
        "created": model.created,
        "retires_at": model.retires_at,
        "rules": dict(model.rules),
    }
    return {**{name: value for name, value in said.items() if value}, "chats": model.chats}


def list_url(spec: ProviderSpec) -> str:
    """Where the models of *spec* are listed, without query and credentials; empty where they are not."""
    path = spec.path(spec.dialect, "", "models")
    return _USERINFO.sub("", call_url(spec, path).partition("?")[0]) if path else ""


class Catalogue:
    """What is known, as long as the process. *overlay* holds what of it is in force."""

    def __init__(
        self, overlay: Overlay, lists: CatalogStore, learned: LearnedRules, now: Callable[[], float] = time.time
    ) -> None:
        self.overlay = overlay
        self.refreshing = asyncio.Lock()
        """Held while vendors are asked: two refreshes do not store each other's halves."""
        self._lists = lists
        self._learned = learned
        self._now = now
        self._listings: dict[str, Listing] = {}
        self._lessons: dict[tuple[str, str], list[Learned]] = {}

    async def load(self, lesson_ttl_s: float) -> None:
        """Read what the database holds. Lessons are in force from here on; lists are after `put_in_force`."""
        found: dict[str, dict[str, Mapping[str, Any]]] = {}
        for row in await self._lists.all():
            found.setdefault(row.provider, {})[row.model] = row.facts
            self._listings[row.provider] = Listing(row.source, row.fetched_at, found[row.provider])
        moment = self._now() - lesson_ttl_s
        with contextlib.suppress(StorageError):  # a database that cannot be written is spoken of elsewhere
            await self._learned.forget_older(moment)
        for rule in await self._learned.all():
            if rule.learned_at >= moment:
                self._remember(rule)
        for provider, model in self._lessons:
            self._relearn(provider, model)

    # --- lists

    def listing(self, spec: ProviderSpec) -> Listing | None:
        """The last good list of *spec*'s vendor."""
        found = self._listings.get(spec.name)
        return found if found and found.source == list_url(spec) else None

    def told(self, spec: ProviderSpec) -> tuple[str, ...]:
        """Names of the models that answer conversations, unless the configuration says what *spec* offers."""
        listing = self.listing(spec)
        if listing is None or spec.names_its_models:
            return ()
        return tuple(model for model, facts in listing.models.items() if facts.get("chats", True))

    async def replace_list(self, spec: ProviderSpec, models: Iterable[ModelFacts]) -> CatalogDiff:
        """Keep *models* as all that *spec*'s vendor lists; what that changed.

        Raises:
            StorageError: it cannot be written; the earlier list stands.
        """
        rows = {model.id: facts_row(model) for model in sorted(models, key=lambda model: model.id)}
        listing = Listing(list_url(spec), self._now(), rows)
        diff = await self._lists.replace(spec.name, rows, listing.source, listing.fetched_at)
        self._listings[spec.name] = listing
        return diff

    def put_in_force(self, specs: Iterable[ProviderSpec]) -> None:
        """Let the rules of *specs* follow from their lists as they are now, and from no other list."""
        wanted: dict[tuple[str, str], Mapping[str, Any]] = {}
        for spec in specs:
            listing = self.listing(spec)
            for model, facts in listing.models.items() if listing else ():
                wanted[spec.name, model] = facts.get("rules", {})
        for provider, model, known in list(self.overlay):
            if known.facts and (provider, model) not in wanted:
                self.overlay.put_facts(provider, model, {})
        for (provider, model), rules in wanted.items():
            try:
                # What did not change keeps its object, for which rules are remembered.
                if checked(rules, "facts") != self.overlay.of(provider, model).facts:
                    self.overlay.put_facts(provider, model, rules)
            except BadRow as error:
                _left_out(error)

    # --- lessons

    def lessons(self, provider: str, model: str) -> list[Learned]:
        """What *model* has taught and is in force, oldest first."""
        return list(self._lessons.get((provider, model), ()))

    def taught(self) -> list[tuple[str, str]]:
        """Every (provider, model) that has taught something."""
        return list(self._lessons)

    async def learn(self, taught: Taught) -> None:
        """Keep a lesson that has proved itself; where it cannot be written it holds until the next start."""
        target, change = taught.target, taught.lesson.change
        try:
            rule = await self._learned.learn(
                target.provider,
                target.model,
                taught.dialect,
                change,
                evidence=taught.evidence,
                http_status=taught.http_status,
            )
        except StorageError as error:
            log.warning("%s: what its refusal taught holds until the next start: %s", target.name, error)
            rule = Learned(
                target.provider, target.model, taught.dialect, change, taught.evidence, taught.http_status, self._now()
            )
        self._remember(rule)

    def used(self, target: Target, request: Request, unlike: frozenset[str] = frozenset()) -> None:
        """*request*, not relayed because of *unlike*, was answered by *target*: count the lessons that it needed."""
        rules = self._lessons.get((target.provider, target.model))
        if not rules:
            return
        for index, rule in enumerate(rules):
            if concerns(rule.change, request, unlike):
                rules[index] = replace(rule, uses=rule.uses + 1)
                self._learned.used(rule)

    async def forget(self, provider: str, model: str | None = None) -> int:
        """Unlearn what *provider*, or its *model*, taught; how many lessons that were.

        Raises:
            StorageError: it cannot be written; the lessons stand.
        """
        forgotten = await self._learned.forget(provider, model)
        for key in [key for key in self._lessons if key[0] == provider and model in (None, key[1])]:
            del self._lessons[key]
            self._relearn(*key)
        return forgotten

    async def expire(self, ttl_s: float) -> None:
        """Unlearn what was last taught longer than *ttl_s* ago.

        Raises:
            StorageError: they are still in the database, though out of force.
        """
        moment = self._now() - ttl_s
        for key, rules in list(self._lessons.items()):
            kept = [rule for rule in rules if rule.learned_at >= moment]
            if len(kept) == len(rules):
                continue
            if kept:
                self._lessons[key] = kept
            else:
                del self._lessons[key]
            self._relearn(*key)
        await self._learned.forget_older(moment)

    def _remember(self, rule: Learned) -> None:
        rules = self._lessons.setdefault((rule.provider, rule.model), [])
        rules[:] = [known for known in rules if (known.dialect, known.change) != (rule.dialect, rule.change)]
        rules.append(rule)

    def _relearn(self, provider: str, model: str) -> None:
        """Let exactly the remembered lessons of a target be in force."""
        self.overlay.put_back(provider, model, Known(facts=self.overlay.of(provider, model).facts))
        for rule in self._lessons.get((provider, model), ()):
            try:
                self.overlay.put(provider, model, rule.change)
            except BadRow as error:
                _left_out(error)


def concerns(change: Mapping[str, Any], request: Request, unlike: frozenset[str] = frozenset()) -> bool:
    """Whether *request*, not relayed because of *unlike*, may go out differently because of *change*.

    What is refused has to be in it.
    """
    if change.keys() == {"not_relayed"}:
        return not unlike.isdisjoint(change["not_relayed"])
    if not change.keys() <= _REFUSALS:
        return True
    native = request.native.get(request.dialect, {})
    return any(
        name in native or (name in _UNSAID and getattr(request, name) != _UNSAID[name])
        for names in change.values()
        for name in names
    )


def _left_out(error: BadRow) -> None:
    log.warning("something that an earlier version knew of a model is left out: %s", error)
