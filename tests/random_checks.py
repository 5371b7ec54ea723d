"""What is claimed of every random case. A check returns sentences that say what is wrong; none is good."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from emitted_models import Emitted
from host_model import HostModel
from layerwise import Agreement, Theirs, compare
from mcugrad.emit.manifest import manifest
from mcugrad.frontend.importer import import_model
from mcugrad.graph import Model, Parameter
from mcugrad.passes.quantize_errors import TrainingStep
from mcugrad.pipeline import Compiled, compile_model
from mcugrad.plan.budget import predict
from mcugrad.scheme import Selection
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import build
from mcugrad.simulate.run import run_session
from mcugrad.simulate.session import Mode, Records, Session
from mcugrad.simulate.vm import ReferenceTrainer
from quantiser import Array
from random_cases import Case, Training, training
from reverse_mode import Array as Gradient
from reverse_mode import gradients

STEPS = 6
RELAX_EVERY = 6  # of so many cases one runs in the Relax VM too, whose compilation takes seconds
SEED = 7
CHANGE = 30.0  # quanta, root mean square, by which a step is made to move a tensor when its gradient is read
HEAD_RATE, DEAD_SCALE = 0.5, 1e-6  # NUMERICS.md
QUANTA = {"int8": 127.0, "int16": 32767.0, "float32": 2.0**20}
SIMULATIONS = 6
RELATIVE = 1e-3  # what float32 arithmetic may take off a gradient
NOISE = 6.0  # how many times the simulated rounding a gradient may be off


def check(case: Case, agreement: Agreement) -> list[str]:
    """Everything that is claimed of a case. Raises McugradError where the compiler refuses it."""
    with tempfile.TemporaryDirectory(prefix=f"mcugrad-{case.name}-") as scratch:
        folder = Path(scratch)
        problems = check_forward(case, folder / "forward", agreement)
        plan = training(case, STEPS)
        compiled = compile_model(plan.model, plan.scheme, plan.loss)
        host = HostModel(compiled, folder / "host")
        problems += check_gradients(host, compiled, plan)
        losses = train(host, plan)
        if case.seed % RELAX_EVERY == 0:
            problems += check_relax(host, compiled, plan, losses)
        return problems + check_board(case, host, compiled, plan, losses, folder / "board")


# ---- forward ---------------------------------------------------------------------------------------------------------


def check_forward(case: Case, folder: Path, agreement: Agreement) -> list[str]:
    """Every layer on onnxruntime's own inputs: Conv and Gemm to the bit, others within one, real outputs equal.

    Once with the tensors of the graph as it was given, once with those of its canonical form, where every layer has a
    counterpart. `agreement` collects what was compared.
    """
    model = import_model(case.canonical, f"{case.name}_forward", float_head=False)
    program = compile_model(model, "none", stream=bool(case.rng(3).integers(2))).program
    emitted = Emitted(folder)
    emitted.add(model, program)
    emitted.build()
    problems = []
    used = any("asymmetric" in call.kernel for call in program.calls)
    if case.has_weight_zeros not in (used, None):
        problems.append("zero points of weights are not where the quantiser put them")
    graphs = {"canonical": case.canonical} | ({"given": case.given} if case.options is not None else {})
    for which, graph in graphs.items():
        found = compare(emitted, model, case.canonical, Theirs(graph), case.x[-1:])
        problems += [f"forward, {which} graph: {text}" for text in found.problems()]
        if which == "canonical" and found.alone:
            problems.append(f"forward: {found.alone} elements without counterpart")
        if which == "canonical" and not _quantised_tail(graph) and found.outputs > 1e-5:
            problems.append(f"forward: real outputs are {found.outputs:.3g} off")
        agreement.merge(found)
    return problems


def _quantised_tail(graph: onnx.ModelProto) -> bool:
    """Whether the graph rounds its softmax to a grid, which mcugrad leaves in float32."""
    return [n.op_type for n in graph.graph.node[-3:-1]] in (
        ["Softmax", "QuantizeLinear"],
        ["LogSoftmax", "QuantizeLinear"],
    )


# ---- gradients -------------------------------------------------------------------------------------------------------


def check_gradients(host: HostModel, compiled: Compiled, plan: Training) -> list[str]:
    """One step moves every trained tensor along its float64 gradient, as far as the rate says.

    Each tensor is given a step with a rate of its own, at which it moves by CHANGE. What it may be off: stochastic
    rounding, and several times what rounding the errors did to the gradient in simulations of it.
    """
    main = compiled.model.module["main"]
    values = {p.name: p.value for p in compiled.model.parameters} | {main.params[0].name: plan.x[0]}
    names, target = compiled.selection.names, plan.targets[0]
    true_loss, true = gradients(main, values, names, target)
    # float32 leaves 6e-8 of a softmax, of which the label's share is taken off: a sure answer has no better gradient.
    slack = RELATIVE + (0.0 if target.dtype == np.float32 else 3e-7 / max(-np.expm1(-true_loss), 1e-9))
    simulated = []
    for i in range(SIMULATIONS):
        store = functools.partial(_rounded, QUANTA[plan.scheme.errors], np.random.default_rng(i))
        simulated.append(gradients(main, values, names, target, store)[1])
    problems: list[str] = []
    for name in names:
        parameter = compiled.model.parameter(name)
        moves = [_move(compiled.model, compiled.selection, parameter, g[name]) for g in (true, *simulated)]
        noise = np.sqrt(np.mean([np.sum((move - moves[0]) ** 2) for move in moves[1:]]))
        problems += _check_step(host, plan, parameter, moves[0], noise + slack * np.linalg.norm(moves[0]) / NOISE)
    host.init()
    host.plan(0.0, SEED)
    loss = host.train_step(plan.x[0], target)
    if abs(loss - true_loss) > 1e-4 * max(1.0, abs(true_loss)):
        problems.append(f"loss {loss} where it should be {true_loss}")
    return problems


def _rounded(quanta: float, rng: np.random.Generator, error: Gradient) -> Gradient:
    """`error` as integers up to about `quanta`, on one of the grids that its scale may turn out to be."""
    largest = float(np.abs(error).max(initial=0))
    if largest < 1e-30:
        return error
    step = 2.0 ** (np.ceil(np.log2(largest / quanta)) + rng.uniform(-0.5, 0.5))
    rounded: Gradient = np.rint(error / step) * step
    return rounded


def _move(model: Model, selection: Selection, parameter: Parameter, gradient: Gradient) -> Gradient:
    """By how much a step at rate 1 moves a tensor downwards, in its own units."""
    if parameter.is_float:
        return HEAD_RATE * gradient
    scale = parameter.scale.astype(np.float64)
    alive = model.weight_scale(parameter.layer) >= DEAD_SCALE
    factor = np.where(alive, 1 / np.maximum(scale, 1e-30) ** 2, 0.0) * (HEAD_RATE if parameter.head else 1.0)
    moves = gradient * factor.reshape(-1, *[1] * (gradient.ndim - 1))
    if gradient.ndim > 1:
        subset = selection.subset(parameter)
        for axis, channels in enumerate((subset.outputs, subset.inputs)):
            kept = np.zeros(gradient.shape[axis], bool)
            for begin, end in channels:
                kept[begin:end] = True
            moves = moves * kept.reshape([-1 if a == axis else 1 for a in range(gradient.ndim)])
    return moves


def _check_step(host: HostModel, plan: Training, parameter: Parameter, move: Gradient, noise: float) -> Iterator[str]:
    size = float(np.sqrt(np.mean(move[move != 0] ** 2))) if move.any() else 0.0
    target = 1.0 if parameter.is_float else CHANGE
    rate = 1.0 if size == 0 or parameter.is_float else float(np.float32(target / size))
    if rate > 1e15:
        return  # a gradient of nothing but rounding
    host.init()
    host.plan(rate, SEED)
    for _ in range(plan.scheme.accumulate):
        host.train_step(plan.x[0], plan.targets[0])
    after = host.state()[parameter.name].astype(np.float64)
    change = rate * move
    if parameter.value.dtype == np.int8:  # until steps apply, an int16 holds them, 128 quanta
        k = plan.scheme.accumulate
        change = np.clip(change * (k - 1) / k, -128, 128) + change / k
    wanted = parameter.value.astype(np.float64) - change
    spread = 1e-6 * float(np.abs(parameter.value).max(initial=1.0)) if parameter.is_float else 0.5
    if parameter.value.dtype == np.int8:
        wanted = np.clip(wanted, -127, 127)
    elif parameter.value.dtype == np.int32:
        wanted = np.clip(wanted, -(2.0**31), 2.0**31 - 1)
        spread += 2.0**-22 * float(np.abs(rate * move).max(initial=0))
    off = float(np.linalg.norm(after - wanted))
    allowed = np.sqrt(move.size + 8) * spread + NOISE * rate * noise
    if off > allowed:
        yield f"{parameter.name}: a step is {off:.4g} off its gradient's, {allowed:.4g} allowed (rate {rate:.4g})"


# ---- executions ------------------------------------------------------------------------------------------------------


def train(host: HostModel, plan: Training) -> Array:
    """The losses of STEPS steps from factory weights on the host; NaN where one was not finite."""
    host.init()
    host.plan(plan.rate, SEED)
    steps = zip(plan.x, plan.targets, strict=True)
    return np.array([host.train_step(x, target) for x, target in steps], np.float32)


def check_relax(host: HostModel, compiled: Compiled, plan: Training, losses: Array) -> list[str]:
    """The operators' own definitions, run by Relax, train to the same bytes."""
    step: TrainingStep | None = compiled.step
    assert step is not None
    relax = ReferenceTrainer(compiled.model, step)
    done, theirs = 0, []
    for x, target in zip(plan.x, plan.targets, strict=True):
        theirs.append(relax.train_step(x, target, plan.rate, SEED, done))
        done += int(np.isfinite(theirs[-1]))
    state = host.state()
    expected = {n: v for n, v in (relax.parameters | relax.rests).items() if n in state}
    expected |= zip((n for n in state if n.endswith(".ratio")), relax.ratios.values(), strict=True)
    problems = [f"{n}: host and Relax VM differ" for n, v in state.items() if v.tobytes() != expected[n].tobytes()]
    if not np.array_equal(np.array(theirs, np.float32), losses, equal_nan=True):
        problems.append(f"losses on the host {losses}, in the Relax VM {theirs}")
    return problems


@functools.cache
def _objects() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="mcugrad-objects-")


def check_board(
    case: Case, host: HostModel, compiled: Compiled, plan: Training, losses: Array, folder: Path
) -> list[str]:
    """The emulated core trains to the host's bytes, in the memory that was predicted."""
    board, project, program = load_board(case.board), host.project, compiled.program
    budget = predict(program, board, project.layout.struct_bytes, project.constant_bytes, project.files)
    folder.mkdir()
    text = manifest(compiled.model, compiled.selection, program, project.layout, budget, project.files, {})
    for name, content in {**project.files, "manifest.json": text}.items():
        (folder / name).write_text(content, encoding="utf-8")
    firmware = build(folder, board, objects=Path(_objects().name))
    y = np.concatenate(plan.targets) if plan.loss == "cross_entropy" else np.stack(plan.targets)
    session = Session(
        Mode.STEPS,
        int(np.prod(plan.model.output_shape)),
        Records(plan.x, y),
        steps=len(plan.x),
        learning_rate=plan.rate,
        seed=SEED,
    )
    result = run_session(firmware, session, timeout=120)
    claims = {
        "losses are the host's": np.array_equal(result.losses, losses, equal_nan=True),
        "state is the host's": _plannable(result.state) == _plannable(host.save()[: project.layout.state_bytes]),
        "counters are the host's": [result.clipped_errors, result.saturated_weights] == host.counters(),
        f"SRAM {firmware.sizes.static} is the predicted {budget.static}": firmware.sizes.static == budget.static,
        f"flash {firmware.sizes.flash} is below the predicted {budget.flash}": firmware.sizes.flash <= budget.flash,
        f"stack {result.stack_high_water} is below its bound {firmware.stack_bound}": (
            0 < result.stack_high_water <= firmware.stack_bound <= result.stack_reserve
        ),
    }
    return [f"{case.board}: not true that {claim}" for claim, holds in claims.items() if not holds]


def _plannable(state: bytes) -> bytes:
    """Without total_steps, which a session plans and `HostModel.plan` leaves 0."""
    return state[:8] + state[12:]
