"""Every operator's gradient on random shapes, grids and saturating values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tvm import relax

from gradient_check import Emit, check_gradients
from mcugrad import ops
from mcugrad.ops.conv2d import output_size

Array = npt.NDArray[Any]

few = settings(max_examples=15, deadline=None, derandomize=True)
seeds = st.integers(0, 2**31)
zeros = st.integers(-128, 127)


def _int8(rng: np.random.Generator, *dims: int) -> Array:
    """Any int8, the ends more often than chance: they are what saturates."""
    values = rng.integers(-128, 128, dims)
    return np.where(rng.random(dims) < 0.1, rng.choice([-128, 127], dims), values).astype(np.int8)


@st.composite
def grids(draw: st.DrawFn) -> dict[str, Any]:
    """An output grid: its zero point, and the limits that Relu, Clip or nothing leave."""
    zero = draw(zeros)
    limits = draw(st.sampled_from([(-128, 127), (zero, 127), (max(-128, zero - 20), min(127, zero + 60))]))
    assume(limits[0] < limits[1])
    return {"y_zero": zero, "y_min": limits[0], "y_max": limits[1], "y_scale": 1.0, "layer": "test"}


# ---- convolutions ----------------------------------------------------------------------------------------------------


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Shapes of input and weight, and the attributes: dense, grouped, depthwise, 1-D."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    inputs, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    if draw(st.booleans()) and groups > 1:
        inputs = 1
    flat = draw(st.booleans())
    size = [1 if flat else draw(st.integers(1, 9)), draw(st.integers(1, 9))]
    kernel = [1 if flat else draw(st.integers(1, 3)), draw(st.integers(1, 4))]
    stride, dilation = ([1 if flat else draw(st.integers(1, top)), draw(st.integers(1, top))] for top in (3, 2))
    pads = [0 if flat and i % 2 == 0 else draw(st.integers(0, 2)) for i in range(4)]
    out = [output_size(size[i], kernel[i], stride[i], dilation[i], pads[i], pads[2 + i]) for i in (0, 1)]
    assume(min(out) >= 1)
    attrs = {"stride": stride, "dilation": dilation, "pads": pads, "groups": groups}
    return (1, inputs * groups, *size), (outputs * groups, inputs, *kernel), attrs


def _check_conv(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    attrs: dict[str, Any],
    x_zero: int,
    grid: dict[str, Any],
    seed: int,
    asymmetric: bool = False,
) -> None:
    rng = np.random.default_rng(seed)
    x, w = _int8(rng, *x_shape), rng.integers(-127, 128, w_shape).astype(np.int8)
    b = rng.integers(-20000, 20000, w_shape[0]).astype(np.int32)
    spread = 70 * 75 * np.sqrt(np.prod(w_shape[1:]))  # of the accumulator
    scale = relax.const((rng.uniform(10, 120, w_shape[0]) / spread).astype(np.float32))
    w_zero = [relax.const(_int8(rng, w_shape[0]))] if asymmetric else []

    def build(emit: Emit, v: Sequence[relax.Var]) -> relax.Var:
        return emit(ops.conv2d(*v, scale, *w_zero, x_zero=x_zero, **attrs, **grid))

    check_gradients(build, [x, w, b], seed)


@settings(few, max_examples=60)
@given(convolutions(), zeros, grids(), seeds, st.booleans())
def test_conv2d(
    conv: tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]],
    x_zero: int,
    grid: dict[str, Any],
    seed: int,
    asymmetric: bool,
) -> None:
    _check_conv(*conv, x_zero, grid, seed, asymmetric)


@few
@given(st.integers(1, 40), st.integers(1, 12), zeros, grids(), seeds)
def test_gemm_is_a_convolution_of_one_position(n: int, out: int, zero: int, grid: dict[str, Any], seed: int) -> None:
    attrs = {"stride": [1, 1], "dilation": [1, 1], "pads": [0, 0, 0, 0], "groups": 1}
    _check_conv((1, n, 1, 1), (out, n, 1, 1), attrs, zero, grid, seed)


# ---- elementwise -----------------------------------------------------------------------------------------------------

shapes = st.one_of(
    st.tuples(st.just(1), st.integers(1, 12)),
    st.tuples(st.just(1), st.integers(1, 5), st.integers(1, 7)),
    st.tuples(st.just(1), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
)
scales = st.sampled_from([0.37, 0.9, 1.0, 1.7, 2.6])


@few
@given(shapes, scales, scales, zeros, zeros, grids(), seeds)
def test_add(
    dims: tuple[int, ...], a: float, b: float, a_zero: int, b_zero: int, grid: dict[str, Any], seed: int
) -> None:
    rng = np.random.default_rng(seed)

    def build(emit: Emit, v: Sequence[relax.Var]) -> relax.Var:
        return emit(ops.add(*v, a_scale=a, b_scale=b, a_zero=a_zero, b_zero=b_zero, **grid))

    check_gradients(build, [_int8(rng, *dims), _int8(rng, *dims)], seed)


@settings(few, max_examples=20)
@given(shapes, scales, st.sampled_from([1.0, 0.1, 0.25, 1.5, -0.5]), zeros, grids(), seeds)
def test_requantize_relu_clip_and_leaky_relu(
    dims: tuple[int, ...], scale: float, alpha: float, x_zero: int, grid: dict[str, Any], seed: int
) -> None:
    x = _int8(np.random.default_rng(seed), *dims)

    def build(emit: Emit, v: Sequence[relax.Var]) -> relax.Var:
        return emit(ops.requantize(v[0], scale=scale, alpha=alpha, x_zero=x_zero, **grid))

    check_gradients(build, [x], seed)


# ---- tensors in tensors ----------------------------------------------------------------------------------------------


@settings(few, max_examples=20)
@given(shapes, st.data(), seeds)
def test_concat_on_every_axis(dims: tuple[int, ...], data: st.DataObject, seed: int) -> None:
    rng, count = np.random.default_rng(seed), data.draw(st.integers(2, 3), "parts")
    axis = data.draw(st.integers(1, len(dims) - 1), "axis")
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=count, max_size=count), "sizes")
    arrays = [_int8(rng, *dims[:axis], size, *dims[axis + 1 :]) for size in sizes]
    if data.draw(st.booleans(), "one grid"):
        grid = {"y_zero": 3, "y_min": -128, "y_max": 127, "y_scale": 1.0, "layer": "test"}
        own = {"scales": [1.0] * count, "zeros": [3] * count}
    else:
        grid = data.draw(grids())
        own = {"scales": [data.draw(scales) for _ in sizes], "zeros": [data.draw(zeros) for _ in sizes]}
    check_gradients(lambda emit, v: emit(ops.concat(*v, axis=axis, **own, **grid)), arrays, seed)


@few
@given(shapes, st.data(), grids(), seeds)
def test_pad(dims: tuple[int, ...], data: st.DataObject, grid: dict[str, Any], seed: int) -> None:
    amounts = st.lists(st.integers(0, 2), min_size=len(dims) - 1, max_size=len(dims) - 1)
    where = {
        "begin": [0, *data.draw(amounts, "begin")],
        "end": [0, *data.draw(amounts, "end")],
        "fill": 5,
        "alpha": 1.0,
    }
    if data.draw(st.booleans(), "one grid"):
        grid, own = {**grid, "y_min": -128, "y_max": 127}, {"scale": 1.0, "x_zero": grid["y_zero"]}
    else:
        own = {"scale": data.draw(scales), "x_zero": data.draw(zeros)}
    x = _int8(np.random.default_rng(seed), *dims)
    check_gradients(lambda emit, v: emit(ops.pad(v[0], **where, **own, **grid)), [x], seed)


@few
@given(shapes, st.randoms(use_true_random=False), seeds)
def test_permute_and_reshape(dims: tuple[int, ...], order: Any, seed: int) -> None:
    axes = list(range(1, len(dims)))
    order.shuffle(axes)

    def build(emit: Emit, v: Sequence[relax.Var]) -> relax.Var:
        turned = emit(ops.permute(v[0], axes=[0, *axes], layer="test", y_scale=1.0, y_zero=0))
        return emit(relax.op.reshape(turned, (1, int(np.prod(dims)))))

    check_gradients(build, [_int8(np.random.default_rng(seed), *dims)], seed)


# ---- pools -----------------------------------------------------------------------------------------------------------


@st.composite
def windows(draw: st.DrawFn, averages: bool) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Input shape and window; the last window may hang over the edge, as with ceil_mode."""
    flat = draw(st.booleans())
    size = [1 if flat else draw(st.integers(1, 9)), draw(st.integers(1, 9))]
    kernel = [1 if flat else draw(st.integers(1, 4)), draw(st.integers(1, 4))]
    stride = [1 if flat else draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    dilation = [1, 1] if averages or flat else [draw(st.integers(1, 2)), draw(st.integers(1, 2))]
    pads = [draw(st.integers(0, kernel[i % 2] - 1)) for i in range(4)]
    out = []
    for i in (0, 1):
        room = size[i] + pads[i] + pads[2 + i] - dilation[i] * (kernel[i] - 1) - 1
        assume(room >= 0)
        count = -(-room // stride[i]) + 1 if draw(st.booleans()) else room // stride[i] + 1
        out.append(count - 1 if (count - 1) * stride[i] >= size[i] + pads[i] else count)
        # onnxruntime and the frontend have no window without an element of the input
        assume((out[i] - 1) * stride[i] - pads[i] < size[i])
        covered = [
            any(0 <= o * stride[i] + t * dilation[i] - pads[i] < size[i] for t in range(kernel[i]))
            for o in range(out[i])
        ]
        assume(all(covered))
    count_pad = int(averages and draw(st.booleans()))
    attrs = {"kernel": kernel, "stride": stride, "dilation": dilation, "pads": pads, "out_size": out}
    return (1, draw(st.integers(1, 3)), *size), {**attrs, "count_pad": count_pad}


@settings(few, max_examples=30)
@given(windows(averages=True), scales, zeros, grids(), seeds)
def test_average_pool(
    window: tuple[tuple[int, ...], dict[str, Any]], scale: float, zero: int, grid: dict[str, Any], seed: int
) -> None:
    dims, attrs = window
    x = _int8(np.random.default_rng(seed), *dims)
    check_gradients(
        lambda emit, v: emit(ops.avg_pool2d(v[0], scale=2 * scale, x_zero=zero, **attrs, **grid)), [x], seed
    )


@few
@given(st.integers(1, 4), st.integers(1, 8), st.integers(1, 8), zeros, grids(), seeds)
def test_global_average_pool(c: int, height: int, width: int, zero: int, grid: dict[str, Any], seed: int) -> None:
    window: dict[str, Any] = {"kernel": [height, width], "stride": [1, 1], "dilation": [1, 1], "pads": [0, 0, 0, 0]}
    window |= {"out_size": [1, 1], "count_pad": 0, "scale": 3.0, "x_zero": zero}
    x = _int8(np.random.default_rng(seed), 1, c, height, width)
    check_gradients(lambda emit, v: emit(ops.avg_pool2d(v[0], **window, **grid)), [x], seed)


@settings(few, max_examples=30)
@given(windows(averages=False), st.booleans(), zeros, st.booleans(), seeds)
def test_max_pool(
    window: tuple[tuple[int, ...], dict[str, Any]], narrow: bool, zero: int, ties: bool, seed: int
) -> None:
    """`ties`: few different values, so that most windows have several maxima; the first one takes the gradient."""
    dims, attrs = window
    x = _int8(np.random.default_rng(seed), *dims)
    if ties:
        x = (x // 64 * 64).astype(np.int8)
    limits = (-64, 63) if narrow else (-128, 127)
    more = {"x_zero": zero, "y_zero": zero, "y_scale": 1.0, "y_min": limits[0], "y_max": limits[1], "layer": "test"}
    check_gradients(lambda emit, v: emit(ops.max_pool2d(v[0], **attrs, **more)), [x], seed)
