"""What the frontend hands to the passes: a typed Relax function and the facts Relax has no place for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import tvm


class Role(Enum):
    """What a parameter is; decides how it is updated."""

    WEIGHT = "weight"  # int8, OIHW
    BIAS = "bias"  # int32
    FLOAT_WEIGHT = "float_weight"  # float32 (out, in), of the classifier
    FLOAT_BIAS = "float_bias"  # float32


@dataclass(frozen=True)
class Parameter:
    """A parameter of one layer. `scale` (one per output channel) turns its integers into reals; ones if it is float32.

    `head`: it belongs to the last layer. `onnx_name` is the initializer it came from, "" if there was none. `order`, by
    axis: channel i of `value` is channel order[i] of the layer in ONNX; the same one where the axis is not there.
    """

    name: str
    layer: str
    role: Role
    value: npt.NDArray[np.generic] = field(compare=False, repr=False)
    scale: npt.NDArray[np.float32] = field(compare=False, repr=False)
    onnx_name: str = ""
    head: bool = False
    order: Mapping[int, tuple[int, ...]] = field(default_factory=dict, compare=False)

    @property
    def is_float(self) -> bool:
        return self.role in (Role.FLOAT_WEIGHT, Role.FLOAT_BIAS)


@dataclass(frozen=True)
class Grid:
    """An affine int8 grid: real = (q - zero_point) * scale. `stored` is the ONNX type it was written as."""

    scale: float
    zero_point: int
    stored: str = "int8"


@dataclass(frozen=True)
class Model:
    """`module["main"](x, *parameters) -> logits`.

    x is int8 of `input_shape` on `input_grid`, logits float32 of `output_shape`. `tail` is the Softmax or LogSoftmax
    that ends the ONNX graph ("" when there is none): prediction applies it, the loss does not need it. `input_axes`
    permutes the user's sample into x (a Transpose of the graph's input). `operators` says which ONNX operator each
    layer is; an int8 Gemm, for one, runs as a convolution.
    """

    name: str
    module: tvm.IRModule
    parameters: tuple[Parameter, ...]
    input_shape: tuple[int, ...]
    input_grid: Grid
    output_shape: tuple[int, ...]
    tail: str = ""
    input_axes: tuple[int, ...] | None = None
    operators: Mapping[str, str] = field(default_factory=dict)

    def parameter(self, name: str) -> Parameter:
        return next(p for p in self.parameters if p.name == name)

    @property
    def onnx_shape(self) -> tuple[int, ...]:
        """The shape in which the user's sample comes, batch 1."""
        if self.input_axes is None:
            return self.input_shape
        return tuple(self.input_shape[self.input_axes.index(a)] for a in range(len(self.input_axes)))

    def weight_scale(self, layer: str) -> npt.NDArray[np.float32]:
        """The scale of a layer's weight per output channel."""
        weights = (Role.WEIGHT, Role.FLOAT_WEIGHT)
        return next(p.scale for p in self.parameters if p.layer == layer and p.role in weights)

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers with parameters, in the order of execution."""
        return tuple(dict.fromkeys(p.layer for p in self.parameters))
