"""Replays recorded provider traffic through a running modelport and compares what its clients get.

    python tests/replay_recordings.py FOLDER [--client C] [--provider P] [--only ID] [--split default|all|1|7|whole]
                                             [--json] [--write docs/recordings.md]

For every recording of a chat-like API a loopback upstream answers what the provider answered, cut at the split;
modelport stands between, and clients of every dialect ask: OpenAI's chat, Responses and older completions, Anthropic's
messages, Gemini's generateContent. Each must get a valid answer of its dialect with the same text, reasoning, tool
calls, reason and usage, or the fitting error; a client of the recorded dialect the very bytes.

    tests/recordings/   facts     what an answer says, and what of it each dialect can show
                        recorded  those facts in a raw recording        clients   and in a client's answer
                        asking    who asks what                         judging   what differs
                        requests  recorded requests for other vendors   page      docs/recordings.md

The recordings' form is described in the folder's README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import aiohttp

from tests.recordings.asking import CLIENTS, SHORT, Case, cases_of
from tests.recordings.clients import Got, read
from tests.recordings.facts import DIALECTS, Expected
from tests.recordings.judging import compare
from tests.recordings.page import Result, page, text_table
from tests.recordings.requests import outcomes
from tests.replay import Answer, Asked, Upstream, recorded_answer
from tests.running import Modelport

PATHS: Final = {
    "openai_chat": "/v1",
    "openai_completions": "/v1",
    "openai_responses": "/v1",
    "anthropic": "",
    "gemini": "",
}
"""What a provider's base URL adds to the upstream's."""
ENDPOINTS: Final = {
    "chat_completions": "/chat/completions",
    "completions": "/v1/completions",
    "responses": "/responses",
    "messages": "/v1/messages",
    "generate_content": ":generateContent",
    "stream_generate_content": ":streamGenerateContent?alt=sse",
}
"""How the path ends at which the upstream must be asked for a recording."""

SKIPPED: Final = {
    "chat": "Cohere's and Writer's own chat API",
    "complete": "Anthropic's former API",
    "responses_get": "OpenAI Responses, kept ones",
    "fim_completions": "Mistral's fill-in-the-middle",
    "ollama_chat": "Ollama's own API",
    "ollama_generate": "Ollama's own API",
    "ollama_info": "not a model call",
    "converse": "Bedrock",
    "converse_stream": "Bedrock",
    "invoke": "Bedrock",
    "invoke_stream": "Bedrock",
    "interactions": "Gemini Interactions",
    "embeddings": "embeddings",
    "embed": "embeddings",
    "batch_embed_contents": "embeddings",
    "rerank": "reranking",
    "models": "not a model call",
    "props": "not a model call",
    "cached_contents": "not a model call",
    "moderations": "moderation",
    "images": "pictures",
}

EXCEPTIONS: Final[Mapping[tuple[str, str], str]] = {
    ("anthropic-messages-sse-rig-3beb0c", "anthropic"): "a router's `data: [DONE]` after message_stop is left out",
    (
        "gemini-generate-content-json-prism-866dd1",
        "openai_responses",
    ): "no output item holds a sound that has no transcript",
    ("mistral-completions-sse-braintrustjs-6526a7", "openai_completions"): "chat chunks of Mistral's agents, misfiled",
    ("vertex-stream-generate-content-json-openinferenc-26591e", "gemini"): "numbers for enums, as its client had asked "
    "Vertex for; Google's SDK reads none",
    ("writer-completions-sse-openllmetry-60be40", "openai_completions"): "a stream of Writer's own form",
}
"""(recording id, client's dialect) -> why it cannot come out as the rule says."""

CONCURRENT: Final = 12
ROOM_BYTES: Final = 256 * 1024 * 1024
FINE_BYTES: Final = 8192
"""Of larger bodies only the first and last so many bytes are cut finely; the middle goes in pieces of 1 kB."""


def load(folder: Path, provider: str | None = None, only: str | None = None) -> tuple[list[Any], Counter[str]]:
    """The chat-like recordings, and how many others there are for which reason."""
    chosen, skipped = [], Counter[str]()
    for line in (folder / "index.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        if (provider and row["provider"] != provider) or (only and only not in row["id"]):
            continue
        if row["api"] in DIALECTS:
            chosen.append(json.loads((folder / row["provider"] / f"{row['id']}.json").read_text("utf-8")))
        else:
            skipped[SKIPPED.get(row["api"], f"unknown API {row['api']}")] += 1
    return chosen, skipped


def config_of(cases: Iterable[Case], upstream: Upstream) -> str:
    """A configuration with every provider of *cases* at the upstream, each with one dialect.

    Nothing is remembered: recorded ids are blackened and therefore equal, so that one recording's reasoning would be
    taken for another's, and an answer under an id that is taken would have to say that it was not kept.
    """
    apis = {case.provider: case.api for case in cases}
    rows = ["[cache]", 'mode = "off"', "[structured]", "validate_answers = false", "[memory]"]
    rows += ["reasoning = false", "responses = false", ""]
    for name, api in sorted(apis.items()):
        dialect = DIALECTS[api]
        older = dialect == "openai_completions"
        rows += [
            f"[providers.{name}]",
            f'dialect = "{"openai_chat" if older else dialect}"',
            "also_speaks = []",
            f"completions = {'true' if older else 'false'}",
            f'base_url = "{upstream.url}{PATHS[dialect]}"',
            'keys = ["env:UPSTREAM_KEY"]',
            "quirks = { image_urls = true, file_urls = true }",  # it stands for the vendor, wherever it listens
            "",
        ]
    return "\n".join(rows)


async def ask(session: aiohttp.ClientSession, url: str, case: Case) -> Got:
    """Send the request of *case* and read the whole answer."""
    async with session.post(f"{url}{case.path}", json=case.request()) as answer:
        body = await answer.read()
        named = {name.lower(): value for name, value in answer.headers.items()}
        got = Got(answer.status, named, body, wants_usage=case.wants_usage)
    read(got, case.client, case.stream)
    return got


# --- the run -----------------------------------------------------------------------------------------


def _finely(answer: Answer) -> Answer:
    """*answer* with the fine cuts only at both ends when it is large."""
    size, length = answer.split, len(answer.body)
    if not isinstance(size, int) or length <= 2 * FINE_BYTES:
        return answer
    places = [*range(size, FINE_BYTES, size), *range(FINE_BYTES, length - FINE_BYTES, 1024)]
    cuts = (*places, *range(length - FINE_BYTES, length, size))
    return Answer(answer.status, answer.headers, answer.body, cuts)


async def replay_all(cases: Sequence[Case], answers: Mapping[str, Answer], url: str) -> list[Result]:
    """Every case, a dozen at a time; then the ledger's rows of all of them."""
    gate = asyncio.Semaphore(CONCURRENT)
    timeout = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(limit=CONCURRENT)

    async def one(case: Case, session: aiohttp.ClientSession) -> tuple[str, Result]:
        recording = case.recording
        request_id = ""
        async with gate:
            try:
                got = await ask(session, url, case)
                request_id = got.headers.get("x-request-id", "")
                wrong = compare(case, got, answers[case.model].body)
            except (aiohttp.ClientError, TimeoutError) as error:
                wrong = [f"no answer: {error!r}"]
        excepted = EXCEPTIONS.get((recording["id"], case.client))
        return request_id, Result(recording["id"], recording["provider"], case.client, str(case.split), wrong, excepted)

    async with aiohttp.ClientSession(timeout=timeout, connector=connector, read_bufsize=1 << 20) as session:
        asked = await asyncio.gather(*(one(case, session) for case in cases))
        rows = await _ledger(session, url)
    for case, (request_id, result) in zip(cases, asked, strict=True):
        result.wrong += _compare_row(case.expected, rows.get(request_id))
    return [result for _, result in asked]


async def _ledger(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """All rows by their id."""
    rows: dict[str, Any] = {}
    cursor = ""
    while True:
        async with session.get(f"{url}/api/v1/exchanges?limit=1000{cursor}") as answer:
            page = await answer.json()
        rows |= {row["id"]: row for row in page["data"]}
        if not page["next"]:
            return rows
        cursor = f"&cursor={quote(str(page['next']))}"


def _compare_row(expected: Expected, row: Mapping[str, Any] | None) -> list[str]:
    """The ledger has what the vendor reported, whether or not the client asked to see it."""
    if expected.statuses:
        return [f"the ledger's row is {row['status']}"] if row and row["status"] != "failed" else []
    if row is None or row["status"] != "ok":
        return [f"the ledger's row is {row and row['status']}"]
    booked = {**expected.usage, **expected.booked}
    wrong = [
        f"the ledger's {name} {row[name]}, not {booked.get(key, 0)}"
        for name, key in _COLUMNS.items()
        if booked and row[name] != booked.get(key, 0)
    ]
    if row["estimated"] is bool(expected.usage):
        wrong.append(f"the ledger's row has estimated = {row['estimated']}")
    return wrong


_COLUMNS: Final = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cached_input_tokens": "cached",
    "reasoning_tokens": "reasoning",
}


def _in_memory() -> Path | None:
    """A folder that is no disk, if there is one with room: thousands of ledger rows are committed one by one."""
    folder = Path("/dev/shm")
    return folder if folder.is_dir() and shutil.disk_usage(folder).free > ROOM_BYTES else None


def run(
    folder: Path,
    split: str = "default",
    clients: Sequence[str] = CLIENTS,
    provider: str | None = None,
    only: str | None = None,
) -> list[Result]:
    """Start an upstream and one modelport, and replay."""
    recordings, _ = load(folder, provider, only)
    cases = cases_of(recordings, clients, split)
    answers = {case.model: _finely(recorded_answer(case.recording["response"], case.split)) for case in cases}
    endpoints = {case.model: ENDPOINTS[case.api] for case in cases}

    def script(asked: Asked) -> Answer:
        model = asked.model or ""
        if model not in answers or not asked.path.endswith(endpoints[model]):
            return Answer.json({"error": {"message": f"nobody speaks for {model} at {asked.path}"}}, 418)
        return answers[model]

    with tempfile.TemporaryDirectory(dir=_in_memory()) as home, Upstream(script) as upstream:
        config = config_of(cases, upstream)
        with Modelport(Path(home), config, {"UPSTREAM_KEY": "sk-loopback-000000000000"}) as modelport:
            results = asyncio.run(replay_all(cases, answers, modelport.url))
            if any(result.wrong for result in results):
                Path(tempfile.gettempdir(), "modelport-replay.log").write_text(modelport.log, "utf-8")
            return results


def write_page(path: Path, folder: Path, results: Sequence[Result]) -> None:
    """Write docs/recordings.md: *results* of all clients at the default split, and what became of the requests."""
    path.write_text(page(results, outcomes(), load(folder)[1]), "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 when something failed that is not a named exception."""
    parser = argparse.ArgumentParser(description="Replay recorded provider traffic through modelport.")
    parser.add_argument("folder", type=Path, help="the recordings, with their index.jsonl")
    parser.add_argument("--client", choices=SHORT.values(), action="append", help="only this one; may be repeated")
    parser.add_argument("--provider", help="only this provider's")
    parser.add_argument("--only", help="only ids that contain this")
    parser.add_argument(
        "--split",
        choices=("default", "all", "whole", "7", "1"),
        default="all",
        help="where streams are cut: default is what the tests do, all (the default here) is all",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write docs/recordings.md, with the requests, too")
    chosen = parser.parse_args(arguments)
    clients = [client for client in CLIENTS if not chosen.client or SHORT[client] in chosen.client]
    results = run(chosen.folder, chosen.split, clients, chosen.provider, chosen.only)
    _, skipped = load(chosen.folder, chosen.provider, chosen.only)
    failed = [result for result in results if result.wrong and not result.excepted]
    if chosen.write:
        write_page(chosen.write, chosen.folder, results)
    if chosen.json:
        print(json.dumps({"skipped": skipped, "results": [asdict(result) for result in results]}, indent=1))
        return bool(failed)
    print(text_table(results))
    print("skipped: " + ", ".join(f"{count} {reason}" for reason, count in skipped.most_common()))
    for result in results:
        if result.wrong:
            kind = f"excepted ({result.excepted})" if result.excepted else "FAILED"
            print(f"{kind} {result.id} [{SHORT[result.client]}, {result.split}]: {' | '.join(result.wrong)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
