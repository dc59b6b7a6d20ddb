"""What figures look like: labels and ticks have room, wide figures have a narrow form."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from orchestrator.report import Report, make, style
from tests.support.reported import write_sweep


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return make(write_sweep(tmp_path_factory.mktemp("sweeps") / "s", seeds=(1, 2), epochs=2))


@pytest.mark.parametrize("seed", range(20))
def test_labels_keep_their_order_and_their_distance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wanted = sorted(rng.normal(0.5, 0.3, rng.integers(1, 9)))
    found = style.spaced(wanted, 0.1)
    assert all(after - before > 0.1 - 1e-9 for before, after in pairwise(found))
    assert found[0] >= 0 and found[-1] <= 1 + 1e-9
    if all(b - a >= 0.1 for a, b in pairwise(wanted)) and wanted[0] >= 0 and wanted[-1] <= 1:
        assert found == pytest.approx(wanted)


def test_no_labels_need_no_room() -> None:
    assert style.spaced([], 0.1) == []


def test_names_of_curves_that_end_together_do_not_touch() -> None:
    names = [f"method number {n} with a long name" for n in range(8)]
    looks = style.looks(names)
    with style.axes(style.height_of_curves(8, 2.0)) as (canvas, axes):
        for name in names:
            axes.plot([1, 2], [0.5, 0.6], **looks[name].line_options())
        style.label_ends(
            axes,
            dict.fromkeys(names, (2.0, 0.6)),
            [look.point_options() for look in looks.values()],
        )
    canvas.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    assert len(boxes) == 8 and not _touching(boxes)
    frame = canvas.bbox
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)


def test_ticks_do_not_touch(report: Report) -> None:
    canvases = [
        canvas
        for f in report.figures.values()
        for canvas in (f.canvas, f.phone)
        if canvas is not None
    ]
    assert len(canvases) > 30
    for canvas in canvases:
        canvas.draw_without_rendering()
        for axes in canvas.axes:
            for texts in (axes.get_xticklabels(), axes.get_yticklabels()):
                boxes = [t.get_window_extent() for t in texts if t.get_text() and _seen(axes, t)]
                assert not _touching(boxes), [t.get_text() for t in texts]


def _seen(axes: Axes, text: object) -> bool:
    """Whether a tick lies within the axes; the others are not drawn."""
    x, y = text.get_position()  # type: ignore[attr-defined]
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    return axes.axison and (left <= x <= right or min(low, high) <= y <= max(low, high))


def _touching(boxes: list[Bbox]) -> bool:
    return any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[n + 1 :])
