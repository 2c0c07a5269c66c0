"""What is measured: how each server is started, and how it is asked. A new one is a function and its row in TARGETS.

Peers are measured where they are installed: by their command on the PATH. `--other NAME='command {port} {upstream}'`
adds any other that answers /v1/chat/completions.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
MODEL: Final = "gpt-4o-mini"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a target runs: its port, the provider's address (with /v1), and a folder of its own."""

    port: int
    upstream: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Target:
    """A server. *command* is empty for the provider itself."""

    command: list[str]
    path: str = "/v1/chat/completions"
    model: str = MODEL
    headers: list[str] = field(default_factory=list)
    environment: Mapping[str, str] = field(default_factory=dict)
    streams: bool = True


def direct(_place: Place) -> Target:
    """Load and provider alone: what this machine can do at all."""
    return Target([])


def nginx(place: Place) -> Target | None:
    """A plain reverse proxy, the practical limit. It reads no JSON."""
    if not (command := shutil.which("nginx")):
        return None
    place.folder.joinpath("nginx.conf").write_text(
        f"""worker_processes 1; daemon off; pid {place.folder}/nginx.pid; error_log {place.folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 64m; client_body_buffer_size 4m; keepalive_requests 10000000;
  client_body_temp_path {place.folder}/body; proxy_temp_path {place.folder}/proxy;
  fastcgi_temp_path {place.folder}/f; uwsgi_temp_path {place.folder}/u; scgi_temp_path {place.folder}/s;
  upstream provider {{ server {place.upstream.split("/")[2]}; keepalive 512; keepalive_requests 10000000; }}
  server {{
    listen 127.0.0.1:{place.port};
    location / {{
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}""",
        "utf-8",
    )
    return Target(
        [command, "-p", str(place.folder), "-c", f"{place.folder}/nginx.conf", "-e", f"{place.folder}/error.log"]
    )


def bare(place: Place) -> Target:
    """An aiohttp application that passes everything on with aiohttp's client."""
    return Target([sys.executable, str(HERE / "bare.py"), str(place.port), place.upstream])


def litellm(place: Place) -> Target | None:
    """LiteLLM's proxy with its production settings, without a database."""
    if not (command := shutil.which("litellm")):
        return None
    place.folder.joinpath("litellm.yaml").write_text(
        f"""model_list:
  - model_name: {MODEL}
    litellm_params: {{model: openai/{MODEL}, api_base: "{place.upstream}", api_key: sk-x}}
litellm_settings: {{set_verbose: false, num_retries: 0}}
""",
        "utf-8",
    )
    settings = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    arguments = ["--config", f"{place.folder}/litellm.yaml", "--host", "127.0.0.1", "--port", str(place.port)]
    return Target([command, *arguments], environment=settings)


def ours(place: Place, cache: str = "off", dialect: str = "openai_chat") -> Target:
    """Modelport with everything on: a virtual key, the strict ledger, metrics, health."""
    command, key = prepared(place.folder, cache=cache, dialect=dialect)
    own = {"MODELPORT__PROVIDERS__BENCH__BASE_URL": place.upstream.removesuffix("/v1" * (dialect == "anthropic"))}
    arguments = ["--config", f"{place.folder}/modelport.toml", "--port", str(place.port)]
    return Target([*command, "serve", *arguments], headers=[f"authorization: Bearer {key}"], environment=own)


def prepared(folder: Path, cache: str = "off", dialect: str = "openai_chat") -> tuple[list[str], str]:
    """The command `modelport`, and a virtual key for the configuration and database that now stand in *folder*."""
    folder.joinpath("modelport.toml").write_text(
        f"""[auth]
required = true
master_key = "file:master-key"
[storage]
path = "ledger.sqlite3"
[cache]
mode = "{cache}"
[providers.bench]
dialect = "{dialect}"
base_url = "http://127.0.0.1:1/v1"
keys = ["file:provider-key"]
models = ["{MODEL}"]
price = {{ input = "0.15", output = "0.6" }}
""",
        "utf-8",
    )
    folder.joinpath("provider-key").write_text("sk-none\n", "utf-8")
    folder.joinpath("master-key").write_text(f"{token_hex(24)}\n", "utf-8")
    for old in folder.glob("ledger.sqlite3*"):
        old.unlink()
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from proxy.cli import main; main()",
    ]
    create = ["keys", "create", "--name", "bench", "--config", str(folder / "modelport.toml")]
    said = subprocess.run([*command, *create], capture_output=True, text=True, check=True, cwd=folder)
    return command, next(word for word in said.stdout.split() if word.startswith("mp-"))


def other(command: str) -> Callable[[Place], Target]:
    """What `--other NAME=command` names."""
    return lambda place: Target(shlex.split(command.format(port=place.port, upstream=place.upstream, dir=place.folder)))


TARGETS: dict[str, Callable[[Place], Target | None]] = {
    "direct": direct,
    "nginx": nginx,
    "bare": bare,
    "litellm": litellm,
    "ours": ours,
    "ours_cached": lambda place: ours(place, cache="all"),
    "ours_translating": lambda place: ours(place, dialect="anthropic"),
}


def environment_of(target: Target, place: Place) -> dict[str, str]:
    """What a target's process finds in its environment."""
    return {**os.environ, "HOME": str(place.folder), "XDG_DATA_HOME": str(place.folder), **target.environment}
