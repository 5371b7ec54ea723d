"""Frames of the serial protocol (runtime_c/PROTOCOL.md): header, payload, CRC-32, packed by COBS between zeros."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

PAYLOAD = 240  # bytes at most
ANSWER = 0x80  # set in the verb of an answer
_HEADER = struct.Struct("<BBHI")
_CRC = struct.Struct("<I")
_MOST = _HEADER.size + PAYLOAD + _CRC.size


@dataclass(frozen=True)
class Frame:
    """A request (status 0), or an answer, whose verb has ANSWER set."""

    verb: int
    sequence: int
    session: int
    payload: bytes = b""
    status: int = 0


def encode(frame: Frame) -> bytes:
    """The frame on the wire. Its leading zero ends whatever noise came before. Raises ValueError for a payload that is
    too long."""
    if len(frame.payload) > PAYLOAD:
        raise ValueError(f"a payload of {len(frame.payload)} bytes: a frame holds {PAYLOAD}")
    content = _HEADER.pack(frame.verb, frame.status, frame.sequence, frame.session) + frame.payload
    content += _CRC.pack(zlib.crc32(content))
    # Content is shorter than 254 bytes, so a run of COBS never reaches its longest.
    packed = b"".join(bytes([len(run) + 1]) + run for run in content.split(b"\0"))
    return b"\0" + packed + b"\0"


def decode(packed: bytes) -> Frame | None:
    """What lies between two zeros; None unless it is a sound frame."""
    runs, at = [], 0
    while at < len(packed):
        end = at + packed[at]
        runs.append(packed[at + 1 : end])
        at = end
    content = b"\0".join(runs)
    if at != len(packed) or not _HEADER.size + _CRC.size <= len(content) <= _MOST:
        return None
    body, (crc,) = content[: -_CRC.size], _CRC.unpack(content[-_CRC.size :])
    if zlib.crc32(body) != crc:
        return None
    verb, status, sequence, session = _HEADER.unpack_from(body)
    return Frame(verb, sequence, session, body[_HEADER.size :], status)


class Decoder:
    """Bytes of the line in, sound frames out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes. What is damaged is skipped: who asked will ask again."""
        *whole, self._rest = (self._rest + data).split(b"\0")
        self._rest = self._rest[-2 * _MOST :]  # a line that never sends a zero costs no memory
        for packed in whole:
            if packed and (frame := decode(packed)) is not None:
                yield frame
