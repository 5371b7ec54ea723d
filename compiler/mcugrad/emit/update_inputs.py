"""How many input channels a project's weight updates take at once: depthwise layers have one, and no code for more."""

from __future__ import annotations

from mcugrad.descriptors import geometry
from mcugrad.program import Program
from mcugrad.resources import runtime_dir

UPDATE_INPUTS = "update_inputs.inc"
UPDATE = "mg_conv2d_update_weight_"
AT_ONCE = "MG_INPUTS_AT_ONCE = 4"


def update_inputs(program: Program) -> str:
    """The project's text of UPDATE_INPUTS."""
    text = (runtime_dir() / "src" / UPDATE_INPUTS).read_text(encoding="utf-8")
    updated = [geometry(call) for call in program.calls if call.kernel.startswith(UPDATE)]
    if any(g["in_c"] > g["groups"] for g in updated):
        return text
    return text.replace(AT_ONCE, AT_ONCE.replace("4", "1"))
