"""The runtime's descriptors as a `Program` has them, written and read in one place, and the scratch that they ask for.

TVM does not occur here: operators that lower, the planner and the kernels' tests share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mcugrad.program import Buffer, Field, KernelCall, Null, Program, Ref, Struct

PLANE_PITCH, WIDE_PITCH, PLANE_ELEMENTS, SUM_ELEMENTS = 40, 72, 1024, 256  # as in mg_depthwise.h


def layout(dims: Sequence[int], *, rows_first: bool = False) -> Struct:
    """mg_layout_t of a whole tensor (1, channels, height, width), or of a ring of its rows; `rows_first`: HCW."""
    _, channels, height, width = dims
    channel, row = (width, channels * width) if rows_first else (height * width, width)
    return Struct("mg_layout_t", (("channel", channel), ("row", row), ("rows", height)))


def conv2d_rows(conv: Struct, x: Struct, y: Struct) -> Struct:
    """mg_conv2d_rows_t of an mg_conv2d_t and the layouts of its input and output."""
    return Struct("mg_conv2d_rows_t", (("conv", conv), ("x", x), ("y", y)))


def weights(w: Ref, bias: Ref, scale: Ref) -> Struct:
    """mg_weights_t."""
    return Struct("mg_weights_t", (("w", w), ("bias", bias), ("scale", scale)))


def split_weights(weight: Buffer) -> Struct:
    """mg_split_weights_t of dense weights: as they are, all in pairs, or in two parts."""
    first, pairs = (Null(), weight.name) if weight.in_pairs else (Ref(weight.name), weight.frozen)
    channels = 0 if weight.in_pairs else weight.shape[1]
    return Struct("mg_split_weights_t", (("first", first), ("pairs", Ref(pairs) if pairs else Null()), ("n", channels)))


def subset(inputs: tuple[Ref | Null, int], outputs: tuple[Ref | Null, int], held: int) -> Struct:
    """mg_subset_t; of either side the runs that train and their number."""
    sides = (("inputs", inputs[0]), ("outputs", outputs[0]), ("n_inputs", inputs[1]), ("n_outputs", outputs[1]))
    return Struct("mg_subset_t", (*sides, ("held", held)))


def subset_of(call: KernelCall) -> dict[str, Field] | None:
    """The mg_subset_t that an update of weights is given."""
    return next((dict(a.fields) for a in call.args if isinstance(a, Struct) and a.type == "mg_subset_t"), None)


def one_input_updates(program: Program) -> bool:
    """Whether every layer that conv2d_update_weight.inc updates has one input channel a group, as depthwise ones: then
    it needs no code for several at once."""
    updated = (geometry(c) for c in program.calls if c.kernel.startswith("mg_conv2d_update_weight_"))
    return all(g["in_c"] == g["groups"] for g in updated)


def dgrads_of_pairs(program: Program) -> bool:
    """Whether a gradient by the input reads weights that lie in pairs, or some channels that do."""
    read = (struct for c in program.calls if c.work == "dgrad" for struct in c.descriptors)
    return any(s.type == "mg_split_weights_t" and not isinstance(dict(s.fields)["pairs"], Null) for s in read)


def geometry(call: KernelCall) -> dict[str, Any]:
    """The mg_conv2d_t, alone or in an mg_conv2d_rows_t, that a convolution and its gradients begin with."""
    first = call.args[0]
    assert isinstance(first, Struct)
    fields = dict(first.fields)
    if first.type == "mg_conv2d_rows_t":
        conv = fields["conv"]
        assert isinstance(conv, Struct)
        fields = dict(conv.fields)
    return fields


def depthwise_scratch(
    w: Sequence[int], y: Sequence[int], attrs: Mapping[str, Any], rows: int, *, whole_planes: bool = False
) -> int:
    """int16 elements that mg_depthwise_conv2d_rows_s8 works in for `rows` output rows: mg_depthwise_begin's cut.

    `whole_planes`: the sums of as many channels as there is room for, where one has them all at once.
    """
    pitch, columns, tile_rows = _tile(w, y, attrs, rows)
    sum_rows = min(max(SUM_ELEMENTS // columns, 1), tile_rows)
    sums = sum_rows * columns
    if whole_planes and (columns, sum_rows) == (y[3], y[2]):
        sums *= SUM_ELEMENTS // sums
    span = (w[2] - 1) * attrs["dilation"][0] + 1
    return int(((tile_rows - 1) * attrs["stride"][0] + span) * pitch + 2 * sums)


def is_wide(kernel: int, stride: int, columns: int) -> bool:
    """Whether a square depthwise window that assembly knows, for so many output columns, has planes of WIDE_PITCH."""
    return kernel == 3 and columns > ((PLANE_PITCH - 3) // stride + 1) & ~3


def _tile(w: Sequence[int], y: Sequence[int], attrs: Mapping[str, Any], rows: int) -> tuple[int, int, int]:
    """The pitch of a plane, and the columns, to a multiple of four, and rows of output that a tile has at most."""
    (s_h, s_w), (d_h, d_w) = attrs["stride"], attrs["dilation"]
    span_h, span_w = (w[2] - 1) * d_h + 1, (w[3] - 1) * d_w + 1
    wide = w[2] == w[3] and s_w <= 2 and d_h == d_w == 1 and is_wide(w[3], s_w, y[3])
    pitch = max(WIDE_PITCH if wide else PLANE_PITCH, (3 * s_w + span_w + 1) & ~1)
    columns = min(((pitch - span_w) // s_w + 1) & ~3, (y[3] + 3) & ~3)
    return pitch, columns, min(max((PLANE_ELEMENTS // pitch - span_h) // s_h + 1, 1), rows)


def in_one_tile(w: Sequence[int], y: Sequence[int], attrs: Mapping[str, Any]) -> bool:
    """Whether mg_depthwise_conv2d_rows_s8 has read all of a channel before it writes any of it. w, y: shapes."""
    _, columns, rows = _tile(w, y, attrs, y[2])
    return columns >= y[3] and rows >= y[2]


def depthwise_dgrad_scratch(w: Sequence[int], x: Sequence[int], attrs: Mapping[str, Any]) -> int:
    """int16 elements that mg_depthwise_conv2d_dgrad_s8 works in: the kernel turned around, a forward of stride 1."""
    turned = (w[2] * w[3] + 3) // 4 * 2
    return turned + depthwise_scratch(w, x, {**attrs, "stride": (1, 1)}, x[2], whole_planes=True)
