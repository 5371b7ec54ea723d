"""From C sources to a firmware for a board, with the sizes the linker gave it.

`build` makes the session firmware of a compiled model; `build_program` links any other C program against the same
start-up, which is how the tests examine the boards themselves.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcugrad.errors import McugradError
from mcugrad.resources import runtime_dir, targets_dir
from mcugrad.simulate.board import Board, board_dir, board_sources
from mcugrad.simulate.elf import read_elf
from mcugrad.simulate.objects import fetch, keep, object_key
from mcugrad.simulate.stack import read_stack_usage, stack_bound
from mcugrad.simulate.toolchain import Compiler, find_compiler, require_runnable, tool_version

DIALECT = ("-std=c11", "-ffp-contract=off", "-fno-fast-math")
_WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Werror")
BARE = (
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-common",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
)
# Start-up, drivers and session run once a sample at most: they are compiled for size. (And do not ask the C library for
# strlen where a loop counts characters.)
_FIRMWARE = ("-Os", "-fno-tree-loop-distribute-patterns")
_SANITIZERS = ("-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all", "-g")


@dataclass(frozen=True)
class Sizes:
    """Bytes, as linked. static = data + bss; flash = code + const + data with the padding between them.

    On the host, where the C library has data of its own, `bss` and `static` are those of the firmware's struct alone.
    """

    code: int
    const: int
    data: int
    bss: int
    static: int
    stack_reserve: int
    flash: int


@dataclass(frozen=True)
class Firmware:
    """A linked program; the linker's map lies beside `elf`. `statics`: every object in .data and .bss with its bytes;
    `stack_bound`: 0 on the host."""

    board: Board
    elf: Path
    sizes: Sizes
    stack_bound: int
    statics: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class _Job:
    """What determines a program's bytes."""

    sources: tuple[Path, ...]
    headers: tuple[Path, ...]
    board: Board
    compiler: str
    flags: tuple[str, ...]
    link_flags: tuple[str, ...]
    stack_reserve: int

    def flags_of(self, source: Path) -> tuple[str, ...]:
        """The compiler's flags for one of `sources`."""
        firmware = not self.board.native and source.is_relative_to(targets_dir())
        return (*self.flags, *_FIRMWARE) if firmware else self.flags

    def key(self) -> str:
        digest = hashlib.sha256(tool_version(self.compiler).encode())
        digest.update(repr((self.flags, _FIRMWARE, self.link_flags, [s.name for s in self.sources])).encode())
        digest.update(self.board.model_dump_json().encode())
        for path in (*self.sources, *self.headers):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()


def build(
    folder: Path,
    board: Board,
    *,
    compiler: Compiler = "gcc",
    optimize: str = "-O2",
    sanitize: bool = False,
    defines: Sequence[str] = (),
    build_dir: Path | None = None,
    objects: Path | None = None,
) -> Firmware:
    """Build the session firmware of the compiled model in `folder` (default place: folder/build/<variant>/).

    A program that is up to date is not built again. `objects` is a folder that keeps compiled kernels and start-up
    code from one model to the next (see objects.py). Raises McugradError when a tool is missing, the folder is not a
    compiled model, the program is over the board's SRAM or flash, or its stack bound over the board's reserve.
    """
    require_runnable(board)
    common = targets_dir() / "common"
    io = "io_posix.c" if board.native else "io_semihosting.c"
    sources = [*sorted(folder.glob("*.c")), common / "session.c", common / "train.c", common / io]
    # Assembly is for the emulated cores; on the host it is empty.
    sources += [common / "line.c"] if board.native else sorted(folder.glob("*.S"))
    variant = "-".join([board.name, compiler, optimize.lstrip("-"), *(["sanitized"] if sanitize else [])])
    if defines:
        variant += "-" + hashlib.sha256(repr(tuple(defines)).encode()).hexdigest()[:8]
    return build_program(
        sources,
        board,
        includes=(folder,),
        compiler=compiler,
        optimize=optimize,
        sanitize=sanitize,
        defines=(*model_defines(folder), *defines),
        build_dir=build_dir or folder / "build" / variant,
        objects=objects,
    )


def model_defines(folder: Path) -> tuple[str, ...]:
    """By which a program of targets/common/ knows the compiled model in `folder`. Raises McugradError."""
    name = read_manifest(folder)["name"]
    header, serial = (
        str((folder / file).resolve()).replace("\\", "\\\\").replace('"', '\\"')
        for file in (f"{name}.h", f"{name}_serial.h")
    )
    files = f'MG_MODEL_HEADER="{header}"', f'MG_MODEL_SERIAL_HEADER="{serial}"'
    return (f"MG_MODEL={name}", f"MG_MODEL_UPPER={name.upper()}", *files)


def read_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json of a compiled model. Raises McugradError when there is none or it is damaged."""
    path = folder / "manifest.json"
    if folder.is_file():
        raise McugradError(f"{folder} is a file: give the folder that `mcugrad compile` wrote")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not (folder / f"{manifest['name']}.h").is_file():
            raise McugradError(f"{folder} has no {manifest['name']}.h: compile the model again")
    except FileNotFoundError as error:
        raise McugradError(f"{folder} has no manifest.json: give a folder that `mcugrad compile` wrote") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise McugradError(f"{path} is damaged ({error}): compile the model again") from error
    return manifest


def build_program(
    sources: Sequence[Path],
    board: Board,
    *,
    build_dir: Path,
    includes: Sequence[Path] = (),
    compiler: Compiler = "gcc",
    optimize: str = "-O2",
    sanitize: bool = False,
    defines: Sequence[str] = (),
    check_stack: bool = True,
    objects: Path | None = None,
) -> Firmware:
    """Build C files with a `main` for a board; on an emulated one start-up, MPU window and fault report are added.

    `check_stack=False` leaves out the stack bound (0 then), for programs that have none, as recursive ones.
    `objects`: see `build`. Raises McugradError as `build` does.
    """
    if sanitize and not board.native:
        raise McugradError(f"sanitizers run only on the host: build without them for {board.name}")
    job = _job(
        sources, board, includes, find_compiler(board, compiler), (optimize, *(f"-D{d}" for d in defines)), sanitize
    )
    build_dir.mkdir(parents=True, exist_ok=True)
    key = job.key() + ("" if check_stack else " without a stack bound")
    done = _load(build_dir, key, board)
    if done is not None:
        return done
    with tempfile.TemporaryDirectory(dir=build_dir) as scratch:
        compiled = _compile(job, Path(scratch), objects)
        elf = _link(job, compiled, Path(scratch))
        firmware = _measure(elf, job, check_stack)
        for file in (elf, elf.with_suffix(".map")):
            file.replace(build_dir / file.name)
    firmware = dataclasses.replace(firmware, elf=build_dir / "firmware.elf")
    _save(build_dir, key, firmware)
    return firmware


def _job(
    sources: Sequence[Path],
    board: Board,
    includes: Sequence[Path],
    compiler: str,
    flags: tuple[str, ...],
    sanitize: bool,
) -> _Job:
    common = targets_dir() / "common"
    folders = (*includes, common, targets_dir() / "drivers", runtime_dir() / "include")
    headers = [path for folder in folders for path in sorted(folder.glob("*")) if path.suffix in (".h", ".inc")]
    flags = (*DIALECT, *_WARNINGS, *board.cpu_flags, *flags, *(_SANITIZERS if sanitize else ()))
    include_flags = tuple(f"-I{folder.resolve()}" for folder in folders)
    defines = tuple(f"-D{define}" for define in board.defines)
    sources = (*sources, *board_sources(board))
    if board.native:
        return _Job(sources, tuple(headers), board, compiler, (*flags, *defines, *include_flags), (), 0)
    script = board_dir(board) / "link.ld"
    include_flags += tuple(f"-isystem{folder}" for folder in board.kind.includes())
    return _Job(
        sources,
        (*headers, script, common / "sections.ld"),
        board,
        compiler,
        (*flags, *BARE, "-fstack-usage", *defines, *include_flags),
        (
            *("-nostartfiles", "-nodefaultlibs", f"-L{common}", "-T", str(script)),
            f"-Wl,--defsym=__stack_reserve={board.stack_reserve}",
            *(
                "-Wl,--gc-sections",
                "-Wl,--emit-relocs",
                "-Wl,--fatal-warnings",
                "-Wl,--no-warn-rwx-segments",
            ),
            *board.kind.link,
        ),
        board.stack_reserve,
    )


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def _compile(job: _Job, scratch: Path, cache: Path | None) -> list[Path]:
    def one(source: Path, target: Path) -> None:
        flags = job.flags_of(source)
        key = None if cache is None else object_key(source, tool_version(job.compiler), flags)
        if cache is not None and key is not None and fetch(cache, key, target):
            return
        answer = _run([job.compiler, *flags, "-c", str(source.resolve()), "-o", str(target)])
        if answer.returncode:
            lines = [line for line in answer.stderr.splitlines() if "error:" in line] or answer.stderr.splitlines()[-1:]
            reason = lines[0] if lines else f"exit code {answer.returncode}"
            raise McugradError(f"{Path(job.compiler).name} refuses {source.name} for {job.board.name}: {reason}")
        if cache is not None and key is not None:
            keep(cache, key, target)

    # Numbered, because a model may be called what one of our own files is called.
    objects = [scratch / f"{i:03d}_{source.stem}.o" for i, source in enumerate(job.sources)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(one, job.sources, objects))
    return objects


def _link(job: _Job, objects: Sequence[Path], scratch: Path) -> Path:
    elf = scratch / "firmware.elf"
    machine = [flag for flag in job.flags if flag.startswith(("-m", "-fsanitize"))]
    link_map = f"-Wl,-Map={elf.with_suffix('.map')}"
    answer = _run([job.compiler, *machine, *map(str, objects), *job.link_flags, link_map, "-o", str(elf)])
    if answer.returncode == 0:
        return elf
    over = re.search(r"region `(RAM|FLASH)' overflowed by (\d+) bytes", answer.stderr)
    if over and job.board.memory:
        memory, kind = (job.board.memory.ram, "SRAM") if over[1] == "RAM" else (job.board.memory.flash, "flash")
        used = memory.size + int(over[2])
        raise McugradError(
            f"the program needs {used} bytes of {kind}, {over[2]} more than the {memory.size} of {job.board.name}: "
            "train fewer layers or take a smaller model"
        )
    reason = next((line for line in answer.stderr.splitlines() if "undefined" in line or "rror" in line), answer.stderr)
    raise McugradError(f"the program for {job.board.name} does not link: {reason.strip()}")


def _measure(elf: Path, job: _Job, check_stack: bool) -> Firmware:
    image = read_elf(elf)
    if job.board.native:
        statics = tuple((s.name, s.size) for s in image.symbols if s.name == "mg_firmware")
        code, const, data = image.size(".text"), image.size(".rodata"), 0
        bss = sum(size for _, size in statics)
        flash = code + const
    else:
        statics = tuple(
            (s.name, s.size) for s in image.symbols if s.kind == "object" and s.section in (".data", ".bss")
        )
        code, const = image.size(".text"), image.size(".rodata")
        data, bss = image.size(".data"), image.size(".bss")
        flash = image.symbol("__flash_used").value
    sizes = Sizes(code, const, data, bss, data + bss, job.stack_reserve, flash)
    bound = 0
    if check_stack and not job.board.native:
        bound = stack_bound(elf, image, job.board.kind, read_stack_usage(elf.parent))
        if bound > job.stack_reserve:
            raise McugradError(
                f"the program may use {bound} bytes of stack and {job.board.name} reserves {job.stack_reserve}: "
                f"raise stack_reserve in {board_dir(job.board) / 'board.toml'}"
            )
    return Firmware(job.board, elf, sizes, bound, statics)


def _save(build_dir: Path, key: str, firmware: Firmware) -> None:
    record = {
        "key": key,
        "sizes": dataclasses.asdict(firmware.sizes),
        "stack_bound": firmware.stack_bound,
        "statics": firmware.statics,
    }
    scratch = build_dir / f"firmware.{os.getpid()}.json"
    scratch.write_text(json.dumps(record, indent=1), encoding="utf-8")
    scratch.replace(build_dir / "firmware.json")


def _load(build_dir: Path, key: str, board: Board) -> Firmware | None:
    elf = build_dir / "firmware.elf"
    try:
        record = json.loads((build_dir / "firmware.json").read_text(encoding="utf-8"))
        if record["key"] != key or not elf.is_file():
            return None
        statics = tuple((str(name), int(size)) for name, size in record["statics"])
        return Firmware(board, elf, Sizes(**record["sizes"]), int(record["stack_bound"]), statics)
    except (OSError, ValueError, KeyError, TypeError):
        return None
