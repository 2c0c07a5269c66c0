"""Providers: the shipped rows (providers.toml) merged with the user's sections.

A provider that cannot be used is there, too, with the reason in `why_off`.
Order: the configured ones as the file has them, then the other shipped rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from proxy.backends.backend import Operation, Timeouts
from proxy.config.model import LimitSettings, ListSettings, PriceSettings, ProviderSettings, Settings, TimeoutSettings
from proxy.config.quirks import quirks
from proxy.config.secrets import BadSecret, NoSecret, Secret
from proxy.config.shipped import dialects, rows
from proxy.credentials import StoredKeys
from routing.catalog import Overlay, rules_for
from routing.pricing import Price, Tariff
from routing.queueing import Rates

if TYPE_CHECKING:
    from proxy.backends.llamacpp import LocalModel
    from translators.dialect import Rules

BackendKind = Literal["http", "llamacpp", "demo"]
ANY_MODEL: Final = "*"
COMPLETIONS: Final = "openai_completions"
"""The dialect of OpenAI's older completions: spoken by single models, so it never stands in `also_speaks`."""
EMBEDDING_DIALECTS: Final[Mapping[str, str]] = {
    "openai_chat": "openai_chat",
    "openai_responses": "openai_chat",
    "gemini": "gemini",
    "llamacpp": "llamacpp",
}
"""In which form a server of a dialect is asked for embeddings, unless its row or section says otherwise."""
LOCAL_QUIRKS: Final = {"image_urls": False, "file_urls": False}
"""Of a server of one's own on this machine or in its network, as vLLM and llama-server are: it is never sent an address
to fetch (WIRE 127)."""
LOCAL_INPUTS: Final = 256
"""Inputs in one call to a local model: others get their turn between the calls."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a provider is asked for at most; None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None
    queue: int = 256
    queue_s: float = 30
    per_key: Rates = field(default_factory=Rates)
    """What is asked with one key at most."""


@dataclass(frozen=True, slots=True)
class EmbeddingWay:
    """How a provider is asked for embeddings; *dialect* is empty where it cannot be.

    *base_url* and *path* are empty where the provider's own and the dialect's hold. *rules* are fields of
    `translators.embeddings.EmbeddingRules`.
    """

    dialect: str = ""
    base_url: str = field(default="", repr=False)
    path: str = ""
    rules: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """One provider, ready for use.

    *models* are names, *patterns* globs of bare names that lead here as well. *price* maps model names and globs to
    prices and is empty where the catalog decides; *price_source* is the provider's id there. *quirks* are fields of
    Rules; *model_quirks* stand in their place for single models. *base_url* is empty for a provider without network.
    """

    name: str
    title: str
    dialect: str
    backend: BackendKind
    base_url: str = field(default="", repr=False)
    auth: str = "none"
    keys: tuple[Secret, ...] = ()
    weights: tuple[int, ...] = ()
    """Each key's share of the load."""
    models: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: Limits = field(default_factory=Limits)
    quirks: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    price: Mapping[str, tuple[Tariff, ...]] = field(default_factory=dict)
    price_source: str | None = None
    discount: Decimal = Decimal(0)
    """What is taken off the shipped prices."""
    chat_path: str = ""
    stream_path: str = ""
    also_speaks: tuple[str, ...] = ()
    model_quirks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    local_models: Mapping[str, LocalModel] = field(default_factory=dict)
    probe_model: str | None = None
    probe_interval_s: float | None = None
    """After so long without a request it is asked whether it answers; None: never."""
    probes_per_day: int = 0
    embeddings: EmbeddingWay = field(default_factory=EmbeddingWay)
    completions: tuple[str, ...] = ()
    """Globs of the models that have the older completions endpoint."""
    models_path: str = ""
    """Where its models are listed; empty where no list is of use."""
    names_its_models: bool = False
    """Whether the section says which models are offered, so that the vendor's own list adds none."""
    docs: str = ""
    configured: bool = False
    why_off: str = ""
    overlay: Overlay = field(default_factory=Overlay, repr=False, compare=False)
    """What is known of single models beyond the shipped rows: from the vendor's list, and from its refusals."""

    @property
    def enabled(self) -> bool:
        """Whether requests may go here."""
        return not self.why_off

    @property
    def one_at_a_time(self) -> bool:
        """Whether a model answers one request after the other, so that calls side by side would wait for each other."""
        return self.backend == "llamacpp"

    def rules(self, model: str, dialect: str = "") -> Rules:
        """What requests for *model* may hold: the dialect's and the model's rules, then this provider's quirks."""
        known = self.overlay.of(self.name, model)
        return rules_for(dialect or self.dialect, model, self.model_quirks.get(model, self.quirks), known)

    def path(self, dialect: str, model: str, operation: Operation = "generate", *, stream: bool = False) -> str:
        """Where *dialect* posts an *operation*, below the base URL; empty where it has none."""
        if operation == "models" and dialect == self.dialect:
            return self.models_path
        if operation != "generate":
            path: str = dialects()[dialect].get(f"{operation}_path", "")
        elif dialect == self.dialect:
            path = self.stream_path if stream else self.chat_path
        else:
            ways = dialects()[dialect]
            path = ways.get("stream_path", ways["chat_path"]) if stream else ways["chat_path"]
        return path.replace("{model}", quote(model, safe=""))

    @property
    def speaks(self) -> tuple[str, ...]:
        """Every dialect in which the server can be asked, its own first."""
        return (self.dialect, *self.also_speaks)

    def speaks_for(self, model: str) -> tuple[str, ...]:
        """Every dialect in which *model* can be asked, the server's own first."""
        has_completions = any(fnmatchcase(model, pattern) for pattern in self.completions)
        return (*self.speaks, COMPLETIONS) if has_completions else self.speaks

    def why_no_embeddings(self, model: str) -> str:
        """Why *model* cannot be asked for embeddings; empty when it can."""
        if not self.embeddings.dialect:
            return f"{self.title} has no embeddings"
        local = self.local_models.get(model)
        return (
            "it is loaded for chat (embedding = true loads a model for embeddings)"
            if (local and not local.embedding)
            else ""
        )

    def offers(self, model: str) -> bool:
        """Whether a bare *model* name leads here."""
        return model in self.models or any(fnmatchcase(model, pattern) for pattern in self.patterns)

    def price_of(self, model: str) -> tuple[Tariff, ...] | None:
        """The configured price: that of the name itself, else of the first glob that fits."""
        exact = self.price.get(model)
        return exact or next((price for glob, price in self.price.items() if fnmatchcase(model, glob)), None)


def providers(
    settings: Settings,
    environ: Mapping[str, str],
    overlay: Overlay | None = None,
    stored: StoredKeys | None = None,
) -> dict[str, ProviderSpec]:
    """All providers by name, in order; *overlay* is what is known of their models beside the configuration.

    *stored* are the keys in the database. Without it nobody has looked: what refers to one is taken to be there.
    """
    shipped = rows()
    names = dict.fromkeys([*settings.providers, *shipped, *(stored.providers if stored else ())])
    specs = {name: _spec(name, shipped.get(name, {}), settings.providers.get(name), environ, stored) for name in names}
    known, routed = overlay or Overlay(), _first_routed(settings)
    return {
        name: replace(spec, overlay=known, probe_model=spec.probe_model or routed.get(name))
        for name, spec in specs.items()
    }


def _first_routed(settings: Settings) -> dict[str, str]:
    """The model of each provider that the first route with one of its targets names."""
    found: dict[str, str] = {}
    for route in settings.routes.values():
        for each in route.weighted:
            provider, _, model = each.target.partition("/")
            found.setdefault(provider, model)
    return found


def call_url(spec: ProviderSpec, path: str) -> str:
    """Where a call to *path* goes. A base URL that ends as the path begins (`/v1`) is not doubled.

    A *path* that is a whole address is one: a vendor may have its embeddings elsewhere.
    """
    if path.startswith(("https://", "http://")):
        return path
    first = path.split("/", 2)[1] if path.startswith("/") else ""
    base = spec.base_url.removesuffix(f"/{first}") if first and path.count("/") > 1 else spec.base_url
    return base + path


def _spec(
    name: str,
    row: Mapping[str, Any],
    section: ProviderSettings | None,
    environ: Mapping[str, str],
    stored: StoredKeys | None,
) -> ProviderSpec:
    own = _with_stored_address(name, row, section or ProviderSettings.model_construct(), stored)
    dialect = own.dialect or row.get("dialect", "openai_chat")
    ways = dialects()[dialect] if dialect != row.get("dialect") else {**dialects()[dialect], **row}
    backend: BackendKind = "llamacpp" if dialect == "llamacpp" else row.get("backend", "http")
    from_environment = _address(row, environ)
    base_url = own.base_url or from_environment or row.get("base_url", "")
    keys, missing = _keys(row, own, environ)
    keys = stored.beside(name, keys) if stored else keys
    models = tuple(row.get("models", ()) if own.models is None else own.models)
    has_keys = bool(keys or own.keys or (stored and name in stored.providers))
    auth = own.auth or (ways["auth"] if row or has_keys or missing else "none")
    chat_path = own.chat_path or ways["chat_path"]
    why_off = _why_off(row, own, keys, missing, configured=section is not None, addressed=bool(from_environment))
    if stored and not keys and not why_off and own.auth != "none":
        why_off = stored.why_none(name)
    awaited = own.added_later and backend == "http" and not row and not base_url
    if awaited:
        why_off = "it is to be added at run time and was not: POST /api/v1/llm/providers"
    elif own.enabled and backend == "http" and not base_url:
        addressless = f"no base_url: set {' or '.join(row.get('base_url_env', ()))}"
        why_off = f"{why_off}; {addressless}" if why_off else addressless
    near = LOCAL_QUIRKS if _is_local(base_url) else {}
    own_quirks = quirks({**near, **row.get("quirks", {}), **own.quirks})
    local_models = _local_models(own)
    return ProviderSpec(
        name=name,
        title=row.get("title", name),
        dialect=dialect,
        backend=backend,
        base_url=base_url,
        auth=auth,
        keys=keys,
        weights=tuple(stored.weight(secret) for secret in keys) if stored else (),
        models=models,
        patterns=tuple(row.get("patterns", ()) if own.patterns is None else own.patterns),
        timeouts=_timeouts(ways.get("timeouts", {}), own.timeouts),
        limits=_limits(own.limits),
        quirks=own_quirks,
        model_quirks={model: {**own_quirks, **each.quirks()} for model, each in local_models.items()},
        headers={**row.get("headers", {}), **_headers(own, stored)},
        price=_price(ways, own),
        price_source=row.get("price_source"),
        discount=Decimal(own.discount or 0),
        chat_path=chat_path,
        stream_path=own.stream_path or own.chat_path or ways.get("stream_path", chat_path),
        also_speaks=_also_speaks(row, own, dialect),
        local_models=_local_models(own),
        embeddings=_embeddings(row if dialect == row.get("dialect") else {}, own, dialect),
        completions=_completions(row if dialect == row.get("dialect") else {}, own),
        models_path=_models_path(row if dialect == row.get("dialect") else {}, own, dialect)
        if backend == "http"
        else "",
        names_its_models=own.models is not None,
        probe_interval_s=own.probe_interval_s,
        probes_per_day=own.probes_per_day,
        probe_model=own.probe_model or (models[0] if own.models and models else row.get("probe_model")),
        docs=row.get("docs", ""),
        configured=section is not None and not awaited,
        why_off=why_off,
    )


def _with_stored_address(
    name: str, row: Mapping[str, Any], own: ProviderSettings, stored: StoredKeys | None
) -> ProviderSettings:
    """*own* with what stands beside the provider's stored keys, where the configuration says nothing of it."""
    base_url, dialect = stored.address(name) if stored else (None, None)
    said = {"base_url": None if row.get("base_url") else base_url, "dialect": None if row else dialect}
    update = {field: value for field, value in said.items() if value and getattr(own, field) is None}
    return own.model_copy(update=update) if update else own


def _headers(own: ProviderSettings, stored: StoredKeys | None) -> dict[str, str]:
    found = {header: stored.found(secret) if stored else secret for header, secret in own.headers.items()}
    return {
        header: secret.reveal()
        for header, secret in found.items()
        if secret and not (stored is None and secret.stored_name)
    }


def _also_speaks(row: Mapping[str, Any], own: ProviderSettings, dialect: str) -> tuple[str, ...]:
    """What the section says; the row's, where the section leaves the server as the row has it."""
    if own.also_speaks is not None:
        return tuple(other for other in own.also_speaks if other != dialect)
    return tuple(row.get("also_speaks", ())) if dialect == row.get("dialect") else ()


def _embeddings(row: Mapping[str, Any], own: ProviderSettings, dialect: str) -> EmbeddingWay:
    """The section's words over the row's, over the dialect's."""
    said: dict[str, Any] = dict(row.get("embeddings", {}))
    if own.base_url is not None and "base_url" in said:
        said = {}  # the row's second address is the vendor's; who names another server says what it has
    if own.embeddings is not None:
        said.update(own.embeddings.model_dump(exclude_none=True))
    speaks = (dialect, *_also_speaks(row, own, dialect))
    spoken = next((EMBEDDING_DIALECTS[each] for each in speaks if each in EMBEDDING_DIALECTS), "")
    named, base_url, path = (said.pop(name, "") for name in ("dialect", "base_url", "path"))
    if spoken == "llamacpp":
        said.setdefault("max_inputs", LOCAL_INPUTS)
    if "refuses" in said:
        said["refuses"] = frozenset(said["refuses"])
    return EmbeddingWay() if named == "none" else EmbeddingWay(named or spoken, base_url, path, said)


def _completions(row: Mapping[str, Any], own: ProviderSettings) -> tuple[str, ...]:
    said = row.get("completions", False) if own.completions is None else own.completions
    if isinstance(said, bool):
        return (ANY_MODEL,) if said else ()
    return tuple(said)


def _models_path(row: Mapping[str, Any], own: ProviderSettings, dialect: str) -> str:
    """The row's, else the dialect's. A second address is the vendor's: another server is not asked there."""
    said: str | None = row.get("models_path")
    if said is None or (said.startswith("https://") and own.base_url is not None):
        return str(dialects()[dialect].get("models_path", ""))
    return said


def _local_models(own: ProviderSettings) -> dict[str, LocalModel]:
    if not isinstance(own.models, dict):
        return {}
    from proxy.backends.llamacpp import LocalModel  # only where a local model is configured

    return {name: LocalModel(**settings.model_dump()) for name, settings in own.models.items()}


def _keys(
    row: Mapping[str, Any], own: ProviderSettings, environ: Mapping[str, str]
) -> tuple[tuple[Secret, ...], tuple[str, ...]]:
    """The keys, and the variables that would have had one."""
    if own.keys is not None:
        return own.keys, () if own.keys else ("keys",)
    for variable in row.get("key_env", ()):
        try:
            return (Secret.written(f"env:{variable}").resolved(environ, Path()),), ()
        except (NoSecret, BadSecret):
            continue
    return (), tuple(row.get("key_env", ()))


def _why_off(
    row: Mapping[str, Any],
    own: ProviderSettings,
    keys: tuple[Secret, ...],
    missing: tuple[str, ...],
    *,
    configured: bool,
    addressed: bool,
) -> str:
    """Why the provider cannot be used; empty when it can."""
    if not own.enabled:
        return "switched off in the configuration"
    if keys or own.auth == "none" or row.get("backend") == "demo":
        return ""
    if own.keys is not None:
        return "none of its keys is set"
    if row.get("keyless"):
        names = " or ".join(row.get("base_url_env", ()))
        return "" if configured or addressed else f"not configured: set {names} or add a section"
    # A section that names another server than the vendor's own may mean one that wants no key.
    if not missing or own.base_url:
        return ""
    return f"no key: set {' or '.join(missing)}"


def _limits(own: LimitSettings) -> Limits:
    each = own.per_key
    return Limits(
        own.requests_per_minute,
        own.tokens_per_minute,
        own.concurrent,
        own.queue,
        own.queue_s,
        Rates(each.requests_per_minute, each.tokens_per_minute, each.concurrent),
    )


def _timeouts(row: Mapping[str, float], own: TimeoutSettings) -> Timeouts:
    clocks = {**row, **own.model_dump(exclude_none=True)}
    if "first_event_s" in clocks and "whole_answer_s" not in clocks:
        clocks["whole_answer_s"] = clocks["first_event_s"]
    return Timeouts(**clocks)


def _price(row: Mapping[str, Any], own: ProviderSettings) -> dict[str, tuple[Tariff, ...]]:
    match own.price:
        case None:
            shipped = row.get("price")
            return {ANY_MODEL: (Tariff(Price.of(shipped)),)} if shipped else {}
        case PriceSettings():
            return {ANY_MODEL: _tariffs(own.price)}
        case tables:
            return {model: _tariffs(price) for model, price in tables.items()}


def _tariffs(price: PriceSettings) -> tuple[Tariff, ...]:
    return (_tariff(price, None), *(_tariff(later, _moment(later.valid_from)) for later in price.changes))


def _tariff(settings: ListSettings, since: datetime | None) -> Tariff:
    tiers = [{"above": tier.above, **tier.rates()} for tier in settings.tiers]
    served: dict[str, Decimal | Price] = {
        word: Decimal(own) if isinstance(own, str) else Price.of(own.rates()) for word, own in settings.served.items()
    }
    return Tariff(Price.of({**settings.rates(), "tiers": tiers}), served, since)


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _address(row: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """The base URL that a variable of the row gives: `127.0.0.1:11434`, `https://NAME.openai.azure.com`."""
    given: str = next((environ[name] for name in row.get("base_url_env", ()) if environ.get(name, "").strip()), "")
    text = given.strip()
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        host, port = parts.hostname, parts.port or (row.get("port") if parts.scheme == "http" else None)
    except ValueError:  # a port that is no number
        return ""
    if not host:
        return ""
    # A server's own variable may say where it listens; "everywhere" is no place to call.
    name = "127.0.0.1" if host in {"0.0.0.0", "::"} else f"[{host}]" if ":" in host else host  # noqa: S104 -- compared
    path: str = parts.path.rstrip("/") or row.get("base_url_suffix", "")
    return urlunsplit((parts.scheme, f"{name}:{port}" if port else name, path, "", ""))


def _is_local(base_url: str) -> bool:
    """Whether *base_url* leads to this machine or to a private address."""
    host = urlsplit(base_url).hostname or ""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal"))
