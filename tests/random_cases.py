"""A seed makes a case: a random network, how it is quantised, and how it trains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from firmware_support import EMULATED
from mcugrad import frontend
from mcugrad.frontend.importer import import_model
from mcugrad.graph import Model, Role
from mcugrad.pipeline import Loss, head_type
from mcugrad.scheme import Bias, Channels, Scheme
from quantiser import OPTIONS, Array, Options, quantized, samples
from random_networks import network

OURS = len(OPTIONS) // 3  # of so many more cases the float network goes to mcugrad's own frontend
CALIBRATION = 4  # samples


@dataclass(frozen=True)
class Case:
    """`given` is the graph as its quantiser wrote it, `canonical` what the frontend makes of it.

    `options`: None for our own quantiser. `x`: float samples; calibration saw values up to `share` of theirs, so below
    1 activations clip.
    """

    seed: int
    options: Options | None
    share: float
    given: onnx.ModelProto = field(repr=False)
    canonical: onnx.ModelProto = field(repr=False)
    x: Array = field(repr=False)

    @property
    def name(self) -> str:
        return f"net{self.seed}"

    @property
    def has_weight_zeros(self) -> bool | None:
        """None: not known, since onnxruntime's QDQ quantiser gives none to most weights per channel."""
        if self.options is None or not self.options.weight_zero:
            return False
        return None if self.options.form == "QDQ" and self.options.per_channel else True

    def rng(self, purpose: int) -> np.random.Generator:
        """Random numbers that do not depend on what else is drawn."""
        return np.random.default_rng((self.seed, purpose))

    @property
    def board(self) -> str:
        return EMULATED[int(self.rng(1).integers(len(EMULATED)))]


@dataclass(frozen=True)
class Training:
    """How a case trains: its model, whose last layer the scheme decides, the scheme and the loss."""

    model: Model
    scheme: Scheme
    loss: Loss
    rate: float
    x: Array  # int8 (n, *input)
    targets: list[Array]  # int32 (1,) or float32


def draw_network(seed: int) -> tuple[onnx.ModelProto, Options | None]:
    """The float network of a seed, and the quantiser's options, None for our own."""
    turn = seed % (len(OPTIONS) + OURS)
    options = OPTIONS[turn] if turn < len(OPTIONS) else None
    return network(seed, plain=options is not None), options


def draw(seed: int) -> Case:
    """The case of a seed. Raises McugradError where the frontend refuses the graph."""
    model, options = draw_network(seed)
    return of(model, seed, options, float(np.random.default_rng((seed, 0)).choice([1.0, 1.0, 0.5, 0.2])))


def of(model: onnx.ModelProto, seed: int, options: Options | None = None, share: float = 1.0) -> Case:
    """The case of a given float network; `seed` decides its samples, its scheme and its board."""
    x = samples(model, seed, CALIBRATION + 2)
    if options is None:
        canonical = frontend.quantize(model, share * x[:CALIBRATION])
        return Case(seed, options, share, canonical, canonical, x)
    given = quantized(model, share * x[:CALIBRATION], options)
    return Case(seed, options, share, given, frontend.prepare(given), x)


def training(case: Case, steps: int) -> Training:
    """A scheme that trains something, with whole weights, shares of their inputs, lists of channels and biases."""
    rng = case.rng(2)
    loss: Loss = "cross_entropy" if rng.random() < 0.6 else "mse"
    head: Any = [True, True, "float32", "int8", False][rng.integers(5)]
    if head == "int8" or (head is True and loss == "mse"):
        head = "float32" if case.options is not None and case.options.weight_zero else head
    form = head_type(Scheme(head=head), loss)
    model = import_model(case.canonical, case.name, float_head=form == "float32", int8_head=form == "int8")
    scheme = _scheme(model, rng, head)
    n = max(1, steps)
    x = np.clip(rng.normal(model.input_grid.zero_point, 60, (n, *model.input_shape)), -128, 127).astype(np.int8)
    outputs = int(np.prod(model.output_shape))
    targets: list[Array] = [np.array([rng.integers(outputs)], np.int32) for _ in range(n)]
    if loss == "mse":
        targets = [rng.normal(0, 1, model.output_shape).astype(np.float32) for _ in range(n)]
    return Training(model, scheme, loss, float(10 ** rng.uniform(-3.5, -0.5)), x, targets)


def _scheme(model: Model, rng: np.random.Generator, head: Any) -> Scheme:
    weight: dict[str, float | Channels] = {}
    body = [p for p in model.parameters if p.role is Role.WEIGHT and not p.head]
    for p in body:
        if rng.random() < 0.25:
            continue
        lists = [tuple(sorted(int(c) for c in rng.permutation(n)[: rng.integers(1, n + 1)])) for n in p.value.shape[:2]]
        some: list[float | Channels] = [
            *(1.0, 1.0, float(rng.uniform(0.1, 1))),
            *(Channels(outputs=lists[0], inputs=lists[1]), Channels(inputs=lists[1]), Channels(outputs=lists[0])),
        ]
        weight[p.layer] = some[rng.integers(len(some))]
    if body and not weight and not (head and any(p.head for p in model.parameters)):
        weight[body[-1].layer] = 1.0
    errors = ["int8", "int8", "int16", "float32"][rng.integers(4)]
    options: dict[str, Any] = {"rounding": "residual"} if rng.random() < 0.15 else {}
    # A step that moves nothing yet still takes a weight of -128 to -127, and the next sample meets another network.
    if rng.random() < 0.15 and all(p.value.min() > -128 for p in body):
        options["accumulate"] = int(rng.integers(2, 5))
    last = Bias(last=int(rng.integers(12)))
    return Scheme.model_validate({"head": head, "errors": errors, "bias": last, "weight": weight, **options})
