"""Is inference onnxruntime's? The published int8 networks with their own 1000 classes, on photographs, end to end.

python -m tests.bench.proofs.inference                                   what inference.jsonl lacks, then INFERENCE.md
python -m tests.bench.proofs.inference --only mcunet-49kb/integer        one of them
python -m tests.bench.proofs.inference --again                           everything anew
"""

from __future__ import annotations

import datetime
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime

from emitted_models import Emitted
from mcugrad import frontend
from mcugrad.frontend.importer import import_model
from mcugrad.graph import Model
from mcugrad.pipeline import compile_model

from .networks import NETWORKS, TEST, TRAIN, Array, on_grid, pixels, real, rows
from .onnxruntime_forms import FORMS, OnnxRuntime
from .options import AGAIN, chosen

HERE = Path(__file__).parent
RESULTS, TABLE = HERE / "inference.jsonl", HERE / "INFERENCE.md"
QUANTISED = tuple(name for name, network in NETWORKS.items() if network.file.endswith(".int8"))
PHOTOGRAPHS = 500


@dataclass(frozen=True)
class Run:
    """One network against one of onnxruntime's forms. Shares are of logits and of photographs; `lsb`: how far apart
    two logits are at most.

    `first`: of the photographs whose logits differ, the layer that differs first when it is given onnxruntime's own
    inputs, with how onnxruntime computes it -> photographs. `reproduced`: of those photographs, at how many onnxruntime
    gives the same logits with every layer in view as without.
    """

    network: str
    form: str
    photographs: int
    identical_logits: float
    identical_photographs: float
    identical_argmax: float
    lsb: int
    first: dict[str, int]
    reproduced: int
    onnxruntime: str
    date: str
    command: str


class Ours:
    """The emitted C of the networks for inference, with the classes that they came with. `folder`: for build files.

    Each is there twice: as shipped, and with every layer in a call of its own, so that one of two can be named.
    """

    def __init__(self, networks: Sequence[str], folder: Path) -> None:
        self.emitted = Emitted(folder)
        self.graphs = {name: frontend.load_model(NETWORKS[name].path) for name in networks}
        self.models: dict[str, Model] = {}
        self.known: dict[tuple[str, int], Array] = {}
        for i, (name, graph) in enumerate(self.graphs.items()):
            model = import_model(frontend.prepare(graph), f"network_{i}", float_head=False)
            apart = replace(model, name=f"{model.name}_apart")
            self.emitted.add(model, compile_model(model, "none").program)
            self.emitted.add(apart, compile_model(apart, "none", stream=False).program)
            self.models[name] = model
        self.emitted.build()

    def logits(self, network: str, place: int, q: Array) -> Array:
        """float32, on the grid of the int8 logits. Of a photograph once, whatever it is compared with."""
        key = network, place
        if key not in self.known:
            self.known[key] = self.emitted.predict(self.models[network].name, q).reshape(-1)
        return self.known[key]

    def first_difference(self, network: str, q: Array, theirs: dict[str, Array]) -> str | None:
        """The first layer whose result differs when every layer reads onnxruntime's."""
        found: list[str] = []

        def watch(layer: str, _: set[str], ours: Array) -> Array:
            if (ours.reshape(-1) != theirs[layer].reshape(-1)).any():
                found.append(layer)
            return theirs[layer]

        self.emitted.predict(f"{self.models[network].name}_apart", q, watch)
        return found[0] if found else None


def photographs(n: int) -> Array:
    """The first n of the test split and, where it has fewer, of the training split."""
    test = rows(n, TEST)
    return np.concatenate([test, rows(n - len(test), TRAIN)])


def measure(ours: Ours, network: str, form: str, n: int = PHOTOGRAPHS) -> Run:
    """Compare n photographs."""
    theirs, model = OnnxRuntime(ours.graphs[network], form), ours.models[network]
    scale, equal, argmax, reproduced, lsb = theirs.logit_scale, [], 0, 0, 0
    first: Counter[str] = Counter()
    places = photographs(n)
    for place in places:
        x = real(pixels([place]))
        (q,) = on_grid(model, x)
        mine, reference = ours.logits(network, int(place), q), theirs.logits(x)
        distance = np.rint(np.abs(mine.astype(np.float64) - reference) / scale).astype(int)
        equal.append(float((distance == 0).mean()))
        argmax += int(mine.argmax() == reference.argmax())
        lsb = max(lsb, int(distance.max()))
        if distance.any():
            layers = theirs.layers(x)
            reproduced += int((layers[theirs.last].reshape(-1) == theirs.as_stored(reference)).all())
            layer = ours.first_difference(network, q, layers)
            first[f"{layer}: {theirs.operators[layer]}" if layer else "none: one differs only through the others"] += 1
    same = Counter(equal)[1.0] / n
    command = f"python -m tests.bench.proofs.inference --only {network}/{form}"
    date, version = datetime.date.today().isoformat(), onnxruntime.__version__
    found = dict(first.most_common())
    logits = round(float(np.mean(equal)), 6)
    return Run(network, form, n, logits, same, argmax / n, lsb, found, reproduced, version, date, command)


# ---- results ---------------------------------------------------------------------------------------------------------


def read(path: Path = RESULTS) -> list[Run]:
    """The runs that were done."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Run(**json.loads(line)) for line in lines]


def table(runs: Sequence[Run]) -> str:
    """INFERENCE.md."""
    lines, behind = [], []
    for form in FORMS:
        for r in (r for r in runs if r.form == form):
            shares = (100 * share for share in (r.identical_logits, r.identical_photographs, r.identical_argmax))
            cells = [r.network, form, str(r.photographs), *(f"{share:.2f} %" for share in shares), str(r.lsb)]
            lines.append("| " + " | ".join(cells) + " |")
            kinds: Counter[str] = Counter()
            for layer, count in r.first.items():
                kinds[layer.partition(": ")[2]] += count
            by_kind = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()) or "none"
            by_layer = ", ".join(f"{layer.partition(': ')[0]} {count}" for layer, count in r.first.items()) or "–"
            behind.append(f"| {r.network} | {form} | {by_kind} | {by_layer} |")
    versions = ", ".join(sorted({f"onnxruntime {r.onnxruntime}, {r.date}" for r in runs}))
    return _TEXT.format(lines="\n".join(lines), behind="\n".join(behind), versions=versions)


_TEXT = """# Inference is onnxruntime's

Made by `python -m tests.bench.proofs.inference` from inference.jsonl, which holds the command of each row; do not edit.
{versions}.

The published int8 networks with their own 1000 classes, photographs of clothes, the emitted C on this machine (gcc -O2)
against onnxruntime (CPUExecutionProvider), end to end:

- **integer**: every operator is the one that onnxruntime has for integers: QLinearConv, QLinearAdd,
  QLinearGlobalAveragePool. This is what an int8 network means, and what ours equals.
- **default**: what a session with default options does with the file. It fuses only some patterns; the convolutions
  around residual sums, and the sums, it computes in float32 from dequantised weights, which rounds differently. So
  these rows say how far onnxruntime is from itself.

| network | onnxruntime | photographs | identical logits | identical photographs | same argmax | at most, LSB |
| --- | --- | --- | --- | --- | --- | --- |
{lines}

Where a photograph's logits differ: the first layer that differs when every layer is given onnxruntime's own inputs,
how onnxruntime computes it, and how many photographs that is.

| network | onnxruntime | by operator | by layer |
| --- | --- | --- | --- |
{behind}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    cells = [f"{network}/{form}" for network in QUANTISED for form in FORMS]
    wanted, again = chosen("inference", __doc__, cells, "NETWORK/FORM", arguments, again=AGAIN)
    runs = {f"{r.network}/{r.form}": r for r in read()}
    missing = [cell for cell in wanted if again or cell not in runs]
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(QUANTISED, Path(folder)) if missing else None
        for cell in missing:
            assert ours is not None
            network, form = cell.split("/")
            run = runs[cell] = measure(ours, network, form)
            lines = [json.dumps(asdict(runs[cell])) + "\n" for cell in cells if cell in runs]
            RESULTS.write_text("".join(lines), encoding="utf-8")
            TABLE.write_text(table([runs[cell] for cell in cells if cell in runs]), encoding="utf-8")
            print(f"{cell}: same argmax {run.identical_argmax}, logits {run.identical_logits}, {run.first}", flush=True)
    TABLE.write_text(table([runs[cell] for cell in cells if cell in runs]), encoding="utf-8")


if __name__ == "__main__":
    main()
