"""What the server says when it has started: where, who answers, and a command to try."""

from __future__ import annotations

import shlex

from proxy.setup import Setup
from proxy.version import version
from translators.codec import dumps_text


def banner(setup: Setup, address: str) -> str:
    """A few lines."""
    real = [spec for spec in setup.enabled if spec.backend != "demo"]
    lines = [
        f"modelport {version()} listens on {address}  (base URL for SDKs: {address}/v1)",
        f"providers: {', '.join(spec.name for spec in setup.enabled) or 'none'}",
    ]
    if not real:
        lines.append("no provider's key is in the environment: demo answers with simulations (set OPENAI_API_KEY, ...)")
    lines.append(f"database: {setup.loaded.settings.storage.path}")
    lines.extend(f"warning: {warning}" for warning in setup.loaded.warnings)
    question = {"model": _model(setup), "messages": [{"role": "user", "content": "Hello"}]}
    key = ' -H "authorization: Bearer $MODELPORT_MASTER_KEY"' if setup.loaded.settings.auth.required else ""
    command = f"curl {reachable(address)}/v1/chat/completions -H 'content-type: application/json'{key}"
    lines.append(f"try: {command} -d {shlex.quote(dumps_text(question))}")
    return "\n".join(lines) + "\n"


def reachable(address: str) -> str:
    """*address* as this machine can ask it: "everywhere" is no place to call."""
    return address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _model(setup: Setup) -> str:
    """A model that is likely to answer: of a real provider if there is one."""
    specs = sorted(setup.enabled, key=lambda spec: spec.backend == "demo")
    return next(
        (f"{spec.name}/{model}" for spec in specs if (model := spec.probe_model or next(iter(spec.models), ""))), ""
    )
