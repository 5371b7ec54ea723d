"""main(x, target, parameters) -> loss  becomes  the same function -> (loss, d loss / d parameter, ...), all float32."""

from __future__ import annotations

import tvm
from tvm import relax

from mcugrad.passes.functions import bindings, result, with_outputs


def differentiate(main: relax.Function) -> relax.Function:
    """Reverse-mode differentiation by Relax over the gradients that the operators declare.

    Explicit `require_grads` refuses int8 variables, so everything is differentiated and `sparse_update` drops the rest.
    """
    module = relax.transform.Gradient("main")(tvm.IRModule({"main": main}))
    adjoint = module["main_adjoint"]
    loss, gradients = result(adjoint).fields
    return with_outputs(adjoint, [loss, *_fields(adjoint, gradients)[2:]])  # x and target need none


def _fields(function: relax.Function, gradients: relax.Expr) -> list[relax.Expr]:
    """The elements of the tuple of gradients, one a parameter of `main`, also where a variable holds the tuple."""
    if isinstance(gradients, relax.Tuple):
        return list(gradients.fields)
    return next(list(v.fields) for var, v in bindings(function) if var.same_as(gradients))
