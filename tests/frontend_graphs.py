"""Small ONNX graphs for the frontend's tests: a builder, both PyTorch exporters' styles, and random graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from hypothesis import strategies as st
from onnx import helper, numpy_helper

Array = npt.NDArray[Any]


class Builder:
    """Collects nodes and constants; `shape` of each tensor is left to ONNX."""

    def __init__(self, opset: int = 17, seed: int = 0) -> None:
        self.opset = opset
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.consts: list[onnx.TensorProto] = []
        self.count = 0

    def const(self, value: Any, dtype: str = "f4", name: str | None = None) -> str:
        """An initializer; returns its name."""
        self.count += 1
        name = name or f"c{self.count}"
        self.consts.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def random(self, *shape: int, scale: float = 1.0) -> str:
        """A normally distributed float32 initializer."""
        return self.const(self.rng.standard_normal(shape) * scale)

    def node(self, op: str, *inputs: str, out: str | None = None, name: str | None = None, **attrs: Any) -> str:
        """A node with one output; returns the output's name."""
        self.count += 1
        out = out or f"t{self.count}"
        domain = attrs.pop("domain", "")
        node = helper.make_node(
            op, list(inputs), [out], name=name if name is not None else f"n{self.count}", domain=domain
        )
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attrs.items() if value is not None)
        self.nodes.append(node)
        return out

    def model(self, shape: tuple[Any, ...], out: str, *, x: str = "x", kind: int = 1) -> onnx.ModelProto:
        """The checked model with input x and the output `out`."""
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info(x, kind, shape)],
            [helper.make_tensor_value_info(out, 1, None)],
            self.consts,
        )
        opsets = [helper.make_opsetid("", self.opset)]
        if any(node.domain == "com.microsoft" for node in self.nodes):
            opsets.append(helper.make_opsetid("com.microsoft", 1))
        model = helper.make_model(graph, opset_imports=opsets)
        model.ir_version = 8 if self.opset <= 17 else 10
        inferred: onnx.ModelProto = onnx.shape_inference.infer_shapes(model, data_prop=True)
        return inferred


def run(model: onnx.ModelProto, x: Array, *, optimise: bool = True) -> Array:
    """onnxruntime's output for one batch."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {session.get_inputs()[0].name: x})[0]
    return result


def operators(model: onnx.ModelProto) -> list[str]:
    """The operators of a model in order."""
    return [node.op_type for node in model.graph.node]


def shape_of(model: onnx.ModelProto) -> tuple[int, ...]:
    """The input's shape."""
    return tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)


# ---- random graphs --------------------------------------------------------------------------------------------------
class _Net:
    """Draws operators one after the other; `x` is the current tensor, (1, channels, *spatial)."""

    def __init__(self, draw: st.DrawFn, plain: bool) -> None:
        self.draw, self.plain = draw, plain
        self.b = Builder(draw(st.sampled_from([13, 17, 20])), draw(st.integers(0, 1000)))
        rank = draw(st.sampled_from([1, 2]))
        self.shape = [draw(st.integers(1, 4)), *(draw(st.integers(5, 9)) for _ in range(rank))]
        self.input_shape = (1, *self.shape)
        self.x, self.channels_last = "x", False
        self.earlier: list[tuple[str, list[int]]] = []

    def pick(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def ints(self, low: int, high: int, n: int) -> list[int]:
        return [self.pick(low, high) for _ in range(n)]

    def conv(self) -> None:
        n = len(self.shape) - 1
        k, s, d, p = self.ints(1, 3, n), self.ints(1, 2, n), self.ints(1, 2, n), self.ints(0, 2, 2 * n)
        auto = self.draw(st.sampled_from([None, None, "SAME_UPPER", "SAME_LOWER", "VALID"]))
        extent = [(k[i] - 1) * d[i] + 1 for i in range(n)]
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            d, extent = [1] * n, k
            size = [-(-self.shape[1 + i] // s[i]) for i in range(n)]
        else:
            pad = [0] * n if auto else [p[i] + p[n + i] for i in range(n)]
            size = [(self.shape[1 + i] + pad[i] - extent[i]) // s[i] + 1 for i in range(n)]
        if min(size) < 1:
            return
        c = self.shape[0]
        group = self.draw(st.sampled_from([g for g in range(1, c + 1) if c % g == 0]))
        out = group * self.pick(1, 3)
        inputs = [self.x, self.b.random(out, c // group, *k, scale=0.5)]
        if self.draw(st.booleans()):
            inputs.append(self.b.random(out))
        self.x = self.b.node(
            "Conv", *inputs, kernel_shape=k, strides=s, dilations=d, group=group,
            auto_pad=auto, pads=None if auto else p,
        )  # fmt: skip
        self.shape = [out, *size]

    def pool(self) -> None:
        n = len(self.shape) - 1
        k, s = self.ints(1, 3, n), self.ints(1, 3, n)
        p = [self.pick(0, k[i % n] - 1) for i in range(2 * n)]
        op = self.draw(st.sampled_from(["MaxPool", "AveragePool"]))
        # Before opset 19 and in its int8 kernel onnxruntime counts ceil_mode's extra positions, against ONNX.
        ceil = self.pick(0, 1) if op == "MaxPool" or (self.b.opset >= 19 and not self.plain) else 0
        size = []
        for i in range(n):
            room = self.shape[1 + i] + p[i] + p[n + i] - k[i]
            out = (-(-room // s[i]) if ceil else room // s[i]) + 1
            if ceil and (out - 1) * s[i] >= self.shape[1 + i] + p[i]:
                return  # a window behind the data: onnxruntime contradicts itself about the output's shape
            size.append(out)
        if min(size) < 1:
            return
        include = self.pick(0, 1) if op == "AveragePool" else None
        self.x = self.b.node(op, self.x, kernel_shape=k, strides=s, pads=p, ceil_mode=ceil, count_include_pad=include)
        self.shape[1:] = size

    def batch_norm(self) -> None:
        c = self.shape[0]
        var = self.b.const(self.b.rng.uniform(0.3, 2, c))
        gamma, beta, mean = self.b.random(c), self.b.random(c), self.b.random(c, scale=0.5)
        self.x = self.b.node("BatchNormalization", self.x, gamma, beta, mean, var, epsilon=1e-3)

    def constant(self) -> None:
        op = self.draw(st.sampled_from(["Add", "Sub", "Mul", "Div"]))
        c = self.draw(st.sampled_from([(), (1,), (self.shape[0], *(1 for _ in self.shape[1:])), (self.shape[-1],)]))
        value = self.b.const(self.b.rng.uniform(0.5, 2, c))
        swap = op != "Div" and self.draw(st.booleans())
        self.x = self.b.node(op, *((value, self.x) if swap else (self.x, value)))

    def activation(self) -> None:
        kind = self.pick(0, 3 if self.plain else 4)
        if kind == 0:
            self.x = self.b.node("Relu", self.x)
        elif kind == 1:
            self.x = self.b.node("Clip", self.x, self.b.const(0.0), self.b.const(6.0))
        elif kind == 2:
            self.x = self.b.node("LeakyRelu", self.x, alpha=0.1)
        elif kind == 3:
            self.x = self.b.node("Clip", self.x, "", self.b.const(0.7))
        else:
            self.x = self.b.node("Max", self.b.const(-0.25), self.x)

    def pad(self) -> None:
        n = len(self.shape) - 1
        amounts = [0, 0, *self.ints(0, 2, n), 0, 0, *self.ints(0, 2, n)]
        value = [] if self.draw(st.booleans()) else [self.b.const(self.draw(st.sampled_from([0.0, 0.5])))]
        self.x = self.b.node("Pad", self.x, self.b.const(amounts, "i8"), *value)
        self.shape[1:] = [self.shape[1 + i] + amounts[2 + i] + amounts[4 + n + i] for i in range(n)]

    def residual(self) -> None:
        same = [name for name, shape in self.earlier if shape == self.shape]
        other = self.draw(st.sampled_from(same)) if same else self.x
        self.x = self.b.node("Add", self.x, other)

    def concat(self) -> None:
        fitting = [(name, shape) for name, shape in self.earlier if shape[1:] == self.shape[1:]]
        other, shape = self.draw(st.sampled_from(fitting)) if fitting else (self.x, self.shape)
        if self.shape[0] + shape[0] <= 12:
            self.x = self.b.node("Concat", self.x, other, axis=self.draw(st.sampled_from([1, 1 - len(self.shape) - 1])))
            self.shape = [self.shape[0] + shape[0], *self.shape[1:]]

    def channels_last_work(self) -> None:
        """NHWC islands as other frameworks' converters write them: Transpose, something, Transpose."""
        rank = len(self.shape) + 1
        there, back = [0, *range(2, rank), 1], [0, rank - 1, *range(1, rank - 1)]
        y = self.b.node("Transpose", self.x, perm=there)
        kind = self.pick(0, 3)
        if kind == 0:
            y = self.b.node("Relu", y)
        elif kind == 1:
            y = self.b.node("Add", y, self.b.random(self.shape[0]))
        elif kind == 2:
            out = self.pick(1, 5)
            y = self.b.node("Add", self.b.random(out), self.b.node("MatMul", y, self.b.random(self.shape[0], out)))
            self.shape = [out, *self.shape[1:]]
        else:
            z = self.b.node("Transpose", self.b.node("LeakyRelu", self.x, alpha=0.2), perm=there)
            y = self.b.node("Add", y, z)
        self.x = self.b.node("Transpose", y, perm=back)

    def there_and_back(self) -> None:
        axis = self.b.const([2], "i8")
        y = self.b.node("Unsqueeze", self.x, axis)
        self.x = self.b.node("Squeeze", self.b.node("Relu", y) if self.draw(st.booleans()) else y, axis)

    def finish(self) -> onnx.ModelProto:
        rank, size = len(self.shape) + 1, int(np.prod(self.shape))
        kind = self.pick(0, 4)
        y = self.x
        if kind <= 1:
            size = self.shape[0]
            if kind == 0:
                y = self.b.node("Flatten", self.b.node("GlobalAveragePool", y), axis=1)
            else:
                y = self.mean(y, list(range(2, rank)), 0)
        elif kind == 2:
            y = self.b.node("Flatten", self.b.node("Transpose", y, perm=[0, *range(2, rank), 1]))
        elif kind == 3:
            y = self.b.node("Reshape", self.mean(y, [rank - 1], 1), self.b.const([1, -1], "i8"))
            size //= self.shape[-1]
        else:
            y = self.b.node("Reshape", y, self.b.const([0, -1], "i8"))
        out = self.pick(2, 5)
        if self.draw(st.booleans()):
            trans = self.pick(0, 1)
            w = self.b.random(*((out, size) if trans else (size, out)))
            alpha = self.draw(st.sampled_from([1.0, 0.5]))
            y = self.b.node("Gemm", y, w, self.b.random(out), transB=trans, alpha=alpha)
        else:
            y = self.b.node("Add", self.b.node("MatMul", y, self.b.random(size, out)), self.b.random(out))
        if self.draw(st.booleans()):
            y = self.b.node(
                self.draw(st.sampled_from(["Softmax", "LogSoftmax"])), y, axis=self.draw(st.sampled_from([1, -1]))
            )
        return self.b.model(self.input_shape, y)

    def mean(self, x: str, axes: list[int], keep: int) -> str:
        if self.b.opset >= 18:
            return self.b.node("ReduceMean", x, self.b.const(axes, "i8"), keepdims=keep)
        return self.b.node("ReduceMean", x, axes=axes, keepdims=keep)


@st.composite
def networks(draw: st.DrawFn, *, plain: bool = False) -> onnx.ModelProto:
    """A random network with batch 1; `plain` leaves out what onnxruntime's quantiser does not quantise."""
    net = _Net(draw, plain)
    steps = [net.conv, net.conv, net.pool, net.activation, net.residual, net.concat]
    if not plain:
        steps += [net.batch_norm, net.constant, net.pad, net.channels_last_work, net.there_and_back]
    else:
        net.conv()
    for step in draw(st.lists(st.sampled_from(steps), min_size=1, max_size=6)):
        net.earlier.append((net.x, list(net.shape)))
        step()
    return net.finish()
