"""A roofline in instructions: how near a layer is to what the instruction set allows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

MACS_AN_INSTRUCTION, BYTES_AN_INSTRUCTION = 2.0, 4.0  # SMLAD; a load or store of a word


def traffic(manifest: dict[str, Any]) -> dict[str, int]:
    """Bytes that each layer's calls read and write, every tensor once a call."""
    size = {t["name"]: t["bytes"] for t in manifest["tensors"]}
    found: dict[str, int] = {}
    for call in manifest["calls"]:
        moved = sum(size.get(name, 0) for name in {*call["reads"], *call["writes"]})
        found[call["layer"]] = found.get(call["layer"], 0) + moved
    return found


def draw(layers: Sequence[dict[str, Any]], moved: dict[str, int], title: str, path: Path) -> None:
    """`layers` as `mcugrad bench --json` has them; those without MACs are left out. The same input, the same bytes."""
    points = [(r["name"], r["macs"] / moved[r["name"]], r["macs"] / r["instructions"]) for r in layers if r["macs"]]
    with rc_context({"svg.hashsalt": "mcugrad", "font.size": 9.0}):
        figure = Figure(figsize=(8.0, 5.0), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        low, high = min(x for _, x, _ in points) / 2, max(x for _, x, _ in points) * 2
        knee = MACS_AN_INSTRUCTION / BYTES_AN_INSTRUCTION
        roof = [min(low, knee / 2), knee, high]
        axes.plot(roof, [min(MACS_AN_INSTRUCTION, BYTES_AN_INSTRUCTION * x) for x in roof], color="#1f2933", lw=1.2)
        axes.scatter([x for _, x, _ in points], [y for _, _, y in points], s=18, color="#4c86c6", zorder=3)
        for name, x, y in points:
            first, *others = name.split("+")  # layers that are streamed together
            label = f"{first} … {others[-1]}" if others else first
            side = {"xytext": (3, 3), "ha": "left"} if x * x < low * high else {"xytext": (-3, 3), "ha": "right"}
            axes.annotate(label, (x, y), textcoords="offset points", fontsize=5.5, color="#7b8794", **side)
        axes.set(xscale="log", yscale="log", xlabel="MACs a byte", ylabel="MACs an instruction", title=title)
        axes.grid(which="major", color="#e4e7eb", lw=0.6)
        figure.savefig(path, metadata={"Date": None})
