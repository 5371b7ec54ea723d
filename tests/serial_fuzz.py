"""Builds the fuzzer of the serial line and runs it: `python -m tests.serial_fuzz SECONDS [MODEL]` (600 by default).

MODEL is a folder that `mcugrad compile` wrote; without it the device is the fake model, which is quick. The inputs
that were found, for the next run, and any that failed are kept in build/fuzz-serial/. The committed ones,
unit/serial/corpus/, are for the fake model; `corpus` makes them.
"""

from __future__ import annotations

import math
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from mcugrad.simulate.build import read_manifest

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "tests" / "unit" / "serial"
CORPUS = HERE / "corpus"
PIECE = 200  # bytes behind an offset: an input's actions have up to 255
FLAGS = (
    "-std=c11",
    "-O1",
    "-g",
    "-ffp-contract=off",
    "-fsanitize=fuzzer,address,undefined",
    "-fno-sanitize-recover=all",
)


def build(target: Path, *, serial: Path | None = None, compiled: Path | None = None) -> None:
    """The fuzzer, by clang with AddressSanitizer and UndefinedBehaviorSanitizer, of the fake model, or of the one in
    `compiled`; `serial` takes the place of runtime_c/src/serial.c beside the fake one. Raises CalledProcessError."""
    name = "fake" if compiled is None else str(read_manifest(compiled)["name"])
    sources, includes = _fake(serial) if compiled is None else ([*compiled.glob("*.c")], [compiled])
    defines = (f"MG_MODEL={name}", f"MG_MODEL_UPPER={name.upper()}", f'MG_MODEL_SERIAL_HEADER="{name}_serial.h"')
    words = [*FLAGS, *(f"-I{folder}" for folder in (*includes, HERE)), *(f"-D{define}" for define in defines)]
    sources += [HERE / "fuzz.c", HERE / "memory.c"]
    subprocess.run(["clang", *words, *map(str, sorted(sources)), "-o", str(target)], check=True)


def _fake(serial: Path | None) -> tuple[list[Path], list[Path]]:
    """Sources of the fake model and its line, and where their headers are."""
    model, runtime = ROOT / "tests" / "device" / "fake_model", ROOT / "runtime_c"
    sources = [*model.glob("*.c"), *(model / "serial").glob("*.c"), serial or runtime / "src" / "serial.c"]
    sources += [runtime / "src" / f"{name}.c" for name in ("serial_verbs", "crc32", "flash_log", "learning_rate")]
    return sources, [model, model / "serial", runtime / "include", runtime / "src"]


def fuzz(target: Path, folder: Path, seconds: int, compiled: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs it from the committed corpus, or from one for the model in `compiled`; new inputs and those that fail go to
    `folder`."""
    found, begin = folder / "found", CORPUS
    found.mkdir(parents=True, exist_ok=True)
    if compiled is not None:
        manifest, begin = read_manifest(compiled), folder / "corpus"
        begin.mkdir(exist_ok=True)
        sizes = math.prod(manifest["input"]["shape"]), manifest["state_bytes"]
        for name, data in corpus(*sizes, bytes.fromhex(manifest["model_hash"])):
            (begin / name).write_bytes(data)
    limits = ("-max_len=4096", f"-max_total_time={seconds}", f"-artifact_prefix={folder}/", "-print_final_stats=1")
    command = [str(target), *limits, str(found), str(begin)]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def corpus(
    input_len: int = 12, state_bytes: int = 148, model_hash: bytes = b"\xfa\x4e" + bytes(14)
) -> Iterator[tuple[str, bytes]]:
    """An input for each path that a fuzzer would be long in finding: the verbs with payloads that they take."""

    def action(verb: int, payload: bytes = b"") -> bytes:
        return bytes([verb, len(payload)]) + payload

    def sample(verb: int, data: bytes, first: int = 0) -> bytes:
        """In pieces, of which `verb` brings the last."""
        places = range(0, len(data), PIECE)
        verbs = [0x10] * (len(places) - 1) + [verb]
        return b"".join(
            action(v, word(at or first) + data[at : at + PIECE]) for v, at in zip(verbs, places, strict=True)
        )

    word = struct.Struct("<I").pack
    x, label, restart = bytes(i & 127 for i in range(input_len)), word(2), 0x80000000
    plan = action(0x15, struct.pack("<IfII", 2, 0.01, 9, 7))
    train = sample(0x12, x + label)
    zeros = [(at, min(PIECE, state_bytes - at)) for at in range(0, state_bytes, PIECE)]
    state = b"".join(action(0x1A, word(at) + bytes(count)) for at, count in zeros)
    begin = action(0x19, model_hash)
    yield "train", b"\x41\0" + plan + train + train
    yield "predict", b"\x40\0" + sample(0x11, x) + action(0x20, word(1) + word(0) + word(16))
    yield "pieces", b"\x40\0" + action(0x10, word(0) + x[:5]) + action(0x12, word(5) + x[5:PIECE] + label)
    yield "dropped", b"\x40\0" + action(0x10, word(0) + x[:5]) + b"\xc0\0" + train + sample(0x12, x + label, restart)
    yield "score", b"\x40\0" + sample(0x13, x + label) + action(0x14, word(1)) + action(0x14, word(0))
    yield "label", b"\x40\0" + sample(0x12, x + word(99))
    yield (
        "save",
        b"\x41\0" + plan + train + action(0x16) + train + action(0x17) + b"\xff\0" + action(0x22) + action(0x18),
    )
    yield "write", b"\x41\0" + begin + state + action(0x1B, word(0)) + train
    yield "half", b"\x40\0" + begin + action(0x16) + sample(0x11, x) + b"\xe0\0" + train
    yield "read", b"\x40\0" + action(0x20, word(0) + word(0) + word(100)) + action(0x20, word(2) + word(0) + word(4))
    yield "statistics", b"\x40\0" + train + action(0x21) + action(0x3F)
    yield "noise", b"\x80\x20" + bytes(range(32)) + b"\x80\xff" + b"\x21" * 255 + b"\x80\xff" + b"\x21" * 255


def main() -> int:
    """Exit code 0 when nothing failed."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    compiled = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    folder = ROOT / "build" / "fuzz-serial" / (compiled.resolve().name if compiled is not None else "")
    folder.mkdir(parents=True, exist_ok=True)
    build(folder / "fuzz", compiled=compiled)
    done = fuzz(folder / "fuzz", folder, seconds, compiled)
    print(done.stderr[-3000:])
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
