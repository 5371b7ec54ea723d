"""Where the backward only asks whether an activation saturated, one bit of it is kept."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphs import imported, residual_2d
from kernel_cases import FEW
from kernel_library import Kernels
from mcugrad.pipeline import compile_model
from mcugrad.program import Kind, Program, Ref


def _kept_whole(program: Program) -> set[str]:
    """Activations that live into the backward."""
    reads = (program.root(n) for call in program.phase("backward") for n in call.reads)
    return {n for n in reads if program.buffers[n].kind is Kind.ACTIVATION}


def _operands(program: Program) -> set[str]:
    """What backward kernels read as an argument, not as a mask."""
    refs = (a for call in program.phase("backward") for a in call.args if isinstance(a, Ref))
    return {program.root(a.buffer) for a in refs}


@given(st.integers(1, 70), st.integers(-128, 126), st.integers(1, 255), st.integers(0, 2**32 - 1))
@FEW
def test_bits_say_where_an_activation_did_not_saturate(
    kernels: Kernels, n: int, low: int, span: int, seed: int
) -> None:
    high = min(low + span, 127)
    y = np.random.default_rng(seed).integers(-128, 128, n).astype(np.int8)
    bits = np.full((n + 7) // 8 + 1, 0xA5, np.uint8)
    kernels("mask_bits", y, n, low, high, bits)
    expected = np.packbits((y > low) & (y < high), bitorder="little")
    np.testing.assert_array_equal(bits[:-1], expected)
    assert bits[-1] == 0xA5


def test_only_operands_of_gradient_kernels_are_kept_whole() -> None:
    model = imported(residual_2d())
    biases, everything = (compile_model(model, scheme).program for scheme in ("biases", "all"))
    for program in (biases, everything):
        assert _kept_whole(program) <= _operands(program)
    assert len(_kept_whole(biases)) < len(_kept_whole(everything))
    assert biases.arena_bytes < everything.arena_bytes
    assert any(b.kind is Kind.MASK for b in biases.buffers.values())
