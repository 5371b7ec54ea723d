"""The watch's committed ONNX files are what the rest of the project counts on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest

from models import watch
from models.watch import data
from models.watch.finetune_float import finetune

FOLDER = Path(watch.__file__).parent
NODES = [
    *("stem", "stem.relu", "down", "down.relu", "pool"),
    *("block.conv1", "block.conv1.relu", "block.conv2", "block.add", "block.add.relu"),
    *("mean", "flatten", "head"),
]


@pytest.mark.parametrize("subject", data.UNSEEN_SUBJECTS)
def test_files_are_small_readable_and_dynamic_in_the_batch_only(subject: int) -> None:
    model = onnx.load(FOLDER / f"watch-unseen-{subject}.onnx")
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert [node.name for node in model.graph.node] == NODES
    assert sum(math.prod(tensor.dims) for tensor in model.graph.initializer) <= 20_000
    shapes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert shapes == [["batch", 6, data.WINDOW], ["batch", len(data.EXERCISES)]]


@pytest.mark.parametrize(("subject", "gain"), [(2, 0.20), (10, 0.05)])
def test_a_float_fine_tune_learns_the_wearer(subject: int, gain: float) -> None:
    train, test = data.wearer_windows(data.load_recordings(), subject)
    model = FOLDER / f"watch-unseen-{subject}.onnx"
    results = [
        finetune(model, train, test, watch.EPOCHS, watch.LEARNING_RATE, watch.SCHEDULE, seed, watch.SCHEME)
        for seed in watch.SEEDS
    ]
    assert np.mean([result.accuracy_after - result.accuracy_before for result in results]) >= gain
