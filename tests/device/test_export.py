"""`mcugrad export`: the library builds unedited, in the layout that each build system documents.

CMake builds it for this machine and for Arm, where CMake is installed. The build systems of PlatformIO, Arduino and
Zephyr are not part of the set-up: their manifests are compared with their documentation, and the code is compiled as
they compile it: against a stub of Arduino's core, and with Zephyr's CMake functions in CMake's own words.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bottlenecks import Bottlenecks
from cli_support import Terminal, network, terminal, write_model, write_samples
from mcugrad.export.layouts import LAYOUTS, library
from mcugrad.pipeline import Options, compile_file
from mcugrad.simulate.board import load_board

pytestmark = pytest.mark.device
__all__ = ["terminal"]
ARM = "arm-none-eabi-gcc"
STUB = """
#include <stdint.h>
#include <stddef.h>
enum { LOW, HIGH, INPUT_PULLUP, A0 };
struct { void begin(long) {} void println(float) {} } Serial;
static int presses;
int analogRead(int) { return 512; }
int digitalRead(int) { return presses++ % 2; }
void pinMode(int, int) {}
void delay(int) {}
#include "sketch.ino"
int main() { setup(); for (int i = 0; i < 4; i++) loop(); return presses == 4 || presses == 0 ? 0 : 1; }
"""
ZEPHYR = """
set(CONFIG_NET y)
function(zephyr_library_named name)
  add_library(${name} STATIC)
  target_include_directories(${name} PRIVATE ../include)
endfunction()
function(zephyr_library_sources)
  target_sources(net PRIVATE ${ARGV})
endfunction()
function(zephyr_library_include_directories)
  target_include_directories(net PRIVATE ${ARGV})
endfunction()
function(zephyr_include_directories)
  target_include_directories(net PUBLIC ${ARGV})
endfunction()
function(zephyr_library_compile_options)
  target_compile_options(net PRIVATE ${ARGV})
endfunction()
"""


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    answer = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.fixture(scope="module", params=["trains", "pushed"])
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled model called `net`: one that trains, and one that only infers, from rows that are pushed."""
    folder = tmp_path_factory.mktemp("a folder")
    if request.param == "trains":
        write_model(folder / "net.onnx", network())
        options = Options("mps2-an386", write_samples(folder / "d.npz"), "all")
    else:
        net = Bottlenecks(5)
        net.shape, net.input_shape = [3, 40, 36], (1, 3, 40, 36)
        write_model(folder / "net.onnx", net.build())
        x = np.random.default_rng(1).standard_normal((4, 3, 40, 36)).astype(np.float32)
        options = Options("mps2-an386", write_samples(folder / "d.npz", x=x), "none", input="pushed")
    compile_file(folder / "net.onnx", folder / "net", options, ["test"])
    return folder / "net"


def _exported(compiled: Path, folder: Path, layout: str) -> Path:
    for name, text in library(compiled, layout).items():
        (folder / "net" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "net" / name).write_text(text, encoding="utf-8")
    return folder / "net"


def _arm() -> list[str]:
    flags = " ".join(load_board("mps2-an386").cpu_flags)
    return [
        *("-DCMAKE_SYSTEM_NAME=Generic", f"-DCMAKE_C_COMPILER={ARM}", f"-DCMAKE_C_FLAGS={flags}"),
        "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY",
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_of_the_code_is_lost_or_changed(compiled: Path, layout: str) -> None:
    files = library(compiled, layout)
    code = {p.name: p.read_text(encoding="utf-8") for p in compiled.iterdir() if p.suffix in (".c", ".h", ".S", ".inc")}
    there = {Path(name).name: text for name, text in files.items() if name.startswith(("src/", "include/"))}
    assert there == code
    assert "README.md" in files


@pytest.mark.parametrize("arm", [False, True], ids=["host", "arm"])
def test_cmake_builds_a_firmware_with_it(compiled: Path, tmp_path: Path, arm: bool) -> None:
    if shutil.which("cmake") is None:
        return
    _exported(compiled, tmp_path, "cmake")
    program = "add_library(firmware STATIC" if arm else "add_executable(firmware"
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(firmware C)\nadd_subdirectory(net)\n"
        f"{program} net/example/main.c)\ntarget_link_libraries(firmware net::net)\n",
        encoding="utf-8",
    )
    _run("cmake", "-S", tmp_path, "-B", tmp_path / "build", *(_arm() if arm else ()))
    _run("cmake", "--build", tmp_path / "build")
    if not arm:
        _run(tmp_path / "build" / "firmware")


def test_zephyr_s_functions_build_it(compiled: Path, tmp_path: Path) -> None:
    folder = _exported(compiled, tmp_path, "zephyr")
    module = (folder / "zephyr" / "module.yml").read_text(encoding="utf-8")
    assert module == "name: net\nbuild:\n  cmake: zephyr\n  kconfig: zephyr/Kconfig\n"
    kconfig = (folder / "zephyr" / "Kconfig").read_text(encoding="utf-8")
    assert re.fullmatch(r'config NET\n\tbool ".+"\n\thelp\n(\t  .+\n)+', kconfig)
    if shutil.which("cmake") is None:
        return
    (tmp_path / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.13)\nproject(firmware C ASM)\n{ZEPHYR}add_subdirectory(net/zephyr)\n"
        "add_executable(app net/example/main.c)\ntarget_link_libraries(app net)\n",
        encoding="utf-8",
    )
    _run("cmake", "-S", tmp_path, "-B", tmp_path / "build")
    _run("cmake", "--build", tmp_path / "build")
    _run(tmp_path / "build" / "app")


def test_platformio_s_manifest_is_as_documented_and_its_folders_compile(compiled: Path, tmp_path: Path) -> None:
    folder = _exported(compiled, tmp_path, "platformio")
    facts = json.loads((folder / "library.json").read_text(encoding="utf-8"))
    assert re.fullmatch(r"[\w .-]+", facts["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+(-[\w.]+)?", facts["version"])
    assert all((folder / "include" / header).is_file() for header in facts["headers"])
    build = facts["build"]
    assert all((folder / build[key]).is_dir() for key in ("srcDir", "includeDir"))
    assert all((folder / e["base"] / name).is_file() for e in facts["examples"] for name in e["files"])
    sources = sorted((folder / "src").glob("*.c"))
    _run("gcc", *build["flags"], "-Iinclude", "-Isrc", *sources, "examples/once/main.c", "-o", "once", cwd=folder)
    _run(folder / "once")


def test_arduino_s_layout_compiles_against_a_stub_core(compiled: Path, tmp_path: Path) -> None:
    folder = _exported(compiled, tmp_path, "arduino")
    lines = (folder / "library.properties").read_text(encoding="utf-8").splitlines()
    facts = dict(line.split("=", 1) for line in lines)
    needed = ("name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures")
    assert all(facts[key] for key in needed)
    assert facts["category"] == "Data Processing"
    assert (folder / "src" / facts["includes"]).is_file()
    sketch = folder / "examples" / "net_button" / "net_button.ino"
    shutil.copy(sketch, tmp_path / "sketch.ino")
    (tmp_path / "core.cpp").write_text(STUB, encoding="utf-8")
    # The dialect of Arduino's cores, which contracts unless the sources say otherwise.
    _run("gcc", "-std=gnu11", "-O1", "-c", *sorted((folder / "src").glob("*.c")), cwd=tmp_path)
    flags = ("-x", "c++", "-std=gnu++14", "-fno-exceptions", f"-I{folder / 'src'}")
    _run("clang", *flags, "-c", "core.cpp", "-o", "core.o", cwd=tmp_path)
    _run("clang", *sorted(tmp_path.glob("*.o")), "-o", tmp_path / "sketch", cwd=tmp_path)
    _run(tmp_path / "sketch")


def test_the_command_writes_a_new_folder_or_nothing(terminal: Terminal) -> None:
    model, data = write_model(terminal.folder / "m.onnx", network()), write_samples(terminal.folder / "d.npz")
    terminal.succeeds("compile", model, "-o", "m", "--data", data)
    said = terminal.succeeds("export", "m", "--as", "arduino", "-o", "a b")
    assert re.fullmatch(r"a b: \d+ files, a library for arduino\n", said)
    assert (terminal.folder / "a b" / "library.properties").is_file()
    empty = terminal.folder / "empty"
    empty.mkdir()
    before = empty.stat().st_ino
    terminal.succeeds("export", "m", "--as", "zephyr", "-o", "empty")
    assert (empty.stat().st_ino, (empty / "zephyr" / "module.yml").is_file()) == (before, True)
    assert not list(terminal.folder.rglob(".*"))
    assert "is there already" in terminal.refuses("export", "m", "--as", "cmake", "-o", "a b")
    assert "does not exist" in terminal.refuses("export", "m", "--as", "cmake", "-o", "none/there")
    assert "no manifest.json" in terminal.refuses("export", "a b", "--as", "cmake", "-o", "c")
    assert "'mbed'" in terminal.refuses("export", "m", "--as", "mbed", "-o", "c")
    (terminal.folder / "m" / "m.c").unlink()
    assert "m.c is missing: compile the model again" in terminal.refuses("export", "m", "--as", "cmake", "-o", "c")
