"""What a name of the ONNX graph stands for while the importer walks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tvm import relax

from mcugrad.graph import Grid


@dataclass(frozen=True)
class Sample:
    """The graph's float input, possibly transposed (`axes`) or reshaped, before its QuantizeLinear."""

    shape: tuple[int, ...]
    axes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Array:
    """An initializer; with `scale` and `zero` after its DequantizeLinear (per channel along `axis`, or one)."""

    name: str
    data: npt.NDArray[np.generic]
    scale: npt.NDArray[np.float32] | None = None
    zero: npt.NDArray[np.int32] | None = None
    axis: int = 0

    def real(self) -> npt.NDArray[np.float32]:
        """The float32 values."""
        if self.scale is None or self.zero is None:
            return self.data.astype(np.float32)
        dims = [1] * self.data.ndim
        if self.scale.size > 1:
            dims[self.axis] = self.scale.size
        centred = self.data.astype(np.int32) - self.zero.reshape(dims if self.zero.size > 1 else [])
        return (centred.astype(np.float32) * self.scale.reshape(dims if self.scale.size > 1 else [])).astype(np.float32)


@dataclass(frozen=True)
class Quantized:
    """An int8 activation and its grid; its DequantizeLinear is the same value."""

    var: relax.Var
    grid: Grid


@dataclass(frozen=True)
class Pending:
    """A result that waits for its QuantizeLinear: `emit(grid, y_min, y_max)` computes it on that int8 grid.

    low and high are the real bounds that Relu or Clip have left so far; `view` is a shape it is reshaped to.
    """

    emit: Callable[[Grid, int, int], relax.Var]
    node: str
    low: float = -np.inf
    high: float = np.inf
    view: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Logits:
    """The float32 output of the classifier."""

    var: relax.Var


Value = Sample | Array | Quantized | Pending | Logits
