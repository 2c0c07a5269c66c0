"""The process that holds one model; `proxy.backends.llamacpp` starts it and talks to it over pipes.

Commands come on stdin, one JSON object per line:

    {"op": "load", "id": 0, "path", "context", "gpu_layers", "threads", "chat_format", "logits_all", "projector",
     "embedding"}
    {"op": "chat", "id": N, "body": {...}}          body: see translators.llamacpp
    {"op": "embed", "id": N, "body": {...}}         body: see translators.embeddings.llamacpp; the load said embedding
    {"op": "cancel", "id": N}

Answers go to stdout, one per line: `N line JSON` any number of times, then `N done` or `N fail JSON`. A cancelled
request ends with `N done` at the next token, or at the next batch of a prompt. The end of stdin ends the process.

llama.cpp aborts its process when it finds itself wrong, is not safe against two threads, and keeps the interpreter
busy: hence a process of its own. It is run as a file and needs nothing but llama-cpp-python.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
import signal
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, Final

Frame = dict[str, Any]
Send = Callable[[int, str, Any], None]

HINTS: Final = "modelport"
LOWEST_LOGPROB: Final = -9999.0
"""Stands for minus infinity, which JSON cannot say; OpenAI uses the same number."""
_TOO_LONG = re.compile(r"Requested tokens \((\d+)\) exceed context window of (\d+)")


class Cancelled(Exception):
    """Nobody wants the answer any more."""


class Refused(Exception):
    """The request or the model file is wrong; *kind*, *status* and *code* as in translators.llamacpp.error."""

    def __init__(self, message: str, kind: str = "invalid_request", status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.error = {"kind": kind, "message": message, "status": status, **({"code": code} if code else {})}


class Watch:
    """Stands in for `generate` and `eval` of one Llama: counts tokens, and raises Cancelled between them.

    The library counts no tokens of streams, and has no other place where a prompt's evaluation can be stopped.
    """

    def __init__(self, engine: Any, ends: Callable[[int], bool], cancelled: Callable[[int], bool]) -> None:
        self._engine = engine
        self._ends = ends
        self._generate = engine.generate
        self._eval = engine.eval
        self._cancelled = cancelled
        engine.generate = self.generate
        engine.eval = self.eval
        self.begin(0)

    def begin(self, request: int) -> None:
        """Forget the request before."""
        self._request = request
        self._evaluated = 0
        self.prompt = self.cached = 0
        self.thinking = self.ended = self.ended_itself = False
        self._prompt: Sequence[int] = ()
        self._tokens: list[int] = []
        self._began_s = self._first_s = time.monotonic()

    def generate(self, tokens: Sequence[int], *arguments: Any, **named: Any) -> Iterator[int]:
        """The tokens of the answer."""
        self._prompt, self.prompt = tokens, len(tokens)
        tail = self._engine.detokenize(list(tokens[-16:]), special=True).decode("utf-8", "replace")
        self.thinking = tail.rstrip().endswith("<think>")
        try:
            for number, token in enumerate(self._generate(tokens, *arguments, **named)):
                if number == 0:
                    self._first_s = time.monotonic()
                    self.cached = max(0, self.prompt - self._evaluated)
                self._check()
                self.ended_itself = self._ends(token)
                if not self.ended_itself:
                    self._tokens.append(token)
                yield token
        finally:
            self.ended = True

    def eval(self, tokens: Sequence[int]) -> None:
        """Evaluate *tokens* batch by batch."""
        size = self._engine.n_batch
        for start in range(0, len(tokens), size):
            self._check()
            batch = tokens[start : start + size]
            self._eval(batch)
            self._evaluated += len(batch)

    @property
    def written(self) -> int:
        """Tokens of the answer so far, without the one that ends it."""
        return len(self._tokens)

    def text(self) -> str:
        """What they say, up to a character that is not whole."""
        written: bytes = self._engine.detokenize(self._tokens, prev_tokens=list(self._prompt))
        return written.decode("utf-8", "ignore")

    def _check(self) -> None:
        if self._cancelled(self._request):
            raise Cancelled

    def account(self) -> Frame:
        """Usage in OpenAI's words, and timings in llama-server's."""
        return {
            "usage": {
                "prompt_tokens": self.prompt,
                "completion_tokens": self.written,
                "total_tokens": self.prompt + self.written,
                "prompt_tokens_details": {"cached_tokens": self.cached},
            },
            "timings": {
                "cache_n": self.cached,
                "prompt_n": self.prompt - self.cached,
                "prompt_ms": round((self._first_s - self._began_s) * 1000, 3),
                "predicted_n": self.written,
                "predicted_ms": round((time.monotonic() - self._first_s) * 1000, 3),
            },
        }


class Model:
    """One loaded model."""

    def __init__(self, settings: Frame, cancelled: Callable[[int], bool]) -> None:
        path = Path(settings["path"])
        _check_file(path)
        llama_cpp = _library()
        self._llama_cpp = llama_cpp
        self._has_projector = bool(settings.get("projector"))
        self._has_logits = bool(settings.get("logits_all"))
        self._cancelled = cancelled
        self._embeds = bool(settings.get("embedding"))
        purpose = {"logits_all": self._has_logits}
        if self._embeds:
            # What is pooled must be evaluated in one batch.
            purpose = {"embedding": True, "n_batch": settings["context"], "n_ubatch": settings["context"]}
        try:
            self.engine: Any = self._loaded(settings, purpose)
            if self._embeds and self.engine.pooling_type() == llama_cpp.LLAMA_POOLING_TYPE_NONE:
                # The file does not say how its tokens' vectors become one.
                self.engine.close()
                self.engine = self._loaded(settings, {**purpose, "pooling_type": llama_cpp.LLAMA_POOLING_TYPE_MEAN})
        except Exception as error:
            raise Refused(
                f"{path.name}: llama.cpp cannot load it: {error}", "server", 500, "model_load_failed"
            ) from error
        self.watch = Watch(self.engine, self._ends, cancelled)

    def _loaded(self, settings: Frame, purpose: Frame) -> Any:
        return self._llama_cpp.Llama(
            model_path=str(settings["path"]),
            n_ctx=settings["context"],
            n_gpu_layers=settings.get("gpu_layers", 0),
            n_threads=settings.get("threads"),
            chat_format=settings.get("chat_format"),
            chat_handler=_projector(settings.get("projector")),
            verbose=False,
            **purpose,
        )

    def embed(self, request: int, body: Frame, send: Send) -> None:
        """Answer *body* with one line in OpenAI's shape: vectors of length 1, in base64.

        As numbers a long list of large vectors would be a line of more than MAX_LINE_BYTES.

        Raises:
            Refused: an input is longer than the model's context.
            Cancelled: nobody waits any more.
        """
        holds = min(self.engine.n_ctx(), self.engine._model.n_ctx_train())  # noqa: SLF001  the library keeps it there
        entries: list[Frame] = []
        counted = 0
        for index, text in enumerate(body["input"]):
            if self._cancelled(request):
                raise Cancelled
            tokens = len(self.engine.tokenize(text.encode()))
            if tokens > holds:
                message = f"input[{index}] has {tokens} tokens, the model's context holds {holds}"
                raise Refused(message, "context_length", code="context_length_exceeded")
            counted += tokens
            vector = self.engine.embed(text, normalize=True, truncate=False)
            entries.append({"object": "embedding", "index": index, "embedding": _base64(vector)})
        usage = {"prompt_tokens": counted, "total_tokens": counted}
        send(request, "line", {"object": "list", "data": entries, "model": body["model"], "usage": usage})

    def _ends(self, token: int) -> bool:
        return bool(self._llama_cpp.llama_vocab_is_eog(self.engine._model.vocab, token))  # noqa: SLF001  as the library

    def answer(self, request: int, body: Frame, send: Send) -> None:
        """Answer *body* with lines.

        Raises:
            Refused: the request cannot be answered.
            Cancelled: nobody waits any more.
        """
        hints = body.pop(HINTS, {})
        self.watch.begin(request)
        arguments = self._arguments(body)
        top = arguments.get("top_logprobs")
        result = self._begun(arguments)
        if not body.get("stream"):
            _stop_in_time(result, body.get("stop") or [])
            whole = {**result, **self.watch.account(), HINTS: {**hints, "thinking": self.watch.thinking}}
            send(request, "line", _cut_logprobs(whole, top))
            return
        chunks = result if top is not None else self._mended(result, body.get("stop") or [])
        for number, chunk in enumerate(chunks):
            if number == 0:
                send(request, "line", {HINTS: {**hints, "thinking": self.watch.thinking}})
            send(request, "line", _cut_logprobs(chunk, top))
        send(request, "line", self.watch.account())

    def _mended(self, chunks: Iterator[Frame], stop: Sequence[str]) -> Iterator[Frame]:
        """*chunks* with the text of the last ones made anew.

        What the library still holds back when the last token has come it decodes token by token, and so drops
        characters that are spread over several.
        """
        sent, kept = "", ""
        for chunk in chunks:
            choice = chunk["choices"][0]
            text = choice["delta"].get("content")
            if choice["finish_reason"] is not None:
                rest, reason = self._rest(len(sent), stop, choice["finish_reason"], kept)
                if rest:
                    yield {**chunk, "choices": [{**choice, "delta": {"content": rest}, "finish_reason": None}]}
                yield {**chunk, "choices": [{**choice, "finish_reason": reason}]}
            elif text is None or not self.watch.ended:
                sent += text or ""
                yield chunk
            else:
                kept += text

    def _rest(self, sent: int, stop: Sequence[str], reason: str, kept: str) -> tuple[str, str]:
        """The text after the first *sent* characters, and why it ended; *kept* is the library's text.

        The library's holds when a stop sequence of the chat template has ended the answer.
        """
        text = self.watch.text()
        at = _first_stop(text, stop)
        if at is not None:
            return text[sent:at], "stop"
        return (text[sent:] if reason == "length" or self.watch.ended_itself else kept), reason

    def _arguments(self, body: Frame) -> Frame:
        arguments = dict(body)
        if arguments.get("logprobs") and not self._has_logits:
            raise Refused("logprobs: this model is loaded without logits_all and cannot give them")
        if not self._has_projector and any(_shows_picture(message) for message in body["messages"]):
            raise Refused("messages: this model has no projector and takes no images", code="unsupported_modality")
        vocabulary = self.engine.n_vocab()
        for token in arguments.get("logit_bias") or ():
            if not token.isdecimal() or int(token) >= vocabulary:
                raise Refused(f"logit_bias: {token!r} is no token of this model; its ids go from 0 to {vocabulary - 1}")
        wanted = arguments.get("response_format") or {}
        if "schema" in wanted:
            del arguments["response_format"]
            arguments["grammar"] = self._grammar(wanted["schema"])
        return arguments

    def _grammar(self, schema: Frame) -> Any:
        # Left to itself the library takes any JSON when it cannot convert a schema, and says nothing.
        try:
            return self._llama_cpp.LlamaGrammar.from_json_schema(json.dumps(schema), verbose=False)
        except Exception as error:
            raise Refused(f"the JSON Schema cannot be made a grammar: {str(error) or type(error).__name__}") from error

    def _begun(self, arguments: Frame) -> Any:
        """The answer, or the generator of its chunks.

        Templates of most families want the arguments of earlier calls as objects (`arguments | tojson`), a few want
        OpenAI's text and fail when they add an object to a string.
        """
        messages = arguments["messages"]
        try:
            return self.engine.create_chat_completion(**{**arguments, "messages": [_with_objects(m) for m in messages]})
        except TypeError:
            if self.watch.prompt or not any(message.get("tool_calls") for message in messages):
                raise
            return self.engine.create_chat_completion(**arguments)

    def error_of(self, error: Exception) -> Frame:
        """What to say of an error of the library."""
        if isinstance(error, Refused):
            return error.error
        if long := _TOO_LONG.search(str(error)):
            message = f"the prompt has {long[1]} tokens, the model's context holds {long[2]}"
            return Refused(message, "context_length", code="context_length_exceeded").error
        if not self.watch.prompt and not self._embeds:
            return Refused(f"the model's chat template refuses the request: {error}").error
        return Refused(f"llama.cpp failed: {type(error).__name__}: {error}", "server", 500).error


class Child:
    """The loop: commands in, frames out."""

    def __init__(self, commands: BinaryIO, frames: BinaryIO) -> None:
        self._input = commands
        self._frames = frames
        self._waiting: SimpleQueue[Frame] = SimpleQueue()
        self._cancelled: set[int] = set()
        self._model: Model | None = None

    def run(self) -> None:
        """Serve until stdin ends, which ends the process."""
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            frame = self._waiting.get()
            request = frame["id"]
            if request in self._cancelled:
                self._send(request, "done", None)
            else:
                self._serve(request, frame)
            self._cancelled.difference_update([old for old in tuple(self._cancelled) if old <= request])

    def _read(self) -> None:
        for line in self._input:
            frame = json.loads(line)
            if frame["op"] == "cancel":
                self._cancelled.add(frame["id"])
            else:
                self._waiting.put(frame)
        # The main thread may be deep in llama.cpp: no orderly way out would be quick.
        os._exit(0)

    def _serve(self, request: int, frame: Frame) -> None:
        try:
            if frame["op"] == "load":
                self._model = Model(frame, self._cancelled.__contains__)
            elif self._model is not None and frame["op"] == "embed":
                self._model.embed(request, frame["body"], self._send)
            elif self._model is not None:
                self._model.answer(request, frame["body"], self._send)
        except Cancelled:
            self._forget()
        except Exception as error:  # noqa: BLE001  the edge of the process: whatever it was, the request must end
            self._send(request, "fail", {"error": self._error(error)})
            self._forget()
            return
        self._send(request, "done", None)

    def _error(self, error: Exception) -> Frame:
        if self._model is not None:
            return self._model.error_of(error)
        if isinstance(error, Refused):
            return error.error
        return Refused(f"the model cannot be loaded: {error}", "server", 500, "model_load_failed").error

    def _forget(self) -> None:
        """Drop what is cached of a request that ended half-way."""
        if self._model is not None:
            self._model.engine.reset()

    def _send(self, request: int, kind: str, value: Any) -> None:
        payload = b"" if value is None else b" " + dumps(value)
        self._frames.write(b"%d %b%b\n" % (request, kind.encode(), payload))
        self._frames.flush()


def dumps(value: Any) -> bytes:
    """Strict JSON: numpy's numbers as plain ones, infinities as LOWEST_LOGPROB."""
    try:
        return json.dumps(value, default=float, allow_nan=False, separators=(",", ":")).encode()
    except ValueError:
        return json.dumps(_finite(value), separators=(",", ":")).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(child) for child in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    return float(value) if math.isfinite(value) else LOWEST_LOGPROB


def _library() -> Any:
    try:
        import llama_cpp
    except ImportError as error:
        raise Refused(
            "llama-cpp-python is not installed; local models need modelport[local]", "server", 500, "llama_cpp_missing"
        ) from error
    return llama_cpp


def _check_file(path: Path) -> None:
    wrong = None
    if not path.exists():
        wrong = "there is no such file"
    elif not path.is_file():
        wrong = "this is no file"
    else:
        try:
            with path.open("rb") as file:
                if file.read(4) != b"GGUF":
                    wrong = "this is not a GGUF file"
        except OSError as error:
            wrong = f"cannot be read: {error.strerror}"
    if wrong:
        raise Refused(f"{path.name}: {wrong}", "server", 500, "model_load_failed")


def _projector(path: str | None) -> Any:
    if path is None:
        return None
    from llama_cpp.llama_chat_format import MTMDChatHandler

    return MTMDChatHandler(clip_model_path=path, verbose=False)


def _base64(vector: Sequence[float]) -> str:
    """*vector* as little-endian 32-bit floats."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()


def _shows_picture(message: Frame) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(block.get("type") == "image_url" for block in content)


def _with_objects(message: Frame) -> Frame:
    """*message* with the arguments of its calls as objects, where they are such."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    return {**message, "tool_calls": [{**call, "function": _with_object(call["function"])} for call in calls]}


def _with_object(function: Frame) -> Frame:
    try:
        value = json.loads(function["arguments"])
    except ValueError:
        return function
    return {**function, "arguments": value} if isinstance(value, dict) else function


def _first_stop(text: str, stop: Sequence[str]) -> int | None:
    return min((at for sequence in stop if (at := text.find(sequence)) >= 0), default=None)


def _stop_in_time(whole: Frame, stop: Sequence[str]) -> None:
    """Cut the text at its first stop sequence.

    The library does not look for one while it waits for the rest of a character, and for some tokens more.
    """
    for choice in whole["choices"]:
        text = choice["message"].get("content")
        if isinstance(text, str) and (at := _first_stop(text, stop)) is not None:
            choice["message"]["content"] = text[:at]
            choice["finish_reason"] = "stop"


def _cut_logprobs(body: Frame, top: int | None) -> Frame:
    """*body* with no more than *top* alternatives: the library adds the chosen token to them."""
    if top is None:
        return body
    for choice in body.get("choices") or ():
        for entry in (choice.get("logprobs") or {}).get("content") or ():
            entry["top_logprobs"] = entry["top_logprobs"][:top]
    return body


def main() -> None:
    """Keep stdout for frames; whatever else is printed goes to stderr. Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    frames = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    Child(sys.stdin.buffer, frames).run()


if __name__ == "__main__":
    main()
