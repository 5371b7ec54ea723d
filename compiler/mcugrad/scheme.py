"""The training scheme: which parameters train, and in which type errors are kept. A small TOML naming ONNX layers."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from mcugrad.errors import McugradError
from mcugrad.graph import Model, Parameter, Role

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PRESETS = ("all", "head", "biases", "none")
ErrorDtype = Literal["int8", "int16", "float32"]
Runs = tuple[tuple[int, int], ...]
Rounding = Literal["stochastic", "residual"]
MAX_ACCUMULATE = 4096  # samples; the rounding of each to 1/256 quantum then adds an eighth of a quantum of noise


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bias(_Strict):
    """Biases that train: of the `last` layers before the head, or of the named `layers`."""

    last: int = Field(default=0, ge=0)
    layers: tuple[str, ...] = ()


class Channels(_Strict):
    """Explicit channels of one weight."""

    inputs: tuple[int, ...] | None = None
    outputs: tuple[int, ...] | None = None


class Scheme(_Strict):
    """The TOML file.

    `head` true: the last layer trains, in float32 for cross entropy and in int8 for mse; "int8" or "float32" names the
    type. `weight` maps a layer to a share of its input channels, or to channel lists. `rounding`: what becomes of the
    part of a step that is no whole quantum: a random number decides, or an 8-bit residual keeps it. `accumulate`: after
    how many samples parameters move, by the mean of their steps; what is left is kept then, whatever `rounding` says.
    """

    head: bool | Literal["int8", "float32"] = True
    errors: ErrorDtype = "int8"
    rounding: Rounding = "stochastic"
    accumulate: int = Field(default=1, ge=1, le=MAX_ACCUMULATE, strict=True)
    bias: Bias = Bias()
    weight: dict[str, float | Channels] = {}
    _file: Path | None = PrivateAttr(default=None)

    @property
    def source(self) -> str:
        """What an error calls it: its file, where it was read from one."""
        return "the scheme" if self._file is None else str(self._file)


_KEYS = (*Scheme.model_fields, *Bias.model_fields, *Channels.model_fields)


def runs(channels: Iterable[int]) -> Runs:
    """Distinct channels as the fewest runs."""
    found: list[tuple[int, int]] = []
    for channel in sorted(channels):
        if found and found[-1][1] == channel:
            found[-1] = found[-1][0], channel + 1
        else:
            found.append((channel, channel + 1))
    return tuple(found)


@dataclass(frozen=True)
class Subset:
    """Trained channels of a weight on either side, as ascending runs [begin, end) that do not touch.

    Inputs count within a group. The first n channels are ((0, n),).
    """

    inputs: Runs
    outputs: Runs


@dataclass(frozen=True)
class Selection:
    """A scheme resolved against a model: the trained parameters in the model's order."""

    names: tuple[str, ...]
    subsets: dict[str, Subset]
    errors: ErrorDtype = "int8"
    rounding: Rounding = "stochastic"
    accumulate: int = 1

    @property
    def keeps_rest(self) -> bool:
        """Whether integer parameters keep what rounding leaves over."""
        return self.rounding == "residual" or self.accumulate > 1

    @property
    def rest_name(self) -> str:
        """What that is called; also what waits for a float32 parameter."""
        return "residual" if self.accumulate == 1 else "pending"

    def rest_of(self, parameter: Parameter) -> str:
        """The name of the tensor that holds it for `parameter`."""
        return f"{parameter.name}.{self.rest_name}"

    def subset(self, parameter: Parameter) -> Subset:
        outputs, inputs = parameter.value.shape[:2]
        return self.subsets.get(parameter.name, Subset(((0, inputs),), ((0, outputs),)))


def load_scheme(text: str) -> str | Scheme:
    """A preset's name as it is, or the TOML file at that path."""
    if text in PRESETS:
        return text
    path = Path(text)
    if not path.is_file():
        raise McugradError(f"training scheme '{text}' is neither a TOML file nor one of {', '.join(PRESETS)}")
    try:
        scheme = Scheme.model_validate(tomllib.loads(path.read_text()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise McugradError(f"{path}: not valid TOML: {problem}") from problem
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        unknown = first["type"] == "extra_forbidden"
        said = f"no such key{_near(str(first['loc'][-1]), _KEYS)}" if unknown else first["msg"]
        raise McugradError(f"{path}: '{where}': {said}; see 'A training scheme' in the README") from problem
    scheme._file = path
    return scheme


def resolve(scheme: str | Scheme, model: Model) -> Selection:
    """The parameters of `model` that `scheme` trains. Raises McugradError naming the scheme's file and the layer of
    it that is not there."""
    if isinstance(scheme, Scheme):
        return _resolve_file(scheme, model)
    presets: dict[str, Callable[[Parameter], bool]] = {
        "all": lambda p: True,
        "head": lambda p: p.head,
        "biases": lambda p: p.head or p.role is Role.BIAS,
        "none": lambda p: False,
    }
    names = tuple(p.name for p in model.parameters if presets[scheme](p))
    if not names and scheme != "none":
        raise McugradError(f"scheme '{scheme}' trains nothing: the model ends in no classifier (Gemm or 1x1 Conv)")
    return Selection(names, {})


def _resolve_file(scheme: Scheme, model: Model) -> Selection:
    chosen = {p.name for p in model.parameters if p.head and scheme.head}
    body = [p for p in model.parameters if not p.head]
    with_bias = [p for p in body if p.role is Role.BIAS]
    if scheme.bias.last:
        chosen |= {p.name for p in with_bias[-scheme.bias.last :]}
    for layer in scheme.bias.layers:
        chosen.add(_find(layer, with_bias, model, "bias", scheme.source).name)
    subsets = {}
    for layer, share in scheme.weight.items():
        parameter = _find(layer, [p for p in body if p.role is Role.WEIGHT], model, "weight", scheme.source)
        subsets[parameter.name] = _subset(parameter, share, scheme.source)
        chosen.add(parameter.name)
    names = tuple(p.name for p in model.parameters if p.name in chosen)
    if not names:
        raise McugradError(f"{scheme.source} trains nothing: set head = true, or name layers under [bias] or [weight]")
    return Selection(names, subsets, scheme.errors, scheme.rounding, scheme.accumulate)


def _find(layer: str, candidates: list[Parameter], model: Model, what: str, where: str) -> Parameter:
    for parameter in candidates:
        if parameter.layer == layer:
            return parameter
    layers = [p.layer for p in candidates]
    reason = f"has no {what}" if layer in model.layers else "is not in the model"
    raise McugradError(f"{where}: layer '{layer}' {reason}{_near(layer, layers, cutoff=0.0)}")


def _near(word: str, words: Iterable[str], cutoff: float = 0.6) -> str:
    """A hint at the one of `words` that was meant, if one is near."""
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=cutoff)
    return f"; did you mean '{near[0]}'?" if near else ""


def _subset(parameter: Parameter, share: float | Channels, where: str) -> Subset:
    outputs, inputs = parameter.value.shape[:2]
    if isinstance(share, float):
        if not 0.0 < share <= 1.0:
            raise McugradError(f"{where}: '{parameter.layer}' = {share}: a share lies in (0, 1]")
        return Subset(((0, math.ceil(share * inputs)),), ((0, outputs),))
    return Subset(
        _checked(parameter.layer, share.inputs, inputs, "input", where),
        _checked(parameter.layer, share.outputs, outputs, "output", where),
    )


def _checked(layer: str, channels: tuple[int, ...] | None, count: int, what: str, where: str) -> Runs:
    if channels is None:
        return ((0, count),)
    bad = [c for c in channels if not 0 <= c < count]
    if bad or not channels or len(set(channels)) != len(channels):
        detail = f"channel {bad[0]} is not in 0..{count - 1}" if bad else "the list is empty or repeats a channel"
        raise McugradError(f"{where}: '{layer}' {what}s: {detail}")
    return runs(channels)
