"""What carries the bytes of the serial line: which names are ports, and sockets."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from mcugrad.device.transport import is_port, open_line
from mcugrad.errors import McugradError


def test_a_file_is_no_port_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("COM1").write_bytes(b"a state")
    assert [is_port(name) for name in ("COM1", "a.state")] == [False, False]
    assert all(map(is_port, ("COM3", "/dev/ttyACM7", "/dev/null", "tcp:localhost:4444", "unix:/tmp/uart")))


def test_a_socket_that_nobody_listens_to_yet_is_waited_for(tmp_path: Path) -> None:
    """QEMU's has a name before it listens; one that nobody comes to is an error."""
    address = str(tmp_path / "uart")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        threading.Timer(0.1, server.listen).start()
        open_line(f"unix:{address}").close()
    with pytest.raises(McugradError, match="cannot be reached"):
        open_line(f"unix:{address}")
