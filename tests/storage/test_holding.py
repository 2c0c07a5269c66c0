"""`storage.holding`: one process, or a keeper with its workers, has a database."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.db import Database
from storage.errors import Locked
from storage.holding import Held, Joined, check_free

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def elsewhere(what: str, path: Path) -> Iterator[None]:
    """Another process has what the expression *what* makes of `path`."""
    code = (
        "import sys; from pathlib import Path; from storage.holding import Held, Joined;"
        f" path = Path(sys.argv[1]); kept = {what}; print('has it', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "has it\n"
        yield
        process.kill()


@pytest.mark.parametrize("what", ["Held(path, 0)", "Joined(path)"])
async def test_what_a_keeper_or_one_of_its_workers_has_is_refused_until_it_is_dead(tmp_path: Path, what: str) -> None:
    """To a process alone, and to another keeper; a kill is enough."""
    path = tmp_path / "m.db"
    with elsewhere(what, path):
        with pytest.raises(Locked, match="has this database open; stop it or use another file"):
            await Database(path).open()
        with pytest.raises(Locked, match="has this database open"):
            Held(path, 0)
        with pytest.raises(Locked, match="has this database open"):
            check_free(path, 0)
    check_free(path, 0)
    async with Database(path):
        pass
    Held(path, 0).release()


async def test_what_nobody_has_is_free_and_stays_so(tmp_path: Path) -> None:
    path = tmp_path / "not there" / "m.db"
    check_free(path, 0)
    assert not path.parent.exists()

    async with Database(path):
        look = f"from pathlib import Path; from storage.holding import check_free; check_free(Path({str(path)!r}), 0)"
        for _ in range(2):  # looking takes nothing away
            found = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=False)
            assert "Locked" in found.stderr
    check_free(path, 0)


async def test_what_a_process_alone_has_is_refused_to_a_keeper(tmp_path: Path) -> None:
    """And to a worker whose keeper is gone."""
    path = tmp_path / "m.db"
    async with Database(path):
        for how in ("Held(path, 0)", "Joined(path)"):
            code = (
                f"from pathlib import Path; from storage.holding import Held, Joined; path = Path({str(path)!r}); {how}"
            )
            found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

            assert "Locked" in found.stderr


async def test_workers_take_turns_to_write(tmp_path: Path) -> None:
    """While one has its turn the other's write waits, and reads do not."""
    path = tmp_path / "m.db"
    held = Held(path, 0)
    async with Database(path, shared=True) as db:
        other = Joined(path)
        with other:
            waiting = db.begin(lambda connection: connection.execute("PRAGMA user_version").fetchone()[0])
            version = await db.read(lambda connection: connection.execute("PRAGMA user_version").fetchone()[0])
            assert not waiting.done()
        assert await waiting == version
        other.close()
        other.close()
    held.release()

    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.db", "m.db.lock"]
