"""Local models through llama-cpp-python: one child process and one queue for each model.

                 first request                 loaded
    no process ----------------> loading ------------------> running --keep_s idle, or close--> no process
        ^                           | cannot be loaded          | process died
        +---------------------------+---------------------------+   after the second time in a row: a pause

A model answers one request at a time; the others wait in order, up to `queue` of them and `queue_s` seconds each.
A request's turn ends when the child has written the whole answer, read or not, or when its caller leaves. Leaving an
answer early cancels it: the child stops at the next token, and the next request first waits for that.

A call's first clock (first_event_s, whole_answer_s) runs from `send` on: through the queue, the loading, the prompt.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from proxy.backends.backend import Answer, BackendError, Call
from translators.codec import dumps, loads_object
from translators.llamacpp import error_in
from translators.neutral import ErrorKind, Failure

CHILD: Final = (sys.executable, "-P", str(Path(__file__).with_name("llamacpp_child.py")))
"""-P keeps this folder, with its http.py, out of the child's module search."""
MAX_LINE_BYTES: Final = 64 * 1024 * 1024
KEPT_STDERR_BYTES: Final = 4096
STOP_S: Final = 3.0
LONGEST_PAUSE_S: Final = 30.0
STREAM_HEADERS: Final = {"content-type": "application/x-ndjson"}
WHOLE_HEADERS: Final = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A GGUF file and how it is loaded. *context* counts tokens; *gpu_layers* -1 is all.

    *logits_all* makes logprobs possible and costs memory: a number for each token of context and vocabulary.
    *projector* is the file that turns pictures into tokens (mmproj), for models that take images.
    *embedding* loads it for vectors, and for nothing else.
    """

    path: Path
    context: int = 4096
    gpu_layers: int = 0
    threads: int | None = None
    chat_format: str | None = None
    logits_all: bool = False
    projector: Path | None = None
    embedding: bool = False

    def quirks(self) -> dict[str, Any]:
        """What this model deviates in from the dialect's defaults: fields of Rules, as a provider's row has them."""
        deviations: dict[str, Any] = {"context_tokens": self.context}
        if not self.logits_all:
            deviations["refuses"] = frozenset({"logprobs", "top_logprobs"})
        if self.projector is None:
            deviations["modalities"] = frozenset({"text"})
        return deviations


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one model: how many may wait (*queue*) and how long, how long loading may take, when it is unloaded.

    *cancel_s*: how long a cancelled answer may go on before its process is killed.
    """

    queue: int = 16
    queue_s: float = 30.0
    load_s: float = 300.0
    keep_s: float | None = None
    cancel_s: float = 10.0


class LlamaCppBackend:
    """The local models of one provider; see Backend."""

    def __init__(
        self,
        models: Mapping[str, LocalModel],
        *,
        limits: Limits | None = None,
        command: Sequence[str] = CHILD,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers = {name: _Worker(name, model, limits or Limits(), command, now) for name, model in models.items()}

    @asynccontextmanager
    async def send(self, call: Call) -> AsyncIterator[Answer]:
        """Wait for the model's turn, load it where needed, answer. Raises BackendError."""
        worker = self._workers.get(call.model)
        if worker is None:
            raise _error("not_found", f"no local model is called {call.model!r}", 404)
        async with worker.asked(call) as answer:
            yield answer

    async def close(self) -> None:
        """End all processes."""
        await asyncio.gather(*(worker.close() for worker in self._workers.values()))


class _Worker:
    """One model: its queue, its process, its history of failures."""

    def __init__(
        self, name: str, model: LocalModel, limits: Limits, command: Sequence[str], now: Callable[[], float]
    ) -> None:
        self._name = name
        self._model = model
        self._limits = limits
        self._command = command
        self._now = now
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._mean_s = 1.0
        self._loading: asyncio.Task[_Child | Failure] | None = None
        self._stopping: set[asyncio.Task[None]] = set()
        self._idle: asyncio.TimerHandle | None = None
        self._failures = 0
        self._paused_until = 0.0

    @asynccontextmanager
    async def asked(self, call: Call) -> AsyncIterator[Answer]:
        """The answer to *call*; it is cancelled when it is left early."""
        operation = "embed" if call.operation == "embed" else "chat"
        self._check_purpose(operation)
        clock = _Clock(call)
        with ExitStack() as turn:
            await self._take_turn(clock.first_by)
            turn.callback(self._end_turn, self._now())
            child = await self._loaded(clock.first_by)
            frames = child.ask({"op": operation, "body": loads_object(call.body)}, partial(self._over, turn))
            try:
                answer = _LocalAnswer(frames, call, clock)
                await answer.begin()
                yield answer
            finally:
                child.leave(frames, self._limits.cancel_s)

    def _check_purpose(self, operation: str) -> None:
        """A model is loaded for one of the two; see LocalModel."""
        if operation == "embed" and not self._model.embedding:
            message = f"the model {self._name} is loaded for chat; embedding = true loads a model for embeddings"
            raise _error("invalid_request", message, 400)
        if operation != "embed" and self._model.embedding:
            message = f"the model {self._name} gives embeddings only (it is configured with embedding = true)"
            raise _error("invalid_request", message, 400)

    async def _take_turn(self, by: float) -> None:
        """Wait for the model until *by*, a moment of the loop's clock."""
        if self._lock.locked() and self._waiting >= self._limits.queue:
            raise self._overloaded(f"{self._waiting} requests wait for the model {self._name} already")
        now = asyncio.get_running_loop().time()
        wait_s = max(0.0, min(self._limits.queue_s, by - now))
        self._waiting += 1
        try:
            async with asyncio.timeout_at(now + wait_s):
                await self._lock.acquire()
        except TimeoutError as error:
            raise self._overloaded(f"the model {self._name} was busy for {round(wait_s, 3):g} s") from error
        finally:
            self._waiting -= 1
            self._rest()
        if self._idle is not None:
            self._idle.cancel()

    def _end_turn(self, began: float) -> None:
        self._mean_s += (self._now() - began - self._mean_s) / 4
        self._lock.release()
        self._rest()

    def _over(self, turn: ExitStack, death: Failure | None) -> None:
        """The answer is complete, or its process is gone."""
        if death is None:
            self._failures = 0
        else:
            self._died()
        turn.close()

    def _rest(self) -> None:
        """When nobody uses the model, unload it after keep_s; one that still loads first becomes ready."""
        if self._limits.keep_s is None or self._waiting or self._lock.locked():
            return
        if self._loading is not None and not self._loading.done():
            self._loading.add_done_callback(lambda _: self._rest())
            return
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(self._limits.keep_s, self._unload)

    async def close(self) -> None:
        """End the process."""
        if self._idle is not None:
            self._idle.cancel()
        self._unload()
        await asyncio.gather(*self._stopping)

    async def _loaded(self, by: float) -> _Child:
        """The running process: that of the request before, else a new one."""
        child = self._known_child()
        if child is not None and await self._is_ready(child, by):
            return child
        if self._loading is None:
            if (pause_s := self._paused_until - self._now()) > 0:
                message = f"the model {self._name} failed {self._failures} times in a row and rests"
                raise BackendError(Failure("overloaded", message, 503, retry_after_s=pause_s))
            self._loading = asyncio.create_task(_started(self._command, self._model, self._limits.load_s))
        # A client that leaves does not stop the loading: the next one will want it, or learn why it failed.
        try:
            async with asyncio.timeout_at(by):
                outcome = await asyncio.shield(self._loading)
        except TimeoutError as error:
            raise _error("timeout", f"the model {self._name} is still loading", 504) from error
        if isinstance(outcome, Failure):
            self._died()
            raise BackendError(outcome)
        return outcome

    def _known_child(self) -> _Child | None:
        if self._loading is None or not self._loading.done():
            return None
        outcome = self._loading.result()
        return outcome if isinstance(outcome, _Child) else None

    async def _is_ready(self, child: _Child, by: float) -> bool:
        """Whether *child* can take a request; waits for the end of a cancelled one."""
        try:
            async with asyncio.timeout_at(min(by, child.settle_by)):
                await child.settled()
        except TimeoutError as error:
            if by < child.settle_by:
                message = f"the model {self._name} is still ending a cancelled request"
                raise _error("timeout", message, 504) from error
            self._unload()
            return False
        if child.is_dead:
            self._died()
            return False
        return True

    def _died(self) -> None:
        """The process is gone or never came to be; the next request starts another, if need be after a pause."""
        self._unload()
        self._failures += 1
        if self._failures > 1:
            self._paused_until = self._now() + min(2.0 ** (self._failures - 2), LONGEST_PAUSE_S)

    def _unload(self) -> None:
        loading, self._loading = self._loading, None
        if loading is None:
            return
        stopping = asyncio.create_task(_stopped(loading))
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)

    def _overloaded(self, message: str) -> BackendError:
        wait_s = round(max(1.0, self._mean_s * (self._waiting + 1)), 1)
        return BackendError(Failure("overloaded", message, 503, code="queue_full", retry_after_s=wait_s))


class _Clock:
    """When the waits of a call end, as moments of the loop's clock."""

    def __init__(self, call: Call) -> None:
        timeouts = call.timeouts
        self.first_s = min(timeouts.first_event_s if call.stream else timeouts.whole_answer_s, timeouts.total_s)
        self._idle_s = timeouts.idle_s
        now = asyncio.get_running_loop().time()
        self.first_by = now + self.first_s
        self._until = now + timeouts.total_s

    def next_by(self) -> tuple[float, float]:
        """When the next piece must have come, and how many seconds that is from now."""
        now = asyncio.get_running_loop().time()
        by = min(self._until, now + self._idle_s)
        return by, by - now


class _Frames:
    """What a process writes about one request, kept until it is read: lines, then done, fail or its death."""

    def __init__(self, number: int, when_over: Callable[[Failure | None], None] | None = None) -> None:
        self.number = number
        self.over = asyncio.Event()
        self._when_over = when_over
        self._kept: asyncio.Queue[tuple[bytes, bytes] | Failure] = asyncio.Queue()

    async def next(self) -> tuple[bytes, bytes]:
        """(line, done or fail; JSON).

        Raises:
            BackendError: the process has ended.
        """
        frame = await self._kept.get()
        if isinstance(frame, Failure):
            raise BackendError(frame)
        return frame

    def add(self, kind: bytes, payload: bytes) -> None:
        """Keep a frame."""
        self._kept.put_nowait((kind, payload))
        if kind != b"line":
            self._end(None)

    def break_off(self, death: Failure) -> None:
        """The process has ended; nothing more comes."""
        if not self.over.is_set():
            self._kept.put_nowait(death)
            self._end(death)

    def disown(self) -> None:
        """Nobody is told of the end any more."""
        self._when_over = None

    def _end(self, death: Failure | None) -> None:
        self.over.set()
        if self._when_over is not None:
            self._when_over(death)


class _Child:
    """A running process. It is asked one thing at a time."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._frames: _Frames | None = None
        self._stderr = b""
        self._is_cut = False
        self._keeper = asyncio.create_task(self._keep_stderr())
        self._reader = asyncio.create_task(self._read_frames())
        self.settle_by = math.inf

    @property
    def is_dead(self) -> bool:
        """Whether the process has ended."""
        return self._is_cut or self._process.returncode is not None

    def ask(self, command: Mapping[str, object], when_over: Callable[[Failure | None], None] | None = None) -> _Frames:
        """Write *command*; *when_over* is told of its end, with the reason when the process has died."""
        self._frames = _Frames(self._frames.number + 1 if self._frames else 0, when_over)
        self.settle_by = math.inf
        self._write({**command, "id": self._frames.number})
        return self._frames

    def leave(self, frames: _Frames, cancel_s: float) -> None:
        """Nobody waits for *frames* any more: when more is to come, it has *cancel_s* to end."""
        if not frames.over.is_set():
            frames.disown()
            self.settle_by = asyncio.get_running_loop().time() + cancel_s
            self._write({"op": "cancel", "id": frames.number})

    async def settled(self) -> None:
        """Wait until what was asked last has ended."""
        if self._frames is not None:
            await self._frames.over.wait()

    async def stop(self) -> None:
        """Close its stdin, which ends it; kill it when it does not."""
        assert self._process.stdin is not None  # noqa: S101  opened as a pipe
        self._process.stdin.close()
        await self._status()
        await asyncio.gather(self._keeper, self._reader)

    def _write(self, command: Mapping[str, object]) -> None:
        # A process that has gone is noticed at its stdout.
        assert self._process.stdin is not None  # noqa: S101  opened as a pipe
        if not self._process.stdin.is_closing():
            self._process.stdin.write(dumps(command) + b"\n")

    async def _read_frames(self) -> None:
        """Hand over the frames of what is asked at the moment; those of requests before are passed over."""
        while line := await self._line():
            number, _, rest = line.partition(b" ")
            kind, _, payload = rest.partition(b" ")
            if self._frames is not None and number == b"%d" % self._frames.number:
                self._frames.add(kind, payload)
        self._is_cut = True
        death = await self._death()
        if self._frames is not None:
            self._frames.break_off(death)

    async def _line(self) -> bytes:
        """The next line without its end; nothing when there is none."""
        assert self._process.stdout is not None  # noqa: S101  opened as a pipe
        try:
            line = await self._process.stdout.readline()
        except ValueError:  # longer than MAX_LINE_BYTES
            self._kill()
            return b""
        return line[:-1] if line.endswith(b"\n") else b""

    async def _keep_stderr(self) -> None:
        assert self._process.stderr is not None  # noqa: S101  opened as a pipe
        while piece := await self._process.stderr.read(KEPT_STDERR_BYTES):
            self._stderr = (self._stderr + piece)[-KEPT_STDERR_BYTES:]

    async def _death(self) -> Failure:
        """What became of the process."""
        status = await self._status()
        await self._keeper
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        last = self._stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][-300:]
        message = f"the local model's process ended {how}{': ' if last else ''}{last}"
        return Failure("connection", message, 502)

    async def _status(self) -> int:
        """With what it ends; a process that does not is killed."""
        try:
            async with asyncio.timeout(STOP_S):
                return await self._process.wait()
        except TimeoutError:
            self._kill()
            return await self._process.wait()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


class _LocalAnswer:
    """An answer as the child writes it; see Answer."""

    connect_s: float | None = None

    def __init__(self, frames: _Frames, call: Call, clock: _Clock) -> None:
        self._frames = frames
        self._clock = clock
        self._first = b""
        self._is_read = False
        self.status = 200
        self.headers: Mapping[str, str] = STREAM_HEADERS if call.stream else WHOLE_HEADERS

    async def begin(self) -> None:
        """Wait for the first line, which decides the status."""
        kind, self._first = await self._frame(self._clock.first_by, self._clock.first_s, "no answer")
        if kind == b"fail":
            failure = error_in(loads_object(self._first))
            self.status = failure.status if failure is not None else 500
            self.headers = WHOLE_HEADERS

    async def pieces(self) -> AsyncIterator[bytes]:
        """The lines as they come."""
        yield self._first + b"\n"
        while not self._is_read:
            kind, payload = await self._frame(*self._clock.next_by(), "nothing more")
            if kind != b"done":
                yield payload + b"\n"

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self.pieces()])

    async def _frame(self, by: float, wait_s: float, missing: str) -> tuple[bytes, bytes]:
        try:
            async with asyncio.timeout_at(by):
                if wait_s <= 0:  # kept frames come without a wait, in which the time could run out
                    raise TimeoutError
                kind, payload = await self._frames.next()
        except TimeoutError as error:
            message = f"{missing} from the local model within {round(max(0.0, wait_s), 3):g} s"
            raise _error("timeout", message, 504) from error
        self._is_read = kind != b"line"
        return kind, payload


async def _started(command: Sequence[str], model: LocalModel, load_s: float) -> _Child | Failure:
    """A process that has loaded *model*, or why there is none."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=MAX_LINE_BYTES
        )
    except OSError as error:
        return Failure("server", f"the process for local models cannot be started: {error}", 500)
    child = _Child(process)
    try:
        async with asyncio.timeout(load_s):
            kind, payload = await child.ask({"op": "load", **_plain(model)}).next()
    except TimeoutError:
        failure: Failure | None = Failure("timeout", f"the model was not loaded within {load_s:g} s", 504)
    except BackendError as error:
        failure = error.failure
    except asyncio.CancelledError:
        await child.stop()
        raise
    else:
        failure = error_in(loads_object(payload)) if kind == b"fail" else None
    if failure is None:
        return child
    await child.stop()
    return failure


def _plain(model: LocalModel) -> dict[str, object]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(model).items()}


async def _stopped(loading: asyncio.Task[_Child | Failure]) -> None:
    """End what *loading* has begun."""
    loading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        outcome = await loading
        if isinstance(outcome, _Child):
            await outcome.stop()


def _error(kind: ErrorKind, message: str, status: int) -> BackendError:
    return BackendError(Failure(kind, message, status))
