"""Firmware builds: sizes are as predicted, nothing hides in RAM, the stack bound holds, mistakes are sentences."""

from pathlib import Path

import pytest

from firmware_support import ALL_EMULATED, FAKE_BYTES, FAKE_OUTPUTS, clusters, fake_folder, program
from mcugrad.errors import McugradError
from mcugrad.simulate.board import board_names, load_board
from mcugrad.simulate.build import build, build_program
from mcugrad.simulate.footprint import static_bytes
from mcugrad.simulate.run import run_session
from mcugrad.simulate.session import Mode, Session
from mcugrad.simulate.toolchain import Compiler

pytestmark = pytest.mark.device


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_folder(tmp_path_factory.mktemp("build"))


@pytest.mark.parametrize("board", ALL_EMULATED)
@pytest.mark.parametrize(
    ("defines", "model_bytes", "target_len"),
    [
        ((), FAKE_BYTES, 0),
        (("FAKE_ARENA=100000",), FAKE_BYTES - 64 + 100000, 0),
        (("FAKE_REGRESSION",), FAKE_BYTES, 4),
        (("FAKE_FROZEN",), FAKE_BYTES, 0),
        (("MCUGRAD_PROFILE",), FAKE_BYTES, 0),
    ],
)
def test_linked_static_is_the_predicted_one(
    folder: Path, board: str, defines: tuple[str, ...], model_bytes: int, target_len: int
) -> None:
    firmware = build(folder, load_board(board), defines=defines)
    predicted = static_bytes(model_bytes, FAKE_OUTPUTS, target_len)
    assert firmware.sizes.static == firmware.sizes.data + firmware.sizes.bss == predicted
    assert firmware.statics == (("mg_firmware", predicted),)


@pytest.mark.parametrize("board", ALL_EMULATED)
@pytest.mark.parametrize("optimize", ["-O0", "-O2", "-O3", "-Os"])
def test_flash_is_the_sum_of_its_parts(folder: Path, board: str, optimize: str) -> None:
    sizes = build(folder, load_board(board), optimize=optimize).sizes
    assert sizes.flash == sizes.code + sizes.const + sizes.data
    assert sizes.data == 0
    assert 0 < sizes.flash < 16384


def test_host_reports_the_same_static(folder: Path) -> None:
    assert build(folder, load_board("host")).sizes.static == static_bytes(FAKE_BYTES, FAKE_OUTPUTS, 0)


@pytest.mark.parametrize("defines", [("FAKE_REGRESSION",), ("FAKE_FROZEN",), ("FAKE_FROZEN", "FAKE_REGRESSION")])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_every_variant_builds_without_a_warning(folder: Path, defines: tuple[str, ...], compiler: Compiler) -> None:
    static = static_bytes(FAKE_BYTES, FAKE_OUTPUTS, 4 if "FAKE_REGRESSION" in defines else 0)
    assert build(folder, load_board("host"), compiler=compiler, defines=defines).sizes.static == static


def test_predicted_for_odd_sizes() -> None:
    assert static_bytes(13, 1, 0) == 16 + 232
    assert static_bytes(16, 2, 0) == 16 + 240
    assert static_bytes(16, 10, 10) == 16 + 224 + 80


@pytest.mark.parametrize("board", ALL_EMULATED)
@pytest.mark.parametrize("optimize", ["-O0", "-O2", "-O3"])
def test_stack_bound_covers_the_painted_stack(folder: Path, board: str, optimize: str) -> None:
    firmware = build(folder, load_board(board), optimize=optimize)
    for mode in (Mode.TRAIN, Mode.BENCH, Mode.PREDICT):
        session = Session(mode, FAKE_OUTPUTS, clusters(20), clusters(10), epochs=2, learning_rate=1e-3, steps=2)
        painted = run_session(firmware, session, timeout=60).stack_high_water
        assert 0 < painted <= firmware.stack_bound <= firmware.sizes.stack_reserve


def _bound(folder: Path, main: str) -> int:
    return program(folder, "mps2-an386", main, check_stack=True).stack_bound


LEAF = """
int leaf(int n);
int flat(int n);
__attribute__((noipa)) int leaf(int n) { volatile char used[512]; used[n] = 1; return used[n]; }
__attribute__((noipa)) int flat(int n) { return n + 1; }
typedef int (*call_t)(int);
"""


def test_stack_bound_follows_pointers_to_functions(tmp_path: Path) -> None:
    direct = _bound(tmp_path / "a", LEAF + "int main(void) { return flat(1) + flat(2); }")
    pointed = _bound(
        tmp_path / "b",
        LEAF + "static const call_t table[2] = {leaf, flat};\n"
        "int main(void) { volatile int i = 1; return table[i](2) + table[1 - i](3); }",
    )
    assert 480 <= pointed - direct <= 600


def test_stack_bound_follows_pointers_that_no_rule_knows(tmp_path: Path) -> None:
    """A file with a rule is given a table that the rule does not name: the bound is that without any rule."""
    caller = "typedef int (*call_t)(int);\nint call(call_t to);\nint call(call_t to) { return to(1) + to(2); }\n"
    main = LEAF + "int call(call_t to);\nint main(void) { volatile call_t to = leaf; return call(to); }"
    bounds = []
    for name in ("anything.c", "flash_log.c"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text(caller, encoding="utf-8")
        (folder / "program.c").write_text(main.replace("\ntypedef", "\nint main(void);\ntypedef", 1), encoding="utf-8")
        sources = [folder / "program.c", folder / name]
        bounds.append(build_program(sources, load_board("mps2-an386"), build_dir=folder / "build").stack_bound)
    assert bounds[0] == bounds[1] > 512


def test_stack_bound_counts_libgcc(tmp_path: Path) -> None:
    plain = _bound(tmp_path / "a", "int main(void) { volatile long long x = 9; return (int)(x + x); }")
    divided = _bound(tmp_path / "b", "int main(void) { volatile long long x = 9; return (int)(x / x); }")
    assert divided > plain


def test_recursion_has_no_stack_bound(tmp_path: Path) -> None:
    source = """__attribute__((noinline)) static int down(volatile int *p) {
        volatile int n = *p - 1; return n ? down(&n) + *p : 0; }
    int main(void) { volatile int n = 5; return down(&n); }"""
    with pytest.raises(McugradError, match=r"calls itself \(down -> down\)"):
        _bound(tmp_path, source)


def test_frames_of_run_time_size_have_no_stack_bound(tmp_path: Path) -> None:
    source = "int main(void) { volatile int n = 5; volatile char a[n]; a[n - 1] = 1; return a[n - 1] - 1; }"
    with pytest.raises(McugradError, match=r"main in .* takes stack by a run-time size"):
        _bound(tmp_path, source)


def test_stack_over_its_reserve_does_not_build(tmp_path: Path) -> None:
    with pytest.raises(McugradError, match="bytes of stack and mps2-an386 reserves 4096"):
        _bound(tmp_path, "int main(void) { volatile char a[5000]; a[0] = 1; a[4999] = a[0]; return a[4999] - 1; }")


def test_an_up_to_date_firmware_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, board = fake_folder(tmp_path), load_board("mps2-an386")
    first = build(folder, board)
    stamp = first.elf.stat().st_mtime_ns
    assert build(folder, board) == first
    assert first.elf.stat().st_mtime_ns == stamp
    weights = folder / "fake_weights.c"
    weights.write_text(weights.read_text(encoding="utf-8").replace("3, -5", "9, -5"), encoding="utf-8")
    assert build(folder, board).elf.stat().st_mtime_ns != stamp


def test_builds_are_reproducible(tmp_path: Path) -> None:
    board = load_board("mps2-an386")
    images = [build(fake_folder(tmp_path / name), board).elf.read_bytes() for name in ("a", "b")]
    assert images[0] == images[1]


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = fake_folder(tmp_path)
    (folder / "fake.c").write_text("int unfinished(", encoding="utf-8")
    with pytest.raises(McugradError, match=r"arm-none-eabi-gcc refuses fake.c for mps2-an386: .*error:"):
        build(folder, load_board("mps2-an386"), build_dir=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("board", "found", "sentence"),
    [
        ("mps2-an386", (), "arm-none-eabi-gcc is not installed: run `sudo apt-get install gcc-arm-none-eabi libnewlib"),
        ("host", (), "gcc is not installed: run `sudo apt-get install gcc libc6-dev`"),
    ],
)
def test_missing_toolchain_names_the_apt_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: str, found: tuple[str, ...], sentence: str
) -> None:
    folder = fake_folder(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(McugradError, match=sentence):
        build(folder, load_board(board))
    assert not (folder / "build").exists()


def test_missing_emulator_names_the_apt_line(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    firmware = build(folder, load_board("mps2-an386"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        McugradError, match="qemu-system-arm is not installed: run `sudo apt-get install qemu-system-arm`"
    ):
        run_session(firmware, Session(Mode.EVALUATE, FAKE_OUTPUTS, test=clusters(1)))


def test_missing_c_library_names_the_apt_line(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "arm-none-eabi-gcc"
    compiler.write_text("#!/bin/sh\necho libc.a\n", encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(McugradError, match="no C library: run `sudo apt-get install libnewlib-arm-none-eabi`"):
        build(folder, load_board("mps2-an386"), optimize="-O1")


def test_what_cannot_be_built_is_said(tmp_path: Path, folder: Path) -> None:
    board = load_board("mps2-an386")
    with pytest.raises(McugradError, match="no manifest.json"):
        build(tmp_path, board)
    (tmp_path / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(McugradError, match="manifest.json is damaged"):
        build(tmp_path, board)
    with pytest.raises(McugradError, match="clang builds only for the host"):
        build(folder, board, compiler="clang")
    with pytest.raises(McugradError, match="sanitizers run only on the host"):
        build(folder, board, sanitize=True)


def test_unknown_board_names_the_nearest() -> None:
    assert {"host", *ALL_EMULATED} <= set(board_names())
    with pytest.raises(McugradError, match=r"no board 'mps2-an368': did you mean mps2-an386\?"):
        load_board("mps2-an368")
    with pytest.raises(McugradError, match="choose one of host, mps2-an386, mps2-an500, "):
        load_board("zzz")


@pytest.mark.parametrize(
    ("board", "per_tick"),
    [("mps2-an386", 5 / 8), ("mps2-an500", 5 / 8), ("mps2-an505", 25 / 32), ("qemu-riscv32", 25 / 16)],
)
def test_instructions_are_ticks_times_a_ratio(board: str, per_tick: float) -> None:
    assert [load_board(board).instructions(ticks) for ticks in (0, 32, 16000000)] == [0, 32 * per_tick, 16e6 * per_tick]
    assert load_board("host").instructions(100) == 0
