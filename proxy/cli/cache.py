"""`modelport cache`: how full and how useful it is, removing from it, filling it, and what other words would match."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import typer

from proxy.cli.client import Refused, Server, table, told
from proxy.cli.options import Asked, command
from proxy.cli.terminal import note, write, write_json, write_table

PATH: Final = "/api/v1/cache"
WARM_S: Final = 600
"""How long one request may take."""
MAX_CONCURRENCY: Final = 64
BATCH: Final = 64
"""So many questions are embedded by one request."""
SHOWN: Final = 10
_PATHS: Final = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/{route}:generateContent",
    "openai_completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
}
"""Where the requests of the request log go, by dialect."""

app = typer.Typer()
cache_app = typer.Typer(help="Look at the cache of answers, empty it or fill it.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")


@cache_app.command("stats")
@command
def cache_stats(asked: Asked) -> None:
    """Say how full and how useful the cache is."""
    with asked.administered() as server:
        stats(server, as_json=asked.as_json)


@cache_app.command("clear")
@command
def cache_clear(asked: Asked) -> None:
    """Empty the cache."""
    with asked.administered() as server:
        clear(server, {}, as_json=asked.as_json)


@cache_app.command("purge")
@command
def cache_purge(
    *,
    tag: Annotated[str | None, typer.Option(metavar="NAME=VALUE", help="Answers with this tag.")] = None,
    route: Annotated[str | None, typer.Option(metavar="NAME", help="Answers of this route.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="PROVIDER/MODEL", help="Answers of this model.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="ID", help="Answers to this virtual key.")] = None,
    asked: Asked,
) -> None:
    """Remove answers from the cache. Of several options all have to fit."""
    named = {"tag": tag, "route": route, "model": model, "key": key}
    if not any(value is not None for value in named.values()):
        raise Refused("say what to remove: --tag, --route, --model or --key; modelport cache clear removes everything")
    with asked.administered() as server:
        clear(server, named, as_json=asked.as_json)


@cache_app.command("warm")
@command
def cache_warm(
    file: Annotated[
        Path, typer.Argument(help='JSON lines, {"path": "/v1/...", "body": {...}}, or an export of the log.')
    ],
    *,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Requests at the same time.")] = 4,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="Asked instead of the model of each request.")
    ] = None,
    asked: Asked,
) -> None:
    """Ask what is in a file, so that the answers are there. They are kept for the key that is used (MODELPORT_KEY)."""
    warm(asked.server(), file, concurrency=concurrency, model=model, as_json=asked.as_json)


@cache_app.command("semantic-report")
@command
def cache_semantic_report(
    file: Annotated[Path, typer.Argument(help='JSON lines: {"one": "...", "other": "...", "same": true}.')],
    *,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME", help="Compare by this model's embeddings, of a running server."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="From which likeness on. Default: as routes have it.")
    ] = None,
    asked: Asked,
) -> None:
    """Say how often the semantic cache would be right on labelled pairs of questions."""
    server = asked.server() if model else None
    semantic_report(server, file, model=model, threshold=threshold, as_json=asked.as_json)


def stats(server: Server, *, as_json: bool) -> None:
    """GET /api/v1/cache."""
    found = table(server.get(PATH).ok().json())
    if as_json:
        write_json(found)
        return
    write(f"{found.get('entries')} entries, {found.get('size_mb')} MB")
    write(f"{found.get('hits')} hits, {found.get('misses')} misses ({_percent(found.get('hit_rate'))} hits)")
    if found.get("saved_usd") is not None:
        write(
            f"{found['saved_usd']} USD saved; {found.get('stale_hits')} hits were stale,"
            f" {found.get('similar_hits')} the same question in other words"
        )
    columns = ("route", "model", "entries", "size_mb", "hits", "stale_hits", "similar_hits", "misses", "saved_usd")
    rows = [table(row) for row in found.get("by") or []]
    if rows:
        write_table(columns, [[row.get(name) for name in columns] for row in rows], right=columns[2:])
    if semantic := table(found.get("semantic")):
        write(
            f"semantic: {semantic.get('entries')} questions, {semantic.get('hits')} hits,"
            f" {semantic.get('guarded')} kept apart, {semantic.get('false_hits')} reported as false"
        )


def clear(server: Server, named: Mapping[str, str | None], *, as_json: bool) -> None:
    """DELETE /api/v1/cache, all of it or what is *named*."""
    query = {name: value for name, value in named.items() if value is not None}
    answer = table(server.ask("DELETE", f"{PATH}?{urlencode(query)}" if query else PATH).ok().json())
    if as_json:
        write_json(answer)
        return
    write(f"{answer.get('cleared')} entries removed")


# --- warming -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Request:
    line: int
    path: str
    body: Mapping[str, Any]


def warm(server: Server, file: Path, *, concurrency: int, model: str | None, as_json: bool) -> None:
    """Ask every request of *file*, which the server keeps. Exits with 1 when one of them failed."""
    requests = list(_requests(file, model))
    with ThreadPoolExecutor(min(concurrency, MAX_CONCURRENCY)) as pool:
        results = list(pool.map(lambda request: _ask(server, request), requests))
    ended = Counter(result for result, _ in results)
    failures = [why for _, why in results if why]
    counts = {name: ended[name] for name in ("miss", "hit", "bypass", "failed")}
    if as_json:
        write_json({"requests": len(requests), **counts, "failures": failures[:SHOWN]})
    else:
        write(f"{len(requests)} requests: {counts['miss']} asked, {counts['hit']} there already")
        if counts["bypass"]:
            note(f"{counts['bypass']} were asked, but are not for the cache (see cache.mode, temperature and seed)")
        for why in failures[:SHOWN]:
            note(why)
        if counts["failed"] > SHOWN:
            note(f"and {counts['failed'] - SHOWN} more failed")
    if counts["failed"]:
        raise typer.Exit(1)


def _ask(server: Server, request: _Request) -> tuple[str, str | None]:
    """What the cache said, or `failed` and why."""
    try:
        reply = server.ask("POST", request.path, request.body, timeout_s=WARM_S)
    except Refused as error:
        return "failed", f"line {request.line}: {error}"
    if reply.status >= 400:
        return "failed", f"line {request.line}: {reply.status}: {told(reply.body)}"
    return reply.headers.get("x-modelport-cache", "bypass"), None


def _requests(file: Path, model: str | None) -> Iterator[_Request]:
    """The requests of a file of JSON lines.

    They are `{"path": "/v1/chat/completions", "body": {...}}`, or what `modelport logs export` wrote, of which only
    what was answered counts.

    Raises:
        Refused: a line is neither.
    """
    for line, value in _lines(file):
        if "body" in value:
            path, body = value.get("path", "/v1/chat/completions"), value["body"]
        elif "request" in value:
            if value.get("status") != "ok" or not value["request"] or value.get("dialect") not in _PATHS:
                continue
            path, body = _PATHS[value["dialect"]].format(route=value.get("route")), value["request"]
        else:
            path = body = None
        if not isinstance(path, str) or not path.startswith("/v1") or not isinstance(body, dict):
            raise Refused(f'{file}, line {line}: expected {{"path": "/v1/...", "body": {{...}}}}')
        whole = {name: each for name, each in body.items() if name not in {"stream", "stream_options"}}
        yield _Request(line, path, {**whole, "model": model} if model else whole)


def _lines(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{file}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise Refused(f"{file}, line {number}: not JSON ({error})") from error
        if not isinstance(value, dict):
            raise Refused(f"{file}, line {number}: expected an object")
        yield number, value


# --- what other words would match --------------------------------------------------------------------


def semantic_report(
    server: Server | None, file: Path, *, model: str | None, threshold: float | None, as_json: bool
) -> None:
    """How often the semantic cache would be right on the labelled pairs of *file*; with *model* by its vectors."""
    from storage.semantic.report import LabelledPair, report  # with all its words, for this command alone
    from storage.semantic.store import VECTOR_THRESHOLD, WORD_THRESHOLD

    pairs = [_pair(file, line, value) for line, value in _lines(file)]
    similarities: Sequence[float | None] = [None] * len(pairs)
    if server is not None and model is not None:
        similarities = _similarities(server, model, pairs)
    default = VECTOR_THRESHOLD if model else WORD_THRESHOLD
    labelled = [LabelledPair(*pair, near) for pair, near in zip(pairs, similarities, strict=True)]
    found = report(labelled, default if threshold is None else threshold)
    figures = {
        "pairs": found.pairs,
        "same": found.same,
        "hits": found.hits,
        "false_hits": found.false_hits,
        "precision": round(found.precision, 4),
        "recall": round(found.recall, 4),
        "false_hit_rate": round(found.false_hit_rate, 4),
    }
    false = [{"one": pair.one, "other": pair.other} for pair in found.false]
    if as_json:
        write_json({**figures, "kept_apart_by": dict(found.reasons), "false": false})
        return
    write(f"{found.pairs} pairs, {found.same} of them the same question")
    write(
        f"{found.hits} hits, {found.false_hits} false: precision {found.precision:.3f}, recall {found.recall:.3f},"
        f" {_percent(found.false_hit_rate)} of the different ones hit"
    )
    write_table(("kept apart by", "pairs"), list(found.reasons.items()), right=("pairs",))
    for pair in found.false[:SHOWN]:
        write(f"false: {pair.one!r} / {pair.other!r}")


def _pair(file: Path, line: int, value: Mapping[str, Any]) -> tuple[str, str, bool]:
    one, other, same = value.get("one"), value.get("other"), value.get("same")
    if not isinstance(one, str) or not isinstance(other, str) or not isinstance(same, bool):
        raise Refused(f'{file}, line {line}: expected {{"one": "...", "other": "...", "same": true}}')
    return one, other, same


def _similarities(server: Server, model: str, pairs: Sequence[tuple[str, str, bool]]) -> list[float]:
    """The cosines of the pairs' vectors. Raises Refused."""
    from storage.semantic.similar import cosine, normalised  # as above

    texts = list(dict.fromkeys(text for one, other, _ in pairs for text in (one, other)))
    vectors: dict[str, Sequence[float]] = {}
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        asked = {"model": model, "input": batch, "encoding_format": "float"}
        answer = table(server.ask("POST", "/v1/embeddings", asked, timeout_s=WARM_S).ok().json())
        rows = [table(row).get("embedding") for row in answer.get("data") or []]
        if len(rows) != len(batch) or not all(isinstance(row, list) for row in rows):
            raise Refused(f"{model} did not give a vector for each of {len(batch)} questions")
        vectors.update(zip(batch, (normalised(row) for row in rows if isinstance(row, list)), strict=True))
    return [cosine(vectors[one], vectors[other]) for one, other, _ in pairs]


def _percent(share: Any) -> str:
    return f"{share * 100:.0f} %" if isinstance(share, int | float) else "-"
