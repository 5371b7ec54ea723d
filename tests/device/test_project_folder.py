"""The folder of C that `compile` writes: make and CMake build it, for this machine and for Arm, with nothing else.

Also what the README shows: its firmware compiles and runs against such a folder, its training scheme is accepted.
"""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cli_support import Terminal, terminal
from mcugrad.pipeline import Options, compile_file
from mcugrad.scheme import load_scheme
from mcugrad.simulate.board import load_board

__all__ = ["terminal"]
ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARM = "arm-none-eabi-gcc"
# What freestanding compilers may call by themselves, and their own arithmetic (64-bit division, soft float).
ALLOWED = re.compile(r"mem(cpy|set|move|cmp)|__aeabi_\w+|_GLOBAL_OFFSET_TABLE_|__stack_chk_fail|__\w+[ds]i\d")
# The functions that the README's firmware leaves to its reader: eight samples of class 1, then one to be named.
STUBS = """
#include <stdio.h>
#include <string.h>
#include "my_model.h"
static int count, shown;
bool sensor_read(float *sample);
bool sensor_read(float *sample)
{
    for (int i = 0; i < MY_MODEL_INPUT_LEN; i++) {
        sample[i] = (float)(i % 7) * 0.25f - 0.75f;
    }
    return count++ < 9;
}
int32_t user_label(void);
int32_t user_label(void)
{
    return count <= 8 ? 1 : -1;
}
void show(const float *logits);
void show(const float *logits)
{
    for (int i = 1; i < MY_MODEL_OUTPUT_LEN; i++) {
        shown = logits[i] > logits[shown] ? i : shown;
    }
}
static _Alignas(4) uint8_t cells[4 * 16384];
static bool erase(void *context, uint32_t address)
{
    (void)context;
    memset(cells + address, 0xFF, 16384);
    return true;
}
static bool program(void *context, uint32_t address, const void *bytes, uint32_t n)
{
    (void)context;
    memcpy(cells + address, bytes, n);
    if (memcmp(bytes, "DONE", 4) == 0) {
        const mg_state_header_t *h = (const void *)(cells + address / 16384 * 16384);
        printf("class %d, %lu bytes\\n", shown, (unsigned long)h->bytes);
    }
    return true;
}
static bool read(void *context, uint32_t address, void *bytes, uint32_t n)
{
    (void)context;
    memcpy(bytes, cells + address, n);
    return true;
}
extern const mg_flash_t my_flash;
const mg_flash_t my_flash = {erase, program, read, NULL, 16384, 4, 4};
"""


def blocks() -> list[tuple[str, str]]:
    """The README's code blocks: language, text."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def block(language: str, containing: str) -> str:
    """The README's code block that contains a text."""
    found = [text for its_language, text in blocks() if its_language == language and containing in text]
    assert len(found) == 1, (language, containing, len(found))
    return str(found[0])


def shell(*words: str | Path, cwd: Path | None = None) -> str:
    """Run a command; its output. Fails with what it said."""
    done = subprocess.run([str(w) for w in words], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The watch's network, compiled under the name that the README uses, in a path with a space."""
    parent = tmp_path_factory.mktemp("a folder")
    shutil.copy(ROOT / "models" / "watch" / "watch-unseen-2.onnx", parent / "my_model.onnx")
    x = np.random.default_rng(0).normal(0, 1, (16, 6, 100)).astype(np.float32)
    np.savez(parent / "calib.npz", x=x)
    options = Options("mps2-an386", parent / "calib.npz", "all")
    compile_file(parent / "my_model.onnx", parent / "my_model", options, ["mcugrad", "compile"])
    return parent / "my_model"


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to build in."""
    return Path(shutil.copytree(original, tmp_path / "with a space" / "my_model"))


def arm_flags() -> str:
    return " ".join(["-O2", *load_board("mps2-an386").cpu_flags])


def undefined(archive: Path, nm: str) -> set[str]:
    """Symbols that an archive uses and does not define."""
    lines = [line.split() for line in shell(nm, archive).splitlines()]
    defined = {words[-1] for words in lines if len(words) == 3}
    return {words[1] for words in lines if len(words) == 2 and words[0] == "U"} - defined


def test_make_builds_for_this_machine(folder: Path) -> None:
    shell("make", "-C", folder)
    assert all(ALLOWED.fullmatch(name) for name in undefined(folder / "libmy_model.a", "nm"))
    assert "up to date" in shell("make", "-C", folder)
    shell("make", "-C", folder, "clean")
    assert not list(folder.glob("*.[oa]"))


def test_make_builds_for_arm_as_the_readme_says(folder: Path) -> None:
    line = block("", "make -C my_model").strip()
    assert f'CFLAGS="{arm_flags()}"' in line
    shell("sh", "-c", line, cwd=folder.parent)
    archive = folder / "libmy_model.a"
    assert all(ALLOWED.fullmatch(name) for name in undefined(archive, "arm-none-eabi-nm"))
    assert "Tag_CPU_arch: v7E-M" in shell("arm-none-eabi-readelf", "-A", archive)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_readme_s_firmware_learns_on_this_machine(folder: Path, compiler: str) -> None:
    (folder.parent / "firmware.c").write_text(block("c", "sensor_read"), encoding="utf-8")
    (folder.parent / "stubs.c").write_text(STUBS, encoding="utf-8")
    shell("make", "-C", folder, f"CC={compiler}")
    warnings: tuple[str | Path, ...] = (
        "-std=c11",
        "-Wall",
        "-Wextra",
        "-Wconversion",
        "-Wshadow",
        "-Werror",
        "-I",
        folder,
    )
    sources = (folder.parent / "firmware.c", folder.parent / "stubs.c", folder / "libmy_model.a")
    shell(compiler, *warnings, *sources, "-o", folder.parent / "firmware")
    state = re.search(r'"state_bytes": (\d+)', (folder / "manifest.json").read_text(encoding="utf-8"))
    assert state is not None
    assert shell(folder.parent / "firmware") == f"class 1, {state[1]} bytes\n"


def test_the_readme_s_firmware_links_for_arm(folder: Path) -> None:
    (folder.parent / "firmware.c").write_text(block("c", "sensor_read"), encoding="utf-8")
    (folder.parent / "stubs.c").write_text(STUBS, encoding="utf-8")
    shell("make", "-C", folder, f"CC={ARM}", "AR=arm-none-eabi-ar", f"CFLAGS={arm_flags()}")
    files = (folder.parent / "firmware.c", folder.parent / "stubs.c", folder / "libmy_model.a")
    target: tuple[str | Path, ...] = (*arm_flags().split(), "--specs=rdimon.specs", "-I", folder)
    shell(ARM, *target, *files, "-o", folder.parent / "firmware.elf")


@pytest.mark.parametrize("compiler", ["g++", "arm-none-eabi-g++"])
def test_cpp_can_include_the_header(folder: Path, compiler: str) -> None:
    """Asked of the compilers that are there; gcc's own C++ front end is not part of the set-up."""
    text = (folder / "my_model.h").read_text(encoding="utf-8")
    assert 'extern "C" {' in text
    if shutil.which(compiler) is not None:
        (folder / "sketch.cpp").write_text('#include "my_model.h"\nmy_model_t model;\n', encoding="utf-8")
        shell(compiler, "-Wall", "-Werror", "-c", folder / "sketch.cpp", "-o", folder / "sketch.o")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-ffast-math"], "build without -ffast-math"),
        (["-U__BYTE_ORDER__", "-D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__"], "are little endian"),
    ],
)
def test_arithmetic_and_byte_order_that_would_change_the_bits_are_refused(
    folder: Path, flags: list[str], words: str
) -> None:
    command = ["gcc", "-std=c11", *flags, "-fsyntax-only", str(folder / "learning_rate.c")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.returncode, words in answer.stderr) == (1, True)


def test_both_build_files_name_every_source_and_no_other(original: Path) -> None:
    sources = {path.name for pattern in ("*.c", "*.S") for path in original.glob(pattern)}
    cmake = (original / "CMakeLists.txt").read_text(encoding="utf-8")
    library = re.search(r"add_library\(my_model STATIC\n(.*?)\)", cmake, re.DOTALL)
    assert library is not None
    assert set(library[1].split()) == sources
    assert all(option in cmake for option in ("-ffp-contract=off", "-fno-fast-math", "c_std_11"))
    assert cmake.count("(") == cmake.count(")")
    make = (original / "Makefile").read_text(encoding="utf-8")
    assert set(re.findall(r"^  (\w+)\.o", make, re.MULTILINE)) == {Path(name).stem for name in sources}


@pytest.mark.parametrize("arm", [False, True], ids=["host", "arm"])
def test_cmake_builds_it_where_cmake_is_installed(folder: Path, arm: bool) -> None:
    """CMake is not part of the set-up: without it, the test above is what is known about CMakeLists.txt."""
    if shutil.which("cmake") is None:
        return
    options = []
    if arm:
        options = ["-DCMAKE_SYSTEM_NAME=Generic", f"-DCMAKE_C_COMPILER={ARM}", f"-DCMAKE_C_FLAGS={arm_flags()}"]
        options += ["-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY"]
    outer = folder.parent
    outer.joinpath("CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(firmware C)\nadd_subdirectory(my_model)\n"
        "add_library(use STATIC use.c)\ntarget_link_libraries(use my_model)\n",
        encoding="utf-8",
    )
    outer.joinpath("use.c").write_text('#include "my_model.h"\nmy_model_t model;\n', encoding="utf-8")
    shell("cmake", "-S", outer, "-B", outer / "build", *options)
    shell("cmake", "--build", outer / "build")
    assert (outer / "build" / "my_model" / "libmy_model.a").is_file()


def test_the_readme_s_training_scheme_is_one(tmp_path: Path) -> None:
    path = tmp_path / "scheme.toml"
    path.write_text(block("toml", "[weight]"), encoding="utf-8")
    scheme = load_scheme(str(path))
    assert not isinstance(scheme, str)
    assert (scheme.head, scheme.errors, scheme.bias.last, scheme.weight) == (True, "int8", 20, {"b08.expand": 0.25})


BUTTON_STUBS = """
#include <stdint.h>
#include <stdlib.h>
int32_t uart_read(void);
void uart_write(uint8_t byte);
uint32_t milliseconds(void);
void sensor_window(int8_t *x);
int32_t button_label(void);
void show(const float *logits);
static uint32_t now, shown, learned;
int32_t uart_read(void) { static uint32_t last; return now == last ? -1 : (int32_t)((last = now) & 255); }
void uart_write(uint8_t byte) { (void)byte; }
uint32_t milliseconds(void) { if (now++ == 2000) exit(shown >= 18 && learned == 1 ? 0 : 1); return now; }
void sensor_window(int8_t *x) { x[0] = 1; }
int32_t button_label(void) { if (now < 1000 || learned) return -1; learned++; return 2; }
void show(const float *logits) { shown += logits[0] - logits[0] == 0.0f; }
"""
ARDUINO_STUBS = """
#include <stdint.h>
static struct { void begin(long) {} int read() { return -1; } void write(uint8_t) {} } Serial;
void setup();
void loop();
"""


def test_the_readme_s_button_firmware_predicts_ten_times_a_second_and_learns_once(folder: Path) -> None:
    (folder.parent / "main.c").write_text(block("c", "button_label"), encoding="utf-8")
    (folder.parent / "stubs.c").write_text(BUTTON_STUBS, encoding="utf-8")
    warnings = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-ffp-contract=off")
    own = [folder.parent / "main.c", folder.parent / "stubs.c"]
    shell("gcc", *warnings, f"-I{folder}", *own, *sorted(folder.glob("*.c")), "-o", folder / "firmware")
    shell(folder / "firmware")
    shell(ARM, *warnings, *arm_flags().split(), "-c", f"-I{folder}", own[0], "-o", folder / "main.o")


def test_the_readme_s_sketch_compiles(folder: Path) -> None:
    sketch = folder.parent / "sketch.cpp"
    sketch.write_text(ARDUINO_STUBS + block("cpp", "void setup"), encoding="utf-8")
    shell(
        "clang",
        "-x",
        "c++",
        "-std=c++11",
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-I{folder}",
        "-c",
        sketch,
        "-o",
        folder / "sketch.o",
    )


def test_the_readme_s_commands_exist(terminal: Terminal) -> None:
    """Every `mcugrad` line of the README's blocks names a command, and options that it has."""
    text = "".join(text for language, text in blocks() if not language)
    lines = [line.split() for line in re.findall(r"^(?:\$ )?mcugrad (.*?)(?: &|\s{2,}#.*)?$", text, re.MULTILINE)]
    made = {"inspect", "compile", "run", "bench"}
    assert {words[0] for words in lines} == made | {"flash", "export", "serve", "connect", "pull", "push", "merge"}
    assert {words[2] for words in lines if words[0] == "connect"} == {"info", "train"}
    for words in lines:
        assert "Usage: mcugrad" in terminal.succeeds(*words, "-h")


def test_the_readme_s_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing, missing
