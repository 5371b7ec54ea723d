"""Program -> Program in which an elementwise output takes over the bytes of an input that dies there."""

from __future__ import annotations

from dataclasses import replace

from mcugrad.program import Kind, Program


def merge_inplace(program: Program) -> Program:
    """Turn (output, input) pairs that calls allow into views where the input is an equally large arena buffer, dead
    after the call, and neither the sample nor the network's output."""
    for index, call in enumerate(program.calls):
        for output, source in call.inplace:
            if _may_share(program, index, output, source):
                program = replace(program, views={**program.views, output: program.root(source)})
                break
    return program


def _may_share(program: Program, index: int, output: str, source: str) -> bool:
    root = program.root(source)
    if program.root(output) != output or not program.buffers[root].in_arena:
        return False
    if program.buffers[root].kind is Kind.INPUT or root == program.root(program.output):
        return False
    same_size = program.buffers[root].nbytes == program.buffers[output].nbytes
    return same_size and program.lifetimes()[root][1] == index
