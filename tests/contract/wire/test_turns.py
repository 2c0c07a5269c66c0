"""Wire cases of conversations: what clients send back, to the same vendor and to the next, and by which endpoint.

The number in a test's name or id is the case.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import pytest

from tests.contract.wire.sdks import CITIES, CLIENTS, TEXT, TOOL, Json, Sdks, Told
from tests.contract.wire.vendors import (
    NEXT,
    REASONED,
    SIGNED,
    UNSAID,
    called,
    chat,
    claude,
    google,
    google_call,
    item_call,
    output,
    responses,
    text,
    use,
)
from tests.replay import Answer, Asked

FORMS: Final = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
EVERY_CLIENT: Final = pytest.mark.parametrize("client", CLIENTS)


# --- what clients send back ------------------------------------------------------------------------------

SEAL: Final = "c2VhbGVkLWJ5LXRoZS12ZW5kb3I="
SEALED: Final = {
    "57-thinking": claude(
        {**SIGNED, "signature": SEAL}, text("See."), use("toolu_1", "Paris"), use("toolu_2", "Oslo"), reason="tool_use"
    ),
    "57-redacted": claude({"type": "redacted_thinking", "data": SEAL}, use("toolu_3", "Paris"), reason="tool_use"),
    "58-no-words": claude({**UNSAID, "signature": SEAL}, use("toolu_4", "Paris"), reason="tool_use"),
    "57-before-a-text": claude({**SIGNED, "signature": SEAL}, text()),
    "76-call": google(
        {"text": "Hm.", "thought": True},
        {**google_call("Paris", id="g1"), "thoughtSignature": SEAL},
        google_call("Oslo", id="g2"),
    ),
    "76-text": google({"text": "Hm.", "thought": True}, {"text": TEXT, "thoughtSignature": SEAL}),
    "109-calls": responses(
        {**REASONED, "encrypted_content": SEAL}, item_call("call_a", "Paris"), item_call("call_b", "Oslo")
    ),
    "109-text": responses({**REASONED, "encrypted_content": SEAL}, output()),
}
"""First answers with something that only their vendor can read."""


def turn_sent(vendor: str, body: Json) -> list[Json]:
    """What a vendor was sent of the turn after the question, up to the next thing that the client says."""
    match vendor:
        case "anthropic":
            return list(body["messages"][1]["content"])
        case "gemini":
            return list(body["contents"][1]["parts"])
        case "openai_chat":
            return [body["messages"][1]]
        case _:
            return [
                item for item in body["input"] if item.get("role") != "user" and item["type"] != "function_call_output"
            ]


@FORMS
@EVERY_CLIENT
@pytest.mark.parametrize("name", SEALED)
def test_what_a_vendor_sealed_comes_back_to_it_once(sdks: Sdks, name: str, client: str, stream: bool) -> None:
    """57, 58, 76, 109: in front of the calls or the text that it belongs to, or on them."""
    says = SEALED[name]
    first = sdks.ask(client, sdks.model(says.vendor, says(stream)), stream, tool=TOOL)
    model = sdks.model(says.vendor, NEXT[says.vendor](stream))

    sdks.ask(client, model, stream, tool=TOOL, after=first)

    sent = turn_sent(says.vendor, sdks.asked(model)[0])
    assert json.dumps(sent).count(SEAL) == 1
    sealed = next(at for at, part in enumerate(sent) if SEAL in json.dumps(part))
    said = [part for part in sent if not part.get("thought")]
    assert sent[sealed] is (said[0] if says.vendor == "gemini" else sent[0])


def plain(client: str, told: Told) -> Told:
    """The same answer, as a program keeps it that knows of texts and calls alone."""
    whole = told.whole
    match client:
        case "openai_chat":
            (choice,) = whole["choices"]
            calls = [
                {name: call[name] for name in ("id", "type", "function")}
                for call in choice["message"].get("tool_calls", ())
            ]
            message = {"role": "assistant", "content": told.text or None, **({"tool_calls": calls} if calls else {})}
            return replace(told, whole={"choices": [{**choice, "message": message}]})
        case "openai_responses":
            names = ("type", "call_id", "name", "arguments")
            items = [
                {name: item[name] for name in names} for item in whole["output"] if item["type"] == "function_call"
            ]
            said = [{"role": "assistant", "content": told.text}] if told.text else []
            return replace(told, whole={"output": [*said, *items]})
        case "anthropic":
            blocks = [block for block in whole["content"] if block["type"] in ("text", "tool_use")]
            return replace(told, whole={"content": blocks})
        case _:
            parts: list[Json] = [{"text": told.text}] if told.text else []
            for call_id, (name, arguments) in zip(told.ids, told.calls, strict=True):
                parts.append({"functionCall": {"id": call_id, "name": name, "args": arguments}})
            return replace(told, whole={"chunks": [{"candidates": [{"content": {"parts": parts}}]}]})


@FORMS
@EVERY_CLIENT
@pytest.mark.parametrize("name", SEALED)
def test_77_what_the_client_dropped_comes_out_of_the_proxys_store(
    sdks: Sdks, name: str, client: str, stream: bool
) -> None:
    """57, 58, 77, 109: a program that keeps texts and calls alone goes on with a vendor that wants its seal back."""
    says = SEALED[name]
    first = plain(client, sdks.ask(client, sdks.model(says.vendor, says(stream)), stream, tool=TOOL))
    model = sdks.model(says.vendor, NEXT[says.vendor](stream))

    sdks.ask(client, model, stream, tool=TOOL, after=first)

    assert SEAL not in json.dumps(first.whole)
    assert json.dumps(turn_sent(says.vendor, sdks.asked(model)[0])).count(SEAL) == 1


ELSEWHERE: Final = [
    (name, second)
    for name in ("57-thinking", "58-no-words", "76-call", "76-text", "109-calls")
    for second in NEXT
    if second != SEALED[name].vendor
]


@FORMS
@EVERY_CLIENT
@pytest.mark.parametrize(("name", "second"), ELSEWHERE)
def test_138_no_other_vendor_is_sent_it(sdks: Sdks, name: str, second: str, client: str, stream: bool) -> None:
    """78, 138: nor the proxy's own wrapping of it (68); calls and results go on with their ids."""
    says = SEALED[name]
    first = sdks.ask(client, sdks.model(says.vendor, says(stream)), stream, tool=TOOL)
    model = sdks.model(second, NEXT[second](stream))

    sdks.ask(client, model, stream, tool=TOOL, after=first)

    (body,) = sdks.asked(model)
    sent = json.dumps(turn_sent(second, body))
    assert SEAL not in sent
    assert all(name not in sent for name in ("signature", "thoughtSignature", "encrypted_content", "bW9kZWxwb3J0"))
    assert all(json.dumps(body).count(f'"{each}"') == 2 for each in first.ids)


@FORMS
@pytest.mark.parametrize("client", ["openai_chat", "openai_responses", "anthropic"])
@pytest.mark.parametrize("name", ["57-thinking", "76-call", "109-calls"])
def test_138_failover_in_mid_conversation_leaves_it_behind(sdks: Sdks, name: str, client: str, stream: bool) -> None:
    """The first target gets it back, fails, and the next one is asked without it."""
    says = SEALED[name]
    first = sdks.ask(client, sdks.model(says.vendor, says(stream)), stream, tool=TOOL)
    busy, free = (
        sdks.alone(says.vendor, Answer.json({"error": {}}, 500)),
        sdks.model("openai_chat", NEXT["openai_chat"](stream)),
    )
    chain: Any = {"extra_body": {"models": [busy, free]}}

    told = sdks.ask(client, busy, stream, tool=TOOL, after=first, **chain)

    assert told.text == TEXT
    assert SEAL not in json.dumps(sdks.asked(free)[0])


@FORMS
@EVERY_CLIENT
@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "dropped"])
def test_123_deepseek_gets_its_reasoning_back(sdks: Sdks, client: str, keeps: bool, stream: bool) -> None:
    """On the turn with the calls, from a client that keeps it and out of the proxy's store; 122: under its own name."""
    says = chat(
        {"reasoning_content": "Hm, weather.", "content": None, "tool_calls": [called("ds1", "Paris")]}, "tool_calls"
    )
    first = sdks.ask(client, sdks.model("openai_chat", says(stream), stem="deepseek-v4-pro"), stream, tool=TOOL)
    model = sdks.model("openai_chat", NEXT["openai_chat"](stream), stem="deepseek-v4-pro")

    sdks.ask(client, model, stream, tool=TOOL, after=first if keeps else plain(client, first))

    (sent,) = turn_sent("openai_chat", sdks.asked(model)[0])
    assert (sent["reasoning_content"], sent["tool_calls"][0]["id"]) == ("Hm, weather.", "ds1")


PHASED: Final = responses(
    output("Let me see.", id="msg_1", phase="commentary"), output(id="msg_2", phase="final_answer")
)


@FORMS
@EVERY_CLIENT
def test_117_phases_are_echoed(sdks: Sdks, client: str, stream: bool) -> None:
    """A model that reads its own commentary as an answer stops too early.

    Anthropic's dialect has no place for them: for its clients the proxy keeps them itself.
    """
    first = sdks.ask(client, sdks.model("openai_responses", PHASED(stream)), stream)
    model = sdks.model("openai_responses", NEXT["openai_responses"](stream))

    sdks.ask(client, model, stream, after=first)

    sent = turn_sent("openai_responses", sdks.asked(model)[0])
    assert [item["phase"] for item in sent] == ["commentary", "final_answer"]


@FORMS
@pytest.mark.parametrize("client", ["openai_chat", "openai_responses", "gemini"])
def test_20_a_renamed_tool_has_its_own_name_in_the_answer(sdks: Sdks, client: str, stream: bool) -> None:
    """Anthropic takes no dots; only the client's name is known to its program."""
    answer = {**use("toolu_1", "Paris"), "name": "db_look_up"}
    model = sdks.model("anthropic", claude(answer, reason="tool_use")(stream))

    told = sdks.ask(client, model, stream, tool="db.look.up")

    assert [tool["name"] for tool in sdks.asked(model)[0]["tools"]] == ["db_look_up"]
    assert told.calls == [("db.look.up", {"city": "Paris"})]


@FORMS
def test_6_candidates_of_a_vendor_that_gives_one(sdks: Sdks, stream: bool) -> None:
    """Gemini's client is the other one that may ask for several."""
    model = sdks.model("anthropic", claude(text()).whole)
    if stream:
        sdks.upstream.script(model.split("/", 1)[1], lambda asked: claude(text())(bool(asked.json.get("stream"))))

    told = sdks.ask("gemini", model, stream, candidate_count=3)

    texts = dict.fromkeys(range(3), "")
    for candidate in (each for chunk in told.whole["chunks"] for each in chunk["candidates"]):
        texts[candidate["index"]] += "".join(part["text"] for part in candidate.get("content", {}).get("parts", ()))
    assert list(texts.values()) == [TEXT] * 3
    assert (told.usage[0], told.usage[3]) == (60, 27)
    assert len(sdks.asked(model)) == 3


# --- OpenAI's two endpoints ------------------------------------------------------------------------------

BY_PATH: Final = {"/v1/chat/completions": "openai_chat", "/v1/responses": "openai_responses"}


def answers_by_path(asked: Asked) -> Answer:
    return NEXT[BY_PATH[asked.path]](bool(asked.json.get("stream")))


@FORMS
@pytest.mark.parametrize(
    ("stem", "effort", "tools", "path"),
    [
        pytest.param("gpt-5.4", None, True, "/v1/responses", id="104-by-default"),
        pytest.param("gpt-5.5", "high", True, "/v1/responses", id="104-explicit"),
        pytest.param("gpt-5.6-sol", "none", True, "/v1/chat/completions", id="104-without-reasoning"),
        pytest.param("gpt-6-sol", None, False, "/v1/chat/completions", id="104-without-tools"),
        pytest.param("gpt-6-sol", "low", True, "/v1/responses", id="105-sol"),
        pytest.param("gpt-6-luna", "none", True, "/v1/chat/completions", id="105-luna-without-reasoning"),
        pytest.param("gpt-6-astra", None, True, "/v1/responses", id="105-astra"),
        pytest.param("gpt-6.1-sol", None, True, "/v1/responses", id="105-6.1"),
        pytest.param("gpt-4.1", None, True, "/v1/chat/completions", id="104-no-reasoning-model"),
    ],
)
def test_tools_of_models_that_reason_go_to_responses(
    sdks: Sdks, stem: str, effort: Any, tools: bool, path: str, stream: bool
) -> None:
    """104, 105: and 108, 109: nothing is stored there, and the reasoning comes encrypted."""
    model = sdks.model("openai", answers_by_path, stem=stem)

    told = sdks.ask(
        "openai_chat", model, stream, tool=TOOL if tools else "", **({"reasoning_effort": effort} if effort else {})
    )

    (asked,) = sdks.upstream.asked(model.split("/", 1)[1])
    assert (asked.path, told.text) == (path, TEXT)
    if path == "/v1/responses":
        assert asked.json["store"] is False
        assert asked.json["include"] == ["reasoning.encrypted_content"]


@FORMS
@EVERY_CLIENT
def test_104_whatever_the_client_speaks(sdks: Sdks, client: str, stream: bool) -> None:
    model = sdks.model("openai", answers_by_path, stem="gpt-5.5")

    told = sdks.ask(client, model, stream, tool=TOOL)

    (asked,) = sdks.upstream.asked(model.split("/", 1)[1])
    (tool,) = asked.json["tools"]
    assert (asked.path, told.text) == ("/v1/responses", TEXT)
    assert (tool["type"], tool["name"], tool["parameters"], tool["strict"]) == ("function", TOOL, CITIES, False)
