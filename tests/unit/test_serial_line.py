"""The serial protocol, C against Python: what is asked for happens once, in order, whatever the line does."""

from __future__ import annotations

import dataclasses
import random
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_support import FAKE_INPUTS, FAKE_OUTPUTS, clusters, targets
from mcugrad.device import Device, DeviceError, DeviceResetError
from mcugrad.device.exchange import Exchange
from mcugrad.device.frames import PAYLOAD, Decoder, Frame, decode, encode
from mcugrad.device.protocol import Found, Status, Verb
from mcugrad.errors import McugradError
from mcugrad.simulate.session import Schedule
from serial_memory import Library, MemoryLine, NoisyLine

NOISE = 0.1
STEPS = 40


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(tmp_path_factory.mktemp("line"))


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(tmp_path_factory.mktemp("regression"), defines=("FAKE_REGRESSION",))


def device(line: MemoryLine) -> Device:
    return Device(line, retry=0.0005, patience=20.0)


def learn(line: MemoryLine, steps: int = STEPS) -> tuple[bytes, list[float], int]:
    """A whole story; the state, every loss, and how many of the samples it then gets right."""
    records = clusters(steps)
    with device(line) as d:
        d.plan(Schedule.LINEAR, 0.0003, steps, seed=5)
        losses = [step.loss for step in d.train(records.x, records.y)]
        score = d.evaluate(records.x, records.y)
        d.save()
        state = d.state().state
        d.set_state(d.state())
        assert d.state().state == state
        assert d.statistics().step == steps
        return state, losses, score.correct


# ---- what the line does to frames ------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), window=st.sampled_from((1, 2, 4)))
def test_a_line_that_loses_repeats_reorders_and_damages_changes_nothing(
    library: Library, seed: int, window: int
) -> None:
    line = NoisyLine(library, seed, NOISE, window=window)
    assert learn(line) == learn(MemoryLine(library))
    assert line.disturbed > STEPS // 4


@settings(deadline=None, max_examples=25)
@given(data=st.binary(max_size=600))
def test_bytes_that_are_no_frame_change_nothing(library: Library, data: bytes) -> None:
    line = MemoryLine(library)
    before = line.memory()
    with device(line) as d:
        assert line.serve(b"\0" + data + b"\0") == (0, b"")
        assert line.memory() == before
        assert d.statistics().step == 0  # and the session is still there


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32))
def test_a_frame_with_any_damage_changes_nothing(library: Library, seed: int) -> None:
    line, noise = MemoryLine(library), random.Random(seed)
    with device(line) as d:
        session = d.refresh().session
        frame = encode(Frame(Verb.RESET, 1, session))
        at = noise.randrange(1, len(frame) - 1)
        wrong = frame[:at] + bytes([frame[at] ^ noise.randrange(1, 256)]) + frame[at + 1 :]
        shorter = frame[:at] + frame[at + 1 :]
        assert line.serve(wrong)[0] == line.serve(shorter)[0] == 0
        assert line.serve(frame)[0] == 1


@pytest.mark.parametrize("length", [PAYLOAD + 1, PAYLOAD + 100, 4000])
def test_a_frame_longer_than_the_bound_is_dropped_and_counted(library: Library, length: int) -> None:
    line = MemoryLine(library)
    body = bytes([Verb.WRITE, 0, 1, 0, 1, 0, 0, 0]) + b"\x11" * length
    content = body + zlib.crc32(body).to_bytes(4, "little")
    packed = b"".join(bytes([len(run) + 1]) + run for run in content.split(b"\0")) if length < 250 else b"\x21" * length
    with device(line) as d:
        before = line.memory()
        assert line.serve(b"\0" + packed + b"\0") == (0, b"")
        assert line.memory() == before
        assert d.statistics().long_frames == 1
        with pytest.raises(ValueError, match=f"{PAYLOAD + 1} bytes"):
            encode(Frame(Verb.WRITE, 1, 1, bytes(PAYLOAD + 1)))


@given(frame=st.builds(Frame, *(st.integers(0, 2**n - 1) for n in (8, 16, 32)), st.binary(max_size=PAYLOAD)))
def test_a_frame_comes_out_as_it_went_in(frame: Frame) -> None:
    wire = encode(frame)
    assert wire.count(0) == 2
    assert list(Decoder().feed(b"\x07noise" + wire)) == [frame]
    assert decode(wire[1:-2]) is None


# ---- sessions and order ----------------------------------------------------------------------------------------------


def test_a_repeated_request_is_answered_again_and_not_executed_again(library: Library) -> None:
    line, records = MemoryLine(library), clusters(1)
    with device(line) as d:
        session = d.refresh().session
        sample = (0x80000000).to_bytes(4, "little") + records.x[0].tobytes() + int(records.y[0]).to_bytes(4, "little")
        wire = encode(Frame(Verb.TRAIN, 1, session, sample))
        first, memory = line.serve(wire), line.memory()
        assert line.serve(wire) == first
        assert line.memory() == memory
        assert d.refresh().step == 1


def test_a_request_that_comes_too_early_waits_for_the_one_before(library: Library) -> None:
    line = MemoryLine(library)
    with device(line) as d:
        session = d.refresh().session
        (answer,) = Decoder().feed(line.serve(encode(Frame(Verb.RESET, 2, session)))[1])
        assert (answer.status, answer.payload) == (Status.ORDER, bytes(4))


def test_sequence_numbers_wrap(library: Library) -> None:
    line = MemoryLine(library)
    with device(line) as d:
        d._exchange.call(Verb.SCORE, b"\0\0\0\0")
        for _ in range(2**16 + 10):
            d._exchange.call(Verb.SCORE, b"\0\0\0\0")


def test_a_host_that_restarts_takes_over_and_an_old_one_learns_of_it(library: Library) -> None:
    line = MemoryLine(library)
    old = device(line)
    new = device(line)
    assert new.statistics().step == 0
    with pytest.raises(DeviceResetError, match="another host"):
        old.statistics()
    old.reconnect()
    assert old.statistics().step == 0


def test_an_open_that_comes_late_opens_nothing(library: Library) -> None:
    line = MemoryLine(library)
    late = encode(Frame(Verb.OPEN, 1, 77, bytes(4)))
    with device(line) as d:
        (answer,) = Decoder().feed(line.serve(late)[1])
        assert answer.status == Status.SESSION
        assert d.statistics().step == 0


def test_a_device_that_was_reset_says_so(library: Library) -> None:
    line = MemoryLine(library)
    with device(line) as d:
        d.plan(Schedule.CONSTANT, 0.01, 0)
        line.boot()
        with pytest.raises(DeviceResetError, match="was reset"):
            d.statistics()
        assert d.reconnect().step == 0


def test_a_caller_that_stops_half_way_can_go_on(library: Library) -> None:
    line, records = MemoryLine(library), clusters(20)
    with device(line) as d:
        for step in d.train(records.x, records.y):
            if step.step == 5:
                break
        assert 5 <= d.statistics().step <= 5 + 4
        assert len(list(d.train(records.x, records.y))) == 20


# ---- verbs -----------------------------------------------------------------------------------------------------------


def test_outputs_and_scores_are_the_models(library: Library) -> None:
    records = clusters(30)
    with device(MemoryLine(library)) as d:
        outputs = d.predict(records.x)
        right = int((outputs.argmax(1) == records.y).sum())
        score = d.evaluate(records.x, records.y)
        assert (score.scored, score.correct, score.accuracy) == (30, right, right / 30)
        assert d.score(reset=True) == score
        assert d.score().scored == 0


def test_targets_train_and_are_judged(regression: Library) -> None:
    records = targets(60)
    with device(MemoryLine(regression)) as d:
        outputs = d.predict(records.x)
        wanted = float(((outputs - records.y.astype(np.float32)) ** 2).mean())
        before = d.evaluate(records.x, records.y)
        assert before.loss / before.scored == pytest.approx(wanted, rel=1e-5)
        d.plan(Schedule.LINEAR, 0.01, 300)
        for _ in range(5):
            list(d.train(records.x, records.y))
        assert d.evaluate(records.x, records.y).loss < before.loss / 2
        with pytest.raises(McugradError, match="wants 4 float32 targets"):
            d.evaluate(records.x, records.y[:, :1])


def test_a_sample_that_the_firmware_broke_is_sent_again_and_no_other_overtakes_it(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcugrad.device.device._PIECE", 5)  # a sample comes in four pieces
    records, line = clusters(STEPS), MemoryLine(library)
    expected = learn(MemoryLine(library))[0]
    noise = random.Random(3)
    write, claims = line.write, 0

    def claim(data: bytes) -> None:
        nonlocal claims
        write(data)
        if noise.random() < 0.1:
            line.claim()
            claims += 1

    with device(line) as d:
        d.plan(Schedule.LINEAR, 0.0003, STEPS, seed=5)
        line.write = claim  # type: ignore[method-assign]
        steps = list(d.train(records.x, records.y))
        line.write = write  # type: ignore[method-assign]
        assert len(steps) == STEPS
        assert claims > 10
        assert d.state().state == expected


def test_a_label_that_is_no_class_is_refused(library: Library) -> None:
    records = clusters(3)
    with device(MemoryLine(library)) as d:
        for label in (-1, FAKE_OUTPUTS):
            with pytest.raises(DeviceError, match="no class"):
                list(d.train(records.x, np.full(3, label)))
        assert d.statistics().step == 0


@pytest.mark.parametrize("label", [2**31, 2**32, -(2**31) - 1])
def test_a_label_that_would_become_another_in_int32_is_refused_here(library: Library, label: int) -> None:
    records = clusters(3)
    with device(MemoryLine(library)) as d:
        with pytest.raises(McugradError, match=f"the label {label}, which no int32 .* 0 to {FAKE_OUTPUTS - 1}"):
            d.train(records.x, np.array([0, label, 1]))
        assert d.statistics().step == 0


def test_samples_of_another_shape_are_refused_here(library: Library) -> None:
    with device(MemoryLine(library)) as d:
        with pytest.raises(McugradError, match=f"with {FAKE_INPUTS} int8 values"):
            d.predict(np.zeros((2, 5), np.int8))
        with pytest.raises(McugradError, match="2 samples and 3 labels"):
            d.evaluate(np.zeros((2, FAKE_INPUTS), np.int8), np.zeros(3, np.int64))
        with pytest.raises(McugradError, match="wants class indices"):
            d.evaluate(np.zeros((2, FAKE_INPUTS), np.int8), np.zeros((2, 4), np.float32))


def test_a_model_that_does_not_train_predicts_and_says_what_it_cannot(tmp_path: Path) -> None:
    with device(MemoryLine(Library(tmp_path, defines=("FAKE_FROZEN",)))) as d:
        assert not d.info.trains
        assert d.predict(clusters(3).x).shape == (3, FAKE_OUTPUTS)
        for refused in (lambda: d.plan(Schedule.CONSTANT, 0.1, 0), d.save, d.state):
            with pytest.raises(DeviceError, match="compiled without training"):
                refused()
        assert d.statistics().stack == 1234


def test_a_rate_that_is_no_number_is_refused(library: Library) -> None:
    with device(MemoryLine(library)) as d:
        for rate in (float("nan"), float("inf"), -0.1):
            with pytest.raises(DeviceError, match="refused a request's form"):
                d.plan(Schedule.CONSTANT, rate, 0)
        state = d.state()
        with pytest.raises(DeviceError, match="damaged"):
            d.set_state(dataclasses.replace(state, state=state.state[:80] + b"\xff" * 4 + state.state[84:]))
        assert d.state() == state


# ---- what was learned ------------------------------------------------------------------------------------------------


def trained(line: MemoryLine) -> Device:
    d = device(line)
    d.plan(Schedule.CONSTANT, 0.0003, 0, seed=1)
    assert len(list(d.train(clusters(20).x, clusters(20).y))) == 20
    return d


def test_what_was_saved_is_there_after_a_reset_and_factory_reset_erases_it(library: Library) -> None:
    line = MemoryLine(library)
    d = trained(line)
    assert d.save() == 20
    saved = d.state().state
    list(d.train(clusters(5).x, clusters(5).y))
    assert d.load() == 20
    assert d.state().state == saved
    line.boot()
    assert d.reconnect().found == Found.LOADED
    assert (d.info.step, d.state().state) == (20, saved)
    assert d.reset()
    line.boot()
    assert d.reconnect().found == Found.EMPTY
    with pytest.raises(DeviceError, match="nothing was saved"):
        d.load()


def test_without_a_flash_driver_save_and_load_say_so(library: Library) -> None:
    d = trained(MemoryLine(library, flash=False))
    before = d.state()
    with pytest.raises(DeviceError, match="no flash driver"):
        d.save()
    with pytest.raises(DeviceError, match="no flash driver"):
        d.load()
    assert d.state() == before
    assert not d.reset()


def test_a_state_goes_from_one_device_to_another(library: Library) -> None:
    state = trained(MemoryLine(library)).state()
    line = MemoryLine(library)
    d = device(line)
    d.set_state(state)
    assert d.state() == state
    assert state.step == d.statistics().step == 20


def test_a_state_of_another_model_changes_nothing(library: Library) -> None:
    line = MemoryLine(library)
    d = trained(line)
    state, memory = d.state(), line.memory()
    with pytest.raises(DeviceError, match=r"runs model 'fake' \(hash fa4e0000\).*nothing was changed"):
        d.set_state(dataclasses.replace(state, model_hash=bytes(16)))
    with pytest.raises(DeviceError, match="another model"):
        d._exchange.call(Verb.BEGIN, bytes(16))
    assert line.memory() == memory


@pytest.mark.parametrize("saved", [True, False])
def test_half_a_state_is_never_used_and_gives_way_to_the_saved_one(library: Library, saved: bool) -> None:
    line = MemoryLine(library)
    d = trained(line)
    if saved:
        d.save()
    kept = d.state().state if saved else device(MemoryLine(library)).state().state
    for end in ("another session", "a claim", "a wrong CRC", "a piece that is missing"):
        d._exchange.call(Verb.BEGIN, d.info.model_hash)
        d._exchange.call(Verb.WRITE, bytes(4) + b"\x55" * 100)
        for verb, payload in ((Verb.CHECK, b""), (Verb.SAVE, b""), (Verb.EVALUATE, bytes(4)), (Verb.READ, bytes(12))):
            with pytest.raises(DeviceError, match="half a state"):
                d._exchange.call(verb, payload)
        if end == "another session":
            d.reconnect()
        elif end == "a claim":
            line.claim()
        else:
            if end == "a wrong CRC":
                rest = d.info.state_bytes - 100
                d._exchange.call(Verb.WRITE, (100).to_bytes(4, "little") + bytes(rest))
            with pytest.raises(DeviceError, match="damaged"):
                d._exchange.call(Verb.COMMIT, bytes(4))
        assert d.state().state == kept


def test_an_interrupted_push_gives_the_device_its_own_state_back(library: Library) -> None:
    line = MemoryLine(library)
    d, state = device(line), trained(MemoryLine(library)).state()
    list(d.train(clusters(3).x, clusters(3).y))
    before, write, writes = d.state(), line.write, 0

    def interrupted(data: bytes) -> None:
        nonlocal writes
        writes += 1
        if writes == 5:
            line.write = write  # type: ignore[method-assign]
            raise KeyboardInterrupt
        write(data)

    line.write = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        d.set_state(state)
    assert d.state() == before


# ---- nobody there ----------------------------------------------------------------------------------------------------


class Silence:
    """A line on which somebody else speaks."""

    name = "silence"

    def read(self, timeout: float) -> bytes:
        return b"login: "

    def write(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_port_with_something_else_behind_it(library: Library) -> None:
    with pytest.raises(DeviceError, match="nothing at silence answers as an mcugrad device"):
        Device(Silence(), patience=0.02)


def test_a_device_that_falls_silent(library: Library) -> None:
    line = MemoryLine(library)
    exchange = Exchange(line, retry=0.001, patience=0.03)
    exchange.open()
    line.write = lambda data: None  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match="has stopped answering"):
        exchange.call(Verb.STATISTICS)
