"""Reverse-mode differentiation of a quantised network in float64, rounding removed and the saturation masks held.

Each operator computes the integers that the device holds and returns, beside them, how an adjoint is pulled back
through it. Written from the operators' formulas, in NumPy: neither the compiler's gradients nor its kernels have a part
in it, and `straight_through`, whose finite differences check it on small graphs, shares no code with it either.
Integers are kept as float64, which is exact far beyond every sum here. Layouts as on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import relax

from mcugrad.ops.operator import attributes, shape
from mcugrad.passes.functions import bindings, op_name

Array = npt.NDArray[np.float64]
Pull = Callable[[Array], Sequence["Array | None"]]  # adjoint of the result -> adjoints of the operands
Attrs = dict[str, Any]
F32 = np.float32


def gradients(
    main: relax.Function,
    values: Mapping[str, npt.NDArray[Any]],
    wanted: Sequence[str],
    target: npt.NDArray[Any],
    store: Callable[[Array], Array] = lambda error: error,
) -> tuple[float, dict[str, Array]]:
    """Loss of main(**values), and its gradient by every parameter named in `wanted`, in the parameter's own units.

    `target`: int32 (1,), a class, for cross entropy; float32 outputs for the mean squared error. `store` is what
    keeping an adjoint in memory does to it: a convolution's at its accumulator, others' at their result.
    """
    known = {p: np.asarray(values[p.name], np.float64) for p in main.params}
    moving = {p for p in main.params if p.name in wanted}
    tape: list[tuple[relax.Var, list[relax.Expr], Pull]] = []

    def value(of: relax.Expr) -> Array:
        return known[of] if isinstance(of, relax.Var) else np.asarray(of.value.numpy(), np.float64)

    for var, call in bindings(main):
        operands = [call] if isinstance(call, relax.Var) else list(call.args[:1] if _is_view(call) else call.args)
        needs = [isinstance(a, relax.Var) and a in moving for a in operands]
        known[var], pull = _apply(call, [value(a) for a in operands], needs, store)
        if any(needs):
            moving.add(var)
            tape.append((var, [a if n else None for a, n in zip(operands, needs, strict=True)], pull))
    logits = main.body.body
    loss, first = loss_and_adjoint(known[logits], target)
    adjoints = {logits: first}
    for var, operands, pull in reversed(tape):
        if var not in adjoints:
            continue
        for operand, adjoint in zip(operands, pull(adjoints.pop(var)), strict=False):
            if operand is not None and adjoint is not None:
                adjoints[operand] = adjoints[operand] + adjoint if operand in adjoints else adjoint
    by_name = {p.name: p for p in main.params}
    return loss, {n: adjoints.get(by_name[n], np.zeros(known[by_name[n]].shape)) for n in wanted}


def _is_view(call: relax.Expr) -> bool:
    return op_name(call) == "relax.reshape"


def _apply(
    call: relax.Expr, operands: list[Array], needs: list[bool], store: Callable[[Array], Array]
) -> tuple[Array, Pull]:
    if isinstance(call, relax.Var):
        return operands[0], lambda adjoint: [adjoint]
    if _is_view(call):
        before = operands[0].shape
        return operands[0].reshape(shape(call)), lambda adjoint: [adjoint.reshape(before)]
    result, pull = OPERATORS[op_name(call)](operands, needs, {**attributes(call), "store": store})
    return result, pull if op_name(call) == "mg.conv2d" else lambda adjoint: pull(store(adjoint))


def loss_and_adjoint(outputs: Array, target: npt.NDArray[Any]) -> tuple[float, Array]:
    """Cross entropy of the softmax for an int32 class, mean squared error for float32 targets."""
    if target.dtype == np.float32:
        difference = outputs - target.astype(np.float64).reshape(outputs.shape)
        return float(np.mean(difference**2)), difference * (2 / difference.size)
    exps = np.exp(outputs - outputs.max())
    share = exps / exps.sum()
    one = np.zeros(outputs.shape)
    one.flat[int(target[0])] = 1.0
    return -float(np.log(share.flat[int(target[0])])), share - one


# ---- pieces ----------------------------------------------------------------------------------------------------------


def _round(real: Array, k: Attrs) -> Array:
    """`real`, float32 already, on y's grid."""
    low, high, zero = k["y_min"], k["y_max"], k["y_zero"]
    y: Array = np.rint(np.clip(real, low - zero, high - zero)) + zero
    return y


def _free(y: Array, k: Attrs) -> Array:
    """1 where an output may move, 0 where it saturated."""
    free: Array = ((y > k["y_min"]) & (y < k["y_max"])).astype(np.float64)
    return free


def _f32(*factors: npt.NDArray[Any] | float) -> Array:
    """The product, one float32 rounding a factor, as the device computes it."""
    result = np.asarray(factors[0], F32)
    for factor in factors[1:]:
        result = result * np.asarray(factor, F32)
    return result.astype(np.float64)


@dataclass(frozen=True)
class _Windows:
    """The windows of a kernel over a (C, H, W) tensor; `size`: how many there are along H and W."""

    height: int
    width: int
    kernel: tuple[int, int]
    size: tuple[int, int]
    k: Attrs

    @classmethod
    def over(cls, x: Array, kernel: Sequence[int], k: Attrs, size: Sequence[int] | None = None) -> _Windows:
        """Over x (1, C, H, W), as many as fit unless `size` says it."""
        (top, left, bottom, right), (height, width) = k["pads"], x.shape[2:]
        reach = [k["dilation"][i] * (kernel[i] - 1) + 1 for i in (0, 1)]
        padded = (height + top + bottom, width + left + right)
        fit = [(padded[i] - reach[i]) // k["stride"][i] + 1 for i in (0, 1)]
        rows, columns = size if size is not None else fit
        return cls(height, width, (kernel[0], kernel[1]), (int(rows), int(columns)), k)

    def taps(self) -> Iterator[tuple[int, int, slice, slice]]:
        """Every (ky, kx) with the rows and columns that it meets in the padded tensor."""
        for ky, kx in product(range(self.kernel[0]), range(self.kernel[1])):
            yield ky, kx, self._places(0, ky), self._places(1, kx)

    def _places(self, axis: int, tap: int) -> slice:
        stride, begin = self.k["stride"][axis], tap * self.k["dilation"][axis]
        return slice(begin, begin + stride * (self.size[axis] - 1) + 1, stride)

    def _padded(self, channels: int, fill: float) -> Array:
        top, left, bottom, right = self.k["pads"]
        *_, (_, _, last_rows, last_columns) = self.taps()
        reach = last_rows.stop, last_columns.stop
        rows, columns = max(self.height + top + bottom, reach[0]), max(self.width + left + right, reach[1])
        return np.full((channels, rows, columns), fill)

    def gather(self, x: Array, fill: float = 0.0) -> Array:
        """(C, H, W) -> (C, kH, kW, *size); outside of x it is `fill`."""
        padded, (top, left, _, _) = self._padded(len(x), fill), self.k["pads"]
        padded[:, top : top + self.height, left : left + self.width] = x
        seen = np.empty((len(x), *self.kernel, *self.size))
        for ky, kx, rows, columns in self.taps():
            seen[:, ky, kx] = padded[:, rows, columns]
        return seen

    def scatter(self, seen: Array) -> Array:
        """The transpose of `gather`: sums every tap into the element that it saw."""
        padded, (top, left, _, _) = self._padded(len(seen), 0.0), self.k["pads"]
        for ky, kx, rows, columns in self.taps():
            padded[:, rows, columns] += seen[:, ky, kx]
        return padded[:, top : top + self.height, left : left + self.width]


# ---- operators: (operands, which of them move, attributes) -> (result, pull) -----------------------------------------


def _conv2d(operands: list[Array], needs: list[bool], k: Attrs) -> tuple[Array, Pull]:
    """y = clamp(round((b + sum (x - x_zero) * (w - w_zero)) * scale) + y_zero); the sum with b wraps at 32 bits."""
    x, w, b, scale, *w_zero = operands
    groups, (out, _, *kernel) = k["groups"], w.shape
    windows = _Windows.over(x, kernel, k)
    centred = x[0] - k["x_zero"]
    rows = (w - w_zero[0].reshape(-1, 1, 1, 1) if w_zero else w).reshape(groups, out // groups, -1)

    def columns() -> Array:
        return windows.gather(centred).reshape(groups, rows.shape[2], -1)

    acc = (rows @ columns()).reshape(out, -1) + b[:, None]
    acc = (acc + 2.0**31) % 2.0**32 - 2.0**31
    y = _round(_f32(acc, scale[:, None]), k).reshape(1, out, *windows.size)

    def pull(adjoint: Array) -> list[Array | None]:
        e = k["store"](adjoint * _free(y, k) * scale.reshape(1, -1, 1, 1)).reshape(groups, out // groups, -1)
        dx = dw = None
        if needs[0]:
            seen = (rows.transpose(0, 2, 1) @ e).reshape(len(centred), *kernel, *windows.size)
            dx = windows.scatter(seen)[None]
        if needs[1]:
            dw = (e @ columns().transpose(0, 2, 1)).reshape(w.shape)
        return [dx, dw, e.sum(axis=2).ravel()]

    return y, pull


def _add(operands: list[Array], _: list[bool], k: Attrs) -> tuple[Array, Pull]:
    """y = clamp(round((a - a_zero) * a_scale + (b - b_zero) * b_scale) + y_zero)."""
    a, b = (_f32(t - k[f"{n}_zero"], k[f"{n}_scale"]) for t, n in zip(operands, "ab", strict=True))
    y = _round(_f32(a.astype(F32) + b.astype(F32)), k)
    factors = [float(F32(k[f"{n}_scale"])) for n in "ab"]
    return y, lambda adjoint: [adjoint * _free(y, k) * f for f in factors]


def _requantize(operands: list[Array], _: list[bool], k: Attrs, saturates: bool = True) -> tuple[Array, Pull]:
    """y = clamp(round((x - x_zero) * scale [* alpha where x < x_zero]) + y_zero)."""
    centred = operands[0] - k["x_zero"]
    slope = np.where(centred < 0, float(F32(k.get("alpha", 1.0))), 1.0)
    y = _round(_f32(centred, k["scale"], slope), k)
    factor = float(F32(k["scale"])) * slope * (_free(y, k) if saturates else 1.0)
    return y, lambda adjoint: [adjoint * factor]


def _changes_grid(k: Attrs) -> bool:
    return not (k["scale"] == 1.0 and k["x_zero"] == k["y_zero"] and (k["y_min"], k["y_max"]) == (-128, 127))


def _concat(operands: list[Array], needs: list[bool], k: Attrs) -> tuple[Array, Pull]:
    """Operands requantised and joined; nothing saturates where none of them changes its grid."""
    each = [{**k, "scale": s, "x_zero": z} for s, z in zip(k["scales"], k["zeros"], strict=True)]
    saturates = any(_changes_grid(one) for one in each)
    parts = [_requantize([x], needs, one, saturates) for x, one in zip(operands, each, strict=True)]
    ends = np.cumsum([x.shape[k["axis"]] for x in operands])[:-1]

    def pull(adjoint: Array) -> list[Array | None]:
        pieces = np.split(adjoint, ends, axis=k["axis"])
        return [part[1](piece)[0] for part, piece in zip(parts, pieces, strict=True)]

    return np.concatenate([part[0] for part in parts], axis=k["axis"]), pull


def _pad(operands: list[Array], needs: list[bool], k: Attrs) -> tuple[Array, Pull]:
    inner, back = _requantize(operands, needs, k, _changes_grid(k))
    middle = tuple(slice(b, b + n) for b, n in zip(k["begin"], inner.shape, strict=True))
    y = np.pad(inner, list(zip(k["begin"], k["end"], strict=True)), constant_values=k["fill"])
    return y, lambda adjoint: back(adjoint[middle])


def _max_pool2d(operands: list[Array], _: list[bool], k: Attrs) -> tuple[Array, Pull]:
    """The first maximum of every window, row by row; limits narrower than int8's saturate."""
    (x,) = operands
    windows = _Windows.over(x, k["kernel"], k, k["out_size"])
    seen = windows.gather(x[0], -1e6)
    taps = seen.reshape(len(seen), -1, *windows.size)
    first = taps.argmax(axis=1)[:, None]
    y = np.clip(np.take_along_axis(taps, first, axis=1)[:, 0], k["y_min"], k["y_max"])[None]
    free = _free(y, k) if (k["y_min"], k["y_max"]) != (-128, 127) else np.ones(y.shape)

    def pull(adjoint: Array) -> list[Array | None]:
        spread = np.zeros(taps.shape)
        np.put_along_axis(spread, first, (adjoint * free)[0][:, None], axis=1)
        return [windows.scatter(spread.reshape(seen.shape))[None]]

    return y, pull


def _avg_pool2d(operands: list[Array], _: list[bool], k: Attrs) -> tuple[Array, Pull]:
    """y = clamp(round(sum (x - x_zero) * scale / n) + y_zero); n counts positions in x, or in the padded x."""
    (x,) = operands
    (top, left, bottom, right), (height, width) = k["pads"], x.shape[2:]
    windows = _Windows.over(x, k["kernel"], k, k["out_size"])
    counted = np.ones((1, 1, height, width))
    k_counted = k
    if k["count_pad"]:
        counted = np.ones((1, 1, height + top + bottom, width + left + right))
        k_counted = {**k, "pads": (0, 0, 0, 0)}
    n = _Windows.over(counted, k["kernel"], k_counted, k["out_size"]).gather(counted[0]).sum(axis=(1, 2))
    total = windows.gather(x[0] - k["x_zero"]).sum(axis=(1, 2))
    factor = (F32(k["scale"]) / n.astype(F32)).astype(np.float64)
    y = _round(_f32(total, factor), k)[None]

    def pull(adjoint: Array) -> list[Array | None]:
        e = (adjoint * _free(y, k))[0] * (float(F32(k["scale"])) / n)
        return [windows.scatter(np.broadcast_to(e[:, None, None], (len(e), *windows.kernel, *windows.size)))[None]]

    return y, pull


def _permute(operands: list[Array], _: list[bool], k: Attrs) -> tuple[Array, Pull]:
    back = np.argsort(k["axes"])
    return operands[0].transpose(k["axes"]), lambda adjoint: [adjoint.transpose(back)]


def _dequantize(operands: list[Array], _: list[bool], k: Attrs) -> tuple[Array, Pull]:
    scale = float(F32(k["x_scale"]))
    return (operands[0] - k["x_zero"]) * scale, lambda adjoint: [adjoint * scale]


def _dense(operands: list[Array], _: list[bool], _k: Attrs) -> tuple[Array, Pull]:
    """x (1, in), w (out, in), b (out,), all float."""
    x, w, b = operands
    return x @ w.T + b, lambda adjoint: [adjoint @ w, adjoint.T @ x, adjoint[0]]


def _dense_s8(operands: list[Array], _: list[bool], k: Attrs) -> tuple[Array, Pull]:
    """(b + sum (x - x_zero) * w) * scale, x (1, in, 1, 1), w (out, in, 1, 1), real outputs (1, out)."""
    x, w, b, scale = operands
    row, matrix = x.reshape(1, -1) - k["x_zero"], w.reshape(len(w), -1)

    def pull(adjoint: Array) -> list[Array | None]:
        e = adjoint * scale
        return [(e @ matrix).reshape(x.shape), (e.T @ row).reshape(w.shape), e[0]]

    return (row @ matrix.T + b) * scale, pull


OPERATORS: dict[str, Callable[[list[Array], list[bool], Attrs], tuple[Array, Pull]]] = {
    "mg.conv2d": _conv2d,
    "mg.add": _add,
    "mg.requantize": _requantize,
    "mg.concat": _concat,
    "mg.pad": _pad,
    "mg.max_pool2d": _max_pool2d,
    "mg.avg_pool2d": _avg_pool2d,
    "mg.permute": _permute,
    "mg.dequantize": _dequantize,
    "mg.dense": _dense,
    "mg.dense_s8": _dense_s8,
}
