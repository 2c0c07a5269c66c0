"""Asking vendors for their lists of models. It costs nothing and is no attempt: ledger, breakers and health stay out.

Whatever a vendor answers is bounded: pages, bytes, models, time. A list that does not come whole is no list, so that
the last good one stands.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlencode

from proxy.backends.backend import Backend, BackendError, Call, Timeouts
from proxy.catalogue import Catalogue, Listing, list_url
from proxy.providers import ProviderSpec
from proxy.setup import Key, Setup
from routing.targets import LONGEST_NAME
from routing.vendor_models import ModelFacts, next_page, parse_models
from storage.errors import StorageError
from translators.codec import JsonError, loads
from translators.dialects import BACKENDS
from translators.neutral import Failure

log = logging.getLogger("modelport")

AT_ONCE: Final = 4
LIST_S: Final = 60.0
"""For all pages of one vendor."""
CLOCKS: Final = Timeouts(connect_s=5, whole_answer_s=20, idle_s=10)
MAX_PAGES: Final = 50
MAX_PAGE_BYTES: Final = 16 * 1024 * 1024
MAX_MODELS: Final = 20_000
LONGEST_ERROR: Final = 300

Status = Literal["ok", "failed", "skipped"]


class NoList(Exception):
    """A vendor's list cannot be had. The message says why, without secrets."""


class KeyRefused(NoList):
    """Another key may do better."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a refresh brought for one provider. *listing* is the list that is in force, if there is any."""

    provider: str
    status: Status
    source: str = ""
    error: str = ""
    listing: Listing | None = None
    added: Sequence[str] = ()
    removed: Sequence[str] = ()
    changed: Mapping[str, Sequence[str]] = field(default_factory=dict)


async def refresh(catalogue: Catalogue, setup: Setup, specs: Sequence[ProviderSpec]) -> list[Outcome]:
    """Ask the vendors of *specs* for their models, a few at a time, and keep what they say."""
    turns = asyncio.Semaphore(AT_ONCE)
    async with catalogue.refreshing:
        return await asyncio.gather(*(_refreshed(catalogue, setup, spec, turns) for spec in specs))


def why_not(spec: ProviderSpec) -> str:
    """Why the vendor of *spec* is not asked; empty when it is."""
    if not spec.enabled:
        return spec.why_off
    if spec.backend != "http":
        return "it runs here and has no list"
    return "" if list_url(spec) else "it has no list of its models"


async def _refreshed(catalogue: Catalogue, setup: Setup, spec: ProviderSpec, turns: asyncio.Semaphore) -> Outcome:
    if reason := why_not(spec):
        return Outcome(spec.name, "skipped", error=reason)
    source = list_url(spec)
    try:
        async with turns, asyncio.timeout(LIST_S):
            models = await _models(spec, setup.backends[spec.name], setup.rings[spec.name].keys, setup.redactor.clean)
        diff = await catalogue.replace_list(spec, models)
    except TimeoutError:
        reason = f"the list did not come within {LIST_S:g} s"
    except (NoList, StorageError) as error:
        reason = str(error)
    except Exception:
        # What one vendor writes must not keep the others' lists from being read.
        log.exception("%s: its list of models could not be read", spec.name)
        reason = "its list could not be read; the log says more"
    else:
        return Outcome(
            spec.name,
            "ok",
            source,
            listing=catalogue.listing(spec),
            added=diff.added,
            removed=diff.removed,
            changed=diff.changed,
        )
    log.warning("%s: no list of models: %s", spec.name, reason)
    return Outcome(spec.name, "failed", source, reason, catalogue.listing(spec))


async def _models(
    spec: ProviderSpec, backend: Backend, keys: Sequence[Key | None], clean: Callable[[str], str]
) -> list[ModelFacts]:
    """The whole list, by the first key that is not refused."""
    refusal: NoList | None = None
    for key in keys:
        try:
            return await _pages(spec, backend, key, clean)
        except KeyRefused as error:
            refusal = error
    raise refusal or NoList("it has no key")


async def _pages(
    spec: ProviderSpec, backend: Backend, key: Key | None, clean: Callable[[str], str]
) -> list[ModelFacts]:
    first = spec.path(spec.dialect, "", "models")
    path = first
    models: dict[str, ModelFacts] = {}
    for _ in range(MAX_PAGES):
        page = await page_of(spec, backend, key, path, clean)
        # A long list takes a while to be read.
        for model in await asyncio.to_thread(parse_models, spec.dialect, page):
            if len(model.id) <= LONGEST_NAME and model.id.isprintable():
                models.setdefault(model.id, model)
        if not models and not _is_list(page):
            raise NoList("its answer is no list of models")
        if len(models) > MAX_MODELS:
            raise NoList(f"it lists more than {MAX_MODELS} models")
        query = next_page(spec.dialect, page)
        if query is None:
            return list(models.values())
        following = f"{first}{'&' if '?' in first else '?'}{urlencode(query)}"
        if following == path:
            raise NoList("its list leads from one page to the same again")
        path = following
    raise NoList(f"its list has more than {MAX_PAGES} pages")


async def page_of(spec: ProviderSpec, backend: Backend, key: Key | None, path: str, clean: Callable[[str], str]) -> Any:
    """What *spec*'s vendor answers at *path*, parsed. Raises NoList."""
    call = Call(
        model="",
        body=b"",
        stream=False,
        method="GET",
        operation="models",
        path=path,
        key=key.secret if key else None,
        headers=spec.rules("").headers,
        timeouts=CLOCKS,
        max_answer_bytes=MAX_PAGE_BYTES,
    )
    dialect = BACKENDS[spec.dialect]
    try:
        async with backend.send(call) as answer:
            raw = await answer.read()
    except BackendError as error:
        raise NoList(clean(error.failure.message)) from error
    if answer.status >= 400:
        raise _refusal(dialect.parse_error(answer.status, raw, answer.headers), clean)
    try:
        page = await asyncio.to_thread(loads, raw)
    except JsonError as error:
        raise NoList("its answer is not JSON") from error
    if isinstance(page, Mapping) and (failure := dialect.error_in(page)):
        raise _refusal(failure, clean)
    return page


def _refusal(failure: Failure, clean: Callable[[str], str]) -> NoList:
    told = f"{failure.status} {failure.kind}: {' '.join(clean(failure.message).split())}"[:LONGEST_ERROR]
    return KeyRefused(told) if failure.kind in {"authentication", "permission"} else NoList(told)


def _is_list(page: Any) -> bool:
    """Whether *page* is a list, be it an empty one. Ollama without models answers `data: null`."""
    return isinstance(page, list) or (isinstance(page, Mapping) and any(name in page for name in ("data", "models")))
