"""`modelport route`: `/api/v1/routes` as tables: list, show, set, reset, explain."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

import typer

from proxy.cli.client import Refused, Server, table
from proxy.cli.options import Asked, command
from proxy.cli.terminal import write, write_json, write_table

PATH: Final = "/api/v1/routes"
EXPLAIN_S: Final = 30

app = typer.Typer()
route_app = typer.Typer(help="Routes: their policies, and why a request goes where it goes.", no_args_is_help=True)
app.add_typer(route_app, name="route")

RouteName = Annotated[str, typer.Argument(metavar="ROUTE", help="Name of a configured route.")]


@route_app.command("list")
@command
def route_list(asked: Asked) -> None:
    """List the routes with the policy in force and the order that it gives."""
    with asked.administered() as server:
        list_all(server, as_json=asked.as_json)


@route_app.command("show")
@command
def route_show(name: RouteName, asked: Asked) -> None:
    """Show one route."""
    with asked.administered() as server:
        show(server, name, as_json=asked.as_json)


@route_app.command("set")
@command
def route_set(
    name: RouteName,
    policy: Annotated[str, typer.Argument(metavar="POLICY", help="failover, cost, latency, balanced, ...")],
    asked: Asked,
) -> None:
    """Give a route another policy. It stands over the configuration, also after a restart, until it is reset."""
    with asked.administered() as server:
        choose(server, name, policy, as_json=asked.as_json)


@route_app.command("reset")
@command
def route_reset(name: RouteName, asked: Asked) -> None:
    """Let the configuration's policy be in force again."""
    with asked.administered() as server:
        reset(server, name, as_json=asked.as_json)


@route_app.command("explain")
@command
def route_explain(
    request: Annotated[
        str | None, typer.Argument(metavar="REQUEST", help="A request as JSON, in a file; - reads standard input.")
    ] = None,
    *,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="Route or model. Default: the request's.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="A question, in the place of a request.")] = None,
    dialect: Annotated[
        str,
        typer.Option(
            "--dialect", metavar="NAME", help="Of the request: openai_chat, openai_responses, anthropic, gemini."
        ),
    ] = "openai_chat",
    asked: Asked,
) -> None:
    """Say which targets would be asked, in which order, and why. Nobody is asked."""
    with asked.administered() as server:
        explain(server, request, model=model, text=text, dialect=dialect, as_json=asked.as_json)


def list_all(server: Server, *, as_json: bool) -> None:
    """GET /api/v1/routes."""
    answer = table(server.get(PATH).ok().json())
    if as_json:
        write_json(answer)
        return
    routes = [table(each) for each in answer.get("data") or []]
    if not routes:
        write("no routes are configured; see docs/routing.md")
        return
    write_table(
        ("route", "policy", "chosen by", "order"),
        [
            (
                each.get("name"),
                each.get("policy"),
                table(each.get("chosen")).get("by") or "configuration",
                ", ".join(each.get("order") or ["nobody: every provider is off"]),
            )
            for each in routes
        ],
    )


def show(server: Server, name: str, *, as_json: bool) -> None:
    """GET /api/v1/routes/{name}."""
    _write(table(server.get(_path(name)).ok().json()), as_json=as_json)


def choose(server: Server, name: str, policy: str, *, as_json: bool) -> None:
    """POST /api/v1/routes/{name}: another policy, from now on."""
    _write(table(server.ask("POST", _path(name), {"policy": policy}).ok().json()), as_json=as_json)


def reset(server: Server, name: str, *, as_json: bool) -> None:
    """DELETE /api/v1/routes/{name}: the configuration's policy again."""
    _write(table(server.ask("DELETE", _path(name)).ok().json()), as_json=as_json)


def explain(
    server: Server, source: str | None, *, model: str | None, text: str | None, dialect: str, as_json: bool
) -> None:
    """POST /api/v1/routes/{name}/explain. Raises Refused when there is nothing to explain."""
    body = _request(source, text)
    name = model or body.get("model")
    if not isinstance(name, str) or not name:
        raise Refused("no route is named: give --model NAME, or a request with a model")
    query = urlencode({"dialect": dialect})
    answer = table(server.ask("POST", f"{_path(name)}/explain?{query}", body, timeout_s=EXPLAIN_S).ok().json())
    if as_json:
        write_json(answer)
        return
    write(f"{answer.get('route')}: {answer.get('policy')}, about {answer.get('input_tokens')} tokens in")
    if answer.get("refused"):
        write(f"refused: {answer['refused']}")
    candidates = [table(each) for each in answer.get("candidates") or []]
    write_table(
        ("", "target", "score", "cost USD", "ms", "reliable", "why"),
        [
            (
                each.get("place") or "out",
                each.get("target"),
                _number(each.get("score")),
                each.get("cost_usd"),
                each.get("latency_ms"),
                each.get("reliability"),
                "; ".join(filter(None, (each.get("why"), each.get("held_up")))),
            )
            for each in candidates
        ],
        right=("", "score", "cost USD", "ms", "reliable"),
    )


def _request(source: str | None, text: str | None) -> dict[str, Any]:
    if source is None:
        return {"messages": [{"role": "user", "content": text or "Hello"}]}
    try:
        raw = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
        body = json.loads(raw)
    except (OSError, ValueError) as error:
        raise Refused(f"{source}: not a request as JSON ({error})") from error
    if not isinstance(body, dict):
        raise Refused(f"{source}: expected a JSON object")
    return body


def _write(route: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(route)
        return
    chosen = table(route.get("chosen"))
    by = f"chosen by {chosen.get('by')} at {chosen.get('at')}" if chosen else "as configured"
    write(f"{route.get('name')}: {route.get('policy')}, {by}")
    if chosen:
        write(f"configured: {route.get('configured_policy')}")
    targets = {each.get("target"): each for each in map(table, route.get("targets") or [])}
    order = [name for name in route.get("order") or [] if name in targets]
    write_table(
        ("", "target", "weight", "quality"),
        [
            (order.index(name) + 1 if name in order else "off", name, each.get("weight"), each.get("quality"))
            for name, each in sorted(
                targets.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)
            )
        ],
        right=("", "weight", "quality"),
    )


def _number(value: Any) -> str | None:
    return f"{value:.6g}" if isinstance(value, int | float) else None


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"
