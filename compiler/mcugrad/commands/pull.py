"""`mcugrad pull`: what a device learned, from a saved state to ONNX or NumPy; `mcugrad merge`: the mean of several."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from mcugrad.commands.run import save_state
from mcugrad.errors import McugradError
from mcugrad.files import write_file
from mcugrad.simulate.build import read_manifest
from mcugrad.state_file import SUFFIX, SavedState, check_model, read_state, saved_state, write_state
from mcugrad.trained import Manifest, merge, trained_onnx

_ENDINGS = ".onnx (the trained network), .npz (its tensors) or .state (its bytes)"


def pull_command(source: Path, folder: Path | None, target: Path) -> None:
    """Write `target` from a .state file, or from the .npz of `mcugrad run`. Raises McugradError."""
    check_target(target)
    folder, manifest = compiled_for(source, folder)
    state = state_of(source, manifest)
    write_trained(folder, manifest, state, target)
    print(f"{target}: what model '{state.model_name}' had learned after {state.step} steps of its plan")


def merge_command(sources: Sequence[Path], folder: Path | None, weights: Sequence[float], target: Path) -> None:
    """Write the weighted mean of states of one model. Raises McugradError."""
    check_target(target)
    if len(sources) < 2:
        raise McugradError("one state has nothing to be merged with: give two or more")
    folder, manifest = compiled_for(sources[0], folder)
    states = [state_of(path, manifest) for path in sources]
    write_trained(folder, manifest, merge(manifest, states, weights or [1.0] * len(states)), target)
    print(f"{target}: the mean of {len(states)} states of model '{states[0].model_name}'")


def check_target(target: Path) -> None:
    """Raises McugradError unless `target` can be written as one of the kinds of file, and is not there."""
    if target.suffix not in (".onnx", ".npz", SUFFIX):
        raise McugradError(f"{target}: what is it to be? Give -o a name that ends in {_ENDINGS}")
    if target.exists():
        raise McugradError(f"{target} exists: give -o another file, what was learned is not overwritten")
    if not target.parent.resolve().is_dir():
        raise McugradError(f"{target.parent} does not exist: create it, or give -o another file")


def write_trained(folder: Path, manifest: Manifest, state: SavedState, target: Path) -> None:
    """`state` of the model that was compiled into `folder`, as the kind of file that the name of `target` says. Raises
    McugradError."""
    if target.suffix == ".onnx":
        write_file(target, trained_onnx(folder, manifest, state.state).SerializeToString())
    elif target.suffix == SUFFIX:
        write_state(target, state)
    else:
        save_state(target, manifest, state.state)


def compiled_for(source: Path, folder: Path | None) -> tuple[Path, Manifest]:
    """The compiled model that a state belongs to, and its manifest: `folder`, or the one that the state lies in or
    beside. Raises McugradError."""
    if folder is not None:
        return folder, read_manifest(folder)
    places, wanted = [source.resolve().parent], None
    if source.suffix == SUFFIX:  # `state_of` checks an .npz
        wanted = read_state(source).model_hash
        places += [path.parent for path in sorted(places[0].glob("*/manifest.json"))]
    for place in places:
        with suppress(McugradError):  # no manifest.json, or somebody else's
            manifest = read_manifest(place)
            if wanted is None or manifest.get("model_hash") == wanted.hex():
                return place, manifest
    raise McugradError(f"{source}: its model was compiled into no folder beside it: say into which with --model DIR")


def state_of(source: Path, manifest: Manifest) -> SavedState:
    """The state in a .state file or in an .npz that `mcugrad run` wrote, of this model. Raises McugradError."""
    if source.suffix != ".npz":
        return read_state(source, manifest)
    try:
        with np.load(source, allow_pickle=False) as data:
            if "state" in data and "model_hash" not in data:
                raise McugradError(
                    f"{source} has a state but no array 'model_hash', which says of which compilation; an earlier "
                    "mcugrad wrote it: train again with `mcugrad run`, or, if the model was not compiled again since, "
                    "add the array to the file: `model_hash` of manifest.json as 16 uint8"
                )
            state, model_hash = data["state"].tobytes(), data["model_hash"].tobytes()
    except (OSError, EOFError, TypeError, ValueError, KeyError, zipfile.BadZipFile) as problem:  # TypeError: one array
        raise McugradError(
            f"{source} holds no trained state ({problem}): give a {SUFFIX} file, or the .npz that `mcugrad run` wrote"
        ) from problem
    check_model(SavedState(model_hash, str(manifest["name"]), state, 0), manifest, str(source))
    return saved_state(manifest, state)
