"""`mcugrad flash`: the command is spelt out, run by the first tool that is there, and never waited for without end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cli_support import Terminal, network, terminal, write_model, write_samples
from firmware_support import fake_folder
from mcugrad.errors import McugradError
from mcugrad.flash import tools
from mcugrad.flash.images import Images
from mcugrad.simulate.board import board_names, load_board

pytestmark = pytest.mark.device
__all__ = ["terminal"]
REAL = [name for name in board_names() if load_board(name).real]
IMAGES = Images(Path("/a b/f.elf"), Path("/a b/f.bin"), Path("/a b/f.hex"), Path("/a b/f.uf2"), 0x08000000)


def _tool(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH beside the system's shell."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setattr(tools, "_installed", lambda name: (folder / name).is_file())
    return folder


@pytest.mark.parametrize("name", REAL)
def test_every_way_of_every_board_is_spelt_out(only: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(tools, "_drive", lambda drive: Path("/media/me") / drive)
    board = load_board(name)
    for way in board.flash:
        _tool(only, "cp" if way.tool == "copy" else way.tool, "")
        text = str(tools.plan(board, IMAGES, "/dev/ttyACM7"))
        assert text.startswith(f"{'cp' if way.tool == 'copy' else way.tool} ")
        assert "'/a b/f." in text or "{/a b/f." in text
        (only / ("cp" if way.tool == "copy" else way.tool)).unlink()
        assert "is not installed: " in tools.plan(board, IMAGES, None).missing


def test_the_first_tool_that_is_installed_is_taken(only: Path) -> None:
    board = load_board("nucleo-f412zg")
    _tool(only, "st-flash", "")
    _tool(only, "pyocd", "")
    assert str(tools.plan(board, IMAGES, None)) == "st-flash --reset --format ihex write '/a b/f.hex'"
    _tool(only, "openocd", "")
    program = "'program {/a b/f.elf} verify reset exit'"
    assert str(tools.plan(board, IMAGES, None)) == f"openocd -f board/st_nucleo_f4.cfg -c {program}"


def test_no_probe_is_one_sentence(only: Path) -> None:
    board = load_board("nucleo-f412zg")
    _tool(only, "openocd", "echo Open On-Chip Debugger 0.12.0; echo Error: open failed >&2; exit 1")
    with pytest.raises(
        McugradError, match=r"openocd could not flash nucleo-f412zg \(Error: open failed\): is it connected"
    ):
        tools.execute(tools.plan(board, IMAGES, None), board)


def test_a_tool_that_hangs_is_stopped(only: Path) -> None:
    board = load_board("nucleo-f412zg")
    _tool(only, "openocd", "exec sleep 60")
    with pytest.raises(McugradError, match=r"openocd did not end within 0.2 s and was stopped: is nucleo-f412zg conn"):
        tools.execute(tools.plan(board, IMAGES, None), board, timeout=0.2)


def test_a_port_or_a_drive_that_is_not_there_is_said(only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "_only_port", lambda: None)
    monkeypatch.setattr(tools, "_drive", lambda name: None)
    _tool(only, "bossac", "")
    _tool(only, "cp", "")
    nano, pico = load_board("nano33ble"), load_board("rp2350-pico2")
    assert "no single serial port of a board was found: give --port" in tools.plan(nano, IMAGES, None).missing
    _tool(only, "picotool", "")
    assert tools.plan(pico, IMAGES, None).command[0] == "picotool"
    (only / "picotool").unlink()
    way = tools._spell(pico.flash[1], pico, IMAGES, None)
    assert way.missing == "no drive RP2350 is here: hold BOOTSEL while you plug the board in"


def test_the_command(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = write_model(terminal.folder / "m.onnx", network()), write_samples(terminal.folder / "d.npz")
    terminal.succeeds("compile", model, "-o", "a b", "--data", data, "--train", "all", "--board", "nucleo-f412zg")
    before = sorted(path.name for path in (terminal.folder / "a b").iterdir())
    line = terminal.succeeds("flash", "a b", "--board", "nucleo-f412zg", "--dry-run")
    assert line == (
        "openocd -f board/st_nucleo_f4.cfg "
        "-c 'program {a b/build/serial-nucleo-f412zg/firmware.elf} verify reset exit'\n"
    )
    images = terminal.folder / "a b" / "build" / "serial-nucleo-f412zg"
    assert {"firmware.elf", "firmware.bin", "firmware.hex"} <= {path.name for path in images.iterdir()}
    assert sorted(path.name for path in (terminal.folder / "a b").iterdir()) == sorted([*before, "build"])
    monkeypatch.setattr(tools, "_installed", lambda name: False)
    said = "openocd, which flashes nucleo-f412zg, is not installed: sudo apt-get install openocd"
    assert terminal.refuses("flash", "a b", "--board", "nucleo-f412zg") == said


def test_what_cannot_be_flashed_or_run_is_said(terminal: Terminal) -> None:
    folder = fake_folder(terminal.folder)
    wrong = terminal.refuses("flash", folder, "--board", "mps2-an386")
    assert wrong == "mps2-an386 is no board to flash: use `mcugrad run DIR --on mps2-an386`"
    assert "did you mean nucleo-f412zg?" in terminal.refuses("flash", folder, "--board", "nucleo-f421zg")
    assert "manifest.json" in terminal.refuses("flash", terminal.folder / "none", "--board", "nano33ble")
    np.savez(terminal.folder / "x.npz", x=np.zeros((1, 12), np.float32), y=np.zeros(1, np.int64))
    said = (
        "nucleo-f412zg is a real board, which nothing here can run: bring a firmware onto it with "
        "`mcugrad flash DIR --board nucleo-f412zg`"
    )
    assert terminal.refuses("run", folder, "--on", "nucleo-f412zg", "--test", "x.npz") == said
    assert terminal.refuses("bench", folder, "--on", "nucleo-f412zg") == said
