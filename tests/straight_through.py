"""What the int8 operators compute with rounding removed: the model whose finite differences every gradient must equal.

A tensor is a `Dual`: `q` as the device holds it at one point, `v` float64 near that point. An operator rounds and
saturates q, and moves v by as much as its unrounded result moves: v = q + f(v's) - f(q's) where q is inside its limits,
v = q where q saturates (the mask is held). Written from the operators' formulas, in NumPy, with nothing of the compiler
in it; layouts as on the device: activations (1, C, H, W), weights (out, in / groups, kH, kW).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
F32 = np.float32


@dataclass(frozen=True)
class Dual:
    """`q`: the value at the point (integers, or floats in the head); `v`: float64, the value nearby."""

    q: Array
    v: npt.NDArray[np.float64]

    @classmethod
    def fixed(cls, q: Array) -> Dual:
        """A tensor that stays where it is."""
        return cls(q, np.asarray(q, np.float64))

    def map(self, move: Callable[[Array], Array]) -> Dual:
        """A change of layout."""
        return Dual(move(self.q), move(self.v))


def _integers(q: Array) -> Array:
    return q.astype(np.int64)


def _on_grid(real: Array, at: Array, near: Array, k: dict[str, Any], saturates: bool = True) -> Dual:
    """`real` float32 rounded onto y's grid; at and near are the unrounded float64 results at q and at v."""
    low, high, zero = k["y_min"], k["y_max"], k["y_zero"]
    q = _integers(np.rint(np.clip(real, F32(low - zero), F32(high - zero)))) + zero
    inside = (q > low) & (q < high) if saturates else np.ones(q.shape, bool)
    return Dual(q, np.where(inside, q + (near - at), q.astype(np.float64)))


# ---- windows ---------------------------------------------------------------------------------------------------------


def _taps(x: Array, kernel: Sequence[int], k: dict[str, Any], size: Sequence[int], fill: float) -> Array:
    """x (C, H, W) seen through every window: (C, *size, kH, kW); outside of x it is `fill`."""
    (s_h, s_w), (d_h, d_w), (top, left, _, _) = k["stride"], k["dilation"], k["pads"]
    after = [max(0, (size[i] - 1) * k["stride"][i] + (kernel[i] - 1) * k["dilation"][i] + 1) for i in (0, 1)]
    channels, height, width = x.shape
    padded = np.full((channels, max(after[0], top + height), max(after[1], left + width)), fill, x.dtype)
    padded[:, top : top + height, left : left + width] = x
    seen = np.empty((channels, *size, *kernel), x.dtype)
    for ky, kx in product(range(kernel[0]), range(kernel[1])):
        rows, columns = ky * d_h + s_h * np.arange(size[0]), kx * d_w + s_w * np.arange(size[1])
        seen[..., ky, kx] = padded[:, rows[:, None], columns[None, :]]
    return seen


def _correlate(x: Array, w: Array, k: dict[str, Any]) -> Array:
    """The convolution of x (1, C, H, W), zero outside, with w."""
    kernel, groups = w.shape[2:], k["groups"]
    size = [
        (x.shape[2 + i] + k["pads"][i] + k["pads"][2 + i] - k["dilation"][i] * (kernel[i] - 1) - 1) // k["stride"][i]
        + 1
        for i in (0, 1)
    ]
    seen = _taps(x[0], kernel, k, size, 0).reshape(groups, w.shape[1], *size, *kernel)
    grouped = w.reshape(groups, -1, *w.shape[1:])
    total: Array = np.einsum("gihwab,goiab->gohw", seen, grouped, optimize=True)
    return total.reshape(1, w.shape[0], *size)


# ---- operators: (operands, attributes as the compiler names them) -> result ------------------------------------------


def conv2d(x: Dual, w: Dual, b: Dual, scale: Dual, *w_zero: Dual, **k: Any) -> Dual:
    """y = clamp(round((b + sum (x - x_zero) * (w - w_zero)) * scale) + y_zero)."""
    across = (1, -1, 1, 1)
    zero = _integers(w_zero[0].q).reshape(-1, 1, 1, 1) if w_zero else 0
    acc = _correlate(_integers(x.q) - k["x_zero"], _integers(w.q) - zero, k) + _integers(b.q).reshape(across)
    near = _correlate(x.v - k["x_zero"], w.v - zero, k) + b.v.reshape(across)
    factor = scale.q.reshape(across)
    return _on_grid(acc.astype(F32) * factor, acc * factor.astype(np.float64), near * factor.astype(np.float64), k)


def add(a: Dual, b: Dual, **k: Any) -> Dual:
    """y = clamp(round((a - a_zero) * a_scale + (b - b_zero) * b_scale) + y_zero)."""
    left, right = (
        (_integers(t.q) - k[f"{n}_zero"]).astype(F32) * F32(k[f"{n}_scale"]) for t, n in ((a, "a"), (b, "b"))
    )

    def exact(p: Array, q: Array) -> Array:
        total: Array = (p - k["a_zero"]) * float(F32(k["a_scale"])) + (q - k["b_zero"]) * float(F32(k["b_scale"]))
        return total

    return _on_grid(left + right, exact(_integers(a.q), _integers(b.q)), exact(a.v, b.v), k)


def requantize(x: Dual, *, saturates: bool = True, **k: Any) -> Dual:
    """y = clamp(round((x - x_zero) * scale [* alpha where x < x_zero]) + y_zero); Relu and Clip are the limits."""
    centred, alpha = _integers(x.q) - k["x_zero"], F32(k.get("alpha", 1.0))
    slope = np.where(centred < 0, alpha, F32(1.0))
    real = centred.astype(F32) * F32(k["scale"]) * slope
    exact = float(F32(k["scale"])) * slope.astype(np.float64)
    return _on_grid(real, centred * exact, (x.v - k["x_zero"]) * exact, k, saturates)


def _keeps_grid(k: dict[str, Any]) -> bool:
    return bool(k["scale"] == 1.0 and k["x_zero"] == k["y_zero"] and (k["y_min"], k["y_max"]) == (-128, 127))


def concat(*parts: Dual, **k: Any) -> Dual:
    """Parts requantised and joined. When no part changes its grid nothing saturates; else the whole result may."""
    each = [{**k, "scale": s, "x_zero": z} for s, z in zip(k["scales"], k["zeros"], strict=True)]
    saturates = not all(_keeps_grid(one) for one in each)
    moved = [requantize(x, saturates=saturates, **one) for x, one in zip(parts, each, strict=True)]
    return Dual(*(np.concatenate([getattr(m, f) for m in moved], axis=k["axis"]) for f in ("q", "v")))


def pad(x: Dual, **k: Any) -> Dual:
    """`fill` around the requantised x."""
    inner, amounts = requantize(x, saturates=not _keeps_grid(k), **k), list(zip(k["begin"], k["end"], strict=True))
    return inner.map(lambda t: np.pad(t, amounts, constant_values=k["fill"]))


def max_pool2d(x: Dual, **k: Any) -> Dual:
    """The first maximum of every window, row by row; narrower limits than int8's saturate."""
    lowest = -1000
    seen = _taps(_integers(x.q)[0], k["kernel"], k, k["out_size"], lowest)
    first = seen.reshape(*seen.shape[:3], -1).argmax(axis=-1)[..., None]

    def take(t: Array) -> Array:
        taps = _taps(t[0], k["kernel"], k, k["out_size"], lowest)
        return np.take_along_axis(taps.reshape(*taps.shape[:3], -1), first, axis=-1)[..., 0][None]

    best = take(_integers(x.q))
    q = np.clip(best, k["y_min"], k["y_max"])
    inside = (q > k["y_min"]) & (q < k["y_max"]) | ((k["y_min"], k["y_max"]) == (-128, 127))
    return Dual(q, np.where(inside, take(x.v), q))


def avg_pool2d(x: Dual, **k: Any) -> Dual:
    """y = clamp(round(sum (x - x_zero) * scale / n) + y_zero); n counts positions in x, or in the padded x."""
    (top, left, bottom, right), (height, width) = k["pads"], x.q.shape[2:]
    ones = np.ones((1, height, width))
    if k["count_pad"]:
        ones = np.ones((1, height + top + bottom, width + left + right))
    at = {**k, "pads": (0, 0, 0, 0)} if k["count_pad"] else k
    n = _taps(ones, k["kernel"], at, k["out_size"], 0.0).sum(axis=(-1, -2))

    def total(t: Array) -> Array:
        seen = _taps(t[0] - k["x_zero"], k["kernel"], k, k["out_size"], 0)
        sums: Array = seen.sum(axis=(-1, -2))
        return sums[None]

    acc, factor = total(_integers(x.q)), F32(k["scale"]) / n.astype(F32)
    exact = float(F32(k["scale"])) / n
    return _on_grid(acc.astype(F32) * factor, acc * exact, total(x.v) * exact, k)


def permute(x: Dual, **k: Any) -> Dual:
    """Axes in another order."""
    return x.map(lambda t: t.transpose(k["axes"]))


def dequantize(x: Dual, **k: Any) -> Dual:
    """(x - x_zero) * x_scale, in float64 from here on."""
    return x.map(lambda t: (t.astype(np.float64) - k["x_zero"]) * float(F32(k["x_scale"])))


def dense(x: Dual, w: Dual, b: Dual, **_: Any) -> Dual:
    """x (1, in), w (out, in), b (out,), all float."""
    wide = [t.q.astype(np.float64) for t in (x, w, b)]
    return Dual(wide[0] @ wide[1].T + wide[2], x.v @ w.v.T + b.v)


def dense_s8(x: Dual, w: Dual, b: Dual, scale: Dual, **k: Any) -> Dual:
    """(b + sum (x - x_zero) * w) * scale with int8 x (1, in, 1, 1) and w (out, in, 1, 1): real outputs (1, out)."""

    def total(x: Array, w: Array, b: Array) -> Array:
        columns: Array = (x.reshape(1, -1) - k["x_zero"]) @ w.reshape(w.shape[0], -1).T
        return (columns + b) * scale.q.astype(np.float64)

    return Dual(total(_integers(x.q), _integers(w.q), _integers(b.q)), total(x.v, w.v, b.v))


OPERATORS: dict[str, Callable[..., Dual]] = {
    f"mg.{f.__name__}": f
    for f in (conv2d, add, requantize, concat, pad, max_pool2d, avg_pool2d, permute, dequantize, dense, dense_s8)
}


# ---- losses and finite differences -----------------------------------------------------------------------------------


def cross_entropy(logits: Array, label: int) -> float:
    """-log softmax(logits)[label] of one sample."""
    shifted = logits.ravel() - logits.max()
    return float(np.log(np.exp(shifted).sum()) - shifted[label])


def mse(outputs: Array, target: Array) -> float:
    """Mean squared error of one sample."""
    return float(np.mean((outputs - target) ** 2))


def differences(loss: Callable[[Array], float], point: Array, places: Array, step: float) -> npt.NDArray[np.float64]:
    """Central finite differences of `loss` at `point` by the elements with flat indices `places`."""
    found = np.empty(len(places))
    for i, place in enumerate(places):
        moved = point.astype(np.float64)
        ends = []
        for sign in (1.0, -1.0):
            moved.flat[place] = float(point.flat[place]) + sign * step
            ends.append(loss(moved))
        found[i] = (ends[0] - ends[1]) / (2 * step)
    return found
