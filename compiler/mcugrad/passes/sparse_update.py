"""(loss, every gradient)  becomes  (loss, the gradients the scheme trains); everything nobody needs is gone."""

from __future__ import annotations

import tvm
from tvm import relax

from mcugrad.graph import Model
from mcugrad.passes.functions import result, with_outputs


def sparse_update(gradients: relax.Function, model: Model, trained: tuple[str, ...]) -> relax.Function:
    """Keep the gradients of the parameters named in `trained`, in that order; dead-code elimination does the rest."""
    loss, *adjoints = result(gradients).fields
    by_name = dict(zip((p.name for p in model.parameters), adjoints, strict=True))
    pruned = with_outputs(gradients, [loss, *(by_name[name] for name in trained)])
    module = tvm.IRModule({"main": pruned})
    return relax.transform.DeadCodeElimination(["main"])(module)["main"]
