"""A scripted model behind every vendor's API: it finds the scenario by the question, and the round by the results.

It also embeds, counts and lists, as far as SDKs ask for that.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from tests.contract.matrix.scenarios import SCENARIOS, Said, Trouble
from tests.contract.matrix.vendors import VENDORS, Heard, Vendor
from tests.replay import Answer, Asked

BY_QUESTION = {scenario.ask.question: scenario for scenario in SCENARIOS.values()}
VECTOR = [0.6, 0.8, 0.0]
_THREADS: dict[str, list[Any]] = {}
"""Anthropic's threads: the conversation up to and with the answer of that id."""


def answers_by_question(asked: Asked) -> Answer:
    """The upstream's script."""
    path = asked.path.partition("?")[0]
    if path.endswith("/embeddings"):
        return _embeddings(asked.json)
    if path.endswith(":batchEmbedContents"):
        return Answer.json({"embeddings": [{"values": VECTOR} for _ in asked.json["requests"]]})
    if path.endswith(("/count_tokens", "/input_tokens")):
        return Answer.json({"object": "response.input_tokens", "input_tokens": 11})
    if path.endswith(":countTokens"):
        return Answer.json({"totalTokens": 11})
    vendor = _vendor(path)
    body = _threaded(asked.json)
    heard = vendor.heard(body, asked.path)
    match _said(heard):
        case Said() as said:
            answer = vendor.stream(said) if heard.stream else vendor.whole(said)
            if body.get("thread"):
                _keep(body, answer, said)
            return answer
        case Trouble(200):
            return replace(vendor.broken(), hold_at=None, split="events", delay_between_s=0.2)
        case Trouble(status):
            return vendor.error(status)


def _threaded(body: dict[str, Any]) -> dict[str, Any]:
    """*body* with what was said before, where it goes on with a thread."""
    thread = body.get("thread") or {}
    if thread.get("type") != "continue":
        return body
    return {**body, "messages": [*_THREADS[thread["previous_message_id"]], *body["messages"]]}


def _keep(body: dict[str, Any], answer: Answer, said: Said) -> None:
    found = re.search(rb'"id": ?"(msg_[^"]+)"', answer.body)
    assert found
    turn = {"role": "assistant", "content": json.loads(VENDORS["anthropic"].whole(said).body)["content"]}
    _THREADS[found[1].decode()] = [*body["messages"], turn]


def _vendor(path: str) -> Vendor:
    ends = {
        "/chat/completions": "openai_chat",
        "/responses": "openai_responses",
        "/messages": "anthropic",
        ":generateContent": "gemini",
        ":streamGenerateContent": "gemini",
    }
    return VENDORS[next(dialect for end, dialect in ends.items() if path.endswith(end))]


def _said(heard: Heard) -> Said | Trouble:
    """What the scenario of the last question that is one says in this round."""
    asked = [text.strip() for text in heard.texts]
    question = next((text for text in reversed(asked) if text in BY_QUESTION), None)
    if question is None:
        return Trouble(400)
    answers = BY_QUESTION[question].answers
    return answers[min(1 if heard.results else 0, len(answers) - 1)]


def _embeddings(body: dict[str, Any]) -> Answer:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    entries = [{"object": "embedding", "index": index, "embedding": VECTOR} for index, _ in enumerate(texts)]
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    return Answer.json({"object": "list", "data": entries, "model": body["model"], "usage": usage})
