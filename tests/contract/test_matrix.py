"""Every client endpoint in front of every backend dialect, whole and streamed, in every scenario, over sockets.

The tables stand in `matrix/`; docs/compatibility.md is what these tests found (`make compatibility`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from tests.contract.matrix.cells import Bench, bench
from tests.contract.matrix.page import PAGE, expected_mark, marks
from tests.contract.matrix.scenarios import BACKENDS, BROKEN, ENDPOINTS, IMPOSSIBLE, LEFT_OUT, SCENARIOS, Cell, cells

CELLS = list(cells())
PARAMETERS = [
    pytest.param(
        cell,
        id=cell.id,
        marks=[pytest.mark.xfail(reason=cell.broken, strict=True, raises=AssertionError)] if cell.broken else [],
    )
    for cell in CELLS
    if not cell.impossible
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    async with bench(tmp_path_factory.mktemp("matrix"), CELLS) as made:
        yield made


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("cell", PARAMETERS)
async def test_cell(running: Bench, cell: Cell, record_property: Callable[[str, object], None]) -> None:
    """The vendor is asked what the client asked, and the client told what the vendor said."""
    record_property("cell", cell.id)

    seen = await running.run(cell)

    record_property("losses", seen.losses)


def test_every_square_is_tried_or_has_its_reason() -> None:
    """Five endpoints, five dialects, whole and streamed; no square without a scenario."""
    squares = {(cell.endpoint, cell.backend, cell.stream) for cell in CELLS if not cell.impossible}

    assert squares == {(end, backend, stream) for end in ENDPOINTS for backend in BACKENDS for stream in (False, True)}
    for endpoint, backend, scenario in (*IMPOSSIBLE, *LEFT_OUT, *BROKEN):
        assert {endpoint, backend} <= {*ENDPOINTS, *BACKENDS, "*"}
        assert scenario in SCENARIOS


def test_the_page() -> None:
    """It has the cells of these tests, and calls none held that is known not to (`make compatibility` writes it)."""
    assert marks(PAGE.read_text("utf-8")) == {cell: expected_mark(cell) for cell in CELLS}
