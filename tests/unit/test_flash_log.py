"""The log of saved states in flash: whatever happens to the power, the flash or the firmware, the next boot finds
exactly the old state or the new one, or says why there is none.

The flash is simulated (tests/unit/flash): it clears bits, programs a unit once, erases by sector, wears out, and loses
its power in the middle of an operation. Broken copies of the log show that the checks find what they are for.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import pytest

from flash_simulator import (
    DAMAGED,
    EMPTY,
    ERASE_FAILS,
    LOADED,
    LOG,
    NO_FLASH,
    NO_ROOM,
    OTHER_FORMAT,
    OTHER_MODEL,
    PROGRAM_FAILS,
    READ_FAILS,
    SAVE_NO_FLASH,
    SAVE_NO_ROOM,
    SAVE_OTHER_FORMAT,
    SAVE_OTHER_MODEL,
    SAVED,
    TOO_SOON,
    WORN,
    Device,
    Simulator,
)
from mcugrad.state_file import BLOCK, COMMIT, SavedState, image_bytes, newest_state, parse_state

# sector_bytes, sectors, program unit, bytes of the state; slots of one sector and of several, sectors left over
GEOMETRIES = [(256, 2, 4, 96), (64, 16, 8, 100), (128, 9, 32, 200), (512, 4, 16, 64), (32, 40, 1, 60), (256, 3, 2, 124)]
GEOMETRY = (128, 6, 8, 100)  # three slots of two sectors


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    return Simulator(tmp_path_factory.mktemp("flash"))


def fresh(simulator: Simulator, geometry: tuple[int, ...] = GEOMETRY) -> None:
    """An erased flash."""
    simulator.library.nor_new(*geometry[:3])


def test_a_cut_at_every_operation_of_four_saves_leaves_the_old_state_or_the_new(simulator: Simulator) -> None:
    before = simulator.cuts()
    for geometry in GEOMETRIES:
        assert simulator.every_cut(geometry, saves=4) is None, geometry
    assert simulator.cuts() - before > 9_000


def test_so_do_cuts_anywhere_in_long_histories_on_flash_that_wears_out(simulator: Simulator) -> None:
    before = simulator.cuts()
    assert simulator.random_cuts(300_000, seed=1) is None
    assert simulator.cuts() - before >= 300_000


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_bit_that_rots_in_a_slot_is_found(simulator: Simulator, geometry: tuple[int, ...]) -> None:
    assert simulator.rot(geometry) is None


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_clear_that_is_cut_brings_no_older_state_back(simulator: Simulator, geometry: tuple[int, ...]) -> None:
    assert simulator.every_cut_of_clear(geometry) is None


Edit = tuple[str, str]
ERASE = "if (!flash->erase(flash->context, begin + i * flash->sector_bytes)) return false;"
SECTORS = "for (uint32_t i = 0; i < sectors; i++)"
COMMITTED = "put(flash, end, commit, BLOCK)"
CHECKED: Edit = ("block[LAST] == ~crc && ", "")
MUTANTS: dict[str, list[Edit]] = {
    "the checksum is not checked": [CHECKED],
    "the checksum leaves out the header": [("mg_crc32(0xFFFFFFFFu, h, HEADER)", "0xFFFFFFFFu")],
    "the commit is not checked": [(" && are_equal(block, commit, BLOCK)", "")],
    "commit before payload, and no checksum": [
        CHECKED,
        (f" && {COMMITTED}", ""),
        ("return put(flash, begin, h, HEADER)", f"return {COMMITTED} && put(flash, begin, h, HEADER)"),
    ],
    "the newest slot is written again": [("(newest + i) % log->slots", "newest")],
    "the next slot is always the first": [("(newest + i) % log->slots", "i - 1")],
    "the first sector is not erased": [(SECTORS, SECTORS.replace("= 0", "= 1"))],
    "only the first sector is erased": [(SECTORS, SECTORS.replace("sectors", "1"))],
    "nothing is read back": [("bytes, count) && holds(", "bytes, count) || holds(")],
    "an erase that fails is ignored": [(ERASE, ERASE.replace("return false;", "{}"))],
    "no other slot is tried": [("&h, state)) continue;", "&h, state)) break;")],
    "the oldest state is loaded": [("(int32_t)(sequence - log->sequence) > 0", "sequence < log->sequence")],
    "the sequence does not wrap": [("(int32_t)(sequence - log->sequence) > 0", "sequence > log->sequence")],
    "a unit is programmed twice": [(COMMITTED, f"{COMMITTED} && {COMMITTED}")],
    "clear begins with the newest": [("(log->slot + 1) * slot_sectors(", "log->slot * slot_sectors(")],
    "whose state it is does not matter": [("are_equal(h->hash, model->hash, sizeof h->hash) && ", "")],
    "which format it has does not matter": [("if (h->format != MG_STATE_FORMAT)", "if (false)")],
    "a length is believed": [("h->bytes >= room || image_bytes(h->bytes) + BLOCK > room", "false")],
    "the interval is not kept": [("steps_since(log, step) < log->min_interval", "false")],
}  # fmt: skip


def holds(check: Callable[[Simulator], None], simulator: Simulator) -> bool:
    """Whether a test of this file passes."""
    try:
        check(simulator)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_checks_find_a_log_that_is_broken(tmp_path: Path, mutant: str) -> None:
    source = LOG.read_text(encoding="utf-8")
    for old, new in MUTANTS[mutant]:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    broken = Simulator(tmp_path, source)
    found = any(broken.every_cut(g, 3) or broken.rot(g) or broken.every_cut_of_clear(g) for g in GEOMETRIES)
    others = (
        test_the_sequence_goes_on_across_its_wrap,
        test_slots_wear_evenly_and_erases_are_counted,
        test_a_save_too_soon_after_the_last_one_is_refused_also_after_a_reset,
        test_a_worn_sector_costs_its_slot_and_no_state,
        test_states_of_another_model_are_refused_by_name_and_stay_until_they_are_cleared,
        test_states_of_another_format_are_refused_too,
        test_a_length_that_rotted_leads_to_no_read_outside_the_flash,
    )
    assert found or not all(holds(check, broken) for check in others)


def test_the_sequence_goes_on_across_its_wrap(simulator: Simulator) -> None:
    fresh(simulator)
    device = Device(simulator, bytes(100))
    device.log.sequence = 2**32 - 3
    for step in range(1, 8):
        device.state.raw = bytes([step]) * 100
        assert device.save(step) == SAVED
        assert newest_state(device.image(), "flash").step == step
        assert Device(simulator, bytes(100)).state.raw == bytes([step]) * 100
    assert device.log.sequence == 4


def test_slots_wear_evenly_and_erases_are_counted(simulator: Simulator) -> None:
    fresh(simulator)
    device = Device(simulator, bytes(100))
    assert device.log.slots == 3
    used = []
    for step in range(1, 13):
        assert device.save(step) == SAVED
        used.append(device.log.slot)
        device.boot()
    assert used == [0, 1, 2] * 4
    assert device.log.erases == 12


def test_a_save_too_soon_after_the_last_one_is_refused_also_after_a_reset(simulator: Simulator) -> None:
    fresh(simulator)
    device = Device(simulator, bytes(100), interval=50)
    assert device.save(10) == SAVED
    for _ in range(2):
        assert [device.save(step) for step in (10, 59)] == [TOO_SOON, TOO_SOON]
        device.boot()
    assert device.save(60) == SAVED
    assert [device.save(step) for step in (0, 49)] == [TOO_SOON, TOO_SOON]  # a new plan counts from 0
    assert device.save(50) == SAVED
    assert device.log.erases == 3


def test_a_worn_sector_costs_its_slot_and_no_state(simulator: Simulator) -> None:
    for wear in (ERASE_FAILS, PROGRAM_FAILS, READ_FAILS):
        fresh(simulator)
        device = Device(simulator, bytes(100))
        assert device.save(1) == SAVED
        simulator.library.nor_wears(2, wear)  # of slot 1
        slots = []
        for step in range(2, 8):
            device.state.raw = bytes([step]) * 100
            assert device.save(step) == SAVED
            slots.append(device.log.slot)
            assert Device(simulator, bytes(100)).state.raw == bytes([step]) * 100
        assert slots == [2, 0] * 3
        simulator.library.nor_wears(4, wear)  # of slot 2, too
        device.state.raw = bytes(100)
        assert device.save(8) == WORN
        assert Device(simulator, bytes(100)).state.raw == b"\7" * 100


def test_states_of_another_model_are_refused_by_name_and_stay_until_they_are_cleared(simulator: Simulator) -> None:
    fresh(simulator)
    one = Device(simulator, bytes(100), model_hash=b"1" * 16)
    assert one.save(1) == SAVED
    for size in (100, 64, 180):  # also where slots begin elsewhere
        other = Device(simulator, b"\7" * size, model_hash=b"2" * 16)
        assert (other.load(), other.save(1)) == (OTHER_MODEL, SAVE_OTHER_MODEL)
        assert other.state.raw == b"\7" * size
    assert one.boot() == LOADED
    assert other.clear()
    assert (one.boot(), other.boot()) == (EMPTY, EMPTY)
    assert other.save(1) == SAVED


def test_states_of_another_format_are_refused_too(simulator: Simulator) -> None:
    fresh(simulator)
    device = Device(simulator, bytes(100))
    assert device.save(1) == SAVED
    cells = (ctypes.c_uint8 * 8).in_dll(simulator.library, "nor")
    cells[4], cells[6] = 2, 0xFD
    assert (device.boot(), device.save(1)) == (OTHER_FORMAT, SAVE_OTHER_FORMAT)
    cells[6] = 0xFE  # programmed by half
    assert device.boot() == DAMAGED


def test_a_length_that_rotted_leads_to_no_read_outside_the_flash(simulator: Simulator) -> None:
    fresh(simulator)
    device = Device(simulator, bytes(100))
    assert [device.save(step) for step in range(3)] == [SAVED] * 3
    cells = (ctypes.c_uint8 * 768).in_dll(simulator.library, "nor")
    room = 768 - 2 * 256  # behind the last slot's beginning
    for length in (0, 96, 104, room - 128, room - 100, room - 96, room - 1, room, 2**31, 2**32 - 100, 2**32 - 1):
        cells[2 * 256 + 28 : 2 * 256 + 32] = list(length.to_bytes(4, "little"))
        assert device.boot() == LOADED
        assert (device.log.step, device.log.damaged) == (1, 1)
        assert simulator.broken() is None


@pytest.mark.parametrize("geometry", [(128, 3, 8), (96, 2, 8), (0, 6, 8), (100, 6, 4), (128, 6, 64), (128, 6, 3)])
def test_a_flash_without_two_slots_or_with_a_wrong_description_is_refused(
    simulator: Simulator, geometry: tuple[int, ...]
) -> None:
    fresh(simulator, geometry)
    device = Device(simulator, bytes(100))
    assert (device.load(), device.save(1), device.clear()) == (NO_ROOM, SAVE_NO_ROOM, False)


def test_a_board_without_flash_is_refused(simulator: Simulator) -> None:
    device = Device(simulator, bytes(100))
    device.log.flash, device.log.model = None, None
    assert (device.load(), device.save(1), device.clear()) == (NO_FLASH, SAVE_NO_FLASH, False)


def test_a_slot_is_a_state_file_and_its_commit(simulator: Simulator) -> None:
    fresh(simulator, (128, 9, 32))
    device = Device(simulator, bytes(range(200)), model_hash=bytes(range(16)))
    assert (device.save(77), device.save(78)) == (SAVED, SAVED)
    begin, size = 3 * 128, image_bytes(200)
    slot = device.image()[begin : begin + 3 * 128]
    assert slot[size:] == COMMIT + b"\xff" * (3 * 128 - size - BLOCK)
    wanted = SavedState(bytes(range(16)), "model", bytes(range(200)), step=78, sequence=2, erases=2)
    assert parse_state(slot[:size], "slot") == wanted
    assert slot[:size] == wanted.to_bytes()
