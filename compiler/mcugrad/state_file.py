"""What a device learned, as a file: the bytes of a slot of its flash (runtime_c/include/mg_flash.h) but for the commit.

Little endian:

| byte | what |
|---|---|
| 0 | "MGST" |
| 4 | format: 1, and its complement above (0xFFFE0001) |
| 8 | model hash, 16 bytes: `model_hash` of the manifest, `<NAME>_MODEL_HASH` of the header |
| 24 | sequence: counts a device's saves, modulo 2^32; 0 in a file that no device wrote |
| 28 | bytes of the state |
| 32 | slots that the device has erased so far |
| 36 | training steps of its plan |
| 40 | name of the model, 24 bytes, filled up with zeros |
| 64 | the state, `<name>_state_t`; `state` of the manifest says what lies where |
| | 0xFF until 4 bytes of a block of 32 are left |
| end - 4 | CRC-32 (IEEE 802.3, zlib's) of everything before it |

A slot has a block of 32 bytes behind it, "DONE" eight times, which is programmed last; a file has nothing there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcugrad.errors import McugradError
from mcugrad.files import write_file

SUFFIX = ".state"
BLOCK = 32
COMMIT = b"DONE" * 8
_MAGIC, _FORMAT = b"MGST", 0xFFFE0001
_HEADER = struct.Struct("<4sI16sIIII24s")
_CRC = struct.Struct("<I")


@dataclass(frozen=True)
class SavedState:
    """A state and whose it is. `model_hash`: 16 bytes; `step`: of the training's plan; `sequence`, `erases`: of the
    device that saved it, 0 where none did."""

    model_hash: bytes
    model_name: str
    state: bytes
    step: int
    sequence: int = 0
    erases: int = 0

    def to_bytes(self) -> bytes:
        """The whole file. Raises ValueError when a field does not fit its place."""
        name = self.model_name.encode()[:23]
        if len(self.model_hash) != 16 or len(self.state) % 4:
            raise ValueError(f"a hash of {len(self.model_hash)} bytes, a state of {len(self.state)}")
        numbers = self.sequence & 0xFFFFFFFF, len(self.state), self.erases, self.step
        body = _HEADER.pack(_MAGIC, _FORMAT, self.model_hash, *numbers, name) + self.state
        body += b"\xff" * (image_bytes(len(self.state)) - len(body) - _CRC.size)
        return body + _CRC.pack(zlib.crc32(body))


def image_bytes(state_bytes: int) -> int:
    """Length of the file of a state of so many bytes."""
    return (_HEADER.size + state_bytes + _CRC.size + BLOCK - 1) // BLOCK * BLOCK


def saved_state(manifest: Mapping[str, Any], state: bytes) -> SavedState:
    """A state of the model that `manifest` describes, from its plain bytes. Raises McugradError when they are not."""
    name, wanted = str(manifest["name"]), int(manifest["state_bytes"])
    if not manifest.get("model_hash"):
        raise McugradError(f"model '{name}' trains nothing, so it has no state to keep: compile it with --train")
    if len(state) != wanted:
        raise McugradError(f"{len(state)} bytes are no state of model '{name}', which has {wanted}: give its own")
    offset = next(row["offset"] for row in manifest["state"] if row["name"] == "step")
    (step,) = struct.unpack_from("<I", state, offset)
    return SavedState(bytes.fromhex(manifest["model_hash"]), name, state, step)


def write_state(path: Path, state: SavedState) -> None:
    """The whole file or none of it, never over another. Raises McugradError."""
    if path.exists():
        raise McugradError(f"{path} exists: give another file, what was learned is not overwritten")
    try:
        write_file(path, state.to_bytes())
    except OSError as problem:
        raise McugradError(f"{path} cannot be written ({problem.strerror}): give another file") from problem


def read_state(path: Path, manifest: Mapping[str, Any] | None = None) -> SavedState:
    """The state in a file; with a `manifest`, one of that model. Raises McugradError for anything else."""
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise McugradError(f"{path} cannot be read ({problem.strerror}): give a {SUFFIX} file") from problem
    state = parse_state(data, str(path))
    if manifest is not None:
        check_model(state, manifest, str(path))
    return state


def parse_state(data: bytes, source: str) -> SavedState:
    """The state in the bytes of a file, or of a slot up to its commit block; `source` is what an error calls it.

    Raises McugradError when they are not exactly one whole state.
    """
    if data[:4] != _MAGIC:
        raise McugradError(
            f"{source} is no saved state: byte 0 is {data[:4].hex() or 'missing'}, not 'MGST'; "
            f"give a {SUFFIX} file that mcugrad wrote"
        )
    if len(data) < _HEADER.size:
        raise McugradError(f"{source} ends at byte {len(data)}, inside its header of {_HEADER.size}: copy it again")
    _, version, model_hash, sequence, length, erases, step, name = _HEADER.unpack_from(data)
    if version != _FORMAT:
        raise McugradError(f"{source} has format {version:#x} at byte 4 and this mcugrad reads {_FORMAT:#x}: update it")
    size = image_bytes(length)
    if len(data) != size:
        raise McugradError(f"{source} has {len(data)} bytes where its header says {size}: copy it again")
    (stored,), computed = _CRC.unpack_from(data, size - _CRC.size), zlib.crc32(data[: -_CRC.size])
    if stored != computed:
        raise McugradError(
            f"{source} is damaged: its checksum at byte {size - _CRC.size} is {stored:08x}, its bytes give "
            f"{computed:08x}; take another copy"
        )
    text = name.rstrip(b"\0").decode(errors="replace")
    state = data[_HEADER.size : _HEADER.size + length]
    return SavedState(model_hash, text, state, step, sequence, erases)


def newest_state(flash: bytes, source: str) -> SavedState:
    """The newest state in a copy of a device's flash, whatever its sectors are; `source` is what an error calls it.

    Raises McugradError when there is no slot that is whole.
    """
    slots, at = [], flash.find(_MAGIC)
    while at >= 0:
        if (slot := _slot(flash, at)) is not None:
            slots.append(slot)
        at = flash.find(_MAGIC, at + 1)
    if not slots:
        raise McugradError(f"{source} holds no saved state that is whole: copy the flash where the device saves")
    newest = slots[0]
    for slot in slots:
        if 0 < (slot.sequence - newest.sequence) % 2**32 < 2**31:
            newest = slot
    return newest


def _slot(flash: bytes, at: int) -> SavedState | None:
    """The state of the slot that begins at byte `at`, None where there is none that is whole."""
    if at + _HEADER.size > len(flash):
        return None
    end = at + image_bytes(_HEADER.unpack_from(flash, at)[4])
    if flash[end : end + BLOCK] != COMMIT:
        return None
    try:
        return parse_state(flash[at:end], "a slot")
    except McugradError:
        return None


def check_model(state: SavedState, manifest: Mapping[str, Any], source: str) -> None:
    """Raises McugradError unless `state`, read from `source`, is of the model that `manifest` describes."""
    wanted = bytes.fromhex(manifest.get("model_hash") or "")
    if state.model_hash == wanted:
        return
    raise McugradError(
        f"{source} is a state of model '{state.model_name}' (hash {state.model_hash.hex()[:8]}), not of "
        f"'{manifest['name']}' (hash {wanted.hex()[:8] or 'none'}): give a state that this compilation's device saved"
    )
