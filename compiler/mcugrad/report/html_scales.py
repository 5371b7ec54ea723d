"""Scales and QAS of the HTML report: what is known of them when the model is compiled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcugrad.report.facts import ParameterFacts
from mcugrad.report.html_graph import Graph


@dataclass(frozen=True)
class Affine:
    """real = (q - zero_point) * scale."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class ScaleRow:
    """A layer with an int8 weight. `left` and `width` place its weight scales on the logarithmic axis, in percent."""

    layer: str
    weight: ParameterFacts
    bias_trains: bool
    x: Affine | None
    y: Affine | None
    left: float
    width: float

    @property
    def qas(self) -> float | None:
        """How much further one channel's integers move than another's for the same gradient: (largest/least)^2."""
        scale = self.weight.scale
        return None if scale is None else (scale[1] / scale[0]) ** 2


@dataclass(frozen=True)
class ErrorRow:
    """An error tensor. `masked_by` are the tensors that say where the layer saturated, and the error is zero."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    scale: str
    masked_by: list[str]
    calls: tuple[int, int]


def scale_axis(parameters: Sequence[ParameterFacts]) -> tuple[int, int]:
    """Powers of ten around every scale of a live channel."""
    scales = [s for p in parameters if p.scale and not p.is_bias for s in p.scale]
    if not scales:
        return (-1, 0)
    low, high = math.floor(math.log10(min(scales))), math.ceil(math.log10(max(scales)))
    return (low, max(high, low + 1))


def scale_rows(manifest: Mapping[str, Any], parameters: Sequence[ParameterFacts], graph: Graph) -> list[ScaleRow]:
    """A row for every layer with an int8 weight, in the order of execution."""
    low, high = scale_axis(parameters)
    grids = _input_grids(manifest, graph)
    rows = []
    for p in parameters:
        if p.role != "weight":
            continue
        left, right = (100 * (math.log10(s) - low) / (high - low) for s in p.scale or (10.0**low, 10.0**low))
        bias = any(q.trains for q in parameters if q.layer == p.layer and q.is_bias)
        x = _grid(grids.get(p.layer))
        rows.append(ScaleRow(p.layer, p, bias, x, _grid(_output(manifest, p.layer)), left, right - left))
    return rows


def _input_grids(manifest: Mapping[str, Any], graph: Graph) -> dict[str, Mapping[str, Any] | None]:
    """What every layer reads: the first arena tensor of its call, or its partner's output inside one call."""
    tensors = {row["name"]: row for row in manifest["tensors"]}
    partners = {node.layers[-1]: node.layers[0] for node in graph.nodes if len(node.layers) > 1}
    first: dict[str, Mapping[str, Any] | None] = {}
    for call in manifest["calls"]:
        if call["phase"] == "forward" and call["op"] != "Mask":
            reads = [tensors[name] for name in call["reads"]]
            arena = next((row for row in reads if "offset" in row), None)
            for row in reads:
                first.setdefault(row["layer"] if row["kind"] in ("const", "state") else call["layer"], arena)
    return first | {layer: _output(manifest, partner) for layer, partner in partners.items()}


def _output(manifest: Mapping[str, Any], layer: str) -> Mapping[str, Any] | None:
    rows = (row for row in manifest["tensors"] if row["layer"] == layer and row["kind"] == "activation")
    return next(rows, None)


def _grid(row: Mapping[str, Any] | None) -> Affine | None:
    if row is None or not isinstance(row.get("scale"), float):
        return None
    return Affine(row["scale"], row["zero_point"])


def error_rows(manifest: Mapping[str, Any]) -> list[ErrorRow]:
    """The error tensors in the order in which they are written."""
    tensors = {row["name"]: row for row in manifest["tensors"]}
    rows, seen = [], set()
    for call in manifest["calls"]:
        for name in call["writes"]:
            row = tensors[name]
            if row["kind"] != "error" or name in seen:
                continue
            seen.add(name)
            masks = [n for n in call["reads"] if tensors[n]["kind"] in ("mask", "activation")]
            scale = row.get("scale", "1 (float32)" if row["dtype"] == "float32" else "none")
            text = scale if isinstance(scale, str) else "fixed"
            first, last = row["lifetime"]
            rows.append(ErrorRow(name, row["dtype"], tuple(row["shape"]), row["bytes"], text, masks, (first, last)))
    return rows
