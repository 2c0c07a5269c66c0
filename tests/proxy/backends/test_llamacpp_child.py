"""The loop of the child process and what it makes of a model's answers, with a library of its own making.

Here a model's tokens are its bytes, and its file name says what it answers. The real library is asked in
test_llamacpp_real.py, which few machines can run.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import pytest

from proxy.backends import llamacpp_child
from proxy.backends.llamacpp_child import Child

Frame = dict[str, Any]
Step = Frame | bytes | Callable[[], object]

ENDS: Final = 256
"""The token that ends an answer."""
HELD: Final = 8
"""So many bytes the library keeps back until an answer's end, and then decodes each for itself."""
SAID: Final = {
    "plain": "Hello there.",
    "smile": "Well 😀",
    "turn": "Hi<|end|>and more",
    "thinks": "so it is",
    "endless": "la" * 50_000,
    "slow": "late",
    "adding": "added",
    "empty": "",
}


class Llama:
    """As much of llama_cpp.Llama as the child uses."""

    made: Final[list[Llama]] = []

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.name = Path(settings["model_path"]).stem
        if self.name == "broken":
            raise ValueError("Failed to load model from file")
        self.n_batch = 4
        self.evaluated: list[int] = []
        self.asked: list[Frame] = []
        self.closed = False
        self.resets = 0
        self.evaluating, self.go_on = threading.Event(), threading.Event()
        self._kept: list[int] = []
        self._model = SimpleNamespace(n_ctx_train=lambda: 8, vocab="vocabulary")
        Llama.made.append(self)

    def n_ctx(self) -> int:
        return int(self.settings["n_ctx"])

    def n_vocab(self) -> int:
        return ENDS + 1

    def pooling_type(self) -> int:
        return int(self.settings.get("pooling_type", 0 if self.name == "unpooled" else 3))

    def close(self) -> None:
        self.closed = True

    def reset(self) -> None:
        self.resets += 1
        self._kept = []

    def tokenize(self, text: bytes) -> list[int]:
        return list(text)

    def detokenize(self, tokens: list[int], prev_tokens: list[int] | None = None, special: bool = False) -> bytes:
        return bytes(tokens)

    def embed(self, text: str, normalize: bool, truncate: bool) -> list[float]:
        assert (normalize, truncate) == (True, False)
        if self.name == "slow":
            self.evaluating.set()
            assert self.go_on.wait(30)
        return [len(text) / 2, -1.0]

    def eval(self, tokens: Sequence[int]) -> None:
        if self.name == "slow":
            self.evaluating.set()
            assert self.go_on.wait(30)
        self.evaluated += tokens

    def generate(self, tokens: Sequence[int]) -> Iterator[int]:
        known = len(self._kept) if self._kept == list(tokens)[: len(self._kept)] else 0
        self.eval(tokens[min(known, len(tokens) - 1) :])
        self._kept = list(tokens)
        yield from SAID[self.name].encode()
        yield ENDS

    def create_chat_completion(self, **arguments: Any) -> Any:
        self.asked.append(arguments)
        prompt = "".join(self._rendered(message) for message in arguments["messages"])
        if "refuse" in prompt:
            raise ValueError("this template refuses")
        if "assert" in prompt:
            next(iter(self.generate(b"assert")))
            raise RuntimeError("llama_decode returned -1")
        if len(prompt) > self.n_ctx():
            raise ValueError(f"Requested tokens ({len(prompt)}) exceed context window of {self.n_ctx()}")
        pieces = self._pieces(prompt.encode(), arguments)
        if arguments.get("stream"):
            return ({"choices": [choice]} for choice in pieces)
        choices = list(pieces)
        text = "".join(choice["delta"].get("content", "") for choice in choices)
        message = {"role": "assistant", "content": text}
        logprobs = {"content": [_likely(letter, arguments.get("top_logprobs", 0)) for letter in text]}
        return {
            "choices": [
                {
                    "message": message,
                    "finish_reason": choices[-1]["finish_reason"],
                    "logprobs": logprobs if arguments.get("logprobs") else None,
                }
            ]
        }

    def _rendered(self, message: Frame) -> str:
        called = "".join(
            "" + call["function"]["arguments"] if self.name == "adding" else str(call["function"]["arguments"])
            for call in message.get("tool_calls") or ()
        )
        content = message.get("content", "")
        return called + ("" if isinstance(content, list) else content)

    def _pieces(self, prompt: bytes, arguments: Frame) -> Iterator[Frame]:
        """The choices of a stream's chunks, with what the library drops of its last bytes."""
        held, said, reason = b"", b"", "length"
        stops = [*(arguments.get("stop") or ()), "<|end|>"]
        for number, token in enumerate(self.generate(prompt)):
            if number == 0:
                yield {"delta": {"role": "assistant"}, "finish_reason": None}
            if token == ENDS:
                reason = "stop"
                break
            said, held = said + bytes([token]), held + bytes([token])
            if met := [stop for stop in stops if stop.encode() in said]:
                held, reason = held[: max(0, len(held) - len(met[0]))], "stop"
                break
            if number + 1 == arguments.get("max_tokens"):
                break
            if len(held) > HELD:
                yield {"delta": {"content": held[:1].decode("utf-8", "ignore")}, "finish_reason": None}
                held = held[1:]
        for byte in held:
            yield {"delta": {"content": bytes([byte]).decode("utf-8", "ignore")}, "finish_reason": None}
        yield {"delta": {}, "finish_reason": reason}


def _likely(letter: str, top: int) -> Frame:
    """One more alternative than was asked for, an infinity, and numbers that are no floats."""
    others = [{"token": letter, "logprob": Decimal("-0.5")}, {"token": "?", "logprob": float("-inf")}]
    return {"token": letter, "logprob": Decimal("-0.5"), "top_logprobs": (others * 2)[: top + 1]}


class Grammar:
    @staticmethod
    def from_json_schema(schema: str, verbose: bool) -> str:
        if "$ref" in schema:
            raise KeyError
        return f"grammar of {schema}"


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Llama]]:
    """In the place of llama-cpp-python; the models that were made with it."""
    module, formats = ModuleType("llama_cpp"), ModuleType("llama_cpp.llama_chat_format")
    named = {
        "Llama": Llama,
        "LlamaGrammar": Grammar,
        "LLAMA_POOLING_TYPE_NONE": 0,
        "LLAMA_POOLING_TYPE_MEAN": 1,
        "llama_vocab_is_eog": lambda vocabulary, token: vocabulary == "vocabulary" and token == ENDS,
    }
    vars(module).update(named)
    vars(formats)["MTMDChatHandler"] = lambda clip_model_path, verbose: ("projector", clip_model_path, verbose)
    monkeypatch.setitem(sys.modules, "llama_cpp", module)
    monkeypatch.setitem(sys.modules, "llama_cpp.llama_chat_format", formats)
    yield Llama.made
    Llama.made.clear()


class Exited(Exception):
    """What os._exit is here."""


class Last(Frame):
    """A command whose reading ends the loop in the test's thread."""

    def __getitem__(self, key: str) -> Any:
        raise Exited


class Parent:
    """Both pipes. A step is a command, the beginning of a line to wait for, or something to call."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._lines: list[bytes] = []
        self._written = threading.Condition()

    def __iter__(self) -> Iterator[bytes]:
        """What the child reads; its end comes when all is answered, or when that lasts too long."""
        for step in self._steps:
            if isinstance(step, bytes):
                self._await(step)
            elif callable(step):
                step()
            else:
                yield json.dumps(step).encode() + b"\n"
        for step in self._steps:
            if isinstance(step, dict) and step["op"] != "cancel":
                self._await(b"%d done" % step["id"], b"%d fail" % step["id"])

    def _await(self, *beginnings: bytes) -> None:
        with self._written:
            self._written.wait_for(lambda: any(line.startswith(beginnings) for line in self._lines), 30)

    def write(self, line: bytes) -> None:
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        with self._written:
            self._lines.append(line)
            self._written.notify_all()

    def flush(self) -> None:
        """Every line is on its way already."""

    def answers(self) -> list[tuple[int, str, Any]]:
        split = [line.split(b" ", 2) for line in self._lines]
        return [
            (int(number), kind.decode().strip(), json.loads(rest[0]) if rest else None) for number, kind, *rest in split
        ]


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[int, str, Any]]]:
    """Runs the loop over *steps* to the end of its input; the frames that it wrote."""

    def talk(*steps: Step) -> list[tuple[int, str, Any]]:
        parent = Parent(steps)
        child = Child(parent, parent)  # type: ignore[arg-type]  # as much of two files as it uses
        exits: list[int] = []

        def leave(status: int) -> None:
            exits.append(status)
            child._waiting.put(Last())

        monkeypatch.setattr(llamacpp_child, "os", SimpleNamespace(_exit=leave))
        with pytest.raises(Exited):
            child.run()
        assert exits == [0]
        return parent.answers()

    return talk


Talk = Callable[..., list[tuple[int, str, Any]]]


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Frame]:
    """The command that loads a model of that name."""

    def load(name: str = "plain", **more: Any) -> Frame:
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(b"GGUF and more")
        return {"op": "load", "id": 0, "path": str(path), "context": 32, **more}

    return load


Load = Callable[..., Frame]


def chat(text: str | list[Frame] | None = "Hi", number: int = 1, **body: Any) -> Frame:
    return {"op": "chat", "id": number, "body": {"messages": [{"role": "user", "content": text}], **body}}


def of(answers: list[tuple[int, str, Any]], number: int = 1) -> list[Any]:
    """What the lines of one request say."""
    return [value for request, kind, value in answers if (request, kind) == (number, "line")]


def text(lines: list[Any]) -> tuple[str, str | None]:
    """What an answer says, whole or streamed, and why it ended."""
    choices = [choice for line in lines for choice in line.get("choices", ())]
    parts = [choice.get("message") or choice["delta"] for choice in choices]
    return "".join(part.get("content", "") for part in parts), choices[-1]["finish_reason"]


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@both
def test_an_answer_is_lines_and_done_with_usage(talk: Talk, load: Load, stream: bool) -> None:
    answers = talk(load(), chat(stream=stream, modelport={"tools": []}))

    assert [(number, kind) for number, kind, _ in answers if kind != "line"] == [(0, "done"), (1, "done")]
    lines = of(answers)
    assert text(lines) == ("Hello there.", "stop")
    assert lines[-1]["usage"] == {
        "prompt_tokens": 2,
        "completion_tokens": 12,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert lines[0]["modelport"] == {"tools": [], "thinking": False}
    assert (lines[-1]["timings"]["prompt_n"], lines[-1]["timings"]["predicted_n"]) == (2, 12)


def test_a_prompt_that_goes_on_from_the_one_before_is_cached(talk: Talk, load: Load) -> None:
    answers = talk(load(), chat("one"), chat("one two", number=2))

    usage = of(answers, 2)[-1]["usage"]
    assert (usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]) == (7, 3)


@both
def test_a_prompt_that_opens_a_thought_is_told(talk: Talk, load: Load, stream: bool) -> None:
    answers = talk(load("thinks"), chat("Hi<think>\n", stream=stream))

    assert of(answers)[0]["modelport"] == {"thinking": True}


@pytest.mark.parametrize(
    ("model", "body", "expected"),
    [
        ("smile", {}, ("Well 😀", "stop")),
        ("smile", {"max_tokens": 7}, ("Well ", "length")),
        ("plain", {"max_tokens": 5}, ("Hello", "length")),
        ("plain", {"stop": ["xyz", "there"]}, ("Hello ", "stop")),
        ("turn", {}, ("Hi", "stop")),
        ("empty", {}, ("", "stop")),
    ],
    ids=["character of several tokens", "cut in a character", "cut", "stop sequence", "the template's stop", "nothing"],
)
def test_a_streams_end_is_made_whole(
    talk: Talk, load: Load, model: str, body: Frame, expected: tuple[str, str]
) -> None:
    assert text(of(talk(load(model), chat(stream=True, **body)))) == expected


def test_a_whole_answer_is_cut_at_its_first_stop_sequence(talk: Talk, load: Load, library: list[Llama]) -> None:
    """The library may look for it too late."""
    assert text(of(talk(load("turn"), chat(stop=["i"])))) == ("H", "stop")


def test_logprobs_are_finite_numbers_and_no_more_than_were_asked_for(talk: Talk, load: Load) -> None:
    (line,) = of(talk(load(logits_all=True), chat(logprobs=True, top_logprobs=2)))

    first = line["choices"][0]["logprobs"]["content"][0]
    assert first["logprob"] == -0.5
    assert [each["logprob"] for each in first["top_logprobs"]] == [-0.5, -9999.0]


def test_a_stream_with_logprobs_is_the_librarys(talk: Talk, load: Load) -> None:
    """Its text and its logprobs belong together: neither is mended."""
    lines = of(talk(load("smile", logits_all=True), chat(stream=True, logprobs=True, top_logprobs=0)))

    assert text(lines) == ("Well ", "stop")


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (chat("x" * 40), ("context_length", "the prompt has 40 tokens, the model's context holds 32")),
        (chat("refuse"), ("invalid_request", "the model's chat template refuses the request: this template refuses")),
        (chat(logprobs=True), ("invalid_request", "logprobs: this model is loaded without logits_all")),
        (chat([{"type": "image_url"}]), ("invalid_request", "messages: this model has no projector")),
        (chat(logit_bias={"257": 1}), ("invalid_request", "logit_bias: '257' is no token of this model")),
        (chat(logit_bias={"-1": 1}), ("invalid_request", "logit_bias: '-1' is no token of this model")),
        (
            chat(response_format={"type": "json_object", "schema": {"$ref": "#"}}),
            ("invalid_request", "the JSON Schema cannot be made a grammar: KeyError"),
        ),
        (chat("assert"), ("server", "llama.cpp failed: RuntimeError: llama_decode returned -1")),
    ],
    ids=["too long", "template", "logprobs", "picture", "bias", "negative bias", "schema", "engine"],
)
def test_what_cannot_be_answered_fails_and_the_next_is_answered(
    talk: Talk, load: Load, asked: Frame, error: tuple[str, str], library: list[Llama]
) -> None:
    answers = talk(load(), asked, chat(number=2))

    ((_, _, told),) = (each for each in answers if each[1] == "fail")
    assert told["error"]["kind"] == error[0]
    assert told["error"]["message"].startswith(error[1])
    assert told["error"]["status"] == (500 if error[0] == "server" else 400)
    assert text(of(answers, 2)) == ("Hello there.", "stop")
    assert library[0].resets == 1


def test_a_schema_becomes_a_grammar(talk: Talk, load: Load, library: list[Llama]) -> None:
    talk(load(), chat(response_format={"type": "json_object", "schema": {"type": "object"}}))

    assert library[0].asked[0]["grammar"] == 'grammar of {"type": "object"}'
    assert "response_format" not in library[0].asked[0]


@pytest.mark.parametrize(
    ("model", "arguments", "given"),
    [
        ("plain", '{"city": "Oslo"}', [{"city": "Oslo"}]),
        ("plain", "[1]", ["[1]"]),
        ("plain", "no JSON", ["no JSON"]),
        ("adding", '{"city": "Oslo"}', [{"city": "Oslo"}, '{"city": "Oslo"}']),
    ],
    ids=["objects first", "a list stays text", "what is no JSON", "text where the template fails"],
)
def test_arguments_of_earlier_calls_are_given_as_the_template_takes_them(
    talk: Talk, load: Load, library: list[Llama], model: str, arguments: str, given: list[Any]
) -> None:
    called = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}
    asked = {"op": "chat", "id": 1, "body": {"messages": [{"role": "user", "content": "Hi"}, called]}}

    answers = talk(load(model), asked)

    tried = [each["messages"][1]["tool_calls"][0]["function"]["arguments"] for each in library[0].asked]
    assert tried == given
    assert answers[-1][1] == "done"


def test_a_template_that_fails_without_calls_is_asked_once(talk: Talk, load: Load, library: list[Llama]) -> None:
    answers = talk(load(), chat(None))

    assert answers[1][2]["error"]["message"].startswith("the model's chat template refuses the request: ")
    assert len(library[0].asked) == 1


# --- cancelling


def test_a_cancelled_stream_ends_at_its_next_token(talk: Talk, load: Load, library: list[Llama]) -> None:
    answers = talk(load("endless"), chat(stream=True), b"1 line", {"op": "cancel", "id": 1}, b"1 done")

    assert answers[-1] == (1, "done", None)
    assert "usage" not in of(answers)[-1]
    assert library[0].resets == 1


def test_a_request_that_is_cancelled_while_it_waits_is_never_begun(
    talk: Talk, load: Load, library: list[Llama]
) -> None:
    cancels = [{"op": "cancel", "id": number} for number in (2, 1)]

    answers = talk(load("endless"), chat(stream=True), b"1 line", chat(number=2), *cancels, b"2 done")

    assert [number for number, kind, _ in answers if kind == "done"] == [0, 1, 2]
    assert of(answers, 2) == []
    assert len(library[0].asked) == 1


def cancelled_at_work(asked: Frame, library: list[Llama]) -> list[Step]:
    """*asked*, and its cancelling while the slow model is at it."""

    def begun() -> None:
        library[0].evaluating.wait(30)

    def go_on() -> None:
        library[0].go_on.set()

    return [b"0 done", asked, begun, {"op": "cancel", "id": 1}, go_on]


def test_a_prompt_is_left_between_its_batches(talk: Talk, load: Load, library: list[Llama]) -> None:
    answers = talk(load("slow"), *cancelled_at_work(chat("0123456789"), library))

    assert answers[1:] == [(1, "done", None)]
    assert library[0].evaluated == list(b"0123")


def test_embedding_is_left_between_two_texts(talk: Talk, load: Load, library: list[Llama]) -> None:
    answers = talk(load("slow", embedding=True), *cancelled_at_work(embed("a", "b"), library))

    assert answers[1:] == [(1, "done", None)]


# --- embeddings


def embed(*texts: str) -> Frame:
    return {"op": "embed", "id": 1, "body": {"model": "m", "input": list(texts)}}


def test_vectors_come_in_one_line_in_base64(talk: Talk, load: Load) -> None:
    (line,) = of(talk(load(embedding=True), embed("a", "abc")))

    vectors = [array("f", base64.b64decode(each["embedding"])).tolist() for each in line["data"]]
    assert vectors == [[0.5, -1.0], [1.5, -1.0]]
    assert [each["index"] for each in line["data"]] == [0, 1]
    assert line["usage"] == {"prompt_tokens": 4, "total_tokens": 4}


def test_a_text_beyond_what_the_model_was_trained_for_is_refused(talk: Talk, load: Load) -> None:
    answers = talk(load(embedding=True), embed("a", "b" * 9))

    assert answers[1][2]["error"] == {
        "kind": "context_length",
        "message": "input[1] has 9 tokens, the model's context holds 8",
        "status": 400,
        "code": "context_length_exceeded",
    }


# --- loading


def test_the_settings_reach_the_library(talk: Talk, load: Load, library: list[Llama]) -> None:
    talk(load(gpu_layers=-1, threads=3, chat_format="chatml", logits_all=True, projector="/p.gguf"))

    settings = {name: value for name, value in library[0].settings.items() if name != "model_path"}
    assert settings == {
        "n_ctx": 32,
        "n_gpu_layers": -1,
        "n_threads": 3,
        "chat_format": "chatml",
        "chat_handler": ("projector", "/p.gguf", False),
        "verbose": False,
        "logits_all": True,
    }


def test_an_embedding_model_evaluates_a_text_in_one_batch_and_pools(
    talk: Talk, load: Load, library: list[Llama]
) -> None:
    """Where the file does not say how, by the mean."""
    talk(load("unpooled", embedding=True))

    first, second = library
    assert (first.closed, second.closed) == (True, False)
    assert {name: second.settings[name] for name in ("embedding", "n_batch", "n_ubatch", "pooling_type")} == {
        "embedding": True,
        "n_batch": 32,
        "n_ubatch": 32,
        "pooling_type": 1,
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "absent.gguf: there is no such file"),
        ("folder", "folder.gguf: this is no file"),
        ("words", "words.gguf: this is not a GGUF file"),
        ("broken", "broken.gguf: llama.cpp cannot load it: Failed to load model from file"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_told(talk: Talk, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "words.gguf").write_text("words")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")

    answers = talk({"op": "load", "id": 0, "path": str(tmp_path / f"{name}.gguf"), "context": 32})

    error = {"kind": "server", "message": message, "status": 500, "code": "model_load_failed"}
    assert answers == [(0, "fail", {"error": error})]


def test_a_missing_library_is_told(talk: Talk, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)

    ((_, kind, told),) = talk(load())

    assert (kind, told["error"]["code"]) == ("fail", "llama_cpp_missing")
    assert "modelport[local]" in told["error"]["message"]


def test_a_command_that_lacks_something_fails_to_load(talk: Talk) -> None:
    ((_, kind, told),) = talk({"op": "load", "id": 0})

    assert (kind, told["error"]["message"]) == ("fail", "the model cannot be loaded: 'path'")
