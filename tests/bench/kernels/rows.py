"""The layers whose kernels are measured, and the C that calls ours and CMSIS-NN's on each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A layer, square and padded to `size / stride` outputs a side. `must` and `aim`: instructions per MAC."""

    name: str
    kind: str  # conv, depthwise, fully connected; dgrad and wgrad of a pointwise conv, with store and update
    in_c: int
    out_c: int
    size: int = 1
    kernel: int = 1
    stride: int = 1
    must: float | None = None
    aim: float | None = None

    @property
    def out(self) -> int:
        return -(-self.size // self.stride)

    @property
    def pad(self) -> int:
        return (self.kernel - 1) // 2

    @property
    def taps(self) -> int:
        """Of one output."""
        return self.kernel**2 * (1 if self.kind == "depthwise" else self.in_c)

    @property
    def macs(self) -> int:
        """Nominal ones, padding counted."""
        return self.out**2 * self.out_c * self.taps


ROWS = (
    Row("1x1, 64 -> 64, 16x16", "conv", 64, 64, 16, must=1.15, aim=0.95),
    Row("1x1, 16 -> 96, 16x16", "conv", 16, 96, 16, must=1.5, aim=1.25),
    Row("3x3, 64 -> 64, 16x16", "conv", 64, 64, 16, 3, must=1.2, aim=1.0),
    Row("stem 3x3 s2, 3 -> 16, 128x128", "conv", 3, 16, 128, 3, 2, must=1.6, aim=1.25),
    Row("fully connected, 640 -> 128", "fully connected", 640, 128, must=1.2, aim=1.05),
    Row("depthwise 3x3 s1, 16x16x64", "depthwise", 64, 64, 16, 3, must=2.3, aim=1.8),
    Row("depthwise 3x3 s2, 16x16x64", "depthwise", 64, 64, 16, 3, 2, must=3.0, aim=2.6),
    Row("depthwise 5x5 s1, 16x16x64", "depthwise", 64, 64, 16, 5, must=1.5, aim=1.2),
    Row("depthwise 7x7 s1, 16x16x64", "depthwise", 64, 64, 16, 7, must=1.3, aim=1.0),
    Row("depthwise 3x3 s1, 8x8x64", "depthwise", 64, 64, 8, 3),
    Row("depthwise 3x3 s1, 4x4x64", "depthwise", 64, 64, 4, 3),
    Row("depthwise 5x5 s1, 4x4x64", "depthwise", 64, 64, 4, 5),
    Row("depthwise 7x7 s2, 8x8x64", "depthwise", 64, 64, 8, 7, 2),
    Row("dgrad 1x1, 64 -> 64, 16x16", "dgrad", 64, 64, 16, must=1.2, aim=0.95),
    Row("dgrad 1x1, 48 -> 192, 8x8", "dgrad", 48, 192, 8, must=1.2, aim=0.95),
    Row("wgrad 1x1, 64 -> 64, 16x16", "wgrad", 64, 64, 16, must=1.1, aim=0.85),
    Row("wgrad 1x1, 48 -> 192, 8x8", "wgrad", 48, 192, 8, must=1.1, aim=0.85),
)
PANELS = 16  # that the gradients expand at once: what the compiler gives them where memory allows
BYTES = {  # of each array that the calls share
    "x": max(r.in_c * r.size**2 for r in ROWS),
    "y": max(r.out_c * r.out**2 for r in ROWS),
    "w": max((r.out_c + 1) * (r.taps + 1) for r in ROWS),
}
CHANNELS = max(r.out_c for r in ROWS)
SCRATCH = max(8 * max(r.taps + 1 for r in ROWS), (4 * PANELS + 2) * max(256, CHANNELS))


def ours(row: Row) -> tuple[str, str]:
    """The kernel and the statements that call it."""
    one = row.kind == "fully connected"
    fields = {"in_c": row.in_c, "in_h": row.size, "in_w": row.size, "out_c": row.out_c, "out_h": row.out}
    fields |= {"out_w": row.out, "k_h": row.kernel, "k_w": row.kernel, "stride_h": row.stride, "stride_w": row.stride}
    fields |= {"dilation_h": 1, "dilation_w": 1, "pad_top": row.pad, "pad_left": row.pad}
    fields |= {"groups": row.in_c if row.kind == "depthwise" else 1, "x_zero": 3, "y_zero": -4}
    fields |= {"y_min": -128, "y_max": 127}
    conv = "{" + ", ".join(f".{k} = {v}" for k, v in fields.items()) + "}"
    if one:
        call = "mg_fully_connected_pairs_s8(&g, x, &weights, scratch, y);"
        return "mg_fully_connected_pairs_s8", f"static const mg_conv2d_t g = {conv}; {call}"
    if row.kind in ("dgrad", "wgrad"):
        kernel, call = _gradient(row)
        return kernel, f"static const mg_conv2d_t g = {conv}; {call}"
    layouts = ", ".join(f"{{{size**2}, {size}, {size}}}" for size in (row.size, row.out))
    kernel = "mg_depthwise_conv2d_rows_s8" if row.kind == "depthwise" else "mg_conv2d_rows_s8"
    call = f"{kernel}(&g, 0, {row.out}, x, &weights, scratch, y);"
    return kernel, f"static const mg_conv2d_rows_t g = {{{conv}, {layouts}}}; {call}"


def _gradient(row: Row) -> tuple[str, str]:
    if row.kind == "dgrad":
        kernel = "mg_conv2d_pointwise_dgrad_s8"
        fields = ".out = y, .out_type = MG_S8, .base_scale = 0x1p-14f, .scale = 1.0f, .inv_scale = 1.0f"
        weights = "const mg_split_weights_t pairs = {NULL, w, 0};"
        return kernel, f"{weights} mg_store_t s = {{{fields}}}; {kernel}(&g, x, &pairs, {PANELS}, scratch, &s);"
    kernel = "mg_conv2d_pointwise_update_weight_s8"
    subset = f"const mg_subset_t all = {{NULL, NULL, {row.in_c}, {row.out_c}, {row.in_c}}};"
    random = "const mg_random_t random = {1, 1, 0};"
    return kernel, f"{subset} {random} {kernel}(&g, y, x, &all, scale, 0x1p-20f, &random, {PANELS}, scratch, w);"


def cmsis(row: Row) -> str | None:
    """The statements that call CMSIS-NN's wrapper, which chooses its fastest kernel, on NHWC tensors. It has no
    gradients."""
    if row.kind in ("dgrad", "wgrad"):
        return None
    x, y = (f"{{1, {n}, {n}, {c}}}" for n, c in ((row.size, row.in_c), (row.out, row.out_c)))
    declare = f"const cmsis_nn_dims xd = {x}, yd = {y}, bd = {{1, 1, 1, {row.out_c}}};"
    arguments = "&context, &p, &q, &xd, x, &wd, w, &bd, bias, &yd, y"
    if row.kind == "fully connected":
        wd = f"const cmsis_nn_dims wd = {{{row.in_c}, 1, 1, {row.out_c}}};"
        parameters = "const cmsis_nn_fc_params p = {-3, 0, -4, {-128, 127}};"
        quant = "const cmsis_nn_per_tensor_quant_params q = {1 << 30, -8};"
        return f"{declare} {wd} {parameters} {quant} arm_fully_connected_s8({arguments});"
    step, pad = f"{{{row.stride}, {row.stride}}}", f"{{{row.pad}, {row.pad}}}"
    quant = "const cmsis_nn_per_channel_quant_params q = {multiplier, shift};"
    k = row.kernel
    if row.kind == "depthwise":
        wd = f"const cmsis_nn_dims wd = {{1, {k}, {k}, {row.out_c}}};"
        parameters = f"const cmsis_nn_dw_conv_params p = {{-3, -4, 1, {step}, {pad}, {{1, 1}}, {{-128, 127}}}};"
        function = "arm_depthwise_conv_wrapper_s8"
    else:
        wd = f"const cmsis_nn_dims wd = {{{row.out_c}, {k}, {k}, {row.in_c}}};"
        parameters = f"const cmsis_nn_conv_params p = {{-3, -4, {step}, {pad}, {{1, 1}}, {{-128, 127}}}};"
        function = "arm_convolve_wrapper_s8"
    return f"{declare} {wd} {parameters} {quant} {function}({arguments});"
