"""The real child process with a model made by tests/tiny_gguf.py, from the neutral request to the neutral answer.

Run with: python -m pytest -m local tests/proxy/backends/test_llamacpp_real.py
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from proxy.backends.backend import BackendError, Call, Timeouts
from proxy.backends.llamacpp import CHILD, LlamaCppBackend, LocalModel
from routing.catalog import rules_for
from tests.tiny_gguf import TEMPLATE, write_model
from translators import llamacpp
from translators.assemble import collect
from translators.codec import dumps
from translators.embeddings import EMBEDDERS, EmbeddingRules, parse_request
from translators.neutral import (
    Failure,
    Image,
    Message,
    OutputFormat,
    Request,
    Response,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

pytestmark = [
    pytest.mark.local,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed"),
]

REPLY = "Hello from the tiny model."
HERMES = '<tool_call>\n{"name": "get_time", "arguments": {"city": "Oslo"}}\n</tool_call>'
THOUGHT = "<think>\nThe user says hi.\n</think>\n\nHi there."
MODELS = {"tiny": REPLY, "calls": HERMES, "thinks": THOUGHT, "umlauts": "Grüße, 世界! 😀", "smile": "Well 😀."}
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TIME = Tool("get_time", "The time in a city.", CITY)
DATE = Tool("get_date", None, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    for name, reply in MODELS.items():
        write_model(made / f"{name}.gguf", reply)
    opening = TEMPLATE.replace("assistant\n", "assistant\n<think>\n")
    write_model(made / "opened.gguf", "Hm, well.\n</think>\n\nYes.", template=opening)
    adding = TEMPLATE.replace("call.function.arguments.city", "'' + call.function.arguments")
    write_model(made / "adding.gguf", REPLY, template=adding)
    write_model(made / "endless.gguf", "la", endless=True, context=65536)
    (made / "text.gguf").write_text("This is no model.")
    (made / "cut.gguf").write_bytes((made / "tiny.gguf").read_bytes()[:5000])
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(folder: Path) -> AsyncIterator[LlamaCppBackend]:
    models = {path.stem: LocalModel(path, context=512, threads=1) for path in folder.glob("*.gguf")}
    models["endless"] = LocalModel(folder / "endless.gguf", context=65536, threads=1)
    models["likely"] = LocalModel(folder / "tiny.gguf", context=256, threads=1, logits_all=True)
    models["vectors"] = LocalModel(folder / "tiny.gguf", context=256, threads=1, embedding=True)
    models["absent"] = LocalModel(folder / "absent.gguf")
    made = LlamaCppBackend(models)
    yield made
    await made.close()


def request(text: str = "Hi", *, model: str = "tiny", **fields: Any) -> Request:
    messages = fields.pop("messages", (Message("user", (Text(text),)),))
    return Request("openai_chat", model, messages, **{"temperature": 0, **fields})


TEXT_ONLY = rules_for("llamacpp", "x", LocalModel(Path("x")).quirks())
WITH_LOGPROBS = rules_for("llamacpp", "x", LocalModel(Path("x"), logits_all=True).quirks())
WITH_PICTURES = rules_for("llamacpp", "x", LocalModel(Path("x"), projector=Path("y")).quirks())


async def asked(local: LlamaCppBackend, sent: Request, **clocks: float) -> Response | Failure:
    """The answer by way of the dialect, parsed at awkward borders when it is a stream."""
    body = dumps(llamacpp.render_request(sent, WITH_LOGPROBS).body)
    async with local.send(Call(sent.model, body, sent.stream, timeouts=Timeouts(**clocks))) as answer:
        got = await answer.read()
    if answer.status != 200:
        return llamacpp.parse_error(answer.status, got, answer.headers)
    if not sent.stream:
        return llamacpp.parse_response(json.loads(got))
    parser = llamacpp.StreamParser()
    events = [event for start in range(0, len(got), 7) for event in parser.feed(got[start : start + 7])]
    return collect([*events, *parser.close()])


def texts(response: Response | Failure) -> str:
    assert isinstance(response, Response), response
    return "".join(part.text for part in response.choices[0].parts if isinstance(part, Text))


def reason(response: Response | Failure) -> str | None:
    assert isinstance(response, Response), response
    return response.choices[0].finish_reason


def calls(response: Response | Failure) -> list[tuple[str, Any]]:
    assert isinstance(response, Response), response
    return [(part.name, json.loads(part.arguments)) for part in response.choices[0].parts if isinstance(part, ToolCall)]


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@both
async def test_temperature_zero_gives_the_models_sentence_and_exact_usage(local: LlamaCppBackend, stream: bool) -> None:
    answer = await asked(local, request(stream=stream))

    assert (texts(answer), reason(answer)) == (REPLY, "stop")
    assert isinstance(answer, Response)
    assert answer.usage is not None
    # Its tokenizer takes each byte of the prompt as a token and knows three control tokens.
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (21, 8)
    assert answer.model == "tiny"


@both
async def test_a_prompt_sent_again_is_reported_as_cached(local: LlamaCppBackend, stream: bool) -> None:
    await asked(local, request(stream=stream))
    answer = await asked(local, request(stream=stream))

    assert isinstance(answer, Response)
    assert answer.usage is not None
    assert answer.usage.cached_input_tokens >= answer.usage.input_tokens - 1


@both
@pytest.mark.parametrize(
    ("fields", "text", "finish"),
    [
        ({"max_output_tokens": 2}, "Hello ", "length"),
        ({"max_output_tokens": 0}, "Hel", "length"),
        ({"stop": (" tiny",)}, "Hello from the", "stop"),
        ({"stop": ("", "ny")}, "Hello from the ti", "stop"),
        ({"seed": -1, "top_p": 0.5, "top_k": 3, "presence_penalty": 0.1, "frequency_penalty": 0.1}, REPLY, "stop"),
        ({"logit_bias": {"258": 100}}, "fro", "length"),
    ],
)
async def test_sampling_settings_reach_the_model(
    local: LlamaCppBackend, stream: bool, fields: dict[str, Any], text: str, finish: str
) -> None:
    if "logit_bias" in fields:
        fields = {**fields, "max_output_tokens": 1}

    answer = await asked(local, request(stream=stream, **fields))

    assert (texts(answer), reason(answer)) == (text, finish)


@both
@pytest.mark.parametrize("model", ["umlauts", "smile"])
@pytest.mark.parametrize("fields", [{}, {"stop": ("xyz",)}, {"stop": (".",)}], ids=["free", "no stop met", "stopped"])
async def test_characters_of_several_bytes_arrive_whole(
    local: LlamaCppBackend, stream: bool, model: str, fields: dict[str, Any]
) -> None:
    """Also where a token ends within the last one, which the library's stream drops."""
    answer = await asked(local, request(model=model, stream=stream, **fields))

    assert texts(answer) == (MODELS[model].removesuffix(".") if fields == {"stop": (".",)} else MODELS[model])


@both
async def test_a_json_schema_is_kept_to(local: LlamaCppBackend, stream: bool) -> None:
    schema = {
        "type": "object",
        "$defs": {"Pet": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}},
        "properties": {"pets": {"type": "array", "items": {"$ref": "#/$defs/Pet"}, "minItems": 1}, "any": {}},
        "required": ["pets", "any"],
        "additionalProperties": False,
    }

    answer = await asked(
        local, request(stream=stream, output=OutputFormat("json_schema", schema), max_output_tokens=200)
    )

    assert set(json.loads(texts(answer))) == {"pets", "any"}
    assert json.loads(texts(answer))["pets"][0].keys() == {"name"}


@both
async def test_json_object_gives_json(local: LlamaCppBackend, stream: bool) -> None:
    assert isinstance(
        json.loads(texts(await asked(local, request(stream=stream, output=OutputFormat("json_object"))))), dict
    )


@both
@pytest.mark.parametrize(
    ("choice", "name"),
    [
        (ToolChoice("named", ("get_time",)), "get_time"),
        (ToolChoice("allowed", ("get_time",), "required"), "get_time"),
        (ToolChoice("required"), "get_date"),
    ],
)
async def test_a_forced_call_is_a_call(local: LlamaCppBackend, stream: bool, choice: ToolChoice, name: str) -> None:
    answer = await asked(local, request(stream=stream, tools=(DATE, TIME), tool_choice=choice, max_output_tokens=200))

    assert [called for called, _ in calls(answer)] in ([name], ["get_time"])
    assert reason(answer) == "tool_calls"
    assert texts(answer) == ""


@both
async def test_a_forced_call_that_is_cut_keeps_its_arguments_and_says_length(
    local: LlamaCppBackend, stream: bool
) -> None:
    choice = ToolChoice("named", ("get_time",))

    answer = await asked(local, request(stream=stream, tools=(TIME,), tool_choice=choice, max_output_tokens=4))

    assert isinstance(answer, Response)
    assert answer.choices[0].parts[0].arguments == '{"ci'  # type: ignore[union-attr]  # it is a ToolCall
    assert reason(answer) == "length"


@both
async def test_a_call_that_the_model_writes_as_text_is_read(local: LlamaCppBackend, stream: bool) -> None:
    answer = await asked(local, request(model="calls", stream=stream, tools=(TIME,)))

    assert (calls(answer), texts(answer), reason(answer)) == ([("get_time", {"city": "Oslo"})], "", "tool_calls")


@both
async def test_without_tools_the_same_words_are_text(local: LlamaCppBackend, stream: bool) -> None:
    answer = await asked(local, request(model="calls", stream=stream))

    assert (texts(answer), reason(answer)) == (HERMES, "stop")


@both
async def test_reasoning_is_split_off(local: LlamaCppBackend, stream: bool) -> None:
    answer = await asked(local, request(model="thinks", stream=stream))

    assert isinstance(answer, Response)
    assert answer.choices[0].parts == (Thinking("The user says hi."), Text("Hi there."))


@both
async def test_reasoning_that_the_template_has_opened_is_split_off(local: LlamaCppBackend, stream: bool) -> None:
    answer = await asked(local, request(model="opened", stream=stream))

    assert isinstance(answer, Response)
    assert answer.choices[0].parts == (Thinking("Hm, well."), Text("Yes."))


@both
async def test_a_template_that_adds_arguments_as_text_gets_text(local: LlamaCppBackend, stream: bool) -> None:
    messages = (
        Message("assistant", (ToolCall("c1", "get_time", '{"city":"Oslo"}'),)),
        Message("tool", (ToolResult("c1", (Text("12:00"),)),)),
    )

    assert texts(await asked(local, request(model="adding", stream=stream, messages=messages))) == REPLY


@both
async def test_logprobs_are_finite_numbers_one_for_each_token(local: LlamaCppBackend, stream: bool) -> None:
    answer = await asked(local, request(model="likely", stream=stream, logprobs=True, top_logprobs=2))

    assert isinstance(answer, Response)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert "".join(token.token for token in logprobs) == REPLY
    assert all(-1 < token.logprob <= 0 and len(token.top) == 2 for token in logprobs)


async def test_a_conversation_with_calls_and_results_reaches_the_template(local: LlamaCppBackend) -> None:
    """This template reads `arguments.city`, which only an object has; the city makes the prompt four tokens longer."""

    def conversation(city: str) -> tuple[Message, ...]:
        return (
            Message("developer", (Text("Be kind."),)),
            Message("user", (Text("Time?"),)),
            Message("assistant", (ToolCall("c1", "get_time", json.dumps({"city": city})),)),
            Message("tool", (ToolResult("c1", (Text("12:00"),)),)),
        )

    longer = await asked(local, request(messages=conversation("Oslo")))
    shorter = await asked(local, request(messages=conversation("")))

    assert isinstance(longer, Response)
    assert isinstance(shorter, Response)
    assert longer.usage is not None
    assert shorter.usage is not None
    assert longer.usage.input_tokens == shorter.usage.input_tokens + 4


@both
@pytest.mark.parametrize(
    ("sent", "kind", "message"),
    [
        (request("x" * 1000), "context_length", "the prompt has 1019 tokens, the model's context holds 512"),
        (request("refuse"), "invalid_request", "the model's chat template refuses the request: this template refuses"),
        (request(logprobs=True), "invalid_request", "logprobs: this model is loaded without logits_all"),
        (request(logit_bias={"99999": 1}), "invalid_request", "logit_bias: '99999' is no token of this model"),
    ],
)
async def test_what_the_model_cannot_answer_is_a_400_that_says_why(
    local: LlamaCppBackend, stream: bool, sent: Request, kind: str, message: str
) -> None:
    failure = await asked(local, replace(sent, stream=stream))

    assert isinstance(failure, Failure)
    assert (failure.kind, failure.status) == (kind, 400)
    assert failure.message.startswith(message)
    assert texts(await asked(local, request())) == REPLY


async def test_a_picture_for_a_model_without_projector_is_refused_by_the_child_too(local: LlamaCppBackend) -> None:
    picture = Message("user", (Image(Source("image/png", data="AAAA")),))
    body = llamacpp.render_request(request(messages=(picture,)), WITH_PICTURES).body

    async with local.send(Call("tiny", dumps(body), False)) as answer:
        got = await answer.read()

    assert answer.status == 400
    assert "no projector" in got.decode()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("absent", "absent.gguf: there is no such file"),
        ("text", "text.gguf: this is not a GGUF file"),
        ("cut", "cut.gguf: llama.cpp cannot load it"),
    ],
)
async def test_a_file_that_is_no_model_is_said(local: LlamaCppBackend, model: str, message: str) -> None:
    with pytest.raises(BackendError) as caught:
        await asked(local, request(model=model))

    assert caught.value.failure.message.startswith(message)
    assert (caught.value.failure.status, caught.value.failure.code) == (500, "model_load_failed")


@both
async def test_an_endless_answer_ends_when_its_client_leaves(local: LlamaCppBackend, stream: bool) -> None:
    """The next request is answered by the same process long before 60,000 tokens could have been written."""
    await asked(local, request(model="endless", max_output_tokens=1))
    body = dumps(llamacpp.render_request(request(model="endless", stream=stream), TEXT_ONLY).body)
    if stream:
        async with local.send(Call("endless", body, stream)) as answer:
            async for _ in answer.pieces():
                break
    else:
        with pytest.raises(BackendError):
            async with local.send(Call("endless", body, stream, timeouts=Timeouts(whole_answer_s=0.2))):
                pass
    before = local._workers["endless"]._known_child()

    answer_after = await asked(local, request(model="endless", max_output_tokens=2))

    assert texts(answer_after) == "lala"
    assert local._workers["endless"]._known_child() is before


@both
async def test_answers_asked_for_at_once_end_their_turns_before_their_contexts(
    local: LlamaCppBackend, stream: bool
) -> None:
    body = dumps(llamacpp.render_request(request(stream=stream), TEXT_ONLY).body)
    hurried = Call("tiny", body, stream, timeouts=Timeouts(total_s=20.0))
    async with AsyncExitStack() as kept:
        answers = await asyncio.gather(*(kept.enter_async_context(local.send(hurried)) for _ in range(3)))
        assert texts(await asked(local, request(), total_s=20.0)) == REPLY
        bodies = [await answer.read() for answer in answers]

    assert all(got.endswith(b"}\n") and len(got) > 100 for got in bodies)


async def test_the_process_ends_with_its_parent_even_in_mid_answer(folder: Path) -> None:
    """A parent that is killed closes the pipe; nothing else tells the child."""
    child = await asyncio.create_subprocess_exec(*CHILD, stdin=PIPE, stdout=PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    load = {"op": "load", "id": 0, "path": str(folder / "endless.gguf"), "context": 65536}
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
    for frame in (load, {"op": "chat", "id": 1, "body": body}):
        child.stdin.write(dumps(frame) + b"\n")
    while not (await child.stdout.readline()).startswith(b"1 line"):
        pass

    child.stdin.close()

    assert await asyncio.wait_for(child.wait(), 5) == 0


async def test_a_long_prompt_is_left_between_its_batches(local: LlamaCppBackend) -> None:
    await asked(local, request(model="endless", max_output_tokens=1))
    long = request("word " * 12_000, model="endless", max_output_tokens=1)
    with pytest.raises(BackendError) as caught:
        await asked(local, long, whole_answer_s=0.05)
    assert caught.value.failure.kind == "timeout"
    before = local._workers["endless"]._known_child()

    assert texts(await asked(local, request(model="endless", max_output_tokens=1))) == "la"
    assert local._workers["endless"]._known_child() is before


# --- embeddings


async def embedded(local: LlamaCppBackend, texts: Any, model: str = "vectors") -> tuple[int, Any]:
    """The status and, of a good answer, what the dialect reads."""
    embedder = EMBEDDERS["llamacpp"]
    rendered = embedder.render(parse_request({"model": model, "input": texts}), EmbeddingRules(), model)
    (batch,) = rendered.calls
    async with local.send(Call(model, dumps(batch.body), stream=False, operation="embed")) as answer:
        body = json.loads(await answer.read())
    return answer.status, embedder.parse(body, batch.inputs) if answer.status == 200 else embedder.error_in(body)


async def test_a_text_is_the_mean_of_its_tokens_at_length_one(local: LlamaCppBackend) -> None:
    """The model's tokens are its bytes, each a direction of its own."""
    status, found = await embedded(local, ["a", "ab", "aab"])

    assert status == 200
    a, ab, aab = ({at: round(n, 3) for at, n in enumerate(vector) if abs(n) > 1e-3} for vector in found.vectors)
    assert a == {ord("a"): 1.0}
    assert ab == {ord("a"): 0.707, ord("b"): 0.707}
    assert aab == {ord("a"): 0.894, ord("b"): 0.447}
    assert found.usage.input_tokens == 6


async def test_many_texts_come_in_order(local: LlamaCppBackend) -> None:
    _, found = await embedded(local, [chr(97 + number % 26) for number in range(200)])

    assert [max(range(len(vector)), key=vector.__getitem__) for vector in found.vectors] == [
        97 + number % 26 for number in range(200)
    ]


async def test_a_text_beyond_the_context_is_refused_and_named(local: LlamaCppBackend) -> None:
    """The library would cut it in silence."""
    status, failure = await embedded(local, ["a", "b" * 300])

    assert (status, failure.kind, failure.code) == (400, "context_length", "context_length_exceeded")
    assert failure.message == "input[1] has 300 tokens, the model's context holds 256"


async def test_the_model_answers_after_a_refusal(local: LlamaCppBackend) -> None:
    await embedded(local, "b" * 300)

    assert (await embedded(local, "a"))[0] == 200
