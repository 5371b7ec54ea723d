"""QDQ ONNX  becomes  Relax of int8 operators: DequantizeLinear -> op -> QuantizeLinear is one operator here.

The walk is in the graph's order. A result is *pending* until its QuantizeLinear says on which grid it lives; Relu and
Clip in between narrow the range. We do not use TVM's own importer: it forgets the node names that training schemes and
error messages are about, and rewrites QDQ chains into float operators that would have to be matched back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from tvm import relax

from mcugrad import ops
from mcugrad.errors import McugradError
from mcugrad.frontend.head import head_node
from mcugrad.frontend.values import Array, Logits, Pending, Quantized, Sample, Value
from mcugrad.frontend.windows import conv_attrs, pool_attrs
from mcugrad.graph import Grid, Model, Parameter, Role
from mcugrad.ops.operator import Type, shape

TAILS = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}


def import_model(graph_model: onnx.ModelProto, name: str, *, float_head: bool) -> Model:
    """The typed Relax model of a canonical QDQ graph. With `float_head` a final Gemm or 1x1 Conv is the float32 head.

    Raises McugradError naming the node that is not quantised or not supported.
    """
    return _Importer(graph_model, name, float_head).run()


class _Importer:
    def __init__(self, model: onnx.ModelProto, name: str, float_head: bool) -> None:
        self.graph, self.name = model.graph, name
        self.head, self.float_head = head_node(model.graph), float_head
        self.builder = relax.BlockBuilder()
        self.values: dict[str, Value] = {
            t.name: Array(t.name, numpy_helper.to_array(t)) for t in model.graph.initializer
        }
        self.parameters: list[tuple[Parameter, relax.Var]] = []
        self.sample: tuple[Sample, Grid, relax.Var] | None = None
        self.tail = ""

    def run(self) -> Model:
        initializers = {t.name for t in self.graph.initializer}
        inputs = [i for i in self.graph.input if i.name not in initializers]
        if len(inputs) != 1 or len(self.graph.output) != 1:
            raise McugradError(
                f"the graph has {len(inputs)} inputs and {len(self.graph.output)} outputs: give a model with one of each"
            )
        dims = tuple(d.dim_value for d in inputs[0].type.tensor_type.shape.dim)
        self.values[inputs[0].name] = Sample(dims)
        problem: McugradError | None = None
        with self.builder.function("main"):
            with self.builder.dataflow():
                try:
                    for node in self.graph.node:
                        self._node(node)
                    result = self._output()
                except McugradError as found:  # a builder left half-way prints a warning: finish it first
                    problem, result = found, relax.const(0)
                logits = self.builder.emit_output(result, "logits")
            params = [self.sample[2]] if self.sample else []
            self.builder.emit_func_output(logits, [*params, *(v for _, v in self.parameters)])
        if problem is not None:
            raise problem
        assert self.sample is not None
        sample, grid, var = self.sample
        parameters = tuple(p for p, _ in self.parameters)
        return Model(self.name, self.builder.get(), parameters, shape(var), grid, shape(logits), self.tail, sample.axes)

    # ---- the walk ----------------------------------------------------------------------------------------------------

    def _node(self, node: onnx.NodeProto) -> None:
        handler: Callable[[onnx.NodeProto, dict[str, Any]], Value] | None = getattr(self, f"_op_{node.op_type}", None)
        if handler is None:
            raise McugradError(f"node '{node.name}': operator {node.op_type} is not supported in a quantised graph")
        attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        self.values[node.output[0]] = handler(node, attrs)

    def _output(self) -> relax.Expr:
        value = self.values[self.graph.output[0].name]
        if isinstance(value, Logits):
            return value.var
        if isinstance(value, Quantized):
            grid = value.grid
            return self._emit(ops.dequantize(value.var, x_scale=grid.scale, x_zero=grid.zero_point, layer="output"))
        raise McugradError(
            f"the graph's output '{self.graph.output[0].name}' is not quantised: run `mcugrad quantize` on the float model"
        )

    def _emit(self, call: relax.Expr) -> relax.Var:
        return self.builder.emit(call)

    def _reshape(self, var: relax.Var, dims: tuple[int, ...]) -> relax.Var:
        return var if shape(var) == dims else self._emit(relax.op.reshape(var, dims))

    def _array(self, node: onnx.NodeProto, index: int) -> Array:
        value = self.values.get(node.input[index])
        if not isinstance(value, Array):
            raise McugradError(f"node '{node.name}' ({node.op_type}): input {index} must be a constant of the model")
        return value

    def _activation(self, node: onnx.NodeProto, index: int = 0) -> Quantized:
        """An operand that must be int8 by now."""
        value = self.values[node.input[index]]
        if isinstance(value, Quantized):
            return value
        source = value.node if isinstance(value, Pending) else node.input[index]
        raise McugradError(
            f"node '{node.name}' ({node.op_type}): its input from '{source}' is not quantised: quantise the whole graph, "
            "for example with `mcugrad quantize`"
        )

    # ---- grids -------------------------------------------------------------------------------------------------------

    def _op_QuantizeLinear(self, node: onnx.NodeProto, _: dict[str, Any]) -> Value:
        value = self.values[node.input[0]]
        if isinstance(value, Logits):
            return value
        grid = self._grid(node)
        if isinstance(value, Sample):
            return self._quantize_sample(node, value, grid)
        if isinstance(value, Pending):
            low, high = _limits(value, grid)
            var = value.emit(grid, low, high)
            return Quantized(var if value.view is None else self._reshape(var, value.view), grid)
        if isinstance(value, Quantized):
            return value if value.grid == grid else self._requantize(value, node.name).emit_on(grid)
        raise McugradError(f"node '{node.name}' (QuantizeLinear): quantises a constant; fold it into an initializer")

    def _op_DequantizeLinear(self, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
        value = self.values[node.input[0]]
        if not isinstance(value, Array):
            return value
        scale = self._array(node, 1).data.astype(np.float32).reshape(-1)
        has_zero = len(node.input) > 2 and bool(node.input[2])
        zero = self._array(node, 2).data.astype(np.int32).reshape(-1) if has_zero else np.zeros(1, np.int32)
        return replace(value, scale=scale, zero=zero, axis=attrs.get("axis", 1) % max(value.data.ndim, 1))

    def _grid(self, node: onnx.NodeProto) -> Grid:
        scale = self._array(node, 1).data
        zero = self._array(node, 2).data if len(node.input) > 2 and node.input[2] else np.zeros((), np.uint8)
        if scale.size != 1:
            raise McugradError(f"node '{node.name}': activations need one scale, this one has {scale.size}")
        if zero.dtype not in (np.dtype(np.int8), np.dtype(np.uint8)):
            raise McugradError(f"node '{node.name}': activations are {zero.dtype}: quantise them to int8 or uint8")
        shift = 128 if zero.dtype == np.uint8 else 0
        return Grid(float(scale.reshape(())), int(zero.reshape(())) - shift, str(zero.dtype))

    def _quantize_sample(self, node: onnx.NodeProto, sample: Sample, grid: Grid) -> Value:
        if self.sample is None:
            self.sample = (sample, grid, relax.Var("input", Type(sample.shape, "int8")))
        elif self.sample[0] != sample:
            raise McugradError(f"node '{node.name}': the graph's input is quantised in two layouts; keep one")
        first = Quantized(self.sample[2], self.sample[1])
        return first if first.grid == grid else self._requantize(first, node.name).emit_on(grid)

    def _requantize(self, x: Quantized, layer: str, alpha: float = 1.0) -> _Requantize:
        return _Requantize(self, x, layer, alpha)

    # ---- convolutions and dense layers -------------------------------------------------------------------------------

    def _op_Conv(self, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
        weight = self._array(node, 1)
        if node.name == self.head and self.float_head:
            return self._dense(node, _real_matrix(weight))
        x = self._activation(node)
        dims = shape(x.var)
        spatial = dims if len(dims) == 4 else (dims[0], dims[1], 1, dims[2])
        w_shape = weight.data.shape if weight.data.ndim == 4 else (*weight.data.shape[:2], 1, weight.data.shape[2])
        window = conv_attrs(attrs, len(dims) - 2)
        return self._conv(node, x, self._reshape(x.var, spatial), weight, w_shape, window, len(dims))

    def _op_Gemm(self, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
        weight = self._array(node, 1)
        if not attrs.get("transB", 0):
            weight = replace(weight, data=np.ascontiguousarray(weight.data.T), axis=1 - weight.axis)
        if node.name == self.head and self.float_head:
            return self._dense(node, weight.real())
        x = self._activation(node)
        outputs, inputs = weight.data.shape
        window = conv_attrs({}, 2)
        point = self._reshape(x.var, (1, inputs, 1, 1))
        return self._conv(node, x, point, weight, (outputs, inputs, 1, 1), window, 2)

    def _conv(
        self,
        node: onnx.NodeProto,
        x: Quantized,
        operand: relax.Var,
        weight: Array,
        w_shape: tuple[int, ...],
        window: dict[str, Any],
        rank: int,
    ) -> Value:
        w_scale = _symmetric(node, weight, w_shape[0])
        data, zero = weight.data.astype(np.int16), weight.zero
        if weight.data.dtype == np.uint8 and zero is not None:
            data = data - 128
        w = self._parameter(node, "weight", Role.WEIGHT, data.astype(np.int8).reshape(w_shape), w_scale, weight.name)
        b_scale = np.float32(x.grid.scale) * w_scale
        b = self._bias(node, b_scale, w_shape[0])

        def emit(grid: Grid, low: int, high: int) -> relax.Var:
            scale = relax.const((b_scale / np.float32(grid.scale)).astype(np.float32))
            out = {"y_zero": grid.zero_point, "y_min": low, "y_max": high, "y_scale": grid.scale}
            call = ops.conv2d(operand, w, b, scale, x_zero=x.grid.zero_point, layer=node.name, **out, **window)
            y = self._emit(call)
            n, c, h, width = shape(y)
            return self._reshape(y, {2: (n, c), 3: (n, c, width), 4: (n, c, h, width)}[rank])

        return Pending(emit, node.name)

    def _bias(self, node: onnx.NodeProto, scale: np.ndarray, channels: int) -> relax.Var:
        if len(node.input) < 3 or not node.input[2]:
            return self._parameter(node, "bias", Role.BIAS, np.zeros(channels, np.int32), scale, "")
        array = self._array(node, 2)
        data = array.data.reshape(-1)
        if data.dtype != np.int32:
            exact = np.rint(array.real().reshape(-1).astype(np.float64) / scale.astype(np.float64))
            data = np.clip(exact, -(2**31), 2**31 - 1)
        data = np.broadcast_to(data, (channels,)).astype(np.int32)
        return self._parameter(node, "bias", Role.BIAS, data, scale, array.name)

    def _parameter(
        self, node: onnx.NodeProto, what: str, role: Role, value: np.ndarray, scale: np.ndarray, origin: str
    ) -> relax.Var:
        name, head = f"{node.name}.{what}", node.name == self.head
        parameter = Parameter(name, node.name, role, value, scale.astype(np.float32), origin, head)
        var = relax.Var(parameter.name, Type(value.shape, str(value.dtype)))
        self.parameters.append((parameter, var))
        return var

    def _dense(self, node: onnx.NodeProto, weight: np.ndarray) -> Value:
        """The classifier in float32 on dequantized features."""
        x = self._activation(node)
        outputs, inputs = weight.shape
        ones = np.ones(outputs, np.float32)
        features = self._emit(ops.dequantize(x.var, x_scale=x.grid.scale, x_zero=x.grid.zero_point, layer=node.name))
        array = self._array(node, 2) if len(node.input) > 2 and node.input[2] else None
        bias = np.zeros(outputs, np.float32) if array is None else array.real().reshape(-1)
        bias = np.ascontiguousarray(np.broadcast_to(bias, (outputs,)))
        w = self._parameter(node, "weight", Role.FLOAT_WEIGHT, np.ascontiguousarray(weight), ones, node.input[1])
        b = self._parameter(node, "bias", Role.FLOAT_BIAS, bias, ones, "" if array is None else array.name)
        return Logits(self._emit(ops.dense(self._reshape(features, (1, inputs)), w, b, layer=node.name)))

    # ---- elementwise -------------------------------------------------------------------------------------------------

    def _op_Relu(self, node: onnx.NodeProto, _: dict[str, Any]) -> Value:
        return self._clip(node, 0.0, np.inf)

    def _op_Clip(self, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
        limits = [float(self._array(node, i).data.reshape(())) if _has(node, i) else None for i in (1, 2)]
        low = attrs.get("min", -np.inf) if limits[0] is None else limits[0]
        return self._clip(node, low, attrs.get("max", np.inf) if limits[1] is None else limits[1])

    def _clip(self, node: onnx.NodeProto, low: float, high: float) -> Value:
        value = self.values[node.input[0]]
        if not isinstance(value, Pending):
            x = self._activation(node)
            value = Pending(self._requantize(x, node.name), node.name)
        return replace(value, low=min(max(value.low, low), high), high=max(min(value.high, high), low))

    def _op_LeakyRelu(self, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
        x = self._activation(node)
        return Pending(self._requantize(x, node.name, float(np.float32(attrs.get("alpha", 0.01)))), node.name)

    def _op_Add(self, node: onnx.NodeProto, _: dict[str, Any]) -> Value:
        a, b = (self._operand(node, i) for i in (0, 1))
        if shape(a.var) != shape(b.var):
            raise McugradError(
                f"node '{node.name}' (Add): shapes {shape(a.var)} and {shape(b.var)} differ: only equal shapes or a "
                "constant can be added"
            )

        def emit(grid: Grid, low: int, high: int) -> relax.Var:
            scales = {"a_scale": _ratio(a.grid, grid), "b_scale": _ratio(b.grid, grid)}
            zeros = {"a_zero": a.grid.zero_point, "b_zero": b.grid.zero_point, "y_zero": grid.zero_point}
            out = {"y_min": low, "y_max": high, "y_scale": grid.scale}
            return self._emit(ops.add(a.var, b.var, layer=node.name, **scales, **zeros, **out))

        return Pending(emit, node.name)

    def _operand(self, node: onnx.NodeProto, index: int) -> Quantized:
        """An int8 activation, or a constant broadcast to the other operand's shape on its own grid."""
        value = self.values[node.input[index]]
        if not isinstance(value, Array):
            return self._activation(node, index)
        other = self._activation(node, 1 - index)
        real = value.real()
        if value.scale is not None and value.scale.size == 1 and value.data.dtype in (np.int8, np.uint8):
            assert value.zero is not None
            shift = 128 if value.data.dtype == np.uint8 else 0
            grid, data = Grid(float(value.scale[0]), int(value.zero[0]) - shift), value.data.astype(np.int16) - shift
        else:
            grid = Grid(float(np.float32(max(float(np.abs(real).max()), 1e-12) / 127)), 0)
            data = np.clip(np.rint(real / np.float32(grid.scale)), -127, 127)
        whole = np.ascontiguousarray(np.broadcast_to(data.astype(np.int8), shape(other.var)))
        return Quantized(relax.const(whole), grid)

    # ---- tensors of tensors, pools, layout ---------------------------------------------------------------------------

    def _op_Concat(self, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
        parts = [
            self._operand(node, i) if len(node.input) == 2 else self._activation(node, i)
            for i in range(len(node.input))
        ]
        axis = attrs["axis"] % len(shape(parts[0].var))
        if axis == 0:
            raise McugradError(f"node '{node.name}' (Concat): joins along the batch: concatenate another axis")

        def emit(grid: Grid, low: int, high: int) -> relax.Var:
            scales = [_ratio(p.grid, grid) for p in parts]
            out = {"y_zero": grid.zero_point, "y_min": low, "y_max": high, "y_scale": grid.scale}
            zeros = [p.grid.zero_point for p in parts]
            return self._emit(
                ops.concat(*(p.var for p in parts), axis=axis, scales=scales, zeros=zeros, layer=node.name, **out)
            )

        return Pending(emit, node.name)

    def _op_Pad(self, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
        x = self._activation(node)
        pads = [int(p) for p in self._array(node, 1).data] if _has(node, 1) else list(attrs["pads"])
        value = float(self._array(node, 2).real().reshape(())) if _has(node, 2) else 0.0
        grid, rank = x.grid, len(shape(x.var))
        fill = int(np.clip(np.rint(np.float32(value) / np.float32(grid.scale)) + grid.zero_point, -128, 127))
        same = {"scale": 1.0, "alpha": 1.0, "x_zero": grid.zero_point, "y_zero": grid.zero_point, "y_scale": grid.scale}
        where = {"begin": pads[:rank], "end": pads[rank:], "y_min": -128, "y_max": 127}
        return Quantized(self._emit(ops.pad(x.var, fill=fill, layer=node.name, **same, **where)), grid)

    def _op_MaxPool(self, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
        x = self._activation(node)
        out = {"x_zero": x.grid.zero_point, "y_zero": x.grid.zero_point, "y_scale": x.grid.scale}
        limits = {"y_min": -128, "y_max": 127, "layer": node.name}
        call, dims = self._pool(node, x, attrs, ops.max_pool2d, {**out, **limits})
        return Quantized(self._reshape(self._emit(call), dims), x.grid)

    def _op_AveragePool(self, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
        x = self._activation(node)

        def emit(grid: Grid, low: int, high: int) -> relax.Var:
            out = {"y_zero": grid.zero_point, "y_scale": grid.scale, "y_min": low, "y_max": high}
            scale = {"scale": _ratio(x.grid, grid), "x_zero": x.grid.zero_point, "layer": node.name}
            call, dims = self._pool(node, x, attrs, ops.avg_pool2d, {**out, **scale})
            return self._reshape(self._emit(call), dims)

        return Pending(emit, node.name)

    def _op_GlobalAveragePool(self, node: onnx.NodeProto, _: dict[str, Any]) -> Value:
        return self._op_AveragePool(node, {"kernel_shape": list(shape(self._activation(node).var)[2:])})

    def _pool(
        self,
        node: onnx.NodeProto,
        x: Quantized,
        attrs: dict[str, Any],
        op: Callable[..., relax.Call],
        more: dict[str, Any],
    ) -> tuple[relax.Call, tuple[int, ...]]:
        dims = shape(x.var)
        spatial = dims if len(dims) == 4 else (dims[0], dims[1], 1, dims[2])
        window = pool_attrs(attrs, spatial[2:], len(dims) - 2)
        height, width = window["out_size"]
        out = (dims[0], dims[1], width) if len(dims) == 3 else (dims[0], dims[1], height, width)
        return op(self._reshape(x.var, spatial), **window, **more), out

    def _op_Reshape(self, node: onnx.NodeProto, _: dict[str, Any]) -> Value:
        value, dims = self.values[node.input[0]], _target_shape(self._array(node, 1).data, self.graph, node)
        if isinstance(value, Sample):
            return replace(value, shape=dims)
        if isinstance(value, Pending):
            return replace(value, view=dims)
        if isinstance(value, Logits):
            return Logits(self._reshape(value.var, dims))
        x = self._activation(node)
        return Quantized(self._reshape(x.var, dims), x.grid)

    def _op_Transpose(self, node: onnx.NodeProto, attrs: dict[str, Any]) -> Value:
        value, axes = self.values[node.input[0]], tuple(attrs["perm"])
        if axes[0] != 0:
            raise McugradError(f"node '{node.name}' (Transpose): moves the batch axis; keep it first")
        if isinstance(value, Sample) and value.axes is None:
            return Sample(tuple(value.shape[a] for a in axes), axes)
        x = self._activation(node)
        call = ops.permute(x.var, axes=list(axes), layer=node.name, y_scale=x.grid.scale, y_zero=x.grid.zero_point)
        return Quantized(self._emit(call), x.grid)

    def _op_Softmax(self, node: onnx.NodeProto, _: dict[str, Any]) -> Value:
        if self.graph.output[0].name != node.output[0] and not _only_quantized(self.graph, node):
            raise McugradError(
                f"node '{node.name}' ({node.op_type}): only the last operator of a graph may be a softmax"
            )
        self.tail = TAILS[node.op_type]
        value = self.values[node.input[0]]
        if isinstance(value, Logits):
            return value
        x = self._activation(node)
        grid = x.grid
        return Logits(self._emit(ops.dequantize(x.var, x_scale=grid.scale, x_zero=grid.zero_point, layer=node.name)))

    _op_LogSoftmax = _op_Softmax


class _Requantize:
    """`emit` of a pending requantisation (Relu, Clip, LeakyRelu, or only another grid)."""

    def __init__(self, importer: _Importer, x: Quantized, layer: str, alpha: float) -> None:
        self.importer, self.x, self.layer, self.alpha = importer, x, layer, alpha

    def __call__(self, grid: Grid, low: int, high: int) -> relax.Var:
        k = {"scale": _ratio(self.x.grid, grid), "alpha": self.alpha, "x_zero": self.x.grid.zero_point}
        k |= {"y_zero": grid.zero_point, "y_min": low, "y_max": high, "y_scale": grid.scale, "layer": self.layer}
        return self.importer.builder.emit(ops.requantize(self.x.var, **k))

    def emit_on(self, grid: Grid) -> Quantized:
        return Quantized(self(grid, -128, 127), grid)


def _has(node: onnx.NodeProto, index: int) -> bool:
    return len(node.input) > index and bool(node.input[index])


def _ratio(x: Grid, y: Grid) -> float:
    return float(np.float32(x.scale) / np.float32(y.scale))


def _limits(value: Pending, grid: Grid) -> tuple[int, int]:
    """The int8 range that Relu or Clip leave on `grid`."""

    def place(real: float) -> int:
        if np.isinf(real):
            return -128 if real < 0 else 127
        return int(np.clip(np.rint(np.float32(real) / np.float32(grid.scale)) + grid.zero_point, -128, 127))

    return place(value.low), place(value.high)


def _real_matrix(weight: Array) -> np.ndarray:
    return weight.real().reshape(weight.data.shape[0], -1)


def _symmetric(node: onnx.NodeProto, weight: Array, channels: int) -> np.ndarray:
    """The weight's scale per output channel. Raises McugradError unless it is symmetric int8 along the outputs."""
    if weight.scale is None or weight.zero is None:
        raise McugradError(f"node '{node.name}' ({node.op_type}): its weight is not quantised: run `mcugrad quantize`")
    centre = 128 if weight.data.dtype == np.uint8 else 0
    if weight.data.dtype not in (np.dtype(np.int8), np.dtype(np.uint8)) or (weight.zero != centre).any():
        raise McugradError(
            f"node '{node.name}' ({node.op_type}): its weight is {weight.data.dtype} with zero points other than "
            f"{centre}: quantise weights symmetrically to int8 (QInt8, WeightSymmetric)"
        )
    if weight.scale.size > 1 and weight.axis != 0:
        raise McugradError(
            f"node '{node.name}' ({node.op_type}): its weight scales do not run along the output channels"
        )
    return np.ascontiguousarray(np.broadcast_to(weight.scale, (channels,))).astype(np.float32)


def _target_shape(target: np.ndarray, graph: onnx.GraphProto, node: onnx.NodeProto) -> tuple[int, ...]:
    dims = tuple(int(d) for d in target)
    if any(d <= 0 for d in dims):
        raise McugradError(f"node '{node.name}' (Reshape): its shape {dims} is not static")
    return dims


def _only_quantized(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """Whether nothing but QuantizeLinear and DequantizeLinear lies between `node` and the graph's output."""
    name = node.output[0]
    while name != graph.output[0].name:
        users = [n for n in graph.node if name in n.input]
        if len(users) != 1 or users[0].op_type not in ("QuantizeLinear", "DequantizeLinear"):
            return False
        name = users[0].output[0]
    return True
