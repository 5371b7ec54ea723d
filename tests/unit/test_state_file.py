"""A .state file comes back as it was written; whatever is not one is refused by a sentence that says where and why."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcugrad.errors import McugradError
from mcugrad.state_file import (
    BLOCK,
    COMMIT,
    SavedState,
    check_model,
    image_bytes,
    newest_state,
    parse_state,
    read_state,
    saved_state,
    write_state,
)

STATE = SavedState(bytes(range(16)), "watch", b"\1\2\3\4" * 25, step=7, sequence=3, erases=9)
MANIFEST: dict[str, Any] = {
    "name": "watch",
    "model_hash": bytes(range(16)).hex(),
    "state_bytes": 100,
    "state": [{"name": "seed", "offset": 0}, {"name": "step", "offset": 4}],
}
words = st.integers(0, 2**32 - 1)


@given(st.binary(min_size=16, max_size=16), st.text("abc_1", max_size=23), st.integers(0, 99), words, words, words)
def test_a_state_comes_back_as_it_was(
    digest: bytes, name: str, size: int, step: int, sequence: int, erases: int
) -> None:
    state = SavedState(digest, name, bytes(range(4)) * size, step, sequence, erases)
    data = state.to_bytes()
    assert parse_state(data, "it") == state
    assert len(data) == image_bytes(4 * size)
    assert len(data) % BLOCK == 0
    assert struct.unpack("<I", data[-4:]) == (zlib.crc32(data[:-4]),)


@given(st.integers(0, len(STATE.to_bytes()) - 1), st.integers(1, 255))
def test_any_byte_that_changed_is_found(place: int, change: int) -> None:
    data = bytearray(STATE.to_bytes())
    data[place] ^= change
    with pytest.raises(McugradError, match="it "):
        parse_state(bytes(data), "it")


@given(st.integers(0, len(STATE.to_bytes()) - 1))
def test_a_file_that_was_cut_short_is_refused(length: int) -> None:
    with pytest.raises(McugradError, match=r"inside its header|bytes where its header says|byte 0"):
        parse_state(STATE.to_bytes()[:length], "it")


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (
            lambda d: b"\x89PNG" + d[4:],
            r"f\.state is no saved state: byte 0 is 89504e47, not 'MGST'; give a \.state file",
        ),
        (lambda d: d[:40], r"f\.state ends at byte 40, inside its header of 64: copy it again"),
        (lambda d: d[:4] + b"\2\0\xfd\xff" + d[8:], r"f\.state has format 0xfffd0002 at byte 4 .* update it"),
        (lambda d: d[:-32], r"f\.state has 160 bytes where its header says 192: copy it again"),
        (lambda d: d + b"x", r"f\.state has 193 bytes where its header says 192"),
        (lambda d: d[:70] + b"\0" + d[71:], r"f\.state is damaged: its checksum at byte 188 is [0-9a-f]{8}, its bytes"),
        (lambda d: b"", r"f\.state is no saved state: byte 0 is missing"),
    ],
)
def test_what_is_no_state_is_refused_by_a_sentence(tmp_path: Path, edit: Any, sentence: str) -> None:
    path = tmp_path / "f.state"
    path.write_bytes(edit(STATE.to_bytes()))
    with pytest.raises(McugradError, match=sentence):
        read_state(path)


def test_the_newest_state_is_found_in_a_copy_of_the_flash() -> None:
    slots = [replace(STATE, sequence=s).to_bytes() for s in (2**32 - 1, 0, 2**32 - 2)]
    committed = [slot + COMMIT + b"\xff" * 32 for slot in slots]
    assert newest_state(b"".join(committed), "dump.bin").sequence == 0
    assert newest_state(committed[0] + slots[1] + b"\xff" * 64 + committed[2], "dump.bin").sequence == 2**32 - 1
    damaged = committed[1].replace(b"\1\2\3\4", b"\1\2\3\0", 1)
    for nothing in (b"", b"\xff" * 4096, damaged, slots[0], slots[0][:40]):
        with pytest.raises(McugradError, match=r"dump\.bin holds no saved state that is whole"):
            newest_state(nothing, "dump.bin")


def test_a_state_of_another_model_is_refused_by_both_names() -> None:
    check_model(STATE, MANIFEST, "f.state")
    other = {**MANIFEST, "name": "mcunet", "model_hash": "ff" * 16}
    with pytest.raises(McugradError, match=r"f\.state is a state of model 'watch' \(hash 00010203\), not of 'mcunet'"):
        check_model(STATE, other, "f.state")
    with pytest.raises(McugradError, match=r"not of 'mcunet' \(hash none\)"):
        check_model(STATE, {**other, "model_hash": None}, "f.state")


def test_plain_bytes_become_a_state_of_their_model(tmp_path: Path) -> None:
    raw = struct.pack("<2I", 5, 41) + bytes(92)
    state = saved_state(MANIFEST, raw)
    assert (state.step, state.model_name, state.state) == (41, "watch", raw)
    write_state(tmp_path / "a.state", state)
    assert read_state(tmp_path / "a.state", MANIFEST) == state
    with pytest.raises(McugradError, match="99 bytes are no state of model 'watch', which has 100"):
        saved_state(MANIFEST, raw[:-1])
    with pytest.raises(McugradError, match="model 'watch' trains nothing"):
        saved_state({**MANIFEST, "model_hash": None}, raw)


def test_no_file_is_overwritten_and_none_is_left_by_half(tmp_path: Path) -> None:
    path = tmp_path / "a.state"
    write_state(path, STATE)
    with pytest.raises(McugradError, match=r"a\.state exists: give another file"):
        write_state(path, STATE)
    with pytest.raises(McugradError, match="cannot be written"):
        write_state(tmp_path / "nowhere" / "a.state", STATE)
    with pytest.raises(McugradError, match="cannot be read"):
        read_state(tmp_path / "b.state")
    assert [p.name for p in tmp_path.iterdir()] == ["a.state"]
