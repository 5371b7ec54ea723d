"""What carries the bytes: a serial port or PTY, a TCP or Unix socket (QEMU's -serial)."""

from __future__ import annotations

import re
import select
import socket
import time
from pathlib import Path
from typing import Protocol

from mcugrad.errors import McugradError

BAUD = 115200
_LISTENS = 1.0  # seconds: QEMU's socket has a name before anybody listens there


class Transport(Protocol):
    """An open line. `name` is what an error calls it; every function raises OSError when the other side is gone."""

    name: str

    def read(self, timeout: float) -> bytes:
        """What has come, after at most `timeout` seconds; empty when nothing did."""

    def write(self, data: bytes) -> None:
        """All of it."""

    def close(self) -> None:
        """Never raises."""


class SocketLine:
    """A connected stream socket."""

    def __init__(self, line: socket.socket, name: str) -> None:
        self.name, self._socket = name, line

    def read(self, timeout: float) -> bytes:
        if not select.select([self._socket], [], [], timeout)[0]:
            return b""
        data = self._socket.recv(4096)
        if not data:
            raise ConnectionResetError("the other side has closed it")
        return data

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        self._socket.close()


class SerialLine:
    """A serial port, or a PTY, through pyserial."""

    def __init__(self, port: str, baud: int) -> None:
        import serial

        self.name = port
        try:
            self._port = serial.Serial(port, baud, timeout=0, write_timeout=10)
        except (serial.SerialException, ValueError) as problem:
            raise McugradError(f"{port} cannot be opened as a serial port{_why(problem)}: {_ports()}") from problem
        self._failure: type[Exception] = serial.SerialException

    def read(self, timeout: float) -> bytes:
        try:
            self._port.timeout = timeout
            first = self._port.read(1)
            return bytes(first + self._port.read(self._port.in_waiting)) if first else b""
        except (self._failure, TypeError) as problem:  # TypeError: pyserial's, of a port that was closed meanwhile
            raise ConnectionResetError(str(problem)) from problem

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except self._failure as problem:
            raise ConnectionResetError(str(problem)) from problem

    def close(self) -> None:
        self._port.close()


def is_port(text: str) -> bool:
    """Whether it names a line and not a file. A board's that is not plugged in does, too."""
    if Path(text).is_file():  # /dev/shm is memory
        return False
    return re.match(r"(tcp|unix):|/dev/|COM\d+$", text) is not None or Path(text).is_char_device()


def open_line(port: str, baud: int = BAUD) -> Transport:
    """The line at `port`: `tcp:HOST:PORT`, `unix:PATH`, or a serial port's name. Raises McugradError."""
    kind, _, address = port.partition(":")
    if kind == "unix":
        return _connect(port, socket.AF_UNIX, address)
    if kind == "tcp":
        host, _, number = address.rpartition(":")
        if not host or not number.isdecimal() or int(number) > 65535:
            raise McugradError(f"{port} is no address: write tcp:HOST:PORT, such as tcp:localhost:4444")
        return _connect(port, socket.AF_INET, (host, int(number)))
    return SerialLine(port, baud)


def _connect(port: str, family: socket.AddressFamily, address: str | tuple[str, int]) -> SocketLine:
    line = socket.socket(family, socket.SOCK_STREAM)
    line.settimeout(10)
    end = time.monotonic() + (_LISTENS if family == socket.AF_UNIX else 0)
    while True:
        try:
            line.connect(address)
            break
        except OSError as problem:
            if isinstance(problem, ConnectionRefusedError) and time.monotonic() < end:
                time.sleep(0.02)
                continue
            line.close()
            raise McugradError(
                f"{port} cannot be reached ({problem.strerror or problem}): is the board running?"
            ) from problem
    if family == socket.AF_INET:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return SocketLine(line, port)


def _why(problem: Exception) -> str:
    """The operating system's reason, if pyserial kept it."""
    import os

    number = getattr(problem, "errno", None)
    return f" ({os.strerror(number)})" if isinstance(number, int) else ""


def _ports() -> str:
    """What this machine has instead."""
    from serial.tools.list_ports import comports

    names = sorted(port.device for port in comports())
    return f"this machine has {', '.join(names)}" if names else "this machine has none that a board is plugged into"
