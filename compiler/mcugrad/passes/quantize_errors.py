"""Float32 adjoints  become  stored errors (int8, int16 or float32) with predicted scales, and gradients become updates.

(loss, gradients of the trained parameters)  becomes  (loss, logits, updated parameters, ratios and rests).

An adjoint is *stored* where a kernel needs it in memory: as the operand of a gradient kernel, or when it is used
twice. Between two stores it is one expression of the form that a kernel's epilogue (mg_store) computes, in this order:

    one gradient kernel's result or one stored error  [+ a second stored error]  [* per-channel scale]  [masked]

and whatever does not fit that form is stored in between. The float32 head stays float32; the integer errors begin at
its feature error, whose largest element is the unit G of all scales of the step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from tvm import relax

from mcugrad.graph import Model
from mcugrad.ops import error
from mcugrad.ops.operator import Type, attributes, shape
from mcugrad.passes.functions import bindings, op_name, result, uses
from mcugrad.passes.loss import substitute
from mcugrad.passes.updates import Updates
from mcugrad.scheme import Selection

SUM, SCALED, MASKED = range(3)
EPILOGUE = {"relax.add", "relax.reshape", "mg.scale", "mg.channel_scale", "mg.mask"}


@dataclass(frozen=True)
class Term:
    """An adjoint that is the expression `value * factor`: how far through the epilogue it is, what it already holds."""

    value: relax.Var
    factor: float = 1.0
    stage: int = SUM
    from_kernel: bool = False  # holds a gradient kernel's result
    pair: bool = False  # already a sum of two


@dataclass(frozen=True)
class Stored:
    """An adjoint in memory: the tensor and its scale S (1,); None for float32."""

    tensor: relax.Var
    scale: relax.Expr | None


@dataclass(frozen=True)
class TrainingStep:
    """`function(x, target, *parameters, *ratios, *rests, lr, seed, step)`.

    It gives (loss, logits, *trained', *ratios', *rests'). `rests`: what rounding left of each parameter, or what waits
    for the parameters to move, at every `accumulate`-th step. They start at zero, as the ratios do.
    """

    function: relax.Function
    trained: tuple[str, ...]
    ratios: tuple[str, ...]
    rests: tuple[str, ...]
    accumulate: int


def quantize_errors(pruned: relax.Function, model: Model, selection: Selection) -> TrainingStep:
    """Choose where errors live and in which type, and append the in-place updates of `selection`."""
    return _Rewriter(pruned, model, selection).run()


class _Rewriter:
    def __init__(self, function: relax.Function, model: Model, selection: Selection) -> None:
        self.function, self.model, self.selection = function, model, selection
        self.builder = relax.BlockBuilder()
        self.uses = uses(function)
        self.new: dict[relax.Var, relax.Expr] = {}
        self.adjoints: dict[relax.Var, Term | Stored] = {}
        self.gradients: dict[relax.Var, tuple[relax.Expr, Stored]] = {}
        self.ratios: list[tuple[relax.Var, relax.Var]] = []
        self.unit: relax.Var | None = None
        self.scalars = {n: relax.Var(n, Type((1,), t)) for n, t in (("lr", "float32"), ("seed", "uint32"))}
        self.scalars["step"] = relax.Var("step", Type((1,), "uint32"))
        self.updates = Updates(self.builder, model, selection, self.scalars)

    def run(self) -> TrainingStep:
        with self.builder.function("step"):
            with self.builder.dataflow():
                logits = None
                for var, value in bindings(self.function):
                    if op_name(value) in ("mg.softmax_cross_entropy", "mg.mse"):
                        logits = value.args[0]
                    self._binding(var, value)
                loss, *gradients = result(self.function).fields
                outputs = [self.new[loss], self.new[logits], *self._updates(gradients)]
                outputs += [after for _, after in (*self.ratios, *self.updates.rests)]
                value = self.builder.emit_output(relax.Tuple(outputs))
            ratios, rests = ([before for before, _ in pairs] for pairs in (self.ratios, self.updates.rests))
            params = [*self.function.params, *ratios, *rests, *self.scalars.values()]
            self.builder.emit_func_output(value, params)
        function, names = self.builder.get()["step"], [tuple(v.name for v in kept) for kept in (ratios, rests)]
        return TrainingStep(function, self.selection.names, names[0], names[1], self.selection.accumulate)

    # ---- one binding -------------------------------------------------------------------------------------------------

    def _binding(self, var: relax.Var, value: relax.Expr) -> None:
        name = op_name(value)
        operands = value.args if isinstance(value, relax.Call) else [value]
        if name == "mg.feature_error":
            self._begin(var, value)
        elif isinstance(value, relax.Tuple):
            return  # the result; `run` builds its own
        elif not any(isinstance(a, relax.Var) and a in self.adjoints for a in operands):
            self.new[var] = self.builder.emit(substitute(value, self.new), var.name)
        elif isinstance(value, relax.Var):
            self.adjoints[var] = self.adjoints[value]
            if value in self.gradients:
                self.gradients[var] = self.gradients[value]
        else:
            self.adjoints[var] = self._adjoint(var, value, name)
            if self.uses[var] > 1 and isinstance(self.adjoints[var], Term):
                self.adjoints[var] = self._store(var, _layer(value))

    def _begin(self, var: relax.Var, value: relax.Call) -> None:
        tensor = self.builder.emit(substitute(value, self.new), var.name)
        self.unit = self.builder.emit(error.error_unit(tensor), "unit")
        self.adjoints[var] = Stored(tensor, None)

    def _adjoint(self, var: relax.Var, value: relax.Call, name: str) -> Term | Stored:
        if name not in EPILOGUE:
            return self._kernel(var, value, name)
        if name == "relax.add":
            return self._add(*value.args)
        if name == "relax.reshape":
            return self._reshape(value)
        if name == "mg.scale":
            term = self._term(value.args[0], single=True)
            return replace(term, factor=float(np.float32(term.factor) * np.float32(attributes(value)["factor"])))
        if name == "mg.channel_scale":
            term = self._term(value.args[0], stage=SUM)
            scaled = error.channel_scale(self._value(term), value.args[1])
            return replace(term, value=self.builder.emit(scaled), factor=1.0, stage=SCALED)
        term = self._term(value.args[0], stage=SCALED)
        masked = error.mask(self._value(term), self.new[value.args[1]], **attributes(value))
        return replace(term, value=self.builder.emit(masked), factor=1.0, stage=MASKED)

    def _kernel(self, var: relax.Var, value: relax.Call, name: str) -> Term | Stored:
        """A gradient kernel reads its error from memory; its result is an accumulator in units of the error's scale."""
        stored = self._store(value.args[0], _layer(value))
        args = [stored.tensor, *(self.new.get(a, a) if isinstance(a, relax.Var) else a for a in value.args[1:])]
        accumulator = self.builder.emit(relax.Call(value.op, args, value.attrs), var.name)
        if name in ("mg.conv2d_wgrad", "mg.bias_grad"):
            self.gradients[var] = (accumulator, stored)
            return stored
        return Term(self._real(accumulator, stored.scale), from_kernel=True)

    def _add(self, left: relax.Var, right: relax.Var) -> Term:
        a, b = self._term(left, addend=True), self._term(right, addend=True)
        if a.from_kernel and b.from_kernel:
            b = self._as_term(self._store(right, "skip"))
        total = self.builder.emit(relax.op.add(self._value(a), self._value(b)))
        return Term(total, from_kernel=a.from_kernel or b.from_kernel, pair=True)

    def _reshape(self, value: relax.Call) -> Term | Stored:
        """A view. Per-channel scales follow it only while the channels stay the second axis."""
        source, dims = value.args[0], shape(value)
        state = self.adjoints[source]
        if isinstance(state, Term) and shape(source)[1:2] != dims[1:2]:
            state = self._store(source, "view")
        if isinstance(state, Stored):
            return replace(state, tensor=self.builder.emit(relax.op.reshape(state.tensor, dims)))
        return replace(state, value=self.builder.emit(relax.op.reshape(state.value, dims)))

    # ---- expressions and stores --------------------------------------------------------------------------------------

    def _term(self, var: relax.Var, *, stage: int = MASKED, single: bool = False, addend: bool = False) -> Term:
        """The adjoint as an expression not past `stage`; `single`: no sum; `addend`: may still be a summand."""
        state = self.adjoints[var]
        if isinstance(state, Term):
            fits = state.stage <= stage and not (single and (state.pair or state.stage > SUM))
            if fits and not (addend and (state.pair or state.stage > SUM)):
                return state
            state = self._store(var, "sum")
        return self._as_term(state)

    def _value(self, term: Term) -> relax.Var:
        return term.value if term.factor == 1.0 else self.builder.emit(error.scale(term.value, factor=term.factor))

    def _as_term(self, stored: Stored) -> Term:
        return Term(self._real(stored.tensor, stored.scale))

    def _real(self, value: relax.Var, scale: relax.Expr | None) -> relax.Var:
        return value if scale is None else self.builder.emit(error.real(value, scale))

    def _store(self, var: relax.Var, layer: str) -> Stored:
        """The adjoint in memory, in the scheme's error type."""
        state = self.adjoints[var]
        if isinstance(state, Stored):
            return state
        kind, exact = self.selection.errors, self._value(state)
        if kind == "float32":
            stored = Stored(self.builder.emit(error.error_store(exact, layer=layer)), None)
        else:
            assert self.unit is not None
            ratio = relax.Var(f"ratio{len(self.ratios)}", Type((1,), "float32"))
            scale = error.error_scale(exact, ratio, self.unit, error_type=kind)
            scale = self.builder.emit(scale)
            after = self.builder.emit(error.error_ratio(exact, ratio, self.unit))
            tensor = self.builder.emit(error.error_quantize(exact, scale, error_type=kind, layer=layer))
            self.ratios.append((ratio, after))
            stored = Stored(tensor, scale)
        self.adjoints[var] = stored
        return stored

    # ---- updates -----------------------------------------------------------------------------------------------------

    def _updates(self, gradients: list[relax.Var]) -> list[relax.Var]:
        parameters = dict(zip((p.name for p in self.model.parameters), self.function.params[2:], strict=True))
        outputs = []
        for tensor, (name, gradient) in enumerate(zip(self.selection.names, gradients, strict=True)):
            parameter, old = self.model.parameter(name), parameters[name]
            if parameter.is_float:
                outputs.append(self.updates.of_float(parameter, old, self.new[gradient]))
                continue
            accumulator, stored = self.gradients[gradient]
            outputs.append(self.updates.of_integer(parameter, old, accumulator, stored.scale, tensor))
        return outputs


def _layer(value: relax.Call) -> str:
    return str(attributes(value).get("layer", "sum"))
