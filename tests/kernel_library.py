"""The C runtime as a shared library, called through ctypes."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

RUNTIME = Path(__file__).parents[1] / "runtime_c"
FLAGS = ("-std=c11", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
ERROR_TYPES: dict[str, Any] = {"f32": np.float32, "s8": np.int8, "s16": np.int16}
ERROR_CODES = {"f32": 0, "s8": 1, "s16": 2}
Array = npt.NDArray[Any]


def _integers(names: str) -> list[tuple[str, type]]:
    return [(name, ctypes.c_int32) for name in names.split()]


class Conv2d(ctypes.Structure):
    """mg_conv2d_t."""

    _fields_ = _integers(
        "in_c in_h in_w out_c out_h out_w k_h k_w stride_h stride_w dilation_h dilation_w pad_top pad_left groups "
        "x_zero y_zero y_min y_max"
    )


class Layout(ctypes.Structure):
    """mg_layout_t."""

    _fields_ = _integers("channel row rows")


class Conv2dRows(ctypes.Structure):
    """mg_conv2d_rows_t."""

    _fields_ = (("conv", Conv2d), ("x", Layout), ("y", Layout))


class Weights(ctypes.Structure):
    """mg_weights_t."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("w", "bias", "scale")]


class SplitWeights(ctypes.Structure):
    """mg_split_weights_t."""

    _fields_ = (("first", ctypes.c_void_p), ("pairs", ctypes.c_void_p), *_integers("n"))


class Pool2d(ctypes.Structure):
    """mg_pool2d_t."""

    _fields_ = _integers(
        "c in_h in_w out_h out_w k_h k_w stride_h stride_w dilation_h dilation_w pad_top pad_left pad_bottom pad_right "
        "count_pad x_zero y_zero y_min y_max"
    )


class Box(ctypes.Structure):
    """mg_box_t."""

    _fields_ = _integers("outer rows inner src_stride_o src_stride_r dst_stride_o dst_stride_r")


class Permute(ctypes.Structure):
    """mg_permute_t."""

    _fields_ = (("shape", ctypes.c_int32 * 5), ("stride", ctypes.c_int32 * 5))


class Add(ctypes.Structure):
    """mg_add_t."""

    _fields_ = (
        ("a_scale", ctypes.c_float),
        ("b_scale", ctypes.c_float),
        *_integers("a_zero b_zero y_zero y_min y_max"),
    )


class Requantize(ctypes.Structure):
    """mg_requantize_t."""

    _fields_ = (("scale", ctypes.c_float), ("alpha", ctypes.c_float), *_integers("x_zero y_zero y_min y_max"))


class Store(ctypes.Structure):
    """mg_store_t."""

    _fields_ = (
        *[(name, ctypes.c_void_p) for name in ("out", "skip", "mult", "mask", "mask_bits")],
        *[(name, ctypes.c_float) for name in ("base_scale", "skip_scale", "scale", "inv_scale", "absmax")],
        ("clipped", ctypes.c_uint32),
        *_integers("out_type skip_type mask_min mask_max"),
    )


class Random(ctypes.Structure):
    """mg_random_t."""

    _fields_ = (("seed", ctypes.c_uint32), ("step", ctypes.c_uint32), ("tensor", ctypes.c_uint32))


class Subset(ctypes.Structure):
    """mg_subset_t."""

    _fields_ = (("inputs", ctypes.c_void_p), ("outputs", ctypes.c_void_p), *_integers("n_inputs n_outputs held"))


class LossWatch(ctypes.Structure):
    """mg_loss_watch_t."""

    _fields_ = (
        ("seen", ctypes.c_uint32),
        ("diverged", ctypes.c_uint32),
        *[(name, ctypes.c_float) for name in ("mean", "chance", "start", "last", "before", "saved")],
    )


RESULTS = {
    "mg_exp_f32": ctypes.c_float,
    "mg_log_f32": ctypes.c_float,
    "mg_absmax_f32": ctypes.c_float,
    "mg_pow2ceil_f32": ctypes.c_float,
    "mg_random_uniform": ctypes.c_float,
    "mg_learning_rate": ctypes.c_float,
    "mg_scale_observe": ctypes.c_bool,
    "mg_random_key": ctypes.c_uint32,
    **{
        f"mg_conv2d_{window}update_weight_{variant}{t}": ctypes.c_uint32
        for window in ("", "pointwise_")
        for variant in ("", "residual_", "accumulate_")
        for t in ERROR_TYPES
    },
    "mg_fully_connected_update_weight_s8": ctypes.c_uint32,
    "mg_conv2d_pointwise_backward_s8": ctypes.c_uint32,
    "mg_loss_watch": ctypes.c_bool,
    "mg_loss_improved": ctypes.c_bool,
    "mg_mean_square_f32": ctypes.c_float,
    "mg_any_label_loss_f32": ctypes.c_float,
}


class Kernels:
    """Calls a kernel by its name without `mg_`: arrays, structures and c_float go by address.

    Python's and numpy's floats become float32, integers int32 or uint32 alike; None is NULL.
    """

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))

    def __call__(self, name: str, *args: object) -> Any:
        function = self._library[f"mg_{name}"]
        function.restype = RESULTS.get(f"mg_{name}")
        return function(*[_argument(a) for a in args])


def _argument(value: object) -> Any:
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        return ctypes.c_void_p(value.ctypes.data)
    if isinstance(value, (ctypes.Structure, ctypes.c_float)):
        return ctypes.byref(value)
    if isinstance(value, (float, np.floating)):
        return ctypes.c_float(float(value))
    if isinstance(value, (int, np.integer)):
        return ctypes.c_uint32(int(value) & 0xFFFFFFFF)
    assert value is None or isinstance(value, ctypes.c_void_p)
    return value


def build(folder: Path, flags: Sequence[str] = FLAGS) -> Kernels:
    """Compile every portable kernel into one library in `folder`. KERNEL_FLAGS adds compiler flags (sanitizers)."""
    library = folder / "kernels.so"
    extra = os.environ.get("KERNEL_FLAGS", "").split()
    sources = sorted(str(p) for p in (RUNTIME / "src").glob("*.c"))
    command = ["gcc", *flags, *extra, "-fPIC", "-shared", f"-I{RUNTIME / 'include'}", *sources, "-o", str(library)]
    subprocess.run(command, check=True)
    return Kernels(library)


def address(array: Array | None) -> int | None:
    """A structure's pointer field."""
    return None if array is None else array.ctypes.data
