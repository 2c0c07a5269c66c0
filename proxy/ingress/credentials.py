"""`/api/v1/credentials`: keys of providers that are stored encrypted; `/api/v1/secrets`: what they are encrypted with.

A key goes in and never comes out: answers tell it from others by a fingerprint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from itertools import count
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import Field, StringConstraints

from proxy.config.errors import nearest
from proxy.config.model import Address
from proxy.config.secrets import BadSecret, usable
from proxy.credentials import NoSealer, StoredKey
from proxy.errors import Refused, refused
from proxy.ingress.bodies import read_model
from proxy.ingress.json import json_response
from proxy.ingress.parameters import bad
from proxy.ingress.places import Body
from proxy.key_checks import check_key
from proxy.origins import moment
from proxy.sealing import CannotOpen
from proxy.server import Incoming
from proxy.services import Services
from storage.errors import Conflict

T = TypeVar("T")

HEAVIEST: Final = 1000
Slug = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
KeyText = Annotated[str, StringConstraints(min_length=6, max_length=8192)]
"""What is shorter cannot be taken out of a vendor's errors: it would be found in ordinary words."""
Weight = Annotated[int, Field(ge=1, le=HEAVIEST)]


class KeyBody(Body):
    """A key, on its way in."""

    key: KeyText = Field(description="The provider's key.", repr=False)


class NewCredential(KeyBody):
    """A key to be stored."""

    provider: Slug = Field(description="Whose key it is.")
    name: Slug | None = Field(None, description="What `stored:NAME` calls it. Default: the provider's name.")
    weight: Weight = Field(1, description="Its share of the load among the keys of its provider.")
    enabled: bool = True
    base_url: Address | None = Field(None, description="Where a provider is reached that is not known yet.")
    dialect: Literal["openai_chat", "openai_responses", "anthropic", "gemini"] | None = Field(
        None, description="What that provider speaks. Default: openai_chat."
    )


class CredentialChange(Body):
    """What can be changed of a stored key."""

    weight: Weight | None = None
    enabled: bool | None = None


async def list_credentials(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Every stored key, without the key; `?provider=` chooses."""
    wanted = incoming.http.query.get("provider")
    keys = [key for key in services.credentials.keys.all.values() if wanted in {None, key.provider}]
    return json_response({"data": [_shown(services, key) for key in keys]}, incoming.id)


async def one_credential(services: Services, incoming: Incoming) -> web.StreamResponse:
    """One stored key, without the key."""
    return json_response(_shown(services, _found(services, incoming.parameter)), incoming.id)


async def add_credential(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Store a key. It is used from the next request on."""
    body = await read_model(incoming, NewCredential)
    text = _text(body)
    _check_place(services, body)
    name = body.name or next(_names(services, body.provider))
    key = StoredKey(name, body.provider, None, body.weight, body.base_url, body.dialect, body.enabled)
    try:
        added = await _in_force(services, services.credentials.add(incoming.identity, key, text))
    except NoSealer as error:
        raise _no_sealer(error) from error
    except Conflict as error:
        told = f"name: {error}; rotate it, or choose another name"
        raise refused(409, told, param="name", code="credential_exists") from error
    return json_response(_shown(services, added), incoming.id, 201)


async def change_credential(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Switch a stored key on or off, or give it another weight."""
    key = _found(services, incoming.parameter)
    body = await read_model(incoming, CredentialChange)
    changing = services.credentials.change(incoming.identity, key.name, weight=body.weight, enabled=body.enabled)
    after = await _in_force(services, changing)
    return json_response(_shown(services, _still(after, key.name)), incoming.id)


async def remove_credential(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Forget a stored key."""
    key = _found(services, incoming.parameter)
    _still(await _in_force(services, services.credentials.remove(incoming.identity, key.name)), key.name)
    return json_response({"removed": key.name, "provider": key.provider}, incoming.id)


async def act_on_credential(services: Services, incoming: Incoming) -> web.StreamResponse:
    """`POST /api/v1/credentials/{name}/rotate` puts another key in its place; `…/check` asks the vendor about it."""
    name, _, action = incoming.parameter.partition("/")
    key = _found(services, name)
    match action:
        case "rotate":
            text = _text(await read_model(incoming, KeyBody))
            try:
                after = await _in_force(services, services.credentials.rotate(incoming.identity, name, text))
            except NoSealer as error:
                raise _no_sealer(error) from error
            return json_response(_shown(services, _still(after, name)), incoming.id)
        case "check":
            if key.secret is None:
                raise refused(409, f"the key {name} cannot be checked: {key.why_not}", code="credential_unusable")
            with services.setup.used() as setup:
                found = await check_key(setup.specs[key.provider], key.secret, services.caller, setup.redactor.clean)
            return json_response({"name": name, "provider": key.provider, **found}, incoming.id)
        case _:
            told = "there are only /api/v1/credentials/{name}/rotate and /api/v1/credentials/{name}/check"
            raise refused(404, told, kind="not_found", code="unknown_url")


async def show_secrets(services: Services, incoming: Incoming) -> web.StreamResponse:
    """With which keys the stored values are encrypted, by the keys' ids."""
    return json_response(await _sealing(services), incoming.id)


async def rotate_secrets(services: Services, incoming: Incoming) -> web.StreamResponse:
    """Encrypt every stored value anew, with the newest key."""
    try:
        resealed = await _in_force(services, services.credentials.reseal(incoming.identity))
    except NoSealer as error:
        raise _no_sealer(error) from error
    except CannotOpen as error:
        told = f"nothing has changed, as not everything can be opened: {error}"
        told += "; give the key that sealed it as [secrets] previous_key, or remove the value and store it again"
        raise refused(409, told, code="secret_unreadable") from error
    await services.keyring.renew()  # it holds sealed values in memory
    return json_response({"resealed": resealed, **await _sealing(services)}, incoming.id)


# --- what is asked ---------------------------------------------------------------------------------


def _text(body: KeyBody) -> str:
    try:
        return usable(body.key, "the key")
    except BadSecret as error:
        raise bad("key", str(error)) from error


def _check_place(services: Services, body: NewCredential) -> None:
    """Raises Refused where the key could not be used, or would be sent elsewhere than the provider's other keys."""
    spec = services.setup.specs.get(body.provider)
    if spec is None:
        if body.base_url is None:
            near = nearest(body.provider, list(services.setup.specs))
            raise bad("provider", f"{body.provider!r} is not known{near}; say with base_url where it is reached")
        _check_userinfo(body.base_url)
        return
    section = services.setup.loaded.settings.providers.get(spec.name)
    if spec.backend != "http" or (section is not None and section.auth == "none"):
        raise bad("provider", f"{spec.name} takes no key")
    if body.dialect is not None and body.dialect != spec.dialect:
        raise bad("dialect", f"{spec.name} speaks {spec.dialect}; leave it out")
    if body.base_url is not None and spec.base_url and body.base_url != spec.base_url:
        at = services.clean(spec.base_url)
        told = f"{spec.name} is reached at {at}; another address is another provider, with a name of its own"
        raise bad("base_url", told)
    if body.base_url is None and not spec.base_url:
        raise bad("base_url", f"it is not known where {spec.name} is reached")
    if body.base_url is not None:
        _check_userinfo(body.base_url)


def _check_userinfo(base_url: str) -> None:
    if "@" in urlsplit(base_url).netloc:
        raise bad("base_url", "no name and password in it: what is secret is the key")


def _names(services: Services, provider: str) -> Iterator[str]:
    """Free names for a key of *provider*: its own, then with a number."""
    taken = services.credentials.keys.all
    for number in count(1):
        name = provider if number == 1 else f"{provider}-{number}"
        if name not in taken:
            yield name


def _found(services: Services, name: str) -> StoredKey:
    return _still(services.credentials.keys.all.get(name), name)


def _still(key: StoredKey | None, name: str) -> StoredKey:
    if key is None:
        told = f"no stored key is called {name[:80]!r}"
        raise refused(404, told, kind="not_found", code="credential_not_found")
    return key


def _no_sealer(error: NoSealer) -> Refused:
    return refused(409, str(error), code="no_secret_key")


# --- what is answered ------------------------------------------------------------------------------


async def _in_force(services: Services, change: Coroutine[Any, Any, T]) -> T:
    """What *change* gives; requests are served by it from here on. It is done to its end if the client leaves."""

    async def done() -> T:
        result = await change
        services.renew_setup()
        if services.warming is None:  # it may be the first provider whose prices are shipped
            services.warm_prices()
        return result

    task = asyncio.get_running_loop().create_task(done())
    services.spawn(_ended(task))
    return await asyncio.shield(task)


async def _ended(task: asyncio.Task[Any]) -> None:
    await asyncio.wait([task])


def _shown(services: Services, key: StoredKey) -> dict[str, Any]:
    spec = services.setup.specs.get(key.provider)
    return {
        **key.shown(),
        "in_use": not key.why_not and spec is not None and spec.enabled,
        "why_not": key.why_not or (spec.why_off if spec else "") or None,
        "created_at": moment(key.created_us / 1_000_000),
        "rotated_at": moment(key.rotated_us / 1_000_000) if key.rotated_us else None,
    }


async def _sealing(services: Services) -> dict[str, Any]:
    sealer = services.sealer
    return {
        "key_id": sealer.key_id if sealer else None,
        "known": list(sealer.key_ids) if sealer else [],
        "values": await services.credentials.key_ids(),
    }
