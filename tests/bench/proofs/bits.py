"""Are the bits the same everywhere? One training of mcunet, hashed on the way, on every build, core and the Relax VM.

python -m tests.bench.proofs.bits                          what bits.json lacks, then BITS.md; every run is resumed
python -m tests.bench.proofs.bits --only mps2-an386        one execution
python -m tests.bench.proofs.bits --again                  everything anew, after the arithmetic changed on purpose
"""

from __future__ import annotations

import ctypes
import datetime
import functools
import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mcugrad.pipeline import Compiled, Options, compile_file
from mcugrad.resources import runtime_dir
from mcugrad.samples import quantize_samples
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import Firmware, build, read_manifest
from mcugrad.simulate.run import run_session
from mcugrad.simulate.session import Mode, Records, Schedule, Session
from mcugrad.simulate.state import tensors
from mcugrad.simulate.toolchain import Compiler, find_tool, tool_version

from .networks import NETWORKS, ROOT, TRAIN, Array
from .options import chosen

HERE, WORK = Path(__file__).parent, ROOT / "build" / "proofs" / "bits"
RESULTS, TABLE = HERE / "bits.json", HERE / "BITS.md"
NETWORK = NETWORKS["mcunet-49kb"]
STEPS, PHOTOGRAPHS = 1000, 250
RATE, SEED = 0.01, 1
HASHED = (1, 5, 25, 100, 250, 500, 750, 1000)  # steps after which the state is hashed, and from which a run resumes
RELAX_STEPS = 5


@dataclass(frozen=True)
class Execution:
    """Where the same training runs. `board` None: the Relax VM."""

    name: str
    board: str | None
    compiler: Compiler = "gcc"
    optimize: str = "-O2"
    steps: int = STEPS


EXECUTIONS = {
    execution.name: execution
    for execution in (
        Execution("gcc -O2", "host"),
        Execution("clang -O3", "host", "clang", "-O3"),
        Execution("Relax VM", None, steps=RELAX_STEPS),
        Execution("mps2-an386", "mps2-an386"),
        Execution("mps2-an500", "mps2-an500"),
        Execution("gcc -O3", "host", optimize="-O3"),
        Execution("clang -O2", "host", "clang"),
        Execution("clang -O0", "host", "clang", "-O0"),
        Execution("gcc -O0", "host", optimize="-O0"),
    )
}


@dataclass(frozen=True)
class Run:
    """`hashes`: steps -> SHA-256 of the trained state after them."""

    execution: str
    hashes: dict[str, str]
    version: str
    date: str


@dataclass(frozen=True)
class Training:
    """The compiled network and what it is trained on."""

    folder: Path
    compiled: Compiled
    records: Records

    @classmethod
    def prepare(cls, folder: Path) -> Training:
        """Compile mcunet for its scheme into `folder`/model and read the photographs."""
        options = Options("mps2-an386", None, str(NETWORK.scheme_file), NETWORK.classes)
        written = compile_file(NETWORK.path, folder / "model", options, ["tests.bench.proofs.bits"])
        x, y = NETWORK.draw(PHOTOGRAPHS, TRAIN)
        x = quantize_samples(x, read_manifest(folder / "model"))
        return cls(folder / "model", written.compiled, Records(x, y))

    def firmware(self, execution: Execution) -> Firmware:
        assert execution.board is not None
        return build(self.folder, load_board(execution.board), compiler=execution.compiler, optimize=execution.optimize)

    def go_on(self, firmware: Firmware, before: bytes, begin: int, end: int) -> bytes:
        """The state after steps begin..end of the plan, from the state before them (b"": factory weights)."""
        classes = self.compiled.model.output_shape[-1]
        session = Session(
            Mode.STEPS,
            classes,
            self.records,
            learning_rate=RATE,
            schedule=Schedule.COSINE,
            seed=SEED,
            steps=end - begin,
            first_step=begin,
            planned_steps=STEPS,
            state=before,
        )
        result = run_session(firmware, session)
        assert (result.steps, result.not_finite) == (end - begin, 0)
        return result.state

    def hashes_on(self, execution: Execution, until: int, cache: Path | None = None) -> dict[str, str]:
        """Steps -> hash, up to `until`. `cache` keeps the states, and a run goes on from the last of them."""
        if execution.board is None:
            return self.relax_hashes(until)
        firmware = functools.lru_cache(self.firmware)  # not built where every state is in the cache
        hashes, state, begin = {}, b"", 0
        for end in (steps for steps in HASHED if steps <= until):
            kept = cache / f"{execution.name.replace(' ', '')}-{end}.bin" if cache is not None else None
            if kept is not None and kept.exists():
                state = kept.read_bytes()
            else:
                state = self.go_on(firmware(execution), state, begin, end)
                if kept is not None:
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    kept.write_bytes(state)
            begin, hashes[str(end)] = end, self.digest(self.arrays(state))
        return hashes

    def arrays(self, state: bytes) -> dict[str, Array]:
        """The tensors inside the bytes of <name>_state_t."""
        manifest = read_manifest(self.folder)
        found, rows = tensors(manifest, state), manifest["state"]
        return {row["name"]: found[row["name"]] for row in rows if row["role"] != "bookkeeping"}

    def digest(self, arrays: Mapping[str, Array]) -> str:
        """SHA-256 of every trained tensor in the scheme's order, then of all error ratios, smallest first."""
        names, digest = self.compiled.selection.names, hashlib.sha256()
        for name in names:
            digest.update(name.encode() + arrays[name].tobytes())
        ratios = [float(a.reshape(())) for name, a in arrays.items() if name not in names]
        digest.update(np.sort(np.array(ratios, np.float32)).tobytes())
        return digest.hexdigest()

    def relax_hashes(self, until: int) -> dict[str, str]:
        """The same by the Relax VM, whose step is given the schedule's rates."""
        from mcugrad.simulate.vm import ReferenceTrainer

        step = self.compiled.step
        assert step is not None
        trainer, hashes, rates = ReferenceTrainer(self.compiled.model, step), {}, _rates(self.folder, until)
        for i in range(until):
            x, y = self.records.x[i % PHOTOGRAPHS], self.records.y[i % PHOTOGRAPHS]
            shaped = x.reshape(self.compiled.model.input_shape)
            trainer.train_step(shaped, np.array([y], np.int32), rates[i], SEED, i)
            if i + 1 in HASHED:
                trained = {name: trainer.parameters[name] for name in step.trained}
                hashes[str(i + 1)] = self.digest({**trained, **trainer.ratios})
        return hashes


def _rates(folder: Path, until: int) -> list[float]:
    """The runtime's own schedule."""
    library = folder.parent / "rate.so"
    source, include = runtime_dir() / "src" / "learning_rate.c", runtime_dir() / "include"
    flags = ("-std=c11", "-ffp-contract=off", "-shared", "-fPIC", f"-I{include}")
    subprocess.run(["gcc", *flags, str(source), "-o", str(library)], check=True)
    rate = ctypes.CDLL(str(library)).mg_learning_rate
    rate.restype, base = ctypes.c_float, ctypes.c_float(RATE)
    return [float(rate(int(Schedule.COSINE), base, ctypes.c_uint32(i), ctypes.c_uint32(STEPS))) for i in range(until)]


# ---- results ---------------------------------------------------------------------------------------------------------


def read(path: Path = RESULTS) -> dict[str, Run]:
    """The executions that were run, by name."""
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return {row["execution"]: Run(**row) for row in rows}


def table(runs: Mapping[str, Run]) -> str:
    """BITS.md."""
    columns = [str(steps) for steps in HASHED]
    lines = []
    for run in (runs[name] for name in EXECUTIONS if name in runs):
        cells = [f"`{run.hashes[c][:12]}`" if c in run.hashes else "" for c in columns]
        lines.append("| " + " | ".join([run.execution, run.version, run.date, *cells]) + " |")
    whole = [f"- after {c} steps: `{found}`" for c in columns for found in sorted(_found(runs, c))]
    heading = "| execution | version | date | " + " | ".join(columns) + " |"
    rule = "| --- " * (len(columns) + 3) + "|"
    return _TEXT.format(lines="\n".join([heading, rule, *lines]), whole="\n".join(whole))


def _found(runs: Mapping[str, Run], steps: str) -> set[str]:
    return {run.hashes[steps] for run in runs.values() if steps in run.hashes}


_TEXT = f"""# The same bits everywhere

Made by `python -m tests.bench.proofs.bits` from bits.json; do not edit.

mcunet-5fps with ten classes under the "49 KB scheme", int8 errors, {STEPS:,} steps on {PHOTOGRAPHS} photographs of
clothes in turn, rate {RATE} falling by a cosine, seed {SEED}. SHA-256 of the trained state (every trained tensor, then
the error ratios) after so many steps, its first 12 digits:

{{lines}}

{{whole}}
"""


def _version(execution: Execution) -> str:
    if execution.board is None:
        import tvm

        return f"TVM {tvm.__version__}"
    if execution.board == "host":
        return tool_version(execution.compiler)
    return f"{tool_version(find_tool('arm-none-eabi-gcc'))}; {tool_version(find_tool('qemu-system-arm'))}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    forget = "forget the record and every state on the way to it"
    wanted, again = chosen("bits", __doc__, list(EXECUTIONS), "EXECUTION", arguments, again=forget)
    if again:
        shutil.rmtree(WORK, ignore_errors=True)
        RESULTS.unlink(missing_ok=True)
    shutil.rmtree(WORK / "model", ignore_errors=True)
    WORK.mkdir(parents=True, exist_ok=True)
    training, runs = Training.prepare(WORK), read()
    for name in wanted:
        if name in runs:
            continue
        execution, date = EXECUTIONS[name], datetime.date.today().isoformat()
        hashes = training.hashes_on(execution, execution.steps, WORK / "states")
        runs[name] = Run(name, hashes, _version(execution), date)
        rows = [asdict(runs[name]) for name in EXECUTIONS if name in runs]
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        TABLE.write_text(table(runs), encoding="utf-8")
        print(name, hashes, flush=True)
    TABLE.write_text(table(runs), encoding="utf-8")
    different = [c for c in map(str, HASHED) if len(_found(runs, c)) > 1]
    if different:
        raise SystemExit(f"the executions differ after {different[0]} steps: see {TABLE}")


if __name__ == "__main__":
    main()
