"""Dialogues of agents, with tools and thoughts: on the fast lane they are what they are on the careful way.

Two servers, one with the lane and one without, are asked the same by agents that play their part by chance. The
vendor has to hear the same of both, the client too, and the books say the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from tests.proxy.keyed import WITH_MASTER, make
from tests.proxy.serving import LANE, QUICK, Reply, Served, chunk, provider, route, says, serving
from tests.proxy.test_fast_streams import books, told
from tests.replay import Answer, Asked, Upstream

pytestmark = pytest.mark.skipif(bool(LANE), reason="the suite runs without the lane")
TURNS = 45
ID = re.compile("req_[0-9a-f]+")
WORDS = ("Hello", ' "quoted" \\n', " Grüße 🌍", " and more", "{}", " [1, 2]", "<b>")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
Json = dict[str, Any]


def events(*said: Json) -> str:
    return "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in said)


@dataclass
class Agent:
    """Talks to a model that it plays as well. *wire* is what it says next, *answer* what the model will say to it."""

    rng: Random
    wire: list[Json] = field(default_factory=list)
    answer: Answer = field(default_factory=Answer)
    number: int = 0

    def words(self) -> str:
        return "".join(self.rng.choices(WORDS, k=self.rng.randint(1, 4)))

    def arguments(self) -> Json:
        return self.rng.choice(
            [
                {},
                {"city": self.words()},
                {"a": {"b": [1, 2.5, None]}},
                {"n": 12345678901234567890123},
                {"id": "file-abcdef1"},
            ]
        )

    def name(self, prefix: str) -> str:
        self.number += 1
        return self.rng.choice(
            [f"{prefix}01Ab{self.number}Cd{self.rng.randrange(10**9)}"] * 5 + [f"{prefix}{self.number}"]
        )

    def likely(self, chance: float) -> bool:
        return self.rng.random() < chance

    def say(self, question: Json) -> None:
        raise NotImplementedError


class OpenAI(Agent):
    """Speaks chat completions. With *thinks* its model tells its reasoning, which it does not tell back."""

    thinks = False

    def say(self, question: Json) -> None:
        """Go on with the dialogue, or begin a new one."""
        if self.likely(0.1) or not self.wire:
            self.wire = [{"role": self.rng.choice(["system", "system", "developer"]), "content": self.words()}]
            self.wire.append({"role": "user", "content": self.words()})
        question["messages"] = self.wire
        message = self.message()
        self.answer = self.streamed(message) if question.get("stream") else self.whole(message)
        self.wire = [*self.wire, self.told_back(message), *self.results(message)]

    def message(self) -> Json:
        calls = [
            {"id": self.name("call_"), "type": "function", "function": {"name": "weather", "arguments": text}}
            for text in (
                self.rng.choice([json.dumps(self.arguments()), "{}", '{"city": "Bo'])
                for _ in range(self.rng.randint(0, 2))
            )
        ]
        content = self.words() if not calls or self.likely(0.3) else None
        message: Json = {"role": "assistant", "content": content, "refusal": None}
        if self.thinks and self.likely(0.6):
            message["reasoning_content"] = self.words()
        return {**message, "tool_calls": calls} if calls else message

    def told_back(self, message: Json) -> Json:
        back = {name: value for name, value in message.items() if name not in ("reasoning_content", "refusal")}
        if self.likely(0.3):
            back |= {"refusal": None, "annotations": [], "audio": None, "function_call": None}
        if self.likely(0.1):
            back["reasoning_content"] = message.get("reasoning_content", self.words())
        if self.likely(0.1) and isinstance(back["content"], str):
            back["content"] = [{"type": "text", "text": back["content"]}]
        return back

    def results(self, message: Json) -> list[Json]:
        found: list[Json] = []
        for call in message.get("tool_calls", ()):
            said: Json = {"role": "tool", "tool_call_id": call["id"], "content": self.words()}
            if self.likely(0.2):
                said["content"] = [{"type": "text", "text": self.words()}]
            if self.likely(0.2):
                said["name"] = "weather"
            found.append(said)
        if found and self.likely(0.7):
            return found
        content: Any = self.words()
        if self.likely(0.2):
            content = [{"type": "text", "text": content}]
        if self.likely(0.05):
            content = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
        return [*found, {"role": "user", "content": content}]

    def ending(self, message: Json) -> str:
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        return self.rng.choice([reason, reason, reason, "length", "stop"])

    def usage(self) -> Json:
        asked, said = self.rng.randrange(1, 500), self.rng.randrange(1, 500)
        plain: Json = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
        more: list[Json] = [
            {},
            {
                "prompt_tokens_details": {"cached_tokens": asked // 2},
                "completion_tokens_details": {"reasoning_tokens": said // 3},
            },
            {"prompt_cache_hit_tokens": asked // 2, "prompt_cache_miss_tokens": asked - asked // 2},
            {"prompt_tokens_details": {"cached_tokens": asked, "cache_write_tokens": 3}, "queue_time": 0.25},
            {"total_tokens": asked + said + 7},
            {"prompt_tokens_details": {"cached_tokens": -1}},
            {"total_tokens": None},
        ]
        return plain | self.rng.choice(more)

    def whole(self, message: Json) -> Answer:
        choice: Json = {"index": 0, "message": message, "finish_reason": self.ending(message)}
        if self.likely(0.5):
            choice["logprobs"] = None
        body: Json = {"id": "chatcmpl-upstream", "object": "chat.completion", "created": 1_790_000_000, "model": "m"}
        body |= {"choices": [choice], "usage": self.usage()}
        if self.likely(0.2):
            body["service_tier"] = self.rng.choice(["default", "flex", None])
        if self.likely(0.05):
            del body["usage"]
        return Answer.json(body)

    def streamed(self, message: Json) -> Answer:
        deltas: list[Json] = [{"role": "assistant", "content": message["content"] and ""}]
        if thought := message.get("reasoning_content"):
            deltas += [{"reasoning_content": thought[:3]}, {"reasoning_content": thought[3:] or "."}]
        deltas += [{"content": word} for word in (message["content"] or "").split(" ")]
        for at, call in enumerate(message.get("tool_calls", ())):
            text = call["function"]["arguments"]
            deltas.append({"tool_calls": [{**call, "index": at, "function": {"name": "weather", "arguments": ""}}]})
            deltas += [
                {"tool_calls": [{"index": at, "function": {"arguments": text[n : n + 3]}}]}
                for n in range(0, len(text), 3)
            ]
        said = "".join(map(chunk, deltas)) + chunk({}, self.ending(message))
        head = {"id": "chatcmpl-upstream", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": "m"}
        if not self.likely(0.05):
            said += f"data: {json.dumps({**head, 'choices': [], 'usage': self.usage()})}\n\n"
        return Answer.sse(said + "data: [DONE]\n\n", split=self.rng.choice(["whole", "events", 50]))


class DeepSeek(OpenAI):
    """Its server demands reasoning back."""

    thinks = True


class Anthropic(Agent):
    """Speaks Messages, and keeps most of what its model thinks."""

    def say(self, question: Json) -> None:
        """Go on with the dialogue, or begin a new one."""
        if self.likely(0.1) or not self.wire:
            self.wire = [{"role": "user", "content": self.words()}]
        question["messages"] = self.wire
        blocks = self.blocks()
        self.answer = self.streamed(blocks) if question.get("stream") else self.whole(blocks)
        self.wire = [*self.wire, {"role": "assistant", "content": self.told_back(blocks)}]
        self.wire.append({"role": "user", "content": self.heard(blocks)})

    def blocks(self) -> list[Json]:
        blocks: list[Json] = []
        if self.likely(0.5):
            blocks.append(
                {"type": "thinking", "thinking": self.words(), "signature": f"sig{self.rng.randrange(10**12)}"}
            )
        if self.likely(0.1):
            blocks.append({"type": "redacted_thinking", "data": f"data{self.rng.randrange(10**12)}"})
        if self.likely(0.7):
            blocks.append({"type": "text", "text": self.words()})
        if self.likely(0.03):
            blocks.append(
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
            )
        for _ in range(self.rng.randint(0 if blocks else 1, 2)):
            blocks.append({"type": "tool_use", "id": self.name("toolu_"), "name": "weather", "input": self.arguments()})
        return blocks

    def told_back(self, blocks: list[Json]) -> Any:
        if self.likely(0.2):
            blocks = [block for block in blocks if "thinking" not in block["type"]]
        if self.likely(0.05):
            blocks = [{**block, "signature": "a foreign one"} if "signature" in block else block for block in blocks]
        if self.likely(0.1) and blocks:
            blocks = [*blocks[:-1], {**blocks[-1], "cache_control": {"type": "ephemeral"}}]
        if not blocks:
            return "Well."
        return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks

    def heard(self, blocks: list[Json]) -> Any:
        found: list[Json] = []
        for call in blocks:
            if call["type"] != "tool_use":
                continue
            result: Json = {"type": "tool_result", "tool_use_id": call["id"], "content": self.words()}
            if self.likely(0.2):
                result["content"] = [{"type": "text", "text": self.words()}]
            if self.likely(0.1):
                result["is_error"] = True
            if self.likely(0.02):
                result["tool_use_id"] = "call:1"
            found.append(result)
        if not found:
            return self.words() if self.likely(0.7) else [{"type": "text", "text": self.words()}]
        if self.likely(0.3):
            found.append({"type": "text", "text": self.words(), "cache_control": {"type": "ephemeral", "ttl": "1h"}})
        if self.likely(0.03):
            picture = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
            found.append({"type": "image", "source": picture})
        return found

    def usage(self) -> Json:
        plain: Json = {"input_tokens": self.rng.randrange(500), "output_tokens": self.rng.randrange(1, 500)}
        written, hour = self.rng.randrange(300), self.rng.randrange(300)
        more: list[Json] = [
            {},
            {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 77, "service_tier": "standard"},
            {
                "cache_creation_input_tokens": written + hour,
                "cache_read_input_tokens": None,
                "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": hour},
                "server_tool_use": None,
            },
            {"server_tool_use": {"web_search_requests": 1}},
            {"output_tokens_details": {"thinking_tokens": 1}, "service_tier": "priority"},
            {"input_tokens": None},
        ]
        return plain | self.rng.choice(more)

    def ending(self, blocks: list[Json]) -> str:
        reason = "tool_use" if any(block["type"] == "tool_use" for block in blocks) else "end_turn"
        return self.rng.choice([reason] * 6 + ["max_tokens", "stop_sequence", "refusal", "pause_turn"])

    def head(self) -> Json:
        return {"id": "msg_upstream", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}

    def whole(self, blocks: list[Json]) -> Answer:
        body = self.head() | {"content": blocks, "stop_reason": self.ending(blocks), "usage": self.usage()}
        if self.likely(0.1):
            body |= self.rng.choice([{"container": None}, {"context_management": {"applied_edits": []}}, {"new": 1}])
        return Answer.json(body, headers={"anthropic-ratelimit-requests-remaining": "99"})

    def streamed(self, blocks: list[Json]) -> Answer:
        usage = self.usage()
        said: list[Json] = [
            {"type": "message_start", "message": self.head() | {"content": [], "stop_reason": None, "usage": usage}},
            {"type": "ping"},
        ]
        for at, block in enumerate(blocks):
            empty, deltas = self._in_pieces(block)
            said.append({"type": "content_block_start", "index": at, "content_block": empty})
            said += [{"type": "content_block_delta", "index": at, "delta": delta} for delta in deltas]
            said.append({"type": "content_block_stop", "index": at})
        end = {"stop_reason": self.ending(blocks), "stop_sequence": None}
        said.append({"type": "message_delta", "delta": end, "usage": {"output_tokens": self.rng.randrange(1, 500)}})
        said.append({"type": "message_stop"})
        return Answer.sse(events(*said), split=self.rng.choice(["whole", "events", 60]))

    @staticmethod
    def _in_pieces(block: Json) -> tuple[Json, list[Json]]:
        match block["type"]:
            case "text":
                words = block["text"]
                pieces = [{"type": "text_delta", "text": words[n : n + 4]} for n in range(0, len(words), 4)]
                return {**block, "text": ""}, pieces
            case "thinking":
                signed = {"type": "signature_delta", "signature": block["signature"]}
                thought = {"type": "thinking_delta", "thinking": block["thinking"]}
                return {**block, "thinking": "", "signature": ""}, [thought, signed]
            case "tool_use":
                text = json.dumps(block["input"])
                pieces = [{"type": "input_json_delta", "partial_json": text[n : n + 4]} for n in range(0, len(text), 4)]
                return {**block, "input": {}}, pieces
            case _:
                return block, []


CHAT_TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
MESSAGES_TOOLS = [{"name": "weather", "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}}]


@dataclass(frozen=True)
class Part:
    """What an agent plays: who, over which path, with what in each question and in the head."""

    agent: type[Agent]
    dialect: str
    path: str
    question: Json
    headers: Mapping[str, str] = field(default_factory=dict)
    more: str = ""
    rides: int = TURNS // 4
    """At least so many take the lane."""


CLAUDE_CODE = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14",
}
PARTS = {
    "chat": Part(OpenAI, "openai_chat", "/v1/chat/completions", {"model": "one/m", "tools": CHAT_TOOLS}),
    "reasoning": Part(
        DeepSeek,
        "openai_chat",
        "/v1/chat/completions",
        {"model": "one/m", "tools": CHAT_TOOLS},
        more='quirks = { reasoning_replay = "tool_turns", developer_role = false }\n',
        rides=0,
    ),
    "short ids": Part(
        OpenAI,
        "openai_chat",
        "/v1/chat/completions",
        {"model": "one/m", "tools": CHAT_TOOLS, "temperature": 0.5},
        more='quirks = { call_ids = "nine", takes_back = [] }\n',
        rides=0,
    ),
    "messages": Part(
        Anthropic,
        "anthropic",
        "/v1/messages?beta=true",
        {"model": "one/m", "max_tokens": 99, "system": "Be brief.", "tools": MESSAGES_TOOLS},
        CLAUDE_CODE,
        'price = { input = "1", cached_input = "0.1", cache_write = "1.25", cache_write_1h = "2", output = "2" }\n',
    ),
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("part", PARTS)
async def test_a_dialogue_is_the_same_with_the_lane_and_without(
    tmp_path: Path, upstream: Upstream, part: str, seed: int
) -> None:
    played = PARTS[part]
    agent = played.agent(Random(f"{part} {seed}"))
    heard: list[Asked] = []

    def answer(asked: Asked) -> Answer:
        heard.append(asked)
        return agent.answer

    upstream.script("m", answer)
    async with AsyncExitStack() as stack:
        on, off = [
            await stack.enter_async_context(serving(_folder(tmp_path, lane), _config(played, upstream, lane)))
            for lane in ("true", "false")
        ]
        for turn in range(TURNS):
            question = {**played.question, **({"stream": True} if agent.likely(0.5) else {})}
            agent.say(question)
            body = json.dumps(question, ensure_ascii=agent.likely(0.5)).encode()
            found = [await _asked(server, played, body) for server in (on, off)]

            assert found[0] == found[1], f"turn {turn}: {body.decode()}"
            assert [asked.body for asked in heard[::2]] == [asked.body for asked in heard[1::2]], body
            assert _heads(heard[::2]) == _heads(heard[1::2])
        assert off.services.shapes.ridden == 0
        assert on.services.shapes.ridden >= played.rides


def _folder(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return folder


def _config(part: Part, upstream: Upstream, lane: str) -> str:
    return QUICK + provider("one", upstream, part.dialect, part.more) + f"[server]\nfast_lane = {lane}\n"


async def _asked(server: Served, part: Part, body: bytes) -> tuple[Any, ...]:
    """What a client is told, and what is written down."""
    headers = {"content-type": "application/json", **part.headers}
    async with server.session.post(server.url + part.path, data=body, headers=headers) as answer:
        named = {name.lower(): value for name, value in answer.headers.items()}
        reply = Reply(answer.status, named, await answer.read())
    written = await books(server, reply.id) if "x-modelport-target" in reply.headers else None
    headers = {name: ID.sub("", value) for name, value in told(reply).items()}
    return reply.status, headers, ID.sub("", reply.body.decode()), written


def _heads(heard: list[Asked]) -> list[tuple[str, Mapping[str, str]]]:
    return [(asked.path, asked.headers) for asked in heard]


# --- single facts ----------------------------------------------------------------------------------

BETA = PARTS["messages"]
READY = 4
"""The first shows its head, the second its shape, the third wants to know what the vault has."""
WEATHER: Json = {"type": "tool_use", "id": "toolu_01AbCdEf", "name": "weather", "input": {"city": "Bonn"}}
THOUGHT: Json = {"type": "thinking", "thinking": "Bonn it is.", "signature": "c2lnbmVk"}
RAIN: Json = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_01AbCdEf", "content": "rain"}]}
FIRST: Json = {"role": "user", "content": "How is the weather in Bonn?"}
CALLED: Json = {"role": "assistant", "content": [WEATHER]}


def says_blocks(*blocks: Json, reason: str = "end_turn") -> Answer:
    agent = Anthropic(Random(1))
    return Answer.json(
        agent.head() | {"content": blocks, "stop_reason": reason, "usage": {"input_tokens": 9, "output_tokens": 5}}
    )


async def put(
    server: Served, *messages: Json, part: Part = BETA, headers: Mapping[str, str] | None = None, **more: Any
) -> Reply:
    question = {**part.question, "messages": messages, **more}
    sent = {"content-type": "application/json", **part.headers, **(headers or {})}
    return await server.request("POST", part.path, json.dumps(question).encode(), sent)


async def ready(server: Served, *messages: Json, **how: Any) -> int:
    """Have *messages*, which a shape is learnt from, take the lane; how many have."""
    for _ in range(READY):
        await put(server, *(messages or (FIRST,)), **how)
        await server.services.drain()  # the vault is looked through in the background
    assert server.services.shapes.ridden > 0
    return server.services.shapes.ridden


async def test_a_thought_is_given_back_that_was_kept_before_a_restart(tmp_path: Path, upstream: Upstream) -> None:
    """By the careful way: the lane knows that there is something, and not what."""
    upstream.script("m", says_blocks(THOUGHT, WEATHER, reason="tool_use"))
    config = _config(BETA, upstream, "true")
    async with serving(tmp_path, config) as server:
        await put(server, FIRST)
    other = {"role": "assistant", "content": [{**WEATHER, "id": "toolu_02AbCdEf"}]}
    heard = {"role": "user", "content": [{**RAIN["content"][0], "tool_use_id": "toolu_02AbCdEf"}]}
    upstream.script("m", says_blocks(WEATHER))
    async with serving(tmp_path, config) as server:
        ridden = await ready(server, FIRST, other, heard)
        await put(server, FIRST, CALLED, RAIN)
        again = server.services.shapes.ridden
        for _ in range(2):  # whose the signature is has to be read from the disk once
            await put(server, FIRST, {"role": "assistant", "content": [THOUGHT, WEATHER]}, RAIN)
        last = server.services.shapes.ridden
    sent = [asked.json["messages"][1]["content"] for asked in upstream.asked("m")[-3:]]

    assert sent == [[THOUGHT, WEATHER]] * 3
    assert (again, last) == (ridden, ridden + 1)


async def test_a_thought_of_an_answer_on_the_lane_is_given_back(tmp_path: Path, upstream: Upstream) -> None:
    upstream.script("m", says_blocks(THOUGHT, WEATHER, reason="tool_use"))
    async with serving(tmp_path, _config(BETA, upstream, "true")) as server:
        ridden = await ready(server)
        await put(server, FIRST, CALLED, RAIN)
        again = server.services.shapes.ridden

    assert upstream.asked("m")[-1].json["messages"][1]["content"] == [THOUGHT, WEATHER]
    assert again == ridden


async def test_with_several_workers_nothing_is_said_of_what_others_keep(tmp_path: Path, upstream: Upstream) -> None:
    upstream.script("m", says_blocks(WEATHER, reason="tool_use"))
    async with serving(tmp_path, _config(BETA, upstream, "true")) as server:
        ridden = await ready(server, FIRST, CALLED, RAIN)
        server.services.sharing.several = True
        await put(server, FIRST, CALLED, RAIN)
        with_turns = server.services.shapes.ridden
        await put(server, FIRST)

    assert with_turns == ridden
    assert server.services.shapes.ridden == ridden + 1


@pytest.mark.parametrize(
    ("part", "name"), [("messages", "anthropic-beta"), ("messages", "anthropic-version"), ("chat", "openai-project")]
)
async def test_each_head_is_sent_on_with_its_own_request(
    tmp_path: Path, upstream: Upstream, part: str, name: str
) -> None:
    played = PARTS[part]
    upstream.script("m", says_blocks(WEATHER) if part == "messages" else says())
    async with serving(tmp_path, _config(played, upstream, "true")) as server:
        ridden = await ready(server, part=played, headers={name: "old"})
        for value in ("new", "new", "new", "old"):
            await put(server, FIRST, part=played, headers={name: value})

    assert [asked.headers[name] for asked in upstream.asked("m")[READY:]] == ["new"] * 3 + ["old"]
    assert server.services.shapes.ridden == ridden + 2


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages?beta=true"])
async def test_each_address_is_that_of_its_request(tmp_path: Path, upstream: Upstream, path: str) -> None:
    upstream.script("m", says_blocks(WEATHER))
    async with serving(tmp_path, _config(BETA, upstream, "true")) as server:
        await ready(server, part=replace(BETA, path="/v1/messages"))
        await ready(server, part=replace(BETA, path="/v1/messages?beta=true"))
        await put(server, FIRST, part=replace(BETA, path=path))

    assert upstream.asked("m")[-1].path == path
    assert server.services.answered["/v1/messages", 200] == 2 * READY + 1


@pytest.mark.parametrize("order", [("system", "messages"), ("messages", "system")])
async def test_instructions_may_differ_from_request_to_request(
    tmp_path: Path, upstream: Upstream, order: tuple[str, str]
) -> None:
    """As those do that tell the time."""
    upstream.script("m", says_blocks(WEATHER))
    said = {"messages": [FIRST], "system": ""}
    systems: list[Any] = ["It is 9:00.", [{"type": "text", "text": 'It is ","messages":[ 9:01.'}], "", "It is \\u0022."]
    part = replace(BETA, question={"model": "one/m", **{name: said[name] for name in order}, "max_tokens": 99})
    async with serving(tmp_path, _config(part, upstream, "true")) as server:
        ridden = await ready(server, part=part)
        for system in systems:
            await put(server, FIRST, part=part, system=system)
        refused = await put(server, FIRST, part=part, system=7)

    assert server.services.shapes.ridden == ridden + len(systems)
    assert [asked.json["system"] for asked in upstream.asked("m")[READY:]] == systems
    assert refused.status == 400


async def test_what_another_has_made_is_not_named_in_a_call(tmp_path: Path, upstream: Upstream) -> None:
    named = {"role": "assistant", "content": [{**WEATHER, "input": {"file": "file-abc123def456"}}]}
    upstream.script("m", says_blocks(WEATHER))
    async with serving(tmp_path, _config(BETA, upstream, "true") + WITH_MASTER) as server:
        async with aiohttp.ClientSession() as another:  # a connection that has asked for more is not the lane's
            held = {"x-api-key": (await make(replace(server, session=another)))["key"]}
        await ready(server, FIRST, CALLED, RAIN, headers=held)
        free = await put(server, FIRST, named, RAIN, headers=held)
        await server.services.objects.claim("one", "another", ["file-abc123def456"])
        reply = await put(server, FIRST, named, RAIN, headers=held)

    assert (free.status, reply.status) == (200, 404)


@pytest.mark.parametrize("status", [429, 500, 529])
async def test_a_failure_is_told_in_the_dialect_and_the_next_target_answers(
    tmp_path: Path, upstream: Upstream, status: int
) -> None:
    error = Answer.json({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, status)
    upstream.script("m", *[says_blocks(WEATHER)] * READY, error, *[says_blocks(WEATHER)] * READY, error)
    upstream.script("n", says_blocks({"type": "text", "text": "the second"}))
    config = _config(BETA, upstream, "true") + route("both", "one/m", "one/n")
    async with serving(tmp_path, config) as server:
        await ready(server, model="both")
        second = await put(server, FIRST, model="both")
        await ready(server)
        alone = await put(server, FIRST)

    assert second.json["content"] == [{"type": "text", "text": "the second"}]
    assert second.headers["x-modelport-attempts"] == "2"
    assert alone.status >= 429
    assert alone.json["type"] == "error"
