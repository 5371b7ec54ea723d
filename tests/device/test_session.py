"""Training sessions: the same bits on the host and on both cores, the same instruction counts in every run."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_support import ALL_EMULATED, FAKE_OUTPUTS, clusters, fake_folder, program, targets
from mcugrad.errors import McugradError
from mcugrad.resources import targets_dir
from mcugrad.simulate.board import load_board
from mcugrad.simulate.build import Firmware, build, build_program
from mcugrad.simulate.run import Output, Progress, check_output, run_program, run_session
from mcugrad.simulate.session import Mode, Records, Schedule, Session, parse_result, shuffle_order
from mcugrad.simulate.toolchain import Compiler

pytestmark = pytest.mark.device

LEARN = Session(
    Mode.TRAIN,
    FAKE_OUTPUTS,
    clusters(150, 1),
    clusters(50, 2),
    epochs=3,
    learning_rate=1e-3,
    schedule=Schedule.COSINE,
    seed=5,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_folder(tmp_path_factory.mktemp("session"))


def _firmware(folder: Path, board: str, *defines: str) -> Firmware:
    return build(folder, load_board(board), defines=defines)


@pytest.mark.parametrize("board", ALL_EMULATED)
@pytest.mark.parametrize("optimize", ["-O0", "-O3"])
def test_boards_compute_what_the_host_computes(folder: Path, board: str, optimize: str) -> None:
    here = run_session(_firmware(folder, "host"), LEARN)
    there = run_session(build(folder, load_board(board), optimize=optimize), LEARN, timeout=60)
    assert there.same_as(here)
    assert here.correct_after > here.correct_before + 20
    assert here.steps == 450
    assert len(here.losses) == 3
    assert here.losses[2] < here.losses[0]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("optimize", ["-O0", "-O1", "-O2", "-O3"])
@pytest.mark.parametrize("sanitize", [False, True])
def test_every_host_build_computes_the_same(folder: Path, compiler: Compiler, optimize: str, sanitize: bool) -> None:
    firmware = build(folder, load_board("host"), compiler=compiler, optimize=optimize, sanitize=sanitize)
    assert run_session(firmware, LEARN).same_as(run_session(_firmware(folder, "host"), LEARN))


@pytest.mark.parametrize("board", ALL_EMULATED)
def test_targets_train_and_score_by_loss(folder: Path, board: str) -> None:
    session = Session(Mode.TRAIN, FAKE_OUTPUTS, targets(100, 1), targets(40, 2), epochs=4, learning_rate=1e-3)
    here = run_session(_firmware(folder, "host", "FAKE_REGRESSION"), session)
    assert run_session(_firmware(folder, board, "FAKE_REGRESSION"), session, timeout=60).same_as(here)
    assert here.loss_after < 0.7 * here.loss_before
    assert here.correct_after == 0
    outputs = run_session(_firmware(folder, "host", "FAKE_REGRESSION"), _from(here.state, session)).outputs
    assert session.test is not None
    wanted = np.sum(np.mean((outputs - session.test.y.astype(np.float32)) ** 2, axis=1))
    assert here.loss_after == pytest.approx(float(wanted), rel=1e-5)


def _from(state: bytes, session: Session) -> Session:
    return Session(Mode.PREDICT, FAKE_OUTPUTS, test=session.test, state=state)


@pytest.mark.parametrize("board", ALL_EMULATED)
def test_outputs_come_back(folder: Path, board: str) -> None:
    session = Session(Mode.PREDICT, FAKE_OUTPUTS, test=clusters(30, 3))
    result = run_session(_firmware(folder, board), session, timeout=60)
    assert session.test is not None
    weight = np.frombuffer(result.state, np.int8, 48, 16).reshape(4, 12)
    np.testing.assert_array_equal(
        result.outputs, (session.test.x.astype(np.int32) @ weight.T).astype(np.float32) / 2048
    )


def test_a_saved_state_goes_on_where_it_stopped(folder: Path) -> None:
    firmware, records = _firmware(folder, "host"), clusters(37, 4)
    whole = Session(Mode.STEPS, FAKE_OUTPUTS, records, steps=200, learning_rate=1e-3, schedule=Schedule.LINEAR)
    full = run_session(firmware, whole)
    first = run_session(firmware, replace(whole, steps=77, planned_steps=200))
    rest = run_session(
        firmware, Session(Mode.STEPS, FAKE_OUTPUTS, records, steps=123, first_step=77, state=first.state)
    )
    assert rest.state == full.state
    assert np.concatenate([first.losses, rest.losses]).tobytes() == full.losses.tobytes()
    scored = run_session(firmware, Session(Mode.EVALUATE, FAKE_OUTPUTS, test=records, state=full.state))
    assert scored.state == full.state
    outputs = run_session(firmware, Session(Mode.PREDICT, FAKE_OUTPUTS, test=records, state=full.state)).outputs
    assert scored.correct_after == np.sum(np.argmax(outputs, axis=1) == records.y)


def test_a_loss_that_is_not_finite_is_counted(folder: Path) -> None:
    session = Session(Mode.STEPS, FAKE_OUTPUTS, clusters(20), steps=20, learning_rate=1e30)
    results = [run_session(_firmware(folder, board), session, timeout=60) for board in ("host", *ALL_EMULATED)]
    assert results[0].not_finite > 0
    assert results[1].same_as(results[0])
    assert results[2].same_as(results[0])


def test_a_model_without_training_predicts_but_refuses_to_train(folder: Path) -> None:
    firmware = _firmware(folder, "mps2-an386", "FAKE_FROZEN")
    bench = run_session(firmware, Session(Mode.BENCH, FAKE_OUTPUTS, test=clusters(4), steps=2), timeout=60)
    assert bench.predict_ticks > 0
    assert bench.step_ticks == 0
    with pytest.raises(McugradError, match="on mps2-an386 stopped: this model was compiled without training"):
        run_session(firmware, LEARN, timeout=60)


@pytest.mark.parametrize("board", ALL_EMULATED)
def test_instruction_counts_are_the_same_in_every_run(folder: Path, board: str) -> None:
    session = Session(Mode.BENCH, FAKE_OUTPUTS, clusters(10), steps=5, warmup=2, learning_rate=1e-3)
    firmware = _firmware(folder, board)
    first, second = (run_session(firmware, session, timeout=60) for _ in range(2))
    assert (first.predict_ticks, first.step_ticks) == (second.predict_ticks, second.step_ticks)
    assert first.timed == 5
    assert 0 < first.predict_ticks < first.step_ticks


@pytest.mark.parametrize("board", ALL_EMULATED)
def test_ticks_count_instructions_exactly(tmp_path: Path, board: str) -> None:
    loop = "movw r0, #50000\\n 1: subs r0, #1\\n bne 1b\\n bx lr"
    if board == "qemu-riscv32":
        loop = "li a0, 50000\\n 1: addi a0, a0, -1\\n bnez a0, 1b\\n ret"  # li is two instructions
    source = """
    #include "timer.h"
    #include "line.h"
    void spin(void);
    __attribute__((naked, noipa)) void spin(void) {
        __asm__ volatile("LOOP");
    }
    int main(void) {
        mg_timer_start();
        uint32_t a = mg_timer_ticks(), b = mg_timer_ticks();
        spin();
        uint32_t c = mg_timer_ticks();
        mg_line_t line;
        mg_line_begin(&line, "");
        mg_line_number(&line, (c - b) - (b - a));
        mg_semihosting_error(mg_line_end(&line));
        return 0;
    }"""
    firmware = program(tmp_path, board, source.replace("LOOP", loop))
    runs = {int(run_program(firmware, tmp_path, timeout=60).stderr) for _ in range(3)}
    assert len(runs) == 1
    # The loop's 100,000, and bl, movw, bx; within the board's tick.
    assert abs(load_board(board).instructions(runs.pop()) - 100003) <= 1 + load_board(board).instructions(1)


def test_profile_splits_a_pass_by_kernel_call(folder: Path) -> None:
    board = load_board("mps2-an386")
    session = Session(Mode.BENCH, FAKE_OUTPUTS, clusters(10), steps=2, warmup=1, learning_rate=1e-3)
    result = run_session(_firmware(folder, board.name, "MCUGRAD_PROFILE"), session, timeout=60)
    assert [one.kind for one in result.profile] == ["predict", "step"] * 2
    assert [call for call, _ in result.profile[1].calls] == [0, 1, 2]
    plain = run_session(_firmware(folder, board.name), session, timeout=60)
    profiled = sum(ticks for one in result.profile if one.kind == "step" for _, ticks in one.calls)
    # What is left are the calls of the hook itself.
    assert abs(profiled - plain.step_ticks) < 0.05 * plain.step_ticks


def test_progress_covers_every_phase(folder: Path) -> None:
    seen: list[Progress] = []
    run_session(_firmware(folder, "mps2-an386"), LEARN, on_progress=seen.append, timeout=60)
    ends = [(p.phase, p.epoch, p.done) for p in seen if p.done == p.total]
    assert ends == [("before", 0, 50), ("train", 0, 150), ("train", 1, 150), ("train", 2, 150), ("after", 0, 50)]
    assert all(p.loss > 0 for p in seen if p.phase == "train")
    assert len(seen) < 400


# ---- the order of an epoch


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**32 - 1), st.integers(0, 1000))
def test_shuffles_are_permutations(n: int, seed: int, epoch: int) -> None:
    assert sorted(shuffle_order(n, seed, epoch)) == list(range(n))


def test_shuffles_differ_by_seed_and_epoch_and_mix_well() -> None:
    orders = {tuple(shuffle_order(50, seed, epoch)) for seed in range(20) for epoch in range(20)}
    assert len(orders) == 400
    # Record 0 comes at any of the 16 positions about equally often: chi-squared with 15 degrees of freedom.
    first = np.bincount([int(shuffle_order(16, seed, 0)[0]) for seed in range(3200)], minlength=16)
    assert np.sum((first - 200) ** 2 / 200) < 45


def test_firmware_shuffles_as_python_does(tmp_path: Path) -> None:
    source = tmp_path / "order.c"
    source.write_text(
        '#include <stdio.h>\n#include "shuffle.h"\n'
        "int main(void) {\n    for (uint32_t n = 1; n < 300; n += 7)\n        for (uint32_t i = 0; i < n; i++)\n"
        '            printf("%u\\n", mg_shuffle(mg_shuffle_key(n * 77u, n), i, n));\n    return 0;\n}\n',
        encoding="utf-8",
    )
    firmware = build_program([source], load_board("host"), build_dir=tmp_path / "build")
    printed = [int(line) for line in run_program(firmware, tmp_path, timeout=60).stdout.split()]
    assert printed == [int(i) for n in range(1, 300, 7) for i in shuffle_order(n, n * 77, n)]


def test_shuffle_decides_the_bits(folder: Path) -> None:
    """The session visits the records in the order that Python names: shuffled here, in file order there."""
    firmware, records = _firmware(folder, "host"), clusters(40, 6)
    shuffled = run_session(firmware, Session(Mode.TRAIN, FAKE_OUTPUTS, records, epochs=1, learning_rate=1e-3, seed=9))
    order = shuffle_order(40, 9, 0)
    permuted = Records(records.x[order], records.y[order])
    plain = Session(Mode.TRAIN, FAKE_OUTPUTS, permuted, epochs=1, learning_rate=1e-3, seed=9, shuffle=False)
    assert run_session(firmware, plain).same_as(shuffled)


# ---- what must not pass for a result


def test_a_firmware_without_the_success_marker_has_failed(tmp_path: Path) -> None:
    for board in ALL_EMULATED:
        firmware = program(tmp_path / board, board, "")
        output = run_program(firmware, tmp_path, timeout=60)
        assert output.exit_code == 0
        with pytest.raises(McugradError, match=f"on {board} ended without its success line"):
            check_output(firmware, output)
        with pytest.raises(McugradError, match="without its success line"):
            run_session(firmware, LEARN, timeout=60)


def test_the_success_marker_must_be_the_last_line_and_true(folder: Path, tmp_path: Path) -> None:
    firmware = _firmware(folder, "host")
    check_output(firmware, Output(0, "@mcugrad ok 12\n", ""))
    for stdout in ("", "@mcugrad ok 12\nmore\n", "@mcugrad ok\n", " @mcugrad ok 12\n"):
        with pytest.raises(McugradError, match="success line"):
            check_output(firmware, Output(0, stdout, ""))
    with pytest.raises(McugradError, match="exit code 3"):
        check_output(firmware, Output(3, "@mcugrad ok 12\n", ""))
    liar = program(
        tmp_path, "mps2-an386", 'mg_semihosting_write(mg_semihosting_open_stdout(), "@mcugrad ok 9\\n", 14);'
    )
    with pytest.raises(McugradError, match="lost part of its result"):
        run_session(liar, LEARN, timeout=60)


def test_truncated_results_are_refused() -> None:
    for data in (b"", bytes(127), bytes(128), bytes(500)):
        with pytest.raises(McugradError, match=r"result\.bin"):
            parse_result(data, 4)


@pytest.mark.parametrize("board", ["host", *ALL_EMULATED])
def test_firmware_refuses_what_is_not_for_it(folder: Path, board: str, tmp_path: Path) -> None:
    firmware, records = _firmware(folder, board), clusters(5)
    wide = Records(np.zeros((5, 13), np.int8), records.y)
    refused = {
        "for another model": Session(Mode.EVALUATE, FAKE_OUTPUTS, test=wide),
        "weights of another model": Session(Mode.EVALUATE, FAKE_OUTPUTS, test=records, state=bytes(83)),
        "no records to train": Session(Mode.TRAIN, FAKE_OUTPUTS, test=records, epochs=1),
    }
    for reason, session in refused.items():
        with pytest.raises(McugradError, match=f"on {board} stopped: .*{reason}"):
            run_session(firmware, session, timeout=60)
    whole = Session(Mode.EVALUATE, FAKE_OUTPUTS, test=records).to_bytes()
    for cut, reason in ((40, "no header"), (len(whole) - 1, "ends before its last record")):
        (tmp_path / "session.bin").write_bytes(whole[:cut])
        with pytest.raises(McugradError, match=reason):
            check_output(firmware, run_program(firmware, tmp_path, timeout=60))


def test_python_refuses_what_makes_no_session() -> None:
    records = clusters(5)
    with pytest.raises(McugradError, match="without records"):
        Session(Mode.TRAIN, 4).to_bytes()
    with pytest.raises(McugradError, match=r"labels run from \d to 3: a model with 3 outputs knows 0 to 2"):
        Session(Mode.TRAIN, 3, clusters(50)).to_bytes()
    with pytest.raises(McugradError, match="train and test records differ"):
        Session(Mode.TRAIN, 4, records, targets(5)).to_bytes()
    with pytest.raises(McugradError, match="give int8"):
        Session(Mode.TRAIN, 4, Records(records.x.astype(np.float32), records.y)).to_bytes()
    with pytest.raises(McugradError, match="as many labels"):
        Session(Mode.TRAIN, 4, Records(records.x, records.y[1:])).to_bytes()


@pytest.mark.parametrize("board", ALL_EMULATED)
def test_a_firmware_that_hangs_is_stopped(tmp_path: Path, board: str) -> None:
    firmware = program(tmp_path, board, "for (;;) { }")
    with pytest.raises(McugradError, match=f"on {board} did not end within 1 s"):
        run_program(firmware, tmp_path, timeout=1)


def test_ctrl_c_ends_the_child(tmp_path: Path) -> None:
    source = tmp_path / "wait.c"
    source.write_text(
        "#define _POSIX_C_SOURCE 200809L\n#include <stdio.h>\n#include <unistd.h>\n"
        'int main(void) { printf("%ld\\n", (long)getpid()); fflush(stdout); for (;;) pause(); }\n',
        encoding="utf-8",
    )
    firmware = build_program([source], load_board("host"), build_dir=tmp_path / "build")
    pids: list[int] = []

    def interrupt(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_program(firmware, tmp_path, on_line=interrupt, timeout=60)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_sanitizers_see_a_bad_kernel(tmp_path: Path) -> None:
    folder = fake_folder(tmp_path)
    text = (folder / "fake.c").read_text(encoding="utf-8")
    bad = text.replace("(float)sum * 0x1p-11f", "(float)(sum * 100000000) * 0x1p-11f")
    (folder / "fake.c").write_text(bad, encoding="utf-8")
    firmware = build(folder, load_board("host"), sanitize=True)
    with pytest.raises(McugradError, match=r"on host ended with .*fake\.c.*runtime error: signed integer overflow"):
        run_session(firmware, LEARN)


def test_session_source_is_the_same_everywhere() -> None:
    """One session.c and train.c: nothing in them may ask which board it is on."""
    common = targets_dir() / "common"
    text = "".join((common / name).read_text(encoding="utf-8") for name in ("firmware.h", "session.c", "train.c"))
    assert not any(word in text for word in ("__arm__", "__x86_64__", "_POSIX", "__linux__"))
