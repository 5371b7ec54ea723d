"""Relax  becomes  Program: each binding the kernel call its operator declares, each stored error one fused call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tvm import relax

from mcugrad.graph import Model, Parameter
from mcugrad.ops.operator import Attrs, attributes, dtype, operator, shape
from mcugrad.passes.functions import bindings, op_name, result
from mcugrad.passes.quantize_errors import TrainingStep
from mcugrad.program import (
    Argument,
    Buffer,
    ErrorType,
    KernelCall,
    Kind,
    Phase,
    Program,
    Ref,
    Store,
    Value,
    Work,
    root_of,
)

LOSS_KERNELS = ("mg_softmax_cross_entropy_f32", "mg_mse_f32")  # the first call of the backward phase
SUFFIX = {"int8": "s8", "int16": "s16", "float32": "f32"}


def lower_step(model: Model, step: TrainingStep) -> Program:
    """The forward and backward program of one training step."""
    low = Lowering(model, step.function, step.ratios, step.rests)
    low.run()
    loss, logits = (low.name(v) for v in result(step.function).fields[:2])
    input_name, label = (low.name(v) for v in step.function.params[:2])
    state = (*step.trained, *step.rests, *(low.ratio_names[r] for r in step.ratios))
    program = low.program(input_name, logits, state, loss=loss, label=label)
    return replace(program, rests=step.rests, accumulate=step.accumulate)


def lower_forward(model: Model) -> Program:
    """The forward program of a model that does not train."""
    main = model.module["main"]
    low = Lowering(model, main, ())
    low.run()
    return low.program(low.name(main.params[0]), low.name(main.body.body), ())


class Lowering:
    """What operators see while they lower: names of buffers, and where to put calls."""

    def __init__(
        self, model: Model, function: relax.Function, ratios: Sequence[str], rests: Sequence[str] = ()
    ) -> None:
        self.model, self.function = model, function
        self.buffers: dict[str, Buffer] = {}
        self.views: dict[str, str] = {}
        self.calls: list[KernelCall] = []
        self.unit_name: str | None = None
        self.ratio_names: dict[str, str] = {}
        self._names: dict[relax.Var, str] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._definitions: dict[relax.Var, relax.Expr] = {}
        self._pending: dict[relax.Var, KernelCall] = {}
        self._scales: dict[relax.Var, str] = {}  # S variable -> the error buffer it belongs to
        self._scaled_errors = bool(ratios)
        self._parameters(function, rests)

    def _parameters(self, function: relax.Function, rests: Sequence[str]) -> None:
        parameters = {p.name: p for p in self.model.parameters}
        for var in function.params:
            name, dims, kind = var.name, shape(var), dtype(var)
            if name in parameters:
                buffer = _parameter_buffer(parameters[name])
            elif name in rests:
                layer = parameters[name.rpartition(".")[0]].layer
                buffer = Buffer(name, kind, dims, Kind.STATE, layer, value=np.zeros(dims, kind))
            elif name == "target":
                buffer = Buffer(name, kind, dims, Kind.ARGUMENT)
            elif var.same_as(function.params[0]):
                grid = self.model.input_grid
                buffer = Buffer("input", kind, dims, Kind.INPUT, "input", grid.scale, grid.zero_point)
            else:
                continue
            self._names[var] = self._add(buffer)

    def run(self) -> None:
        for var, value in bindings(self.function):
            self._definitions[var] = value
            name = op_name(value)
            if name == "relax.reshape":
                self._view(var, value.args[0])
            elif isinstance(value, relax.Var):
                self._alias(var, value)
            elif name == "mg.error_scale":
                self._scales[var] = ""
            elif (declared := operator(value) if name else None) is not None and declared.lower is not None:
                declared.lower(self, var, value)

    # ---- names and buffers -------------------------------------------------------------------------------------------

    def _add(self, buffer: Buffer) -> str:
        name, count = buffer.name, 1
        while name in self.buffers:
            count += 1
            name = f"{buffer.name}.{count}"
        self.buffers[name] = replace(buffer, name=name)
        return name

    def _alias(self, var: relax.Var, source: relax.Var) -> None:
        if source in self._names:
            self._names[var] = self._names[source]
        if source in self._pending:
            self._pending[var] = self._pending[source]

    def _view(self, var: relax.Var, source: relax.Expr) -> None:
        if isinstance(source, relax.Var) and source in self._names:
            base = self.buffers[self._names[source]]
            self._names[var] = self._add(replace(base, name=f"{base.name}.view", shape=shape(var)))
            self.views[self._names[var]] = base.name
        # anything else is an adjoint inside an epilogue, which walks through reshapes by itself

    def name(self, value: relax.Expr, hint: str = "constant") -> str:
        """The buffer of a variable or of a constant."""
        if isinstance(value, relax.Var):
            return self._names[value]
        data = value.value.numpy()
        return self.constant(hint, data, str(data.dtype))

    def constant(self, hint: str, values: Any, kind: str) -> str:
        """A constant in flash; equal contents share one."""
        data = np.ascontiguousarray(np.asarray(values, dtype=kind))
        key = (kind, data.shape, data.tobytes())
        if key not in self._constants:
            self._constants[key] = self._add(Buffer(hint, kind, data.shape, Kind.CONST, value=data))
        return self._constants[key]

    def definition(self, value: relax.Expr) -> relax.Call:
        """The call that computed a variable."""
        found = self._definitions[value]
        while isinstance(found, relax.Var):
            found = self._definitions[found]
        return found

    def suffix(self, error: relax.Expr) -> str:
        """Kernel suffix of an error's type."""
        return SUFFIX[dtype(error)]

    def activation(self, var: relax.Var, attrs: Attrs) -> str:
        """A new int8 activation on the grid (y_scale, y_zero) of its operator."""
        layer = attrs["layer"]
        buffer = Buffer(f"{layer}.y", dtype(var), shape(var), Kind.ACTIVATION, layer, attrs["y_scale"], attrs["y_zero"])
        self._names[var] = self._add(buffer)
        return self._names[var]

    def scratch(self, layer: str, elements: int) -> str:
        """int16 scratch in the arena; the call that works in it reads and writes it."""
        return self._add(Buffer(f"{layer}.scratch", "int16", (elements,), Kind.SCRATCH, layer))

    def vector(self, var: relax.Var, name: str) -> str:
        """A new float32 vector in the arena."""
        buffer = Buffer(name, "float32", shape(var), Kind.VECTOR, name.rsplit(".", 1)[0])
        self._names[var] = self._add(buffer)
        return self._names[var]

    # ---- calls -------------------------------------------------------------------------------------------------------

    def call(
        self,
        kernel: str,
        layer: str,
        op: str,
        args: Sequence[Argument],
        reads: Sequence[str],
        writes: Sequence[str],
        *,
        work: Work = "other",
        macs: int = 0,
        inplace: tuple[tuple[str, str], ...] = (),
        result: str | None = None,
    ) -> None:
        """Append a call. Everything before the loss is forward, the loss and what follows backward."""
        phase: Phase = "backward" if kernel in LOSS_KERNELS or self._backward else "forward"
        op = self.model.operators.get(layer, op)
        call = KernelCall(kernel, layer, op, tuple(args), tuple(reads), tuple(writes), phase=phase)
        self.calls.append(replace(call, work=work, macs=macs, inplace=inplace, result=result))

    @property
    def _backward(self) -> bool:
        return bool(self.calls) and self.calls[-1].phase == "backward"

    def error_call(
        self,
        kernel: str,
        layer: str,
        args: Sequence[Argument],
        reads: Sequence[str],
        var: relax.Var,
        *,
        scratch: Sequence[str] = (),
        work: Work = "other",
        macs: int = 0,
    ) -> None:
        """A gradient kernel; its epilogue and output are known when its result is stored."""
        call = KernelCall(kernel, layer, "Gradient", tuple(args), tuple(reads), tuple(scratch), phase="backward")
        self._pending[var] = replace(call, work=work, macs=macs)

    def update_call(
        self,
        kernel: str,
        layer: str,
        op: str,
        args: Sequence[Argument],
        reads: Sequence[str],
        parameter: str,
        var: relax.Var,
        *,
        macs: int = 0,
        rest: str | None = None,
        returns_saturated: bool = False,
    ) -> None:
        """An in-place update of a trained parameter, which thereby moves to SRAM, and of the `rest` it keeps."""
        self.buffers[parameter] = replace(self.buffers[parameter], kind=Kind.STATE)
        self._names[var] = parameter
        op = self.model.operators.get(layer, op)
        state = (parameter,) if rest is None else (parameter, rest)
        call = KernelCall(kernel, layer, op, tuple(args), (*reads, *state), state, phase="backward")
        self.calls.append(replace(call, work="wgrad", macs=macs, returns_saturated=returns_saturated))

    def loss(self, var: relax.Var) -> None:
        """The scalar loss, written through the caller's pointer by the kernel that also starts the backward."""
        self._names[var] = self._add(Buffer("loss", "float32", (), Kind.ARGUMENT))

    def unit(self, var: relax.Var, value: relax.Var) -> None:
        """The scalar G, where an error has a scale to predict: float32 errors have none."""
        if not self._scaled_errors:
            return
        name = self.name(value)
        self.unit_name = self._names[var] = self._add(Buffer("unit", "float32", (1,), Kind.ARGUMENT))
        args = (Ref(name), Value(self.buffers[name].elements))
        self.call("mg_absmax_f32", "loss", "Absmax", args, [name], [], result=self.unit_name)

    # ---- stored errors -----------------------------------------------------------------------------------------------

    def scaled_error(self, error: relax.Expr) -> str | None:
        """The error buffer whose scale belongs to `error`; None for float32."""
        return None if dtype(error) == "float32" else root_of(self.views, self.name(error))

    def stored_error(self, var: relax.Var, value: relax.Expr, kind: str) -> None:
        """Fuse the expression that ends in `value` into one kernel call with an epilogue."""
        call = self.definition(var)
        layer = attributes(call)["layer"]
        out = self._add(Buffer(f"{layer}.e", kind, shape(var), Kind.ERROR, layer))
        self._names[var] = out
        if kind != "float32":
            self._bind_scale(call, out)
        store, terms = self._epilogue(Store(out), value)
        base = next((t for t in terms if self._kernel_of(t) is not None), terms[0])
        skips = [t for t in terms if t is not base]
        store = self._with_base(store, base)
        if skips:
            store = self._with_skip(store, skips[0])
        pending = self._kernel_of(base)
        self.calls.append(self._finish(pending or self._map(base), store))

    def _bind_scale(self, call: relax.Call, out: str) -> None:
        scale_var = call.args[1]
        self._scales[scale_var] = out
        ratio = self.definition(scale_var).args[1]
        state = Buffer(f"{out}.ratio", "float32", (1,), Kind.STATE, self.buffers[out].layer)
        state = replace(state, value=np.zeros(1, np.float32))
        self.ratio_names[ratio.name] = self._names[ratio] = self._add(state)

    def _epilogue(self, store: Store, value: relax.Expr) -> tuple[Store, list[relax.Expr]]:
        """Masks and channel scales from the outside in; returns the summands."""
        call, name = self._call_of(value)
        if name == "mg.mask":
            attrs = attributes(call)
            limits = {"mask_min": attrs["y_min"], "mask_max": attrs["y_max"]}
            return self._epilogue(replace(store, mask=self.name(call.args[1]), **limits), call.args[0])
        if name == "mg.channel_scale":
            mult = self.name(call.args[1], f"{self.buffers[store.out].layer}.scale")
            return self._epilogue(replace(store, mult=mult), call.args[0])
        if name == "relax.reshape" and not self._stored(value):
            return self._epilogue(store, call.args[0])
        if name == "relax.add":
            return store, list(call.args)
        return store, [value]

    def _call_of(self, value: relax.Expr) -> tuple[relax.Call, str]:
        if value not in self._definitions:
            return value, ""
        call = self.definition(value)
        return call, op_name(call)

    def _stored(self, value: relax.Expr) -> bool:
        return value in self._names

    def _leaf(self, value: relax.Expr) -> tuple[relax.Expr, float]:
        """The kernel result or stored error under scalar scales and views, and the scale."""
        factor = 1.0
        while value not in self._pending and not self._stored(value):
            call, name = self._call_of(value)
            assert name in ("mg.scale", "mg.real", "relax.reshape"), name
            if name == "mg.scale":
                assert factor == 1.0, "quantize_errors folds scalar factors into one"
                factor = float(attributes(call)["factor"])
            value = call.args[0]
        return value, factor

    def _kernel_of(self, value: relax.Expr) -> KernelCall | None:
        return self._pending.get(self._leaf(value)[0])

    def _with_base(self, store: Store, value: relax.Expr) -> Store:
        leaf, factor = self._leaf(value)
        if leaf in self._pending:
            source = self._pending[leaf]
            incoming = source.reads[0]  # error_call lists the incoming error first
            return replace(store, base=self._scale_owner(incoming), base_factor=factor)
        return replace(store, base=self._scale_owner(self.name(leaf)), base_factor=factor)

    def _scale_owner(self, error: str) -> str | None:
        root = root_of(self.views, error)
        return None if self.buffers[root].dtype == "float32" else root

    def _with_skip(self, store: Store, value: relax.Expr) -> Store:
        leaf, factor = self._leaf(value)
        return replace(store, skip=self.name(leaf), skip_factor=factor)

    def _map(self, value: relax.Expr) -> KernelCall:
        """No gradient kernel in the expression: an elementwise pass over a stored error."""
        error = self.name(self._leaf(value)[0])
        _, channels, *rest = self.buffers[error].shape
        sizes = Value(channels), Value(int(np.prod(rest, dtype=int)))
        args = (Ref(error), ErrorType(error), *sizes)
        return KernelCall("mg_error_map", self.buffers[error].layer, "Gradient", args, (error,), (), phase="backward")

    def _finish(self, call: KernelCall, store: Store) -> KernelCall:
        reads = [*call.reads, *(n for n in (store.skip, store.mask, store.mult) if n)]
        inplace = [store.skip] if store.skip else []
        if call.kernel == "mg_error_map":
            inplace.append(call.reads[0])
        same = [n for n in inplace if self.buffers[n].nbytes == self.buffers[store.out].nbytes]
        return replace(
            call,
            args=(*call.args, store),
            reads=tuple(reads),
            writes=(store.out, *call.writes),
            inplace=tuple((store.out, n) for n in same),
        )

    def program(
        self, input_name: str, output: str, state: tuple[str, ...], *, loss: str | None = None, label: str | None = None
    ) -> Program:
        """The finished program, in Relax's order."""
        ratios = tuple(self._scales.values())
        return Program(
            self.buffers, tuple(self.calls), input_name, output, self.views, loss, label, self.unit_name, ratios, state
        )


def _parameter_buffer(parameter: Parameter) -> Buffer:
    """A parameter in flash, where it stays unless an update moves it to SRAM."""
    value, layer = parameter.value, parameter.layer
    kind = str(value.dtype)
    if parameter.is_float:
        return Buffer(parameter.name, kind, value.shape, Kind.CONST, layer, value=value)
    scale = tuple(float(s) for s in parameter.scale)
    return Buffer(parameter.name, kind, value.shape, Kind.CONST, layer, scale, 0, value)
