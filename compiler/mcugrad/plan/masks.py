"""Program -> Program that keeps one bit of an activation where the backward asks nothing but whether it saturated.

Nobody reads the input of a layer whose weight is frozen, so there the saved activations serve only as straight-through
masks. They are packed right after they are made, and the activation lives no longer than its forward readers.
"""

from __future__ import annotations

from dataclasses import replace

from mcugrad.program import Buffer, KernelCall, Kind, Program, Ref, Store, Value

Limits = tuple[int, int]


def pack_masks(program: Program) -> Program:
    """Replace every saved activation that only masks by its bits."""
    buffers, calls = dict(program.buffers), list(program.calls)
    for name in [n for n, b in program.buffers.items() if b.kind is Kind.ACTIVATION and program.root(n) == n]:
        limits = _limits(program, name)
        if limits is None:
            continue
        bits = _bits(program.buffers[name])
        buffers[bits.name] = bits
        made = max(i for i, c in enumerate(calls) if name in c.writes)
        calls.insert(made + 1, _pack(program.buffers[name], limits, bits.name))
        calls = [_use(program, c, name, bits.name) if c.phase == "backward" else c for c in calls]
    return replace(program, buffers=buffers, calls=tuple(calls))


def _limits(program: Program, name: str) -> Limits | None:
    """The mask's limits if every backward reader only masks with the activation, and with the same ones."""
    found: set[Limits] = set()
    for call in program.phase("backward"):
        reads, store = sum(program.root(n) == name for n in call.reads), call.store
        masks = masks_with(program, call, name)
        if reads != int(masks):
            return None
        if masks and store is not None:
            found.add((store.mask_min, store.mask_max))
    return found.pop() if len(found) == 1 else None


def masks_with(program: Program, call: KernelCall, name: str) -> bool:
    """Whether what `call` stores passes only where activation `name` did not saturate."""
    store = call.store
    return store is not None and store.mask is not None and program.root(store.mask) == name


def _bits(activation: Buffer) -> Buffer:
    size = ((activation.elements + 7) // 8,)
    return Buffer(f"{activation.name}.mask", "uint8", size, Kind.MASK, activation.layer)


def _pack(activation: Buffer, limits: Limits, bits: str) -> KernelCall:
    numbers = Value(activation.elements), Value(limits[0]), Value(limits[1])
    args = (Ref(activation.name), *numbers, Ref(bits))
    return KernelCall("mg_mask_bits", activation.layer, "Mask", args, (activation.name,), (bits,))


def _use(program: Program, call: KernelCall, name: str, bits: str) -> KernelCall:
    store = call.store
    if store is None or not masks_with(program, call, name):
        return call
    packed = replace(store, mask=bits)
    args = tuple(packed if isinstance(a, Store) else a for a in call.args)
    return replace(call, args=args, reads=tuple(bits if program.root(n) == name else n for n in call.reads))
