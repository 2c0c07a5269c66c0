"""Questions to the running server: `ask`, and the tiny one of `test`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import typer

from proxy.cli.client import Refused, Reply, Server, told
from proxy.cli.config import probe_model
from proxy.cli.options import Asked, command
from proxy.cli.reports import first_model
from proxy.cli.terminal import note, write, write_json

TEST_TOKENS: Final = 16
ANSWER_S: Final = 600
TEST_S: Final = 90
RECEIPT: Final = ": modelport "
"""How the closing comment of a stream begins."""

app = typer.Typer()

Model = Annotated[str | None, typer.Option("--model", "-m", metavar="NAME", help="Route or model to ask.")]


@app.command()
@command
def ask(
    question: Annotated[str, typer.Argument(help="What to ask; - reads it from standard input.")],
    *,
    model: Model = None,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Wait for the whole answer.")] = False,
    asked: Asked,
) -> None:
    """Ask one question through the running server."""
    put(asked.server(), question, model, stream=not no_stream, as_json=asked.as_json)


@app.command("test")
@command
def try_provider(
    provider: Annotated[str, typer.Argument(help="Name of a provider.")],
    *,
    model: Model = None,
    asked: Asked,
) -> None:
    """Send a provider a tiny request through the running server, and say what it cost."""
    model = model or probe_model(provider, asked)
    try_out(asked.server(), provider, model, as_json=asked.as_json)


@dataclass(slots=True)
class Answered:
    """What an answer was and what it took. *cost_usd* is None while nobody knows."""

    target: str
    text: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    cost_usd: str | None = None

    def receipt(self) -> str:
        """One line: who answered, tokens, cost."""
        tokens = f"{self.usage.get('prompt_tokens', '?')} tokens in, {self.usage.get('completion_tokens', '?')} out"
        return f"{self.target}: {tokens}, {f'{self.cost_usd} USD' if self.cost_usd else 'cost unknown'}"


def put(server: Server, question: str, model: str | None, *, stream: bool, as_json: bool) -> None:
    """Write the answer to standard output and the receipt to standard error. Raises Refused."""
    text = sys.stdin.read() if question == "-" else question
    body = {"model": model or first_model(server), "messages": [{"role": "user", "content": text}]}
    if stream and not as_json:
        answered = _streamed(server, body)
        write("")
    else:
        reply = server.ask("POST", "/v1/chat/completions", body, timeout_s=ANSWER_S).ok()
        answered = _whole(reply)
        if as_json:
            write_json(reply.json())
        else:
            write(answered.text)
    note(answered.receipt())


def try_out(server: Server, provider: str, model: str | None, *, as_json: bool) -> None:
    """Ask *provider* for a word, past the cache. Raises Refused when it does not answer."""
    target = f"{provider}/{model or _listed_model(server, provider)}"
    body = {
        "model": target,
        "messages": [{"role": "user", "content": "Say OK."}],
        "max_completion_tokens": TEST_TOKENS,
    }
    began = time.monotonic()
    headers = {"x-modelport-cache": "no-cache"}
    reply = server.ask("POST", "/v1/chat/completions", body, headers=headers, timeout_s=TEST_S)
    took_s = time.monotonic() - began
    if reply.status >= 400:
        raise Refused(f"{target} failed after {took_s:.2f} s with {reply.status}: {told(reply.body)}")
    answered = _whole(reply)
    if as_json:
        usage = {name: answered.usage.get(name) for name in ("prompt_tokens", "completion_tokens")}
        write_json(
            {"target": answered.target, "ok": True, "took_s": round(took_s, 3), **usage, "cost_usd": answered.cost_usd}
        )
        return
    write(f"ok in {took_s:.2f} s  {answered.receipt()}")


def _listed_model(server: Server, provider: str) -> str:
    listed = server.get("/v1/models").ok().json().get("data") or []
    for each in listed:
        name = str(each.get("id"))
        if name.startswith(f"{provider}/"):
            return name.partition("/")[2]
        if each.get("owned_by") == provider:
            return name
    raise Refused(f"the server lists no model of {provider}; name one with --model")


def _whole(reply: Reply) -> Answered:
    completion = reply.json()
    choices = completion.get("choices") or [{}]
    message = choices[0].get("message") or {}
    return Answered(
        target=reply.headers.get("x-modelport-target", str(completion.get("model"))),
        text=str(message.get("content") or message.get("refusal") or ""),
        usage=completion.get("usage") or {},
        cost_usd=reply.headers.get("x-modelport-cost-usd"),
    )


def _streamed(server: Server, body: Mapping[str, Any]) -> Answered:
    asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
    answered = Answered(target=str(body["model"]))
    ended = False
    for line in server.stream("/v1/chat/completions", asked, timeout_s=ANSWER_S):
        if isinstance(line, Reply):
            answered.target = line.ok().headers.get("x-modelport-target", answered.target)
        elif line.startswith(RECEIPT):
            cost = _json(line.removeprefix(RECEIPT)).get("cost_usd")
            answered.cost_usd = None if cost is None else str(cost)
        elif line.startswith("data:"):
            text = line.removeprefix("data:").strip()
            ended = ended or text == "[DONE]"
            _take(answered, _json(text))
    if not ended:
        raise Refused("\nthe answer broke off")
    return answered


def _take(answered: Answered, chunk: Mapping[str, Any]) -> None:
    if "error" in chunk:
        sys.stdout.flush()
        raise Refused(f"\nthe answer broke off: {told(json.dumps(chunk).encode())}")
    answered.usage = chunk.get("usage") or answered.usage
    for choice in chunk.get("choices") or []:
        delta = choice.get("delta") or {}
        piece = delta.get("content") or delta.get("refusal") or ""
        answered.text += piece
        sys.stdout.write(piece)
        sys.stdout.flush()


def _json(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
