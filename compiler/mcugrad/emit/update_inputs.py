"""How many input channels a project's weight updates take at once."""

from __future__ import annotations

from mcugrad.descriptors import one_input_updates
from mcugrad.program import Program
from mcugrad.resources import runtime_dir

UPDATE_INPUTS = "update_inputs.inc"
AT_ONCE = "#define MG_INPUTS_AT_ONCE "


def update_inputs(program: Program) -> str:
    """The project's text of UPDATE_INPUTS."""
    text = (runtime_dir() / "src" / UPDATE_INPUTS).read_text(encoding="utf-8")
    return text.replace(f"{AT_ONCE}4", f"{AT_ONCE}1") if one_input_updates(program) else text
