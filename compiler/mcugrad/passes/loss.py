"""main(x, parameters) -> logits  becomes  main(x, target, parameters) -> loss."""

from __future__ import annotations

from tvm import relax
from tvm.ir.expr import Constant

from mcugrad.errors import McugradError
from mcugrad.graph import Model
from mcugrad.ops import loss as losses
from mcugrad.ops.operator import Type, shape
from mcugrad.passes.functions import bindings, op_name

LOSSES = {"cross_entropy": losses.softmax_cross_entropy, "mse": losses.mse}


def add_loss(model: Model, loss: str) -> relax.Function:
    """Append the loss: cross_entropy takes target int32 (1,), mse float32 of the logits' shape."""
    main = model.module["main"]
    builder = relax.BlockBuilder()
    logits = main.body.body
    classes = loss == "cross_entropy"
    if classes and len(shape(logits)) != 2:
        raise McugradError(
            f"the network's output has shape {shape(logits)}, and cross entropy takes one score for each class: "
            "end the graph with a Flatten, or train it with --loss mse"
        )
    target_type = Type((1,), "int32") if classes else Type(shape(logits), "float32")
    target = relax.Var("target", target_type)
    with builder.function("main"):
        with builder.dataflow():
            new: dict[relax.Var, relax.Expr] = {}
            for var, value in bindings(main):
                new[var] = builder.emit(substitute(value, new), var.name)
            value = builder.emit_output(LOSSES[loss](new[logits], target), "loss")
        builder.emit_func_output(value, [main.params[0], target, *main.params[1:]])
    return builder.get()["main"]


def substitute(value: relax.Expr, new: dict[relax.Expr, relax.Expr]) -> relax.Expr:
    """`value` with its operands, variables and constants, replaced."""
    if isinstance(value, relax.Var):
        return new.get(value, value)
    assert op_name(value), value
    args = [new.get(a, a) if isinstance(a, (relax.Var, Constant)) else a for a in value.args]
    return relax.Call(value.op, args, value.attrs)
