"""The state of one import: what every name stands for, the function being built, and how handlers read operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import numpy_helper
from tvm import relax

from mcugrad import ops
from mcugrad.errors import McugradError
from mcugrad.frontend.importer.head import head_node
from mcugrad.frontend.importer.values import Array, Logits, Pending, Quantized, Sample, Value
from mcugrad.graph import Grid, Model, Parameter, Role
from mcugrad.ops.operator import Type, shape


class Walk:
    """`values` holds every name met so far; `parameters` and `sample` become the function's parameters."""

    def __init__(self, model: onnx.ModelProto, name: str, *, float_head: bool, int8_head: bool) -> None:
        self.graph, self.name, self.head = model.graph, name, head_node(model.graph)
        self.float_head, self.int8_head = float_head, int8_head
        self.builder = relax.BlockBuilder()
        self.values: dict[str, Value] = {
            t.name: Array(t.name, numpy_helper.to_array(t)) for t in model.graph.initializer
        }
        self.parameters: list[tuple[Parameter, relax.Var]] = []
        self.sample: tuple[Sample, Grid, relax.Var] | None = None
        self.tail = ""

    def run(self, visit: Callable[[Walk, onnx.NodeProto], None]) -> Model:
        """Visit every node in the graph's order. Raises McugradError for a graph without one input and one output."""
        initializers = {t.name for t in self.graph.initializer}
        inputs = [i for i in self.graph.input if i.name not in initializers]
        if len(inputs) != 1 or len(self.graph.output) != 1:
            raise McugradError(
                f"the graph has {len(inputs)} inputs and {len(self.graph.output)} outputs: give a model with one of "
                "each"
            )
        dims = tuple(d.dim_value for d in inputs[0].type.tensor_type.shape.dim)
        self.values[inputs[0].name] = Sample(dims)
        problem: McugradError | None = None
        with self.builder.function("main"):
            with self.builder.dataflow():
                try:
                    for node in self.graph.node:
                        visit(self, node)
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
        names = {n.name: n.op_type for n in self.graph.node if n.op_type not in ("QuantizeLinear", "DequantizeLinear")}
        module, tail = self.builder.get(), self.tail
        return Model(self.name, module, parameters, shape(var), grid, shape(logits), tail, sample.axes, names)

    def _output(self) -> relax.Expr:
        value = self.values[self.graph.output[0].name]
        if isinstance(value, Logits):
            return value.var
        if isinstance(value, Quantized):
            grid = value.grid
            return self.emit(ops.dequantize(value.var, x_scale=grid.scale, x_zero=grid.zero_point, layer="output"))
        raise McugradError(
            f"the graph's output '{self.graph.output[0].name}' is not quantised: run `mcugrad quantize` on the float "
            "model"
        )

    # ---- what handlers build with ------------------------------------------------------------------------------------

    def emit(self, call: relax.Expr) -> relax.Var:
        """Append a binding."""
        return self.builder.emit(call)

    def reshape(self, var: relax.Var, dims: tuple[int, ...]) -> relax.Var:
        """`var` in the shape `dims`; the same variable when it has it already."""
        return var if shape(var) == dims else self.emit(relax.op.reshape(var, dims))

    def requantize(self, x: Quantized, layer: str, alpha: float = 1.0) -> Callable[[Grid, int, int], relax.Var]:
        """`emit` of a pending requantisation: Relu, Clip, LeakyRelu (`alpha`), or only another grid."""

        def emit(grid: Grid, low: int, high: int) -> relax.Var:
            k: dict[str, Any] = {"scale": ratio(x.grid, grid), "alpha": alpha, "x_zero": x.grid.zero_point}
            k |= {"y_zero": grid.zero_point, "y_min": low, "y_max": high, "y_scale": grid.scale, "layer": layer}
            return self.emit(ops.requantize(x.var, **k))

        return emit

    def on_grid(self, x: Quantized, grid: Grid, layer: str) -> Quantized:
        """`x` on `grid`."""
        return x if x.grid == grid else Quantized(self.requantize(x, layer)(grid, -128, 127), grid)

    def parameter(
        self, node: onnx.NodeProto, what: str, role: Role, value: np.ndarray, scale: np.ndarray, origin: str
    ) -> relax.Var:
        """A new parameter `<layer>.<what>` of the function; `origin` names its initializer, "" for none."""
        name, head = f"{node.name}.{what}", node.name == self.head
        parameter = Parameter(name, node.name, role, value, scale.astype(np.float32), origin, head)
        var = relax.Var(parameter.name, Type(value.shape, str(value.dtype)))
        self.parameters.append((parameter, var))
        return var

    # ---- operands ----------------------------------------------------------------------------------------------------

    def array(self, node: onnx.NodeProto, index: int) -> Array:
        """An operand that must be a constant."""
        value = self.values.get(node.input[index])
        if not isinstance(value, Array):
            raise McugradError(f"node '{node.name}' ({node.op_type}): input {index} must be a constant of the model")
        return value

    def activation(self, node: onnx.NodeProto, index: int = 0) -> Quantized:
        """An operand that must be int8 by now."""
        value = self.values[node.input[index]]
        if isinstance(value, Quantized):
            return value
        source = value.node if isinstance(value, Pending) else node.input[index]
        raise McugradError(
            f"node '{node.name}' ({node.op_type}): its input from '{source}' is not quantised: quantise the whole "
            "graph, for example with `mcugrad quantize`"
        )

    def operand(self, node: onnx.NodeProto, index: int) -> Quantized:
        """An int8 activation, or a constant broadcast to the other operand's shape on its own grid."""
        value = self.values[node.input[index]]
        if not isinstance(value, Array):
            return self.activation(node, index)
        other = self.activation(node, 1 - index)
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


Handler: TypeAlias = Callable[[Walk, onnx.NodeProto, dict[str, Any]], Value]


def has_input(node: onnx.NodeProto, index: int) -> bool:
    """Whether the optional input is there."""
    return len(node.input) > index and bool(node.input[index])


def ratio(x: Grid, y: Grid) -> float:
    """x.scale / y.scale as float32 divides it."""
    return float(np.float32(x.scale) / np.float32(y.scale))
