"""More random networks than CI tries: `python -m tests.conformance.many 5000`; some by their seeds: `--seed 17 4242`.

A run goes on where the last one stopped. build/conformance/<what was tested>/ has a line for every seed in seeds.txt,
and the failing ones with what is wrong in failures.txt; a changed compiler, runtime or check begins another folder.
With --seed the graph, as its quantiser wrote it, is left there as seed<n>.onnx.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTED = ("compiler", "runtime_c", "targets", "tests")
RENEW = 50  # seeds after which a worker process starts anew: what it loaded from models stays in memory

sys.path.insert(0, str(ROOT / "tests"))  # as pytest's `pythonpath`


def tested() -> str:
    """A digest of everything that a result depends on."""
    digest = hashlib.sha256()
    for folder in TESTED:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".c", ".h", ".inc", ".S", ".j2", ".json", ".toml", ".ld") and path.is_file():
                digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def problems_of(seed: int) -> tuple[int, list[str]]:
    """What is wrong with a seed; an exception is too."""
    from layerwise import Agreement
    from random_cases import draw
    from random_checks import check

    try:
        return seed, check(draw(seed), Agreement())
    except Exception as error:
        return seed, [f"{type(error).__name__}: {error}"]


def _leave_ctrl_c() -> None:
    """To the process that hands out the seeds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def run(seeds: list[int], folder: Path, jobs: int) -> Iterator[tuple[int, list[str]]]:
    """Checks what seeds.txt does not have yet, and writes it there as it comes."""
    folder.mkdir(parents=True, exist_ok=True)
    log, failures = folder / "seeds.txt", folder / "failures.txt"
    done = {int(line.split()[0]) for line in log.read_text().splitlines()} if log.exists() else set()
    left = [seed for seed in seeds if seed not in done]
    print(f"{len(seeds) - len(left)} of {len(seeds)} seeds are done in {log}", flush=True)
    # Not forked: a process that has run TVM has threads.
    with multiprocessing.get_context("spawn").Pool(jobs, _leave_ctrl_c, maxtasksperchild=RENEW) as pool:
        for seed, problems in pool.imap_unordered(problems_of, left):
            with log.open("a", encoding="utf-8") as out:
                out.write(f"{seed} {'failed' if problems else 'ok'}\n")
            if problems:
                with failures.open("a", encoding="utf-8") as out:
                    out.write("".join(f"{seed} {' '.join(problem.split())}\n" for problem in problems))
            yield seed, problems


def main() -> int:
    parser = argparse.ArgumentParser(description="Random networks against onnxruntime, float64, Relax and the cores.")
    parser.add_argument("count", type=int, nargs="?", default=2000, help="seeds 0 to COUNT (default 2000)")
    parser.add_argument("--seed", type=int, nargs="+", help="these seeds alone, again, and their graphs")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args()
    folder = ROOT / "build" / "conformance" / tested()
    if options.seed:
        import onnx

        from random_cases import draw

        folder.mkdir(parents=True, exist_ok=True)
        failed = 0
        for seed in options.seed:
            onnx.save(draw(seed).given, folder / f"seed{seed}.onnx")
            _, problems = problems_of(seed)
            print(f"seed {seed}, {folder / f'seed{seed}.onnx'}: {'; '.join(problems) or 'ok'}", flush=True)
            failed += bool(problems)
        return int(failed > 0)
    failed = 0
    try:
        for n, (seed, problems) in enumerate(run(list(range(options.count)), folder, options.jobs), 1):
            failed += bool(problems)
            if problems or n % 50 == 0:
                print(f"{n} tried, {failed} failed; seed {seed}: {'; '.join(problems) or 'ok'}", flush=True)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", flush=True)
        return 130
    total = folder / "failures.txt"
    print(f"failures: {total}" if total.exists() else "no failure", flush=True)
    return int(total.exists())


if __name__ == "__main__":
    sys.exit(main())
