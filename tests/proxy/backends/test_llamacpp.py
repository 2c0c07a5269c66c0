"""The backend for local models: processes, queue, cancelling, deaths; with a stand-in for the child process."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.backends.backend import BackendError, Call, Timeouts
from proxy.backends.llamacpp import CHILD, Limits, LlamaCppBackend, LocalModel
from routing.catalog import rules_for

FAKE = (sys.executable, "-S", str(Path(__file__).with_name("fake_child.py")))


@asynccontextmanager
async def backend(
    path: str = "m.gguf",
    *,
    command: tuple[str, ...] = FAKE,
    now: Callable[[], float] | None = None,
    **limits: Any,
) -> AsyncIterator[LlamaCppBackend]:
    made = LlamaCppBackend(
        {"m": LocalModel(Path(path))}, limits=Limits(**limits), command=command, **({"now": now} if now else {})
    )
    try:
        yield made
    finally:
        await made.close()


def call(word: str = "hello", *, stream: bool = True, model: str = "m", **clocks: float) -> Call:
    body = {"messages": [{"role": "user", "content": word}], "stream": stream}
    return Call(model, json.dumps(body).encode(), stream, timeouts=Timeouts(**clocks))


async def lines(local: LlamaCppBackend, asked: Call) -> list[dict[str, Any]]:
    async with local.send(asked) as answer:
        return [json.loads(line) for line in (await answer.read()).splitlines()]


async def failure(local: LlamaCppBackend, asked: Call) -> Any:
    with pytest.raises(BackendError) as caught:
        await lines(local, asked)
    return caught.value.failure


async def pid(local: LlamaCppBackend) -> int:
    found: int = (await lines(local, call()))[0]["pid"]
    return found


async def test_a_stream_is_ndjson_with_status_200() -> None:
    async with backend() as local, local.send(call()) as answer:
        pieces = [piece async for piece in answer.pieces()]

        assert (answer.status, answer.headers) == (200, {"content-type": "application/x-ndjson"})
        assert [json.loads(piece)["number"] for piece in pieces] == [0, 1, 2]


async def test_a_whole_answer_is_one_json_object() -> None:
    async with backend() as local, local.send(call("echo", stream=False)) as answer:
        assert answer.headers == {"content-type": "application/json"}
        assert json.loads(await answer.read())["stream"] is False


async def test_one_process_serves_all_requests_one_after_the_other() -> None:
    async with backend() as local:
        answers = await asyncio.gather(*(lines(local, call()) for _ in range(5)))

    assert len({answer[0]["pid"] for answer in answers}) == 1
    assert all([line["number"] for line in answer] == [0, 1, 2] for answer in answers)


async def test_an_error_before_the_first_line_becomes_the_status() -> None:
    async with backend() as local, local.send(call("fail")) as answer:
        assert answer.status == 400
        assert json.loads(await answer.read())["error"]["kind"] == "context_length"


async def test_an_error_after_the_first_line_is_the_last_line() -> None:
    async with backend() as local:
        assert (await lines(local, call("fail later")))[-1]["error"]["message"] == "it is server"


async def test_leaving_early_cancels_and_the_next_answer_is_its_own() -> None:
    async with backend() as local:
        async with local.send(call("forever")) as answer:
            async for piece in answer.pieces():
                first = json.loads(piece)
                break

        following = await lines(local, call())

    assert [line["number"] for line in following] == [0, 1, 2]
    assert following[0]["pid"] == first["pid"]


async def test_a_cancelled_task_frees_the_model() -> None:
    async with backend() as local:
        asking = asyncio.create_task(lines(local, call("silent until cancelled")))
        await asyncio.sleep(0)
        before = await _until_asked(local, asking)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

        assert before
        assert len(await lines(local, call())) == 3


async def _until_asked(local: LlamaCppBackend, asking: asyncio.Task[Any]) -> bool:
    """Wait until the process has the request of *asking*."""
    worker = local._workers["m"]
    while worker._loading is None or not worker._loading.done():
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    return not asking.done()


async def test_a_process_that_ignores_the_cancelling_is_replaced() -> None:
    async with backend(cancel_s=0.05) as local:
        before = await pid(local)
        gone = await failure(local, call("mute", first_event_s=0.05))

        assert (gone.kind, gone.status) == ("timeout", 504)
        assert await pid(local) != before


async def test_waiting_for_a_cancelled_request_is_bounded_by_the_callers_clock_and_by_the_time_of_the_cancelling() -> (
    None
):
    async with backend(cancel_s=0.2) as local:
        before = await pid(local)
        await failure(local, call("mute", first_event_s=0.05))

        for _ in range(3):
            gone = await failure(local, call(first_event_s=0.02))
            assert (gone.kind, gone.message) == ("timeout", "the model m is still ending a cancelled request")

        assert await pid(local) != before


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (call("mute", first_event_s=0.05), "no answer from the local model within 0.05 s"),
        (call("mute", stream=False, whole_answer_s=0.05), "no answer from the local model within 0.05 s"),
        (call("forever", idle_s=0.05), "nothing more from the local model within 0.05 s"),
    ],
)
async def test_every_wait_has_its_clock(asked: Call, message: str) -> None:
    async with backend(cancel_s=0.05) as local:
        await pid(local)
        gone = await failure(local, asked)

    assert (gone.kind, gone.message) == ("timeout", message)


async def test_total_s_ends_a_stream_that_keeps_coming() -> None:
    async with backend(cancel_s=0.05) as local:
        gone = await failure(local, call("forever", total_s=0.3))

    assert gone.kind == "timeout"


@pytest.mark.parametrize(
    ("word", "how"),
    [("crash", "by SIGABRT: GGML_ASSERT failed"), ("crash later", "with status 3")],
)
async def test_a_crash_fails_the_running_request_and_the_next_gets_a_new_process(word: str, how: str) -> None:
    async with backend() as local:
        before = await pid(local)
        gone = await failure(local, call(word))

        assert (gone.kind, gone.status) == ("connection", 502)
        assert gone.message == f"the local model's process ended {how}"
        assert await pid(local) != before


async def test_a_process_that_dies_while_idle_costs_no_request() -> None:
    async with backend() as local:
        before = await pid(local)
        child = local._workers["m"]._known_child()
        assert child is not None
        child._process.kill()
        await child._process.wait()

        assert await pid(local) != before


async def test_crashes_in_a_row_make_a_growing_pause_and_success_ends_it() -> None:
    time_s = 0.0
    async with backend(now=lambda: time_s) as local:
        for pause_s in (None, 1.0, 2.0, 4.0):
            assert (await failure(local, call("crash"))).kind == "connection"
            if pause_s is not None:
                resting = await failure(local, call())
                assert (resting.kind, resting.status, resting.retry_after_s) == ("overloaded", 503, pause_s)
                time_s += pause_s

        await lines(local, call())
        assert (await failure(local, call("crash"))).kind == "connection"
        assert len(await lines(local, call())) == 3


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        ("missing.gguf", "server", "missing.gguf: there is no such file"),
        ("dies.gguf", "connection", "the local model's process ended with status 7"),
        ("hangs.gguf", "timeout", "the model was not loaded within 0.2 s"),
    ],
)
async def test_what_keeps_a_model_from_loading_is_said(path: str, kind: str, message: str) -> None:
    async with backend(path, load_s=0.2) as local:
        gone = await failure(local, call())

    assert (gone.kind, gone.message) == (kind, message)
    assert gone.status >= 500


async def test_a_client_that_leaves_while_loading_does_not_stop_the_loading() -> None:
    async with backend() as local:
        asking = asyncio.create_task(lines(local, call()))
        while local._workers["m"]._loading is None:
            await asyncio.sleep(0)
        loading = local._workers["m"]._loading
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

        assert len(await lines(local, call())) == 3
        assert local._workers["m"]._loading is loading


async def test_a_full_queue_refuses_with_a_time_to_wait() -> None:
    async with backend(queue=1) as local, local.send(call("forever")):
        second = asyncio.create_task(lines(local, call()))
        await asyncio.sleep(0)
        gone = await failure(local, call())

        assert (gone.kind, gone.status, gone.code) == ("overloaded", 503, "queue_full")
        assert gone.retry_after_s >= 1
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)


async def test_waiting_has_an_end() -> None:
    async with backend(queue_s=0.02) as local:
        await pid(local)
        async with local.send(call("forever")):
            gone = await failure(local, call())

    assert (gone.kind, gone.message) == ("overloaded", "the model m was busy for 0.02 s")


@pytest.mark.parametrize(
    "hurried",
    [
        call(first_event_s=0.02),
        call(total_s=0.02),
        call(stream=False, whole_answer_s=0.02),
        call(stream=False, total_s=0.02),
    ],
)
async def test_waiting_ends_with_the_callers_own_clock_and_leaves_no_trace(hurried: Call) -> None:
    async with backend() as local:
        before = await pid(local)
        async with local.send(call("forever")):
            gone = await failure(local, hurried)

        assert (gone.kind, gone.status, gone.message) == ("overloaded", 503, "the model m was busy for 0.02 s")
        assert await pid(local) == before


async def test_who_leaves_the_queue_blocks_nobody() -> None:
    async with backend() as local:
        before = await pid(local)
        async with local.send(call("forever")):
            queued = asyncio.create_task(lines(local, call()))
            await asyncio.sleep(0)
            queued.cancel()
            await asyncio.gather(queued, return_exceptions=True)

        assert await pid(local) == before


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("is_read", [True, False])
async def test_a_complete_answer_frees_the_model_while_its_context_is_open(stream: bool, is_read: bool) -> None:
    async with backend() as local, local.send(call("hello", stream=stream)) as answer:
        early = await answer.read() if is_read else b""
        following = await lines(local, call("echo", first_event_s=5))
        read = early or await answer.read()

        assert [json.loads(line)["number"] for line in read.splitlines()] == [0, 1, 2]
        assert following[0]["messages"][0]["content"] == "echo"
        assert len(await lines(local, call(first_event_s=5))) == 3


async def test_an_error_frees_the_model_while_its_context_is_open() -> None:
    async with backend() as local, local.send(call("fail")):
        assert len(await lines(local, call(first_event_s=5))) == 3


async def test_two_calls_at_once_whose_contexts_close_together_both_answer() -> None:
    async with (
        backend() as local,
        local.send(call("hello")) as first,
        local.send(call("echo", first_event_s=5)) as second,
    ):
        assert len((await first.read()).splitlines()) == 3
        assert json.loads(await second.read())["messages"][0]["content"] == "echo"


async def test_a_crash_during_an_answer_that_nobody_reads_frees_the_model() -> None:
    async with backend() as local, local.send(call("crash later")) as answer:
        assert len(await lines(local, call(first_event_s=5))) == 3
        with pytest.raises(BackendError, match="ended with status 3"):
            await answer.read()


async def test_loading_ends_for_the_caller_with_its_clock_and_goes_on_for_the_next() -> None:
    async with backend(keep_s=60.0) as local:
        gone = await failure(local, call(first_event_s=0.001))
        loading = local._workers["m"]._loading

        assert (gone.kind, gone.status, gone.message) == ("timeout", 504, "the model m is still loading")
        assert len(await lines(local, call())) == 3
        assert local._workers["m"]._loading is loading


async def test_the_next_caller_learns_why_a_loading_failed_that_nobody_waited_for() -> None:
    async with backend("missing.gguf") as local:
        await failure(local, call(first_event_s=0.001))
        loading = local._workers["m"]._loading
        assert loading is not None
        await asyncio.wait([loading])

        assert (await failure(local, call())).message == "missing.gguf: there is no such file"


async def test_keep_s_begins_when_a_model_is_loaded() -> None:
    async with backend(keep_s=0.0) as local:
        await failure(local, call(first_event_s=0.001))
        loading = local._workers["m"]._loading
        assert loading is not None
        await asyncio.wait([loading])

        assert not loading.cancelled()
        while local._workers["m"]._loading is not None:
            await asyncio.sleep(0)


async def test_the_child_ends_a_request_that_is_cancelled_before_its_turn() -> None:
    child = await asyncio.create_subprocess_exec(*CHILD, stdin=PIPE, stdout=PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b'{"op": "cancel", "id": 1}\n{"op": "chat", "id": 1, "body": {}}\n')

    assert await asyncio.wait_for(child.stdout.readline(), 10) == b"1 done\n"
    child.stdin.close()
    await child.wait()


async def test_an_idle_model_is_unloaded_after_keep_s() -> None:
    async with backend(keep_s=0.0) as local:
        before = await pid(local)
        while local._workers["m"]._loading is not None:
            await asyncio.sleep(0)

        assert await pid(local) != before


async def test_closing_ends_the_process() -> None:
    async with backend() as local:
        await pid(local)
        child = local._workers["m"]._known_child()
        assert child is not None
    assert child._process.returncode == 0


async def test_an_unknown_model_is_not_found() -> None:
    async with backend() as local:
        gone = await failure(local, call(model="other"))

    assert (gone.kind, gone.status, gone.message) == ("not_found", 404, "no local model is called 'other'")


async def test_a_command_that_cannot_be_started_is_said() -> None:
    async with backend(command=("/nonexistent/python",)) as local:
        assert "cannot be started" in (await failure(local, call())).message


async def test_without_the_library_the_error_names_the_extra(tmp_path: Path) -> None:
    """The real child, in an interpreter without site-packages."""
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF")
    async with backend(str(path), command=(sys.executable, "-S", "-P", CHILD[-1])) as local:
        gone = await failure(local, call())

    assert gone.code == "llama_cpp_missing"
    assert gone.message == "llama-cpp-python is not installed; local models need modelport[local]"


@pytest.mark.parametrize(
    ("model", "refuses", "modalities"),
    [
        (LocalModel(Path("m")), {"logprobs", "top_logprobs"}, {"text"}),
        (LocalModel(Path("m"), logits_all=True), set(), {"text"}),
        (LocalModel(Path("m"), projector=Path("p")), {"logprobs", "top_logprobs"}, {"text", "image"}),
    ],
)
def test_rules_follow_from_how_the_model_is_loaded(model: LocalModel, refuses: set[str], modalities: set[str]) -> None:
    plain = rules_for("llamacpp", "x")
    rules = rules_for("llamacpp", "x", model.quirks())

    assert (rules.refuses - plain.refuses, rules.modalities, rules.image_urls) == (refuses, modalities, False)


@pytest.mark.parametrize("embedding", [False, True])
async def test_a_model_is_for_chat_or_for_embeddings(embedding: bool) -> None:
    """The wrong question is a 400 that says what the model is for, and starts no process."""
    body = json.dumps({"model": "m", "input": ["a"], "messages": [{"role": "user", "content": "hello"}]}).encode()
    ask = {word: Call("m", body, stream=False, operation=word) for word in ("generate", "embed")}
    model = LocalModel(Path("m.gguf"), embedding=embedding)
    local = LlamaCppBackend({"m": model}, command=FAKE)

    wrong = await failure(local, ask["generate" if embedding else "embed"])
    right = await lines(local, ask["embed" if embedding else "generate"])
    await local.close()

    assert (wrong.kind, wrong.status) == ("invalid_request", 400)
    assert "embedding = true" in wrong.message
    assert ("embeds" in right[0]) == embedding


def test_a_local_models_context_is_what_it_takes() -> None:
    model = LocalModel(Path("x"), context=512)

    assert rules_for("llamacpp", "x", model.quirks()).context_tokens == 512
