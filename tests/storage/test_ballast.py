"""Room is kept back while there is enough, and given back when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.ballast import AMPLE_BYTES, BALLAST_BYTES, SCARCE_BYTES, Ballast


class Disk:
    """What is free on it."""

    def __init__(self, free: int) -> None:
        self.free = free

    def __call__(self, _folder: Path) -> int:
        return self.free


@pytest.mark.parametrize(
    ("held", "free", "is_full", "released", "holds"),
    [
        (False, AMPLE_BYTES, False, False, True),
        (False, AMPLE_BYTES - 1, False, False, False),
        (False, AMPLE_BYTES, True, False, False),
        (True, SCARCE_BYTES, False, False, True),
        (True, SCARCE_BYTES - 1, False, True, False),
        (True, AMPLE_BYTES, True, True, False),
    ],
    ids=["ample", "not ample", "a quota", "still enough", "scarce", "refused by a quota"],
)
def test_when_it_is_held_and_when_released(
    tmp_path: Path, held: bool, free: int, is_full: bool, released: bool, holds: bool
) -> None:
    disk = Disk(AMPLE_BYTES)
    ballast = Ballast(tmp_path / "ballast", free=disk)
    if held:
        ballast.adjust()
    disk.free = free

    assert ballast.adjust(is_full=is_full) == released
    assert ballast.held_bytes == (BALLAST_BYTES if holds else 0)


def test_its_blocks_are_really_taken(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast", free=Disk(AMPLE_BYTES))
    ballast.adjust()

    assert (tmp_path / "ballast").stat().st_blocks * 512 >= BALLAST_BYTES
    ballast.close()
    assert not (tmp_path / "ballast").exists()


def test_a_folder_that_is_not_there_is_nobodys_trouble(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "no" / "ballast")

    ballast.make_way()

    assert (ballast.adjust(), ballast.held_bytes) == (False, 0)
    ballast.close()
