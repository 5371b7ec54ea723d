"""The variants that are compared. What the compiler has no option for is a change of the emitted C, made here."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mcugrad.simulate.session import Schedule

from .networks import Network

Patch = Callable[[Path], None]


@dataclass(frozen=True)
class Arm:
    """`scheme_edit`: (pattern, replacement) in the scheme's text; `changes`: edits of the emitted C; `rates`: tried on
    the validation split with the first of `seeds`.

    No rates: those of `rate_of`'s arm, so that only what the arm changes differs.
    """

    name: str
    title: str
    rates: tuple[float, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    rate_of: str = "int8"
    scheme_edit: tuple[str, str] | None = None
    head_only: bool = False
    schedule: Schedule = Schedule.COSINE
    changes: tuple[Patch, ...] = ()

    def scheme(self, network: Network) -> str:
        """What `mcugrad compile --train` is given."""
        if self.head_only:
            return "head"
        if self.scheme_edit is None:
            return str(network.scheme_file)
        path = network.work / f"scheme-{self.name}.toml"
        path.write_text(network.scheme_file.read_text(encoding="utf-8"), encoding="utf-8")
        _edit(path, *self.scheme_edit, count=1)
        return str(path)

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


def nearest_rounding(folder: Path) -> None:
    """floor(w + u - step) with u = 1/2 instead of a random one."""
    pattern = r"return \(float\)\(mg_mix\(key \+ 0x9E3779B9u \* i\) >> 8\) \* 0x1p-24f;"
    _edit(folder / "mg_internal.h", pattern, "(void)key; (void)i; return 0.5f;", count=1)


def _flat_factors(values: str, typical: Callable[[list[float]], float]) -> str:
    listed = re.sub(r"/\*.*?\*/", "", values).split(",")
    numbers = [float(v.strip().removesuffix("f")) for v in listed if v.strip()]
    alive = [v for v in numbers if v > 0]
    flat = f"{typical(alive):.9e}f"
    return ", ".join(flat if v > 0 else "0.0f" for v in numbers)


def _replace_qas(folder: Path, typical: Callable[[list[float]], float]) -> None:
    path = next(folder.glob("*_weights.c"))
    pattern = r"(_qas\[\d+\] = \{)([^}]*)(\})"
    text, made = re.subn(
        pattern, lambda m: m[1] + _flat_factors(m[2], typical) + m[3], path.read_text(encoding="utf-8")
    )
    if made == 0:
        raise ValueError(f"{path.name} holds no QAS factors: the emitted C has changed, renew this patch")
    path.write_text(text, encoding="utf-8")


def without_qas(folder: Path) -> None:
    """Plain gradient descent on the integers: every factor 1 (dead channels stay dead)."""
    _replace_qas(folder, lambda alive: 1.0)


def one_qas_factor(folder: Path) -> None:
    """One factor a tensor: the median of its channels' (the mean is that of the few that are all but dead)."""
    _replace_qas(folder, statistics.median)


def without_skip_gradients(folder: Path) -> None:
    """Errors do not travel along the skip connections."""
    constants = next(folder.glob("*_weights.c"))
    source = constants.with_name(constants.name.replace("_weights.c", ".c"))
    _edit(source, r",\s+\.skip =[^=]*?,\s+\.skip_type =\s+\w+,\s+\.skip_scale =\s+[^,}]*", "")


# The fraction that rounding left over, kept for every trained element: w + left is a weight in float32.
_LEFT = """
static inline int32_t mg_step_with_rest(uint32_t tensor, uint32_t i, float step) {
    static float left[64][1 << 14];
    const float wanted = left[tensor][i] - step;
    const int32_t change = mg_floor_step(wanted + 0.5f);
    left[tensor][i] = wanted - (float)change;
    return change;
}

#endif
"""


def shadow_weights(folder: Path) -> None:
    """Float32 weights behind an int8 forward."""
    _edit(folder / "mg_internal.h", r"\n#endif\s*$", _LEFT, count=1)
    rounding = folder / "round_stochastic.inc"
    _edit(rounding, r"mg_random_key\(random\)", "random->tensor", count=1)
    step = r"mg_floor_step\(mg_uniform\(r->key, (\(uint32_t\)element)\) - step\)"
    _edit(rounding, step, r"mg_step_with_rest(r->key, \1, step)", count=1)


RATES = (0.001, 0.002, 0.004, 0.008, 0.016)
MANY = (0, 1, 2, 3, 4, 5)  # where one network is compared with itself in another type
HEAD_RATES = (0.001, 0.004, 0.016, 0.064, 0.256)

ARMS = {
    arm.name: arm
    for arm in (
        Arm("head", "head only", HEAD_RATES, head_only=True),
        Arm("float32", "float32, same scheme", RATES, MANY),
        Arm("int8", "int8 as shipped", RATES, MANY),
        Arm("errors-int16", "int16 errors", scheme_edit=("head = true", 'errors = "int16"\nhead = true')),
        Arm("errors-float32", "float32 errors", scheme_edit=("head = true", 'errors = "float32"\nhead = true')),
        Arm("int8-head", "int8 head", scheme_edit=("head = true", 'head = "int8"')),
        Arm("constant", "constant rate", schedule=Schedule.CONSTANT),
        Arm("no-qas", "without QAS (factor 1)", changes=(without_qas,)),
        Arm("nearest", "nearest rounding of updates", changes=(nearest_rounding,)),
        Arm("no-skip", "skip gradients dropped", changes=(without_skip_gradients,)),
        Arm("residual8", "8-bit residual, nearest", scheme_edit=("head = true", 'rounding = "residual"\nhead = true')),
        Arm(
            "accumulate",
            "gradients of 4 samples",
            tuple(4 * rate for rate in RATES),  # a quarter of the updates
            scheme_edit=("head = true", "accumulate = 4\nhead = true"),
        ),
        Arm("shadow", "float32 shadow weights", changes=(shadow_weights,)),
        Arm("one-qas", "one QAS factor a tensor", changes=(one_qas_factor,)),
    )
}
