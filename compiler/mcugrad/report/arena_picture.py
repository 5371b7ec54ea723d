"""Draws the arena over time: one rectangle a tensor, from its first to its last kernel call, at its bytes.

The same input gives the same bytes of picture (no date, fixed ids). Importing this module imports matplotlib.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from mcugrad.errors import McugradError
from mcugrad.report.numbers import bytes_text

_INK, _QUIET, _PEAK, _LIMIT = "#1f2933", "#7b8794", "#1f2933", "#c81e1e"
_SHADES = {"forward": "#f3f6fa", "backward": "#fdf3e9"}
# Kind of tensor -> (colour, word in the legend); colours differ in lightness too, for print and for the colour-blind.
_KINDS = {
    "input": ("#1b7f79", "input"),
    "activation": ("#4c86c6", "activation"),
    "mask": ("#9fc5e8", "saturation mask"),
    "error": ("#f08a3c", "error"),
    "weight": ("#6a51a3", "weight, state"),
    "vector": ("#d4b13f", "float32 vector"),
    "scratch": ("#aab4bf", "scratch"),
}
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "mcugrad",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": _INK,
    "axes.edgecolor": _QUIET,
    "axes.labelcolor": _INK,
    "xtick.color": _QUIET,
    "ytick.color": _QUIET,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
}
_WIDTH, _HEIGHT, _DPI = 11.0, 6.2, 150  # inches, inches, dots an inch
_LABELLED_CALLS = 44  # more labels than this do not fit under the axis
_NEAR_BUDGET = 0.55  # share of the budget from which its line is drawn to scale


@dataclass(frozen=True)
class Tensor:
    """`size` bytes at `offset`, alive from call `first` to call `last`, both inclusive.

    `kind`: input, activation, error, weight, vector or scratch; any other word is drawn as scratch.
    """

    name: str
    kind: str
    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Call:
    """One kernel call: what to write under it, and `forward` or `backward`."""

    label: str
    phase: str


def draw_arena(
    path: Path, title: str, tensors: Sequence[Tensor], calls: Sequence[Call], arena_bytes: int, budget_bytes: int
) -> None:
    """Write the picture to `path`, .svg or .png. `budget_bytes` is what the arena may use at most.

    Raises McugradError for another suffix.
    """
    suffix = path.suffix.lower()
    if suffix not in (".svg", ".png"):
        raise McugradError(f"a picture is .svg or .png, not '{path.name}': choose another name")
    with rc_context(_STYLE):
        figure = _figure(title, [t for t in tensors if t.size > 0], calls, arena_bytes, budget_bytes)
        content = io.BytesIO()
        metadata = {"Date": None, "Creator": None} if suffix == ".svg" else {"Software": None}
        figure.savefig(content, format=suffix[1:], dpi=_DPI, metadata=metadata)
    path.write_bytes(content.getvalue())


def _figure(title: str, tensors: Sequence[Tensor], calls: Sequence[Call], arena: int, budget: int) -> Figure:
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout=ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.12))
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 5))
    live = [sum(t.size for t in tensors if t.first <= i <= t.last) for i in range(len(calls))]
    for axes in (upper, lower):
        _shade_phases(axes, calls)
        axes.spines[["top", "right"]].set_visible(False)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: bytes_text(int(value))))
    _draw_live(upper, live, calls)
    _draw_tensors(lower, tensors)
    _draw_limits(lower, arena, budget, len(calls))
    _label_calls(lower, calls)
    upper.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=18)
    _draw_legend(figure, {_kind(t) for t in tensors})
    _draw_names(figure, lower, tensors)
    return figure


def _kind(tensor: Tensor) -> str:
    return tensor.kind if tensor.kind in _KINDS else "scratch"


def _shade_phases(axes: Axes, calls: Sequence[Call]) -> None:
    for phase, colour in _SHADES.items():
        at = [i for i, call in enumerate(calls) if call.phase == phase]
        if at:
            axes.axvspan(at[0] - 0.5, at[-1] + 0.5, color=colour, linewidth=0, zorder=0)
    axes.set_xlim(-0.5, max(len(calls), 1) - 0.5)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="white", linewidth=1)


def _byte_step(top: float, ticks: int) -> int:
    """Distance of at most `ticks` grid lines up to `top`: a power of two, so that labels are whole kilobytes."""
    step = 1
    while top / step > ticks:
        step *= 2
    return step


def _draw_live(axes: Axes, live: Sequence[int], calls: Sequence[Call]) -> None:
    if live:
        axes.stairs(live, [i - 0.5 for i in range(len(live) + 1)], fill=True, color="#c3ccd6")
    axes.set_ylabel("bytes alive")
    top = max([*live, 1]) * 1.45
    axes.set_ylim(0, top)
    axes.yaxis.set_major_locator(MultipleLocator(_byte_step(top, 3)))
    for phase in _SHADES:
        at = [i for i, call in enumerate(calls) if call.phase == phase]
        if at:
            middle = (at[0] + at[-1]) / 2
            axes.annotate(
                phase,
                (middle, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                color=_QUIET,
                fontsize=9,
            )
    if live:
        busiest = live.index(max(live))
        axes.plot([busiest], [live[busiest]], "o", color=_PEAK, markersize=4)
        right = busiest < len(live) / 2
        axes.annotate(
            f"most alive: {live[busiest]:,} B at call {busiest}, {calls[busiest].label}",
            (busiest, live[busiest]),
            xytext=(0, 5),
            textcoords="offset points",
            ha="left" if right else "right",
            fontsize=8,
        )


def _draw_tensors(axes: Axes, tensors: Sequence[Tensor]) -> None:
    for t in tensors:
        axes.add_patch(
            Rectangle(
                (t.first - 0.5, t.offset),
                t.last - t.first + 1,
                t.size,
                facecolor=_KINDS[_kind(t)][0],
                edgecolor="white",
                linewidth=0.6,
                zorder=2,
            )
        )
    axes.set_ylabel("byte offset in the arena")


def _draw_limits(axes: Axes, arena: int, budget: int, calls: int) -> None:
    near = budget > 0 and arena >= _NEAR_BUDGET * budget
    top = max(arena, budget if near else 0, 1) * 1.12
    axes.set_ylim(0, top)
    axes.yaxis.set_major_locator(MultipleLocator(_byte_step(top, 9)))
    share = f", {arena / budget:.1%} of the {bytes_text(budget)} available" if budget > 0 else ""
    axes.axhline(arena, color=_PEAK, linewidth=1.2, linestyle=(0, (5, 3)), zorder=4)
    _label_line(axes, f"arena {arena:,} B{share}", -0.5, arena, "left", _INK)
    if near:
        axes.axhline(budget, color=_LIMIT, linewidth=1.4, zorder=4)
        _label_line(axes, f"budget {budget:,} B", calls - 0.5, budget, "right", _LIMIT)


def _label_line(axes: Axes, text: str, x: float, y: float, side: Literal["left", "right"], colour: str) -> None:
    axes.annotate(
        text,
        (x, y),
        xytext=(6 if side == "left" else -6, 3),
        textcoords="offset points",
        ha=side,
        color=colour,
        fontweight="bold",
    )


def _label_calls(axes: Axes, calls: Sequence[Call]) -> None:
    if len(calls) <= _LABELLED_CALLS:
        axes.set_xticks(range(len(calls)), [c.label for c in calls], rotation=90, fontsize=7)
        axes.tick_params(axis="x", length=2)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(16, integer=True))
        axes.set_xlabel("kernel call")


def _draw_legend(figure: Figure, kinds: set[str]) -> None:
    handles = [Patch(color=colour, label=word) for kind, (colour, word) in _KINDS.items() if kind in kinds]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)


def _draw_names(figure: Figure, axes: Axes, tensors: Sequence[Tensor]) -> None:
    """Write names into the rectangles that have room for them; the layout must be final before it can be measured."""
    figure.canvas.draw()
    figure.set_layout_engine("none")
    for t in tensors:
        (x0, y0), (x1, y1) = axes.transData.transform([(t.first - 0.5, t.offset), (t.last + 0.5, t.offset + t.size)])
        label: Text = axes.text(
            (t.first + t.last) / 2,
            t.offset + t.size / 2,
            t.name,
            ha="center",
            va="center",
            fontsize=7,
            color="white",
            zorder=3,
        )
        extent = label.get_window_extent()
        if extent.width > (x1 - x0) - 4 or extent.height > (y1 - y0) - 1:
            label.remove()
