"""The variants that are compared. What the compiler has no option for is a change of the emitted C, made here."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from mcugrad.simulate.session import Schedule

from .networks import Network

Patch = Callable[[Path], None]


@dataclass(frozen=True)
class Arm:
    """`errors`: the scheme's error type; `changes`: edits of the compiled folder; `rates`: tried on validation, seed 0.

    No rates: those of `rate_of`'s arm, so that only what the arm changes differs.
    """

    name: str
    title: str
    rates: tuple[float, ...] = ()
    rate_of: str = "int8"
    errors: str | None = None
    head_only: bool = False
    schedule: Schedule = Schedule.COSINE
    changes: tuple[Patch, ...] = ()

    def scheme(self, network: Network) -> str:
        """What `mcugrad compile --train` is given."""
        if self.head_only:
            return "head"
        if self.errors is None:
            return str(network.scheme_file)
        path = network.work / f"scheme-{self.name}.toml"
        text = network.scheme_file.read_text(encoding="utf-8")
        path.write_text(f'errors = "{self.errors}"\n{text}', encoding="utf-8")
        return str(path)

    def network(self, suffix: onnx.ModelProto) -> onnx.ModelProto:
        """The graph that is compiled."""
        return suffix

    def patch(self, folder: Path) -> None:
        """Apply `changes` to the emitted C in `folder`."""
        for change in self.changes:
            change(folder)


def _edit(path: Path, pattern: str, instead: str, *, count: int | None = None) -> None:
    """Replace every match; there must be some, or exactly `count`."""
    text, made = re.subn(pattern, instead, path.read_text(encoding="utf-8"))
    if made == 0 or (count is not None and made != count):
        raise ValueError(f"{path.name}: '{pattern}' matches {made} times: the emitted C has changed, renew this patch")
    path.write_text(text, encoding="utf-8")


def _source(folder: Path, ending: str) -> Path:
    return next(p for p in folder.glob(f"*{ending}") if (folder / f"{p.name.removesuffix(ending)}.h").exists())


def nearest_rounding(folder: Path) -> None:
    """floor(w + u - step) with u = 1/2 instead of a random one."""
    pattern = r"return \(float\)\(mg_mix\(key \+ 0x9E3779B9u \* i\) >> 8\) \* 0x1p-24f;"
    _edit(folder / "mg_internal.h", pattern, "(void)key; (void)i; return 0.5f;", count=1)


def _flat_factors(values: str, mean: Callable[[list[float]], float]) -> str:
    numbers = [float(v) for v in re.findall(r"[-+0-9.][-+0-9.eE]*", re.sub(r"(?<=[0-9.])f", "", values))]
    alive = [v for v in numbers if v > 0]
    flat = f"{mean(alive):.9e}f"
    return ", ".join(flat if v > 0 else "0.0f" for v in numbers)


def _replace_qas(folder: Path, mean: Callable[[list[float]], float]) -> None:
    path = next(folder.glob("*_weights.c"))
    pattern = r"(_qas\[\d+\] = \{)([^}]*)(\})"
    text, made = re.subn(
        pattern, lambda m: m[1] + _flat_factors(m[2], mean) + m[3], path.read_text(encoding="utf-8")
    )
    if made == 0:
        raise ValueError(f"{path.name} holds no QAS factors: the emitted C has changed, renew this patch")
    path.write_text(text, encoding="utf-8")


def without_qas(folder: Path) -> None:
    """Plain gradient descent on the integers: every factor 1 (dead channels stay dead)."""
    _replace_qas(folder, lambda alive: 1.0)


def one_qas_factor(folder: Path) -> None:
    """One factor for a whole tensor: the mean of its channels'."""
    _replace_qas(folder, lambda alive: sum(alive) / len(alive))


def without_skip_gradients(folder: Path) -> None:
    """Errors do not travel along the skip connections."""
    source = next(p for p in folder.glob("*.c") if (folder / f"{p.stem}.h").exists() and "train_step" in p.read_text())
    _edit(source, r"\.skip = [^=]*?, \.skip_type = \w+, \.skip_scale = [^,]*?, ", "")


# The fraction that rounding left over, kept for every trained element: w + left is a weight in more than 8 bits.
_LEFT = """
static inline int32_t mg_step_with_rest(uint32_t tensor, uint32_t i, float step) {
    static float left[64][1 << 14];
    const float wanted = left[tensor][i] - step;
    const int32_t change = mg_floor_step(wanted + 0.5f);
    %s
    return change;
}

#endif
"""


def _keep_rest(folder: Path, keep: str) -> None:
    _edit(folder / "mg_internal.h", r"\n#endif\s*$", _LEFT % keep, count=1)
    for name in ("update_bias.inc", "conv2d_update_weight.inc"):
        _edit(folder / name, r"mg_random_key\(random\)", "random->tensor", count=1)
        step = r"mg_floor_step\(mg_uniform\(([^,]+), (\(uint32_t\)\w+)\) - (\(float\)acc(?:\[k\])? \* [\w>-]+)\)"
        _edit(folder / name, step, r"mg_step_with_rest(\1, \2, \3)", count=1)


def shadow_weights(folder: Path) -> None:
    """The rest in float32: float32 weights behind an int8 forward."""
    _keep_rest(folder, "left[tensor][i] = wanted - (float)change;")


def eight_bit_rest(folder: Path) -> None:
    """The rest in 8 bits, to the nearest."""
    _keep_rest(folder, "left[tensor][i] = (float)mg_round_f32((wanted - (float)change) * 256.0f) * (1.0f / 256.0f);")


RATES = (0.002, 0.004, 0.008)
HEAD_RATES = (0.004, 0.016, 0.064, 0.256)

ARMS = {
    arm.name: arm
    for arm in (
        Arm("head", "head only", HEAD_RATES, head_only=True),
        Arm("float32", "float32, same scheme", RATES),
        Arm("int8", "int8 as shipped", RATES),
        Arm("errors-int16", "int16 errors", errors="int16"),
        Arm("errors-float32", "float32 errors", errors="float32"),
        Arm("constant", "constant rate", schedule=Schedule.CONSTANT),
        Arm("no-qas", "without QAS (factor 1)", changes=(without_qas,)),
        Arm("one-qas", "one QAS factor a tensor", changes=(one_qas_factor,)),
        Arm("nearest", "nearest rounding", changes=(nearest_rounding,)),
        Arm("no-skip", "skip gradients dropped", changes=(without_skip_gradients,)),
        Arm("residual8", "8-bit residual, nearest", changes=(eight_bit_rest,)),
        Arm("shadow", "float32 shadow weights", changes=(shadow_weights,)),
    )
}
