"""Training schemes: presets, the TOML file, and what is said about a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphs import imported, residual_2d
from mcugrad.errors import McugradError
from mcugrad.graph import Model, Role
from mcugrad.pipeline import compile_model
from mcugrad.scheme import PRESETS, Scheme, load_scheme, resolve


@pytest.fixture(scope="module")
def model() -> Model:
    return imported(residual_2d())


def _load(tmp_path: Path, text: str) -> Scheme:
    path = tmp_path / "scheme.toml"
    path.write_text(text, encoding="utf-8")
    scheme = load_scheme(str(path))
    assert isinstance(scheme, Scheme)
    return scheme


def test_presets(model: Model) -> None:
    names = {preset: set(resolve(preset, model).names) for preset in PRESETS}
    head = {p.name for p in model.parameters if p.layer == "head"}
    assert names["none"] == set()
    assert names["head"] == head
    assert names["biases"] == head | {p.name for p in model.parameters if p.role is Role.BIAS}
    assert names["all"] == {p.name for p in model.parameters}
    assert all(load_scheme(preset) == preset for preset in PRESETS)


def test_the_file_of_the_design(tmp_path: Path, model: Model) -> None:
    scheme = _load(
        tmp_path,
        'head = true\nerrors = "int16"\nrounding = "residual"\naccumulate = 7\n'
        '[bias]\nlast = 3\nlayers = ["stem"]\n[weight]\n'
        '"dilated" = 0.25\n"last" = { inputs = [5, 3], outputs = [0, 11] }\n"wide" = { outputs = [1] }\npoint = 1\n',
    )
    selection = resolve(scheme, model)
    assert (selection.rounding, selection.accumulate) == ("residual", 7)
    biases = {"point.bias", "wide.bias", "last.bias", "stem.bias"}
    assert set(selection.names) == biases | {
        f"{n}.weight" for n in ("dilated", "last", "wide", "point", "head")
    } | {"head.bias"}  # fmt: skip
    assert selection.names == tuple(p.name for p in model.parameters if p.name in selection.names)
    assert selection.errors == "int16"
    subsets = {n: selection.subset(model.parameter(f"{n}.weight")) for n in ("dilated", "last", "wide", "point")}
    assert (subsets["dilated"].inputs, subsets["dilated"].outputs) == (((0, 2),), ((0, 8),))
    assert (subsets["last"].inputs, subsets["last"].outputs) == (((3, 4), (5, 6)), ((0, 1), (11, 12)))
    assert (subsets["wide"].inputs, subsets["wide"].outputs) == (((0, 16),), ((1, 2),))
    assert (subsets["point"].inputs, subsets["point"].outputs) == (((0, 16),), ((0, 6),))


def test_an_empty_file_trains_the_head(tmp_path: Path, model: Model) -> None:
    assert resolve(_load(tmp_path, ""), model).names == ("head.weight", "head.bias")


def test_the_head_may_stay_frozen(tmp_path: Path, model: Model) -> None:
    assert resolve(_load(tmp_path, "head = false\nbias.last = 1\n"), model).names == ("last.bias",)


def test_more_biases_than_there_are_is_all_of_them(tmp_path: Path, model: Model) -> None:
    names = resolve(_load(tmp_path, "bias.last = 1000"), model).names
    assert len([n for n in names if n.endswith("bias")]) == len(model.layers)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("head = ", "not valid TOML"),
        ("heads = true", "'heads': no such key; did you mean 'head'"),
        ('rounding = "nearest"', "'rounding': Input should be 'stochastic' or 'residual'"),
        ("accumulate = 0", "'accumulate': .*greater than or equal to 1"),
        ("accumulate = 4097", "'accumulate': .*less than or equal to 4096"),
        ("accumulate = 2.0", "'accumulate': .*valid integer"),
        ("accumulate = true", "'accumulate': .*valid integer"),
        ('errors = "int4"', "'errors': Input should be 'int8', 'int16' or 'float32'"),
        ("[bias]\nlast = -1", "'bias.last': .*greater than or equal to 0"),
        ("[bias]\nfirst = 1", "'bias.first': no such key"),
        ('[weight]\nstem = "all"', "'weight.stem"),
        ("[weight]\nstem = { input = [1] }", "'weight.stem"),
        ("[weight]\nstem = { inputs = [1.5] }", "'weight.stem"),
    ],
)
def test_a_malformed_file_is_named_with_the_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(McugradError, match=f"scheme.toml: .*{said}"):
        _load(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('bias.layers = ["grouped", "dilatet"]', "layer 'dilatet' is not in the model; did you mean 'dilated'?"),
        ("[weight]\ndepth_wise = 1.0", "layer 'depth_wise' is not in the model; did you mean 'depthwise'?"),
        ("[weight]\nsum1 = 1.0", "layer 'sum1' is not in the model"),
        ("[weight]\nhead = 0.5", "layer 'head' has no weight"),
        ("[weight]\nstem = 0.0", "'stem' = 0.0: a share lies in (0, 1]"),
        ("[weight]\nstem = 1.01", "'stem' = 1.01: a share"),
        ("[weight]\nstem = nan", "'stem' = nan: a share"),
        ("[weight]\nstem = { inputs = [0, 3] }", "'stem' inputs: channel 3 is not in 0..2"),
        ("[weight]\nstem = { outputs = [-1] }", "'stem' outputs: channel -1 is not in 0..7"),
        ("[weight]\nstem = { outputs = [] }", "'stem' outputs: the list is empty or repeats"),
        ("[weight]\nstem = { outputs = [2, 2] }", "'stem' outputs: the list is empty or repeats"),
        ("head = false", "trains nothing: set head = true"),
    ],
)
def test_a_scheme_that_does_not_fit_the_model(tmp_path: Path, model: Model, text: str, said: str) -> None:
    scheme = _load(tmp_path, text)
    with pytest.raises(McugradError) as problem:
        compile_model(model, scheme)
    sentence = str(problem.value)
    assert sentence.startswith(str(tmp_path / "scheme.toml"))
    assert said in sentence


def test_a_scheme_without_a_file_is_called_the_scheme(model: Model) -> None:
    with pytest.raises(McugradError, match=r"^the scheme: layer 'sum1' is not in the model"):
        resolve(Scheme(weight={"sum1": 1.0}), model)


def test_neither_preset_nor_file(tmp_path: Path) -> None:
    with pytest.raises(McugradError, match=r"training scheme 'haed' is neither a TOML file nor one of all, head"):
        load_scheme("haed")
    (tmp_path / "scheme.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(McugradError, match="not valid TOML"):
        load_scheme(str(tmp_path / "scheme.toml"))
    with pytest.raises(McugradError, match="neither"):
        load_scheme(str(tmp_path))
