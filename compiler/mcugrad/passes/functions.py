"""Reading and rebuilding Relax functions: the few helpers that every pass uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import tvm
from tvm import relax


def bindings(function: relax.Function) -> Iterator[tuple[relax.Var, relax.Expr]]:
    """(variable, value) of every binding, in order."""
    for block in function.body.blocks:
        for binding in block.bindings:
            yield binding.var, binding.value


def result(function: relax.Function) -> relax.Expr:
    """The value the function returns, looked up through the variable that holds it."""
    body = function.body.body
    return next((v for var, v in bindings(function) if var.same_as(body)), body)


def uses(function: relax.Function) -> Counter[relax.Var]:
    """How often each variable is an operand."""
    counts: Counter[relax.Var] = Counter()
    for _, value in bindings(function):
        if isinstance(value, relax.Call):
            counts.update(a for a in value.args if isinstance(a, relax.Var))
        elif isinstance(value, relax.Tuple):
            counts.update(a for a in value.fields if isinstance(a, relax.Var))
    return counts


def op_name(value: relax.Expr) -> str:
    """The name of the operator that `value` calls, "" for anything else."""
    is_op = isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.Op)
    return str(value.op.name) if is_op else ""


def with_outputs(function: relax.Function, outputs: list[relax.Expr]) -> relax.Function:
    """The same bindings returning a tuple of `outputs`."""
    builder = relax.BlockBuilder()
    body = relax.SeqExpr(function.body.blocks, relax.Tuple(outputs))
    types = relax.TupleType([o.ty for o in outputs])
    return builder.normalize(relax.Function(function.params, body, types, attrs=function.attrs))
