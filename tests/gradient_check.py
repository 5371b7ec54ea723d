"""Reverse-mode adjoints of a Relax function against finite differences of its straight-through model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax

from mcugrad.ops import dequantize
from mcugrad.ops.operator import Type, attributes, shape
from mcugrad.passes.autodiff import differentiate
from mcugrad.passes.functions import bindings, op_name, result, with_outputs
from mcugrad.passes.loss import LOSSES
from straight_through import OPERATORS, Dual, cross_entropy, differences, mse

Array = npt.NDArray[Any]
Emit = Callable[[relax.Expr], relax.Var]
Build = Callable[[Emit, Sequence[relax.Var]], relax.Var]

TOLERANCE = (
    1e-4  # of the largest element; the differences of piecewise linear functions are exact, float32 adjoints are not
)
PLACES = 60  # elements of a tensor that are differenced


def straight_through(function: relax.Function, points: dict[str, Dual]) -> Dual:
    """What `function` returns, every operator by its straight-through meaning. `points`: by parameter's name."""
    values: dict[relax.Var, Dual] = {p: points[p.name] for p in function.params if p.name in points}

    def value(of: relax.Expr) -> Dual:
        return values[of] if isinstance(of, relax.Var) else Dual.fixed(of.value.numpy())

    for var, call in bindings(function):
        if isinstance(call, relax.Var):
            values[var] = values[call]
        elif op_name(call) == "relax.reshape":
            dims = shape(call)
            x = value(call.args[0])
            values[var] = Dual(x.q.reshape(dims), x.v.reshape(dims))
        else:
            values[var] = OPERATORS[op_name(call)](*(value(a) for a in call.args), **attributes(call))
    return values[function.body.body]


def check_gradients(build: Build, arrays: Sequence[Array], seed: int) -> None:
    """Asserts that Relax's adjoints of sum(r * y), y = build(emit, variables of `arrays`), equal finite differences.

    r is random. Every array is differentiated by up to PLACES of its elements.
    """
    rng, forward = np.random.default_rng(seed), _forward(build, arrays)
    r = rng.standard_normal(shape(forward.body.body)).astype(np.float32)

    def loss(emit: Emit, y: relax.Var, _: relax.Var) -> relax.Expr:
        if str(y.ty.dtype) == "int8":
            y = emit(dequantize(y, x_scale=1.0, x_zero=0, layer="test"))
        return relax.op.sum(emit(relax.op.multiply(y, relax.const(r))))

    adjoints = _adjoints(build, loss, arrays, np.zeros(1, np.int32))
    _compare(forward, arrays, adjoints, lambda y: float((y * r).sum()), 0.5, rng)


def check_loss_gradients(build: Build, loss: str, target: Array, arrays: Sequence[Array], seed: int) -> None:
    """As `check_gradients`, of the compiler's loss of logits = build(...); `loss` is a key of LOSSES."""
    adjoints = _adjoints(build, lambda _, y, t: LOSSES[loss](y, t), arrays, target)

    def true(y: Array) -> float:
        return cross_entropy(y, int(target[0])) if loss == "cross_entropy" else mse(y, target)

    _compare(_forward(build, arrays), arrays, adjoints, true, 1e-3, np.random.default_rng(seed))


def _compare(
    forward: relax.Function,
    arrays: Sequence[Array],
    adjoints: Sequence[Array],
    loss: Callable[[Array], float],
    step: float,
    rng: np.random.Generator,
) -> None:
    names = [p.name for p in forward.params]
    points = {name: Dual.fixed(a) for name, a in zip(names, arrays, strict=True)}
    for name, array, adjoint in zip(names, arrays, adjoints, strict=True):
        places = rng.permutation(array.size)[:PLACES]

        def moved_loss(moved: Array, name: str = name, array: Array = array) -> float:
            return loss(straight_through(forward, {**points, name: Dual(array, moved)}).v)

        true = differences(moved_loss, array, places, step)
        largest = max(float(np.abs(true).max()), float(np.abs(adjoint).max()) * 1e-3, 1e-6)
        assert adjoint.shape == array.shape
        np.testing.assert_allclose(adjoint.flat[places], true, rtol=0, atol=TOLERANCE * largest, err_msg=name)


def _variables(arrays: Sequence[Array]) -> list[relax.Var]:
    return [relax.Var(f"p{i}", Type(a.shape, str(a.dtype))) for i, a in enumerate(arrays)]


def _forward(build: Build, arrays: Sequence[Array]) -> relax.Function:
    variables = _variables(arrays)
    return _function(lambda emit: build(emit, variables), variables)


def _function(body: Callable[[Emit], relax.Expr], params: Sequence[relax.Var]) -> relax.Function:
    builder = relax.BlockBuilder()
    with builder.function("main"):
        with builder.dataflow():
            out = builder.emit_output(body(builder.emit))
        builder.emit_func_output(out, list(params))
    return builder.get()["main"]


def _adjoints(
    build: Build, loss: Callable[[Emit, relax.Var, relax.Var], relax.Expr], arrays: Sequence[Array], target: Array
) -> list[Array]:
    """d loss(emit, build(...), target) / d array of every array, float32, by Relax's virtual machine."""
    variables = _variables(arrays)
    # `differentiate` leaves out the adjoints of the sample and of the target.
    sample, wanted = relax.Var("x", Type((1,), "int8")), relax.Var("target", Type(target.shape, str(target.dtype)))
    function = _function(lambda emit: loss(emit, build(emit, variables), wanted), [sample, wanted, *variables])
    adjoint = differentiate(function)
    return run(with_outputs(adjoint, list(result(adjoint).fields)[1:]), [np.zeros(1, np.int8), target, *arrays])


def run(function: relax.Function, arrays: Sequence[Array]) -> list[Array]:
    """The tuple that `function` returns, by Relax's virtual machine."""
    name = str(function.attrs["global_symbol"])
    module = relax.transform.DeadCodeElimination([name])(tvm.IRModule({name: function}))
    # Checking every argument of every function would take most of the compile time.
    with tvm.transform.PassContext(config={"tirx.disable_assert": True}):
        executable = tvm.compile(module, target=tvm.target.Target({"kind": "llvm", "opt-level": 0}))
    machine = relax.VirtualMachine(executable, tvm.cpu())
    return [t.numpy() for t in machine[name](*(tvm.runtime.tensor(np.ascontiguousarray(a)) for a in arrays))]
