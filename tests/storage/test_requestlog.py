"""Each part is stored once, documents come back as they were, and what goes takes its parts along."""

from __future__ import annotations

from typing import Any

import pytest

from storage.db import Database
from storage.requestlog import INDEXED, Entry, Parts, RequestLogStore, Wanted

SAID = frozenset({"messages", "output"})


def entry(
    number: int, asked: dict[str, Any], answered: dict[str, Any] | None = None, at: float = 1000.0, key: str = "a"
) -> Entry:
    parts = Parts()
    return Entry(
        id=f"req_{number}", at_us=int(at * 1_000_000), key_id=key, team=None, organisation=None, dialect="openai_chat",
        route="r", target="one/m", status="ok", stream=False, cache="miss", latency_ms=1.0, cost_nanousd=1, error=None,
        question="q", answer="a", asked=parts.cut(asked, SAID),
        answered=None if answered is None else parts.cut(answered, SAID), parts=parts.found,
    )  # fmt: skip


def said(*texts: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text} for text in texts]}


@pytest.fixture
async def store(db: Database) -> RequestLogStore:
    return RequestLogStore(db)


async def rows(db: Database, table: str) -> int:
    return int(await db.read(lambda c: c.execute(f"SELECT count(*) FROM {table}").fetchone()[0]))


DOCUMENTS: list[dict[str, Any]] = [
    {},
    {"model": "m", "messages": []},
    {"b": 1, "a": [1, 2], "messages": [{"role": "user"}, "text", None, 3]},
    {"messages": "one text", "system": "s" * 1000, "wide": 2**70, "deep": {"x": [[], {}, None, True, 1.5]}},
    {"tools": [{"name": "f"}, {"name": "f"}], "": "", "messages": [{"content": "ünd 😀\n"}]},
]


@pytest.mark.parametrize("document", DOCUMENTS)
async def test_a_document_comes_back_equal_and_in_order(store: RequestLogStore, document: dict[str, Any]) -> None:
    await store.add([entry(1, document, document)])

    found = await store.one("req_1")

    assert found is not None
    assert (found["request"], found["response"]) == (document, document)
    assert list(found["request"]) == list(document)


async def test_a_conversation_adds_its_new_messages_only(store: RequestLogStore, db: Database) -> None:
    texts = [f"message number {number}" for number in range(50)]
    for number in range(1, 51):
        await store.add([entry(number, said(*texts[:number]))])

    assert await rows(db, "log_blobs") == 50
    assert await rows(db, "log_text") == 50
    found = await store.one("req_50")
    assert found is not None
    assert found["request"] == said(*texts)


async def test_an_entry_is_stored_once(store: RequestLogStore) -> None:
    await store.add([entry(1, said("first"))])
    await store.add([entry(1, said("second"))])

    assert (await store.stats())["entries"] == 1


async def test_what_is_removed_takes_the_parts_that_nobody_else_has(store: RequestLogStore, db: Database) -> None:
    await store.add([entry(1, said("shared", "only mine")), entry(2, said("shared"), key="b")])

    assert await store.remove(Wanted(key="a")) == 1

    assert await store.find(Wanted(text="mine"), 10) == []
    assert [row["id"] for row in await store.find(Wanted(text="shared"), 10)] == ["req_2"]
    assert [await rows(db, table) for table in ("log_entries", "log_parts", "log_blobs", "log_text")] == [1, 1, 1, 1]
    assert await store.remove(Wanted()) == 1
    assert await store.stats() == {"entries": 0, "parts": 0, "size_bytes": 0}


async def test_a_word_is_found_in_what_was_said_only(store: RequestLogStore) -> None:
    await store.add([entry(1, {**said("whale"), "user": "squid" * 100}, {"output": [{"type": "x", "text": "shark"}]})])

    found = {word: len(await store.find(Wanted(text=word), 10)) for word in ("whale", "shark", "squid" * 100, "user")}

    assert found == {"whale": 1, "shark": 1, "squid" * 100: 0, "user": 0}


@pytest.mark.parametrize("text", ["", "   ", '"', '""', "*", "a:b", "NEAR(", "x\x00y", "-a", "^", "(" * 1000, "\ud800"])
async def test_any_text_can_be_looked_for(store: RequestLogStore, text: str) -> None:
    await store.add([entry(1, said("whale"))])

    assert await store.find(Wanted(text=text), 10) == []


async def test_what_is_too_old_goes(store: RequestLogStore) -> None:
    await store.add([entry(number, said(f"text {number}"), at=1000.0 + number) for number in range(250)])

    assert await store.prune(1300.0, ttl_s=100, max_bytes=2**30) == 200
    assert [row["id"] for row in await store.find(Wanted(after=0), 1)] == ["req_200"]


async def test_the_oldest_go_when_it_is_too_large(store: RequestLogStore) -> None:
    await store.add([entry(number, said(f"{number} " * 500)) for number in range(300)])
    before = (await store.stats())["size_bytes"]

    removed = await store.prune(1001.0, ttl_s=100, max_bytes=before // 2)

    after = await store.stats()
    assert after["size_bytes"] <= before // 2
    assert after["size_bytes"] > before // 4
    assert [row["id"] for row in await store.find(Wanted(after=0), 1)] == [f"req_{removed}"]


async def test_all_of_it_comes_in_pages(store: RequestLogStore) -> None:
    await store.add([entry(number, said(f"text {number}")) for number in range(250)])

    pages = [page async for page in store.whole(Wanted(key="a"))]

    assert [len(page) for page in pages] == [100, 100, 50]
    assert [row["id"] for page in pages for row in page] == [f"req_{number}" for number in range(250)]


async def test_the_index_takes_the_beginning_of_a_long_message(store: RequestLogStore) -> None:
    text = "whale " + "word " * INDEXED + "shark"
    await store.add([entry(1, said(text))])

    assert [len(await store.find(Wanted(text=word), 10)) for word in ("whale", "shark")] == [1, 0]
    found = await store.one("req_1")
    assert found is not None
    assert found["request"] == said(text)
