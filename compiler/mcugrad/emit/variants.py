"""Which code inside kernels a project's layers ask for, and no flash for the rest."""

from __future__ import annotations

from mcugrad.descriptors import dgrads_of_pairs, one_input_updates
from mcugrad.program import Program
from mcugrad.resources import runtime_dir

VARIANTS = "variants.inc"
INPUTS, PAIRS = "#define MG_INPUTS_AT_ONCE ", "#define MG_DGRAD_OF_PAIRS "


def variants(program: Program) -> str:
    """The project's text of VARIANTS."""
    text = (runtime_dir() / "src" / VARIANTS).read_text(encoding="utf-8")
    if one_input_updates(program):
        text = text.replace(f"{INPUTS}4", f"{INPUTS}1")
    return text if dgrads_of_pairs(program) else text.replace(f"{PAIRS}1", f"{PAIRS}0")
