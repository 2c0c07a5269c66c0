"""A client's completions request: what is read, what is refused, and what servers of other dialects lose."""

import contextlib
from dataclasses import replace
from typing import Any

import pytest

from translators import anthropic, gemini, llamacpp, openai_chat, tokens
from translators.dialect import Rules
from translators.errors import BadRequest, Unsupported
from translators.neutral import Message, Opaque, Text
from translators.openai_text import joined, parse_request, prompts, split
from translators.wishes import real_wishes


def asked(**fields: Any) -> Any:
    return parse_request({"model": "gpt-3.5-turbo-instruct", "prompt": "Say this", **fields})


def ids_of(text: str) -> list[int]:
    return tokens._encoding("cl100k_base").encode(text)


def test_a_prompt_is_one_user_message() -> None:
    request = asked()

    assert request.messages == (Message("user", (Text("Say this"),)),)
    assert request.messages[0].place == "prompt"
    assert request.dialect == "openai_completions"


def test_every_field_has_its_place() -> None:
    request = asked(
        max_tokens=5,
        temperature=0.5,
        top_p=0.9,
        n=2,
        stop=["a", "b"],
        presence_penalty=1,
        frequency_penalty=-1,
        logit_bias={"50256": -100},
        seed=7,
        user="u",
        stream=True,
        stream_options={"include_usage": True, "include_obfuscation": False},
        logprobs=3,
        suffix="end",
        best_of=4,
        min_p=0.1,
        modelport={"cache": "no-store"},
    )

    assert (request.max_output_tokens, request.temperature, request.top_p, request.n) == (5, 0.5, 0.9, 2)
    assert (request.stop, request.presence_penalty, request.frequency_penalty) == (("a", "b"), 1, -1)
    assert (request.logit_bias, request.seed, request.user) == ({"50256": -100}, 7, "u")
    assert (request.stream, request.include_usage) == (True, True)
    assert (request.logprobs, request.top_logprobs) == (True, 3)
    assert request.native == {
        "openai_completions": {
            "stream_options": {"include_obfuscation": False},
            "best_of": 4,
            "suffix": "end",
            "min_p": 0.1,
        }
    }


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({}, "max_output_tokens", 16),
        ({"max_tokens": None}, "max_output_tokens", 16),
        ({"max_tokens": 0}, "max_output_tokens", 0),
        ({"logprobs": 0}, "logprobs", True),
        ({"logprobs": 0}, "top_logprobs", None),
        ({"logprobs": None}, "logprobs", None),
        ({"stop": "x"}, "stop", ("x",)),
        ({"top_k": -1}, "top_k", None),
    ],
)
def test_defaults_and_borders(fields: dict[str, Any], name: str, value: Any) -> None:
    assert getattr(asked(**fields), name) == value


@pytest.mark.parametrize(
    "idle", [{"echo": False}, {"best_of": 1}, {"best_of": 2, "n": 2}, {"suffix": ""}, {"suffix": None}, {"echo": True}]
)
def test_a_field_that_asks_for_nothing_or_is_done_here_is_no_loss(idle: dict[str, Any]) -> None:
    request = replace(real_wishes(asked(**idle)), n=None)

    assert request.native == {}
    assert openai_chat.render_request(request, Rules()).losses == ()


@pytest.mark.parametrize("dialect", [openai_chat, anthropic, gemini, llamacpp])
def test_what_only_a_completions_server_can_do_is_a_loss_elsewhere(dialect: Any) -> None:
    request = asked(suffix="s", best_of=3, echo=True, logprobs=1, min_p=0.1)

    rules = Rules(dialect=dialect.__name__.rpartition(".")[2], max_output_tokens=100)
    rendered = dialect.render_request(request, rules)

    lost = {loss.field for loss in rendered.losses}
    assert {"suffix", "best_of", "echo"} <= lost
    assert "min_p" in lost or rendered.body["min_p"] == 0.1, "a local model takes it"
    assert "Say this" in repr(rendered.body)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": 3}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"prompt": ["a", 3]}, "prompt[1]"),
        ({"prompt": [3, "a"]}, "prompt[1]"),
        ({"prompt": [[3, -1]]}, "prompt[0][1]"),
        ({"prompt": [12345, 123456]}, "prompt"),
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": -1}, "logprobs"),
        ({"best_of": 0}, "best_of"),
        ({"echo": "yes"}, "echo"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"stop": 3}, "stop"),
        ({"stop": ["a", 3]}, "stop[1]"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
    ],
)
def test_a_wrong_request_names_the_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        asked(**fields)

    assert caught.value.param == param


# --- token ids and several prompts ---------------------------------------------------------------


def test_token_ids_are_decoded_where_the_model_tells_the_tokenizer() -> None:
    assert asked(prompt=ids_of("Grüße")).messages[0].parts == (Text("Grüße"),)
    assert prompts({"model": "davinci-002", "prompt": [ids_of("one"), ids_of("two")]}) == ["one", "two"]


def test_token_ids_of_another_tokenizer_reach_only_a_server_with_the_endpoint() -> None:
    body = {"model": "facebook/opt-125m", "prompt": [5, 6]}

    request = parse_request(body)

    assert request.messages[0].parts == (Opaque("openai_completions", "token_ids", {"prompt": [5, 6]}),)
    with pytest.raises(BadRequest, match="tokenizer"):
        prompts(body)


@pytest.mark.parametrize("dialect", [openai_chat, anthropic, gemini, llamacpp])
def test_undecoded_token_ids_never_vanish_in_silence(dialect: Any) -> None:
    request = parse_request({"model": "facebook/opt-125m", "prompt": [5, 6]})
    rules = Rules(dialect=dialect.__name__.rpartition(".")[2], max_output_tokens=100)

    with contextlib.suppress(Unsupported, BadRequest):
        rendered = dialect.render_request(request, rules)
        assert any("prompt" in loss.field for loss in rendered.losses)


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [("a", ["a"]), (["a"], ["a"]), (["a", "b"], ["a", "b"]), (None, [""]), ([ids_of("x"), "y"], ["x", "y"])],
)
def test_prompts_in_every_form(prompt: Any, texts: list[str]) -> None:
    assert prompts({"model": "gpt-3.5-turbo-instruct", "prompt": prompt}) == texts


def test_of_several_prompts_the_first_is_the_message_and_all_are_kept() -> None:
    request = asked(prompt=["a", "b"])

    assert request.messages[0].parts == (Text("a"),)
    assert request.messages[0].place == "prompt[0]"
    assert request.native == {"openai_completions": {"prompt": ["a", "b"]}}
    assert "prompt" in {loss.field for loss in openai_chat.render_request(request, Rules()).losses}


def test_several_prompts_are_split_into_requests_of_one() -> None:
    body = {"model": "m", "prompt": ["a", "b"], "n": 2, "stream": False}

    assert split(body) == [{**body, "prompt": "a"}, {**body, "prompt": "b"}]
    assert split({"model": "m", "prompt": ["a"]}) == [{"model": "m", "prompt": "a"}]
    assert split({"model": "davinci-002", "prompt": ids_of("x")}) == [{"model": "davinci-002", "prompt": "x"}]


@pytest.mark.parametrize("prompt", [None, "", ["a", ""], [5, 6], [["a"]]])
def test_what_no_chat_can_begin_with_is_refused_before_it_is_split(prompt: Any) -> None:
    with pytest.raises(BadRequest):
        split({"model": "facebook/opt-125m", "prompt": prompt})


def answer(texts: list[str], usage: dict[str, Any] | None) -> dict[str, Any]:
    choices = [{"text": text, "index": at, "logprobs": None, "finish_reason": "stop"} for at, text in enumerate(texts)]
    body: dict[str, Any] = {"id": f"cmpl-{texts[0]}", "object": "text_completion", "model": "m", "choices": choices}
    return body if usage is None else {**body, "usage": usage}


def test_answers_to_several_prompts_are_numbered_on_and_their_tokens_summed() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 3}}

    whole = joined([answer(["a", "b"], usage), answer(["c", "d"], usage)])

    assert [(choice["index"], choice["text"]) for choice in whole["choices"]] == [
        (0, "a"),
        (1, "b"),
        (2, "c"),
        (3, "d"),
    ]
    assert whole["usage"] == {
        "prompt_tokens": 2,
        "completion_tokens": 4,
        "completion_tokens_details": {"reasoning_tokens": 6},
    }
    assert whole["id"] == "cmpl-a"
    assert "usage" not in joined([answer(["a"], usage), answer(["b"], None)])
