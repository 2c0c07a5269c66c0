"""Local models through llama-cpp-python: one child process and one queue for each model.

                 first request                 loaded
    no process ----------------> loading ------------------> running --keep_s idle, or close--> no process
        ^                           | cannot be loaded          | process died
        +---------------------------+---------------------------+   after the second time in a row: a pause

A model answers one request at a time; the others wait in order, up to `queue` of them and `queue_s` seconds each.
Leaving an answer early cancels it: the child stops at the next token, and the next request first waits for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
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
    """

    path: Path
    context: int = 4096
    gpu_layers: int = 0
    threads: int | None = None
    chat_format: str | None = None
    logits_all: bool = False
    projector: Path | None = None

    def quirks(self) -> dict[str, Any]:
        """What this model deviates in from the dialect's defaults: fields of Rules, as a provider's row has them."""
        deviations: dict[str, Any] = {}
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
        async with worker.turn(), worker.asked(call) as answer:
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
    async def turn(self) -> AsyncIterator[None]:
        """The model for oneself."""
        if self._lock.locked() and self._waiting >= self._limits.queue:
            raise self._overloaded(f"{self._waiting} requests wait for the model {self._name} already")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.queue_s):
                await self._lock.acquire()
        except TimeoutError as error:
            raise self._overloaded(f"the model {self._name} was busy for {self._limits.queue_s:g} s") from error
        finally:
            self._waiting -= 1
        began = self._now()
        if self._idle is not None:
            self._idle.cancel()
        try:
            yield
        finally:
            self._mean_s += (self._now() - began - self._mean_s) / 4
            self._lock.release()
            if self._limits.keep_s is not None and not self._waiting:
                self._idle = asyncio.get_running_loop().call_later(self._limits.keep_s, self._unload)

    @asynccontextmanager
    async def asked(self, call: Call) -> AsyncIterator[Answer]:
        """The answer to *call*; its process is cancelled when the answer is left early."""
        until = asyncio.get_running_loop().time() + call.timeouts.total_s
        child = await self._loaded(until)
        answer = _LocalAnswer(child, child.next_request(), call, until)
        frame = {"op": "chat", "id": answer.request, "body": loads_object(call.body)}
        try:
            await child.send(frame)
            await answer.begin()
            yield answer
        finally:
            if answer.is_over:
                self._failures = 0
            elif child.is_dead:
                self._died()
            else:
                child.cancel(answer.request)

    async def close(self) -> None:
        """End the process."""
        if self._idle is not None:
            self._idle.cancel()
        self._unload()
        await asyncio.gather(*self._stopping)

    async def _loaded(self, until: float) -> _Child:
        """The running process: that of the request before, else a new one."""
        child = self._known_child()
        if child is not None and not await child.settled(self._limits.cancel_s):
            self._unload()
            child = None
        elif child is not None and child.is_dead:
            self._died()
            child = None
        if child is not None:
            return child
        if self._loading is None:
            if (pause_s := self._paused_until - self._now()) > 0:
                message = f"the model {self._name} failed {self._failures} times in a row and rests"
                raise BackendError(Failure("overloaded", message, 503, retry_after_s=pause_s))
            self._loading = asyncio.create_task(_started(self._command, self._model, self._limits.load_s))
        # A client that leaves does not stop the loading: the next one will want it.
        try:
            async with asyncio.timeout_at(until):
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
        if isinstance(outcome, Failure):
            self._loading = None
            return None
        return outcome

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


class _Child:
    """A running process. Exactly one request at a time reads its frames."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._request = 0
        self._unsettled: int | None = None
        self._stderr = b""
        self._keeper = asyncio.create_task(self._keep_stderr())
        self._is_cut = False

    @property
    def is_dead(self) -> bool:
        """Whether the process has ended."""
        return self._is_cut or self._process.returncode is not None

    def next_request(self) -> int:
        """A number for the next request."""
        self._request += 1
        return self._request

    async def send(self, frame: Mapping[str, object]) -> None:
        """Write a command."""
        assert self._process.stdin is not None  # noqa: S101  opened as a pipe
        try:
            self._process.stdin.write(dumps(frame) + b"\n")
            await self._process.stdin.drain()
        except (ConnectionError, RuntimeError) as error:
            raise await self._death() from error

    def cancel(self, request: int) -> None:
        """Tell the process that nobody waits for *request* any more."""
        assert self._process.stdin is not None  # noqa: S101  opened as a pipe
        self._unsettled = request
        if not self._process.stdin.is_closing():
            self._process.stdin.write(dumps({"op": "cancel", "id": request}) + b"\n")

    async def settled(self, within_s: float) -> bool:
        """Whether the cancelled request has ended; waits for it."""
        if self._unsettled is None:
            return True
        try:
            async with asyncio.timeout(within_s):
                while (await self.frame(self._unsettled))[0] == b"line":
                    pass
        except TimeoutError:
            return False
        except BackendError:
            pass
        self._unsettled = None
        return True

    async def frame(self, request: int) -> tuple[bytes, bytes]:
        """(line, done or fail; JSON) of *request*; frames of others are passed over.

        Raises:
            BackendError: the process has ended.
        """
        assert self._process.stdout is not None  # noqa: S101  opened as a pipe
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError as error:
                self._process.kill()
                raise await self._death() from error
            if not line.endswith(b"\n"):
                raise await self._death()
            number, kind, *payload = line.rstrip(b"\n").split(b" ", 2)
            if number == b"%d" % request:
                return kind, payload[0] if payload else b""

    async def stop(self) -> None:
        """Close its stdin, which ends it; kill it when it does not."""
        assert self._process.stdin is not None  # noqa: S101  opened as a pipe
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._keeper

    async def _keep_stderr(self) -> None:
        assert self._process.stderr is not None  # noqa: S101  opened as a pipe
        while piece := await self._process.stderr.read(KEPT_STDERR_BYTES):
            self._stderr = (self._stderr + piece)[-KEPT_STDERR_BYTES:]

    async def _death(self) -> BackendError:
        """What became of the process."""
        self._is_cut = True
        status = await self._process.wait()
        await self._keeper
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        last = self._stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][-300:]
        return _error("connection", f"the local model's process ended {how}{': ' if last else ''}{last}", 502)


class _LocalAnswer:
    """An answer as the child writes it; see Answer."""

    def __init__(self, child: _Child, request: int, call: Call, until: float) -> None:
        self._child = child
        self._call = call
        self._until = until
        self._first = b""
        self.request = request
        self.is_over = False
        self.status = 200
        self.headers: Mapping[str, str] = STREAM_HEADERS if call.stream else WHOLE_HEADERS

    async def begin(self) -> None:
        """Wait for the first line, which decides the status."""
        timeouts = self._call.timeouts
        wait_s = timeouts.first_event_s if self._call.stream else timeouts.whole_answer_s
        kind, self._first = await self._frame(wait_s, "no answer")
        if kind == b"fail":
            failure = error_in(loads_object(self._first))
            self.status = failure.status if failure is not None else 500
            self.headers = WHOLE_HEADERS

    async def pieces(self) -> AsyncIterator[bytes]:
        """The lines as they come."""
        yield self._first + b"\n"
        while not self.is_over:
            kind, payload = await self._frame(self._call.timeouts.idle_s, "nothing more")
            if kind != b"done":
                yield payload + b"\n"

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self.pieces()])

    async def _frame(self, wait_s: float, missing: str) -> tuple[bytes, bytes]:
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(min(self._until, now + wait_s)):
                kind, payload = await self._child.frame(self.request)
        except TimeoutError as error:
            waited_s = min(wait_s, self._until - now)
            raise _error("timeout", f"{missing} from the local model within {waited_s:g} s", 504) from error
        self.is_over = kind != b"line"
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
            await child.send({"op": "load", "id": 0, **_plain(model)})
            kind, payload = await child.frame(0)
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
