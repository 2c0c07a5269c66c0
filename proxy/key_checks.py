"""Whether a provider takes a key, found out without spending: its list of models is asked for, never an answer.

ok          the list came, and does not come without a key
unproven    the list came, but it comes to anybody: of the key that says nothing
refused     the vendor does not take the key
failed      the vendor could not be asked
impossible  the provider has no list of models
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from proxy.backends.backend import Backend
from proxy.backends.callers import Caller
from proxy.catalogue import list_url
from proxy.config.secrets import Secret
from proxy.model_lists import LIST_S, KeyRefused, NoList, page_of
from proxy.providers import ProviderSpec
from proxy.setup import Key, new_backend


async def check_key(spec: ProviderSpec, secret: Secret, caller: Caller, clean: Callable[[str], str]) -> dict[str, Any]:
    """`status` as above, where was asked, and in the vendor's words why not."""
    source = list_url(spec)
    if spec.backend != "http" or not source or not spec.base_url:
        return _told("impossible", "", f"{spec.title} has no list of models that can be asked for")
    backend = new_backend(spec, caller)
    try:
        async with asyncio.timeout(LIST_S):
            await _ask(spec, backend, Key(0, secret.reveal()), clean)
            proven = await _refuses_strangers(spec, backend, clean)
    except KeyRefused as error:
        return _told("refused", source, str(error))
    except NoList as error:
        return _told("failed", source, str(error))
    except TimeoutError:
        return _told("failed", source, f"no answer came within {LIST_S:g} s")
    finally:
        await backend.close()
    if not proven:
        return _told("unproven", source, f"{spec.title} lists its models to anybody")
    return _told("ok", source)


async def _refuses_strangers(spec: ProviderSpec, backend: Backend, clean: Callable[[str], str]) -> bool:
    try:
        await _ask(spec, backend, None, clean)
    except NoList:
        return True
    return False


async def _ask(spec: ProviderSpec, backend: Backend, key: Key | None, clean: Callable[[str], str]) -> None:
    await page_of(spec, backend, key, spec.path(spec.dialect, "", "models"), clean)


def _told(status: str, source: str, error: str | None = None) -> dict[str, Any]:
    return {"status": status, "asked": source or None, "error": error}
