"""One server with every backend behind it, and what a cell must show.

`Bench` runs cells: it asks as the client, plays the vendor, and asserts both what the vendor was asked and what the
client was told. What it returns is what the page is made of.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from proxy.backends.llamacpp import Limits, LlamaCppBackend
from tests.contract.matrix.clients import CLIENTS, Facts, Posted, frames_of, losses_of, receipt_of
from tests.contract.matrix.scenarios import (
    ANSWER_SCHEMA,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    PNG,
    RESULTS,
    SAMPLING,
    SCENARIOS,
    SEAL,
    TOOL,
    TOOL_SCHEMA,
    Cell,
    Said,
    Scenario,
    Trouble,
)
from tests.contract.matrix.vendors import FIRST_WORDS, VENDORS, Heard, LlamaCpp, named_in_words
from tests.proxy.serving import BASE, KEY, QUICK, Reply, Served, serving
from tests.replay import Answer, Asked, Upstream

STEMS: Final = {
    "openai_chat": "gpt-4.1",
    "openai_responses": "gpt-5.5",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-flash",
    "llamacpp": "tiny",
}
REASONING_STEMS: Final = {**STEMS, "openai_chat": "deepseek-v4-pro"}
"""Which of a vendor's models are asked to think, and given their reasoning back."""

CHILD: Final = Path(__file__).resolve().parent / "llama_child.py"
ERROR_STATUSES: Final = {400: {400}, 401: {502}, 429: {429}, 500: {500, 502, 503}}
"""What the client is told for a vendor's status."""

Loss = tuple[str, str, str]
"""Field, action, reason."""

OF_ANSWERS: Final = ("choices[", "content[", "candidates[", "output[")
"""How the places of an answer begin, by the client's dialect."""


@dataclass(slots=True)
class Seen:
    """What a cell showed beside being right: the losses that were reported to the client."""

    losses: list[Loss] = field(default_factory=list)


@dataclass(slots=True)
class Bench:
    """A running server in front of a scripted upstream."""

    served: Served
    upstream: Upstream
    asked_log: Path
    released: Path

    async def run(self, cell: Cell) -> Seen:
        """Everything that *cell* is to show.

        Raises:
            AssertionError: it does not.
        """
        scenario = SCENARIOS[cell.scenario]
        client = CLIENTS[cell.endpoint]
        model = model_of(cell)
        posted = client.ask(scenario.ask, f"{provider_of(cell)}/{model}", cell.stream)
        seen = Seen()
        facts = Facts()
        for number, said in enumerate(scenario.answers):
            if number:
                assert facts.turn, "the client has nothing to send back"
                posted = client.follow(posted, facts.turn, facts.calls)
            reply = await (self._post_broken(cell, posted) if said == Trouble(200) else self._post(posted))
            check_headers(reply, f"{provider_of(cell)}/{model}")
            if isinstance(said, Trouble):
                self._check_trouble(cell, said, reply)
                return seen
            assert reply.status == 200, reply.body
            seen.losses += told_of(cell, reply)
            facts = self._facts(cell, reply)
            check_facts(cell, facts, said)
            heard, raw = self._heard(cell, model)
            check_heard(cell, scenario, heard, number)
            if heard.calls and scenario.ask.think and cell.left_out:
                assert any("reasoning" in reason for _, _, reason in seen.losses), "left out without a word"
            if scenario.ask.sampling:
                check_sampling(cell, raw, seen.losses)
        return seen

    async def _post(self, posted: Posted) -> Reply:
        headers = {"content-type": "application/json", **posted.headers}
        return await self.served.request("POST", posted.path, json.dumps(posted.body).encode(), headers)

    async def _post_broken(self, cell: Cell, posted: Posted) -> Reply:
        """The same, with the vendor's error let go only when the client has the answer's head."""
        body = json.dumps(posted.body).encode()
        url = self.served.url + posted.path
        async with self.served.session.post(url, data=body, headers=dict(posted.headers)) as answer:
            if cell.backend == "llamacpp":
                self.released.touch()
            else:
                self.upstream.asked(model_of(cell))[-1].release()
            read = await answer.read()
            self.released.unlink(missing_ok=True)
            return Reply(answer.status, {name.lower(): value for name, value in answer.headers.items()}, read)

    def _facts(self, cell: Cell, reply: Reply) -> Facts:
        client = CLIENTS[cell.endpoint]
        if not cell.stream:
            assert reply.headers["content-type"].startswith("application/json")
            return client.whole(reply.json)
        assert reply.headers["content-type"].startswith("text/event-stream")
        return client.streamed(frames_of(reply.body))

    def _heard(self, cell: Cell, model: str) -> tuple[Heard, Any]:
        """What the vendor was asked last."""
        vendor = VENDORS[cell.backend]
        if cell.backend == "llamacpp":
            body = json.loads(self.asked_log.read_text("utf-8").splitlines()[-1])
            return vendor.heard(body, ""), body
        asked = self.upstream.asked(model)[-1]
        return vendor.heard(asked.json, asked.path), asked.json

    def _check_trouble(self, cell: Cell, trouble: Trouble, reply: Reply) -> None:
        client = CLIENTS[cell.endpoint]
        if trouble.status == 200:
            check_broken_stream(cell, reply)
            return
        assert reply.headers["content-type"].startswith("application/json"), "not a stream: nothing was said yet"
        assert reply.status in ERROR_STATUSES[trouble.status], reply.status
        kind, message = client.failed(reply.json)
        assert kind
        assert model_of(cell) in message, "the message names the target"
        assert KEY not in reply.body.decode()
        assert reply.headers["x-should-retry"] == "false"
        if trouble.status != 401:
            assert named_in_words(trouble.status) in message, "the vendor's own words"
        if trouble.status == 429:
            assert 0 < float(reply.headers["retry-after"]) <= 7


# --- what must be true ---------------------------------------------------------------------------


def told_of(cell: Cell, reply: Reply) -> list[Loss]:
    """All losses that the client is told of. A stream's receipt repeats its head, and adds what its answer has lost."""
    ahead = losses_of(reply)
    if not cell.stream:
        return ahead
    whole = [(loss["field"], loss["action"], loss["reason"]) for loss in receipt_of(frames_of(reply.body))["losses"]]
    assert [name for name, _, _ in whole[: len(ahead)]] == [name for name, _, _ in ahead]
    assert all(name.startswith(OF_ANSWERS) for name, _, _ in whole[len(ahead) :]), whole
    return ahead + whole[len(ahead) :]


def check_headers(reply: Reply, target: str) -> None:
    assert reply.headers["x-request-id"]
    if reply.status == 200:
        assert reply.headers["x-modelport-target"] == target
        assert reply.headers["x-modelport-attempts"] == "1"


def check_facts(cell: Cell, facts: Facts, said: Said) -> None:
    """The client is told what the vendor said: no more, no less."""
    assert facts.text.strip() == said.text
    assert [city for _, city in facts.calls] == list(said.cities)
    # Gemini's own calls need no ids, and a client of the same dialect gets them as they are.
    ids = [call for call, _ in facts.calls if call or cell.endpoint != cell.backend]
    assert len(set(ids)) == len(ids), "two calls have one id"
    assert facts.finish == ("calls" if said.cities else "stop")
    assert facts.usage == (INPUT_TOKENS, OUTPUT_TOKENS)
    if cell.endpoint != "completions":
        assert facts.thought.strip() == said.thought


def check_heard(cell: Cell, scenario: Scenario, heard: Heard, number: int) -> None:
    """The vendor was asked what the client asked, in its own dialect."""
    ask = scenario.ask
    assert heard.stream is cell.stream
    assert [text.strip() for text in heard.texts if text.strip()][:1] == [ask.question]
    assert [name for name, _ in heard.tools] == ([TOOL] if ask.tools else [])
    for _, schema in heard.tools:
        assert schema["properties"] == TOOL_SCHEMA["properties"]
        assert schema["required"] == TOOL_SCHEMA["required"]
    assert heard.images == ([f"data:image/png;base64,{PNG}"] if ask.image else [])
    assert (heard.schema is not None) is ask.schema
    if heard.schema is not None:
        assert heard.schema["required"] == ANSWER_SCHEMA["required"]
        assert set(heard.schema["properties"]) == set(ANSWER_SCHEMA["properties"])
    before = [said for said in scenario.answers[:number] if isinstance(said, Said)]
    cities = [city for said in before for city in said.cities]
    assert [city for _, city in heard.calls] == cities
    assert [text for _, text in heard.results] == [RESULTS[city] for city in cities]
    assert [call for call, _ in heard.calls] == [call for call, _ in heard.results], "results belong to their calls"
    thoughts = [said.thought for said in before if said.thought]
    assert heard.thoughts == expected_thoughts(cell.backend, thoughts)


def expected_thoughts(backend: str, thoughts: list[str]) -> list[str]:
    """How reasoning comes back to its vendor: sealed, or in words where the vendor has no seal."""
    match backend:
        case "openai_chat":
            return thoughts
        case "llamacpp":
            return []  # chat templates want no earlier reasoning; that is reported as a loss
        case _:
            return [SEAL for _ in thoughts]


def check_sampling(cell: Cell, body: Any, losses: list[Loss]) -> None:
    """Every parameter reached the vendor under some name, or is in the losses under the client's."""
    sent = set(scalars(body))
    named = {name for name, _, _ in losses}
    for neutral, own in CLIENTS[cell.endpoint].sampling().items():
        reported = any(name == own or name.startswith((f"{own}.", f"{own}[")) for name in named)
        assert (SAMPLING[neutral] in sent) or reported, f"{own} is neither sent nor reported; losses: {sorted(named)}"


def scalars(value: Any) -> Iterator[Any]:
    """Every string and number in *value*."""
    if isinstance(value, dict):
        for each in value.values():
            yield from scalars(each)
    elif isinstance(value, list):
        for each in value:
            yield from scalars(each)
    else:
        yield value


def check_broken_stream(cell: Cell, reply: Reply) -> None:
    """The words that came, one error in the dialect's form, and no normal end."""
    assert reply.status == 200
    frames = [frame for frame in frames_of(reply.body) if frame.data]
    assert FIRST_WORDS.split()[0] in json.dumps([frame.data for frame in frames[:-1]])
    last = frames[-1].json
    match cell.endpoint:
        case "chat" | "completions" | "gemini" | "messages":
            assert "error" in last, last
            assert CLIENTS[cell.endpoint].failed(last)
            if cell.endpoint == "messages":
                assert frames[-1].event == "error"
        case "responses":
            assert [frame.event for frame in frames[-2:]] == ["error", "response.failed"], "as OpenAI does"
            assert last["type"] == "response.failed"
            assert last["response"]["status"] == "failed"
            assert last["response"]["error"]["code"]
            assert [frame.json["sequence_number"] for frame in frames] == list(range(len(frames)))
    assert "[DONE]" not in reply.body.decode()
    assert "message_stop" not in reply.body.decode()
    assert "response.completed" not in reply.body.decode()


# --- the server -------------------------------------------------------------------------------------


def provider_of(cell: Cell) -> str:
    """Cells in which a vendor fails have a provider of their own: its key cools down, its breaker counts."""
    if cell.scenario.startswith("error") and cell.backend != "llamacpp":
        return cell.id
    return cell.backend


def model_of(cell: Cell) -> str:
    """A model that no other cell asks; a local one is one process for them all."""
    if cell.backend == "llamacpp":
        return STEMS["llamacpp"]
    stem = (REASONING_STEMS if SCENARIOS[cell.scenario].ask.think else STEMS)[cell.backend]
    return f"{stem}--{cell.scenario}--{cell.endpoint}-{cell.form}-{cell.backend}"


def play(asked: Asked) -> Answer:
    """The upstream: the model's name says which scenario and which vendor, the conversation which round."""
    assert asked.model, asked.path
    _, name, tail = asked.model.split("--")
    _, form, backend = tail.split("-")
    scenario, vendor = SCENARIOS[name], VENDORS[backend]
    stream = form == "stream"
    later = bool(vendor.heard(asked.json, asked.path).results)
    match scenario.answers[1 if later else 0]:
        case Trouble(200):
            return vendor.broken()
        case Trouble(status):
            return vendor.error(status)
        case Said() as said:
            return vendor.stream(said) if stream else vendor.whole(said)


def local_script() -> dict[str, list[Any]]:
    """The local model's answers by question."""
    model = LlamaCpp()
    script: dict[str, list[Any]] = {}
    for scenario in SCENARIOS.values():
        said: list[Any] = []
        for each in scenario.answers:
            if isinstance(each, Said):
                said.append(model.text(each))
                continue
            kind = "invalid_request" if each.status == 400 else "server"
            error = {"kind": kind, "message": named_in_words(each.status), "status": max(each.status, 400)}
            said.append({"error": error, "after": f"{FIRST_WORDS} " if each.status == 200 else ""})
        script[scenario.ask.question] = said
    return script


def config(upstream: Upstream, folder: Path, cells: list[Cell]) -> str:
    """A provider of each dialect, and one for each cell in which a vendor fails."""
    rows = {provider_of(cell): cell.backend for cell in cells if not cell.impossible}
    base = {**BASE, "openai_responses": "/v1"}
    sections = [QUICK, '[cache]\nmode = "off"\n']
    for name, dialect in rows.items():
        if dialect == "llamacpp":
            picture = folder / "projector.gguf"
            model = folder / "tiny.gguf"
            sections.append(
                f'[providers.{name}]\ndialect = "llamacpp"\n'
                f'models = {{ tiny = {{ path = "{model}", projector = "{picture}" }} }}\n'
            )
            continue
        sections.append(
            f'[providers."{name}"]\ndialect = "{dialect}"\nbase_url = "{upstream.url}{base[dialect]}"\n'
            f'keys = ["{KEY}"]\nprice = {{ input = "1", output = "2" }}\n'
        )
    return "\n".join(sections)


@asynccontextmanager
async def bench(folder: Path, cells: list[Cell]) -> AsyncIterator[Bench]:
    """The server, its local model replaced by a script."""
    for name in ("tiny.gguf", "projector.gguf"):
        (folder / name).touch()
    script, log, released = folder / "script.json", folder / "asked.jsonl", folder / "released"
    script.write_text(json.dumps(local_script()), "utf-8")
    log.touch()
    with Upstream(play) as upstream:
        async with serving(folder, config(upstream, folder, cells)) as served:
            setup = served.services.setup
            command = (sys.executable, str(CHILD), str(script), str(log), str(released))
            local = setup.specs["llamacpp"].local_models if "llamacpp" in setup.specs else {}
            setup.backends["llamacpp"] = LlamaCppBackend(local, limits=Limits(), command=command, now=time.monotonic)
            yield Bench(served, upstream, log, released)
