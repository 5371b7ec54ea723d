"""Flash before anything is compiled: constants by arithmetic, code from what runtime_c/code_size.json measured.

The files of the runtime, the functions of libgcc they call, and start-up and session are known to the byte; the emitted
calls are bounded by their arguments. The sum is not below what the linker reports, and within a tenth above it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

from mcugrad.descriptors import one_input_updates
from mcugrad.errors import McugradError
from mcugrad.plan.prefix import frozen_prefix
from mcugrad.program import KernelCall, Program, Rate, Store, Struct
from mcugrad.resources import runtime_dir

TABLE = "code_size.json"
_FUNCTIONS = {False: 128, True: 480}  # init, input, predict; with plan and train_step when the model trains
_PREFIX = 64  # prefix and suffix as functions, a training step of both
_FACTORY = 24  # one memcpy of factory weights
_CALL, _ARGUMENT, _ON_STACK = 6, 8, 4  # branch; address or number with its literal; the fifth argument and later
_STORE, _STORE_FIELD, _SCALE = 32, 8, 48  # mg_store_t on the stack, one of its fields, the predict/observe loop
_SLACK = 64  # alignment between sections
_IF_CALLED = {"crc32.c", "flash_log.c", "serial.c", "serial_verbs.c"}  # the session calls none of them
_LEAST_WORDS = {"mg_row_stage_t": 45}  # a descriptor whose zero fields are not printed


def constant_bytes(sizes: Iterable[int], structs: Iterable[Struct]) -> int:
    """Flash of arrays of these bytes and of these descriptors; everything starts at a word."""
    words = sum(max(s.words, _LEAST_WORDS.get(s.type, 0)) for s in structs)
    return sum((size + 3) // 4 * 4 for size in sizes) + 4 * words


def code_bytes(program: Program, files: Iterable[str], core: str) -> int:
    """A bound on code, and constants inside it, of the firmware: `files` are the runtime's that it is built from."""
    cores = load_table()["cores"]
    sizes = cores.get(core) or max(cores.values(), key=lambda c: sum(c["files"].values()))
    kernels = [name for name in files if name in sizes["files"] and name not in _IF_CALLED]
    library = {need for name in kernels for need in sizes["needs"].get(name, ())}
    code = {**sizes["files"], **(sizes["one_input"] if one_input_updates(program) else {})}
    fixed = sizes["firmware"][_variant(program)] + sum(sizes["library"][name] for name in library)
    return int(fixed + sum(code[name] for name in kernels) + model_bytes(program) + _SLACK)


def model_bytes(program: Program) -> int:
    """A bound on the code of <name>.c."""
    trains = program.loss is not None
    factory = sum(v is not None and bool(v.any()) for v in (program.buffers[n].value for n in program.state))
    calls = sum(_call(program, c) for c in program.calls)
    split = _PREFIX if frozen_prefix(program) is not None else 0
    return _FUNCTIONS[trains] + split + _FACTORY * factory + calls


def _variant(program: Program) -> str:
    if program.loss is None:
        return "none"
    assert program.label is not None
    return "target" if program.buffers[program.label].dtype == "float32" else "label"


def _call(program: Program, call: KernelCall) -> int:
    plain = [a for a in call.args if not isinstance(a, Store)]
    size = _CALL + _ARGUMENT * len(plain) + _ON_STACK * max(0, len(call.args) - 4)
    size += sum(_ARGUMENT for a in plain if isinstance(a, Rate))  # two factors and their product
    size += sum(_STORE_FIELD * a.words for a in plain if isinstance(a, Struct) and not program.is_constant(a))
    store = call.store
    if store is None:
        return size
    fields = [store.base, store.skip, store.mult, store.mask]
    scaled = store.out in program.ratios
    return size + _STORE + _STORE_FIELD * (3 + 2 * sum(f is not None for f in fields)) + _SCALE * scaled


@cache
def load_table() -> dict[str, Any]:
    """What `python -m tests.bench.code_size` measured. Raises McugradError when it is missing."""
    path = runtime_dir() / TABLE
    try:
        table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise McugradError(f"{path} is missing or damaged: install mcugrad again") from problem
    return table
