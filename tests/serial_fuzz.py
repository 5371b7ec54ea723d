"""Builds the fuzzer of the serial line and runs it: `python -m tests.serial_fuzz SECONDS [FOLDER]` (600 by default).

FOLDER (build/fuzz-serial) keeps the inputs that it found, for the next run, and any that failed. The committed ones are
unit/serial/corpus/; `corpus` makes them.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "tests" / "unit" / "serial"
CORPUS = HERE / "corpus"
FLAGS = (
    "-std=c11",
    "-O1",
    "-g",
    "-ffp-contract=off",
    "-fsanitize=fuzzer,address,undefined",
    "-fno-sanitize-recover=all",
)


def build(target: Path, serial: Path | None = None) -> None:
    """The fuzzer, by clang with AddressSanitizer and UndefinedBehaviorSanitizer, around `serial` in the place of
    runtime_c/src/serial.c. Raises CalledProcessError."""
    model, runtime = ROOT / "tests" / "device" / "fake_model", ROOT / "runtime_c"
    sources = [*model.glob("*.c"), *(model / "serial").glob("*.c"), HERE / "fuzz.c", HERE / "memory.c"]
    sources += [serial or runtime / "src" / "serial.c"]
    sources += [runtime / "src" / f"{name}.c" for name in ("serial_verbs", "crc32", "flash_log", "learning_rate")]
    includes = (model, model / "serial", runtime / "include", runtime / "src", HERE)
    defines = ("MG_MODEL=fake", "MG_MODEL_UPPER=FAKE", 'MG_MODEL_SERIAL_HEADER="fake_serial.h"')
    words = [*FLAGS, *(f"-I{folder}" for folder in includes), *(f"-D{define}" for define in defines)]
    subprocess.run(["clang", *words, *map(str, sorted(sources)), "-o", str(target)], check=True)


def fuzz(target: Path, folder: Path, seconds: int, *more: str) -> subprocess.CompletedProcess[str]:
    """Runs it from the committed corpus; new inputs and those that fail go to `folder`."""
    found = folder / "found"
    found.mkdir(parents=True, exist_ok=True)
    limits = ("-max_len=4096", f"-max_total_time={seconds}", f"-artifact_prefix={folder}/", "-print_final_stats=1")
    command = [str(target), *limits, *more, str(found), str(CORPUS)]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def corpus() -> Iterator[tuple[str, bytes]]:
    """An input for each path that a fuzzer would be long in finding: the verbs with payloads that they take."""

    def action(verb: int, payload: bytes = b"") -> bytes:
        return bytes([verb, len(payload)]) + payload

    word = struct.Struct("<I").pack
    x, label, restart = bytes(range(12)), word(2), word(0x80000000)
    plan = action(0x15, struct.pack("<IfII", 2, 0.01, 9, 7))
    train = action(0x12, word(0) + x + label)
    state = b"".join(action(0x1A, word(at) + bytes(min(200, 148 - at))) for at in (0,))
    begin = action(0x19, b"\xfa\x4e" + bytes(14))
    yield "train", b"\x41\0" + plan + train + train
    yield "predict", b"\x40\0" + action(0x11, word(0) + x) + action(0x20, word(1) + word(0) + word(16))
    yield "pieces", b"\x40\0" + action(0x10, word(0) + x[:5]) + action(0x12, word(5) + x[5:] + label)
    yield "dropped", b"\x40\0" + action(0x10, word(0) + x[:5]) + b"\xc0\0" + train + action(0x12, restart + x + label)
    yield "score", b"\x40\0" + action(0x13, word(0) + x + label) + action(0x14, word(1)) + action(0x14, word(0))
    yield "label", b"\x40\0" + action(0x12, word(0) + x + word(99))
    yield (
        "save",
        b"\x41\0" + plan + train + action(0x16) + train + action(0x17) + b"\xff\0" + action(0x22) + action(0x18),
    )
    yield "write", b"\x41\0" + begin + state + action(0x1B, word(0)) + train
    yield "half", b"\x40\0" + begin + action(0x16) + action(0x11, word(0) + x) + b"\xe0\0" + train
    yield "read", b"\x40\0" + action(0x20, word(0) + word(0) + word(100)) + action(0x20, word(2) + word(0) + word(4))
    yield "statistics", b"\x40\0" + train + action(0x21) + action(0x3F)
    yield "noise", b"\x80\x20" + bytes(range(32)) + b"\x80\xff" + b"\x21" * 255 + b"\x80\xff" + b"\x21" * 255


def main() -> int:
    """Exit code 0 when nothing failed."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "build" / "fuzz-serial"
    folder.mkdir(parents=True, exist_ok=True)
    build(folder / "fuzz")
    done = fuzz(folder / "fuzz", folder, seconds)
    print(done.stderr[-3000:])
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
