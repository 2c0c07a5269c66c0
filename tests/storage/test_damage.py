"""A file that cannot be used is said to be so in one line, and is never replaced in silence."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage.db import Database
from storage.errors import Corrupt, Locked, StorageError, TooNew, Unavailable

ROOT = Path(__file__).resolve().parents[2]
CHILD = Path(__file__).with_name("child.py")


async def _make(path: Path) -> bytes:
    """A sound database; its bytes."""
    async with Database(path) as db:
        columns = "key, tenant, size, created_us, expires_us, used_us, value"
        row = (f"INSERT INTO cache ({columns}) VALUES (?, 't', 1, 1, 1, 1, ?)",)
        await db.write(lambda c: [c.execute(*row, (b"%d" % n, b"v" * 500)) for n in range(200)])
    return path.read_bytes()


def _wrong_magic(content: bytes) -> bytes:
    return b"not a database, but something else" + content[34:]


def _overwritten_pages(content: bytes) -> bytes:
    return content[:8192] + b"\xa5" * 65536 + content[8192 + 65536 :]


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("damage", [_wrong_magic, _overwritten_pages, _cut])
async def test_a_damaged_file_is_refused_and_a_copy_kept(
    tmp_path: Path, clock: Callable[[], float], damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "modelport.db"
    damaged = damage(await _make(path))
    path.write_bytes(damaged)
    messages = []
    for _ in range(2):
        with pytest.raises(Corrupt) as refusal:
            await Database(path, now=clock).open()
        messages.append(str(refusal.value))
    copies = list(tmp_path.glob("modelport.db.damaged-*"))

    assert path.read_bytes() == damaged
    assert [copy.name for copy in copies] == ["modelport.db.damaged-20261121T020000Z"], "one copy, not one per start"
    assert copies[0].read_bytes() == damaged
    assert all("the database is damaged" in message and "\n" not in message for message in messages)
    assert all(copies[0].name in message for message in messages)


async def test_after_a_refusal_the_file_can_be_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "modelport.db"
    path.write_bytes(b"rubbish" * 1000)
    with pytest.raises(Corrupt):
        await Database(path).open()
    path.rename(tmp_path / "aside")

    async with Database(path) as db:
        assert db.status == "ok"


async def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "modelport.db"
    await _make(path)
    async with Database(path) as db:
        await db.write(lambda c: c.execute("PRAGMA user_version = 999").fetchall())
    before = path.read_bytes()

    with pytest.raises(TooNew, match="its schema is version 999"):
        await Database(path).open()
    assert path.read_bytes() == before


async def test_a_foreign_database_is_not_overwritten(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE exchanges (mine TEXT)")
    connection.close()

    with pytest.raises(StorageError, match="table exchanges already exists"):
        await Database(path).open()


async def test_the_same_process_cannot_open_it_twice_either(tmp_path: Path) -> None:
    async with Database(tmp_path / "t.db") as first:
        with pytest.raises(Locked):
            await Database(tmp_path / "t.db").open()
        assert await first.write(lambda c: c.execute("SELECT 1").fetchone()) == (1,)


async def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "modelport.db").mkdir()
    with pytest.raises(Unavailable, match=re.escape(f"{tmp_path / 'modelport.db'}: ")):
        await Database(tmp_path / "modelport.db").open()


async def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StorageError, match=r"modelport\.db: (File exists|Not a directory)"):
        await Database(tmp_path / "data" / "modelport.db").open()


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that a user without rights can reach."""
    folder = Path(tempfile.mkdtemp(prefix="modelport-test-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
@pytest.mark.parametrize("place", ["file", "folder", "nested folder"])
async def test_a_read_only_place_is_refused_in_one_line(shared_folder: Path, place: str) -> None:
    path = shared_folder / ("new/modelport.db" if place == "nested folder" else "modelport.db")
    if place == "file":
        await _make(path)
        path.chmod(0o444)
        shared_folder.chmod(0o777)
    else:
        shared_folder.chmod(0o555)
    done = subprocess.run(
        [sys.executable, str(CHILD), "start_without_rights", str(path)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("ReadOnly: ")
    assert done.stdout.count("\n") == 1
    assert str(shared_folder) in done.stdout
