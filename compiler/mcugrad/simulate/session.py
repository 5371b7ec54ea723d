"""What a firmware is told to do and what it answers: session.bin and result.bin (targets/common/session.h)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from mcugrad.errors import McugradError

_COMMAND_MAGIC, _RESULT_MAGIC, _VERSION = 0x4353474D, 0x5253474D, 2
_COMMAND = struct.Struct("<14If5I")
_RESULT = struct.Struct("<10I2f20I")
_MAX_BYTES = 2**31 - 1  # semihosting seeks by a signed 32-bit offset on some hosts
CACHE_PREFIX = "MCUGRAD_CACHE_PREFIX"  # what a firmware is built with that a session with a cache_len runs on
_PROFILE_PASSES = {0xFFFF0000: "predict", 0xFFFF0001: "step"}

Int8 = npt.NDArray[np.int8]
Uint32 = npt.NDArray[np.uint32]
Float32 = npt.NDArray[np.float32]


class Mode(IntEnum):
    """mg_mode_t: what the session does; session.h says it for each."""

    EVALUATE = 0
    TRAIN = 1
    STEPS = 2
    BENCH = 3
    PREDICT = 4


class Schedule(IntEnum):
    """mg_schedule_t."""

    CONSTANT = 0
    LINEAR = 1
    COSINE = 2


@dataclass(frozen=True)
class Records:
    """n samples. `x`: int8 of shape [n, ...], as the model's input tensor holds them. `y`: class labels, integers of
    shape [n], or targets, float32 of shape [n, ...]."""

    x: Int8
    y: npt.NDArray[np.generic]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def input_len(self) -> int:
        return int(np.prod(self.x.shape[1:], dtype=np.int64))

    @property
    def target_len(self) -> int:
        """float32 targets a sample; 0 when `y` holds labels."""
        return 0 if np.issubdtype(self.y.dtype, np.integer) else int(np.prod(self.y.shape[1:], dtype=np.int64))

    def to_bytes(self) -> bytes:
        """Record after record. Raises McugradError when x is not int8 or x and y differ in length."""
        if self.x.dtype != np.int8 or len(self.x) != len(self.y):
            raise McugradError(
                f"samples are {self.x.dtype} of shape {self.x.shape} with {len(self.y)} labels: "
                "give int8 and as many labels"
            )
        wanted = self.y.astype("<i4" if self.target_len == 0 else "<f4").reshape(len(self), -1)
        if len(self) == 0:
            return b""
        rows = [self.x.reshape(len(self), -1).view(np.uint8), np.ascontiguousarray(wanted).view(np.uint8)]
        return np.concatenate(rows, axis=1).tobytes()


@dataclass(frozen=True)
class Session:
    """One run. `output_len`: the model's float32 outputs; `state`: the bytes to start from instead of factory weights.

    `steps`: training steps (STEPS), timed passes (BENCH); `warmup`: untimed steps before them; `first_step`: STEPS
    starts at this record, and above 0 continues the plan inside `state`; `planned_steps`: what the schedule spans, 0
    for the steps of this session. `cache_len`: TRAIN runs the frozen prefix in the first epoch alone and keeps so many
    bytes of each sample (the manifest's prefix; a firmware that was built with CACHE_PREFIX); 0: it always runs.
    """

    mode: Mode
    output_len: int
    train: Records | None = None
    test: Records | None = None
    epochs: int = 0
    learning_rate: float = 0.0
    schedule: Schedule = Schedule.CONSTANT
    seed: int = 0
    shuffle: bool = True
    steps: int = 0
    warmup: int = 0
    first_step: int = 0
    planned_steps: int = 0
    state: bytes = b""
    cache_len: int = 0

    def to_bytes(self) -> bytes:
        """session.bin. Raises McugradError when records are missing or contradictory, or a label is no class."""
        parts = [records for records in (self.train, self.test) if records is not None]
        if not parts:
            raise McugradError("a session without records does nothing: give it a train or a test set")
        lengths = {(records.input_len, records.target_len) for records in parts}
        if len(lengths) > 1:
            raise McugradError(
                f"train and test records differ (input, target lengths {sorted(lengths)}): give the same kind"
            )
        for records in parts:
            self._check_labels(records)
        input_len, target_len = lengths.pop()
        count = [len(records) if records is not None else 0 for records in (self.train, self.test)]
        header = _COMMAND.pack(
            *(_COMMAND_MAGIC, _VERSION, self.mode, input_len, self.output_len, target_len, len(self.state), *count),
            *(self.epochs, self.steps, self.warmup, self.first_step, self.planned_steps, self.learning_rate),
            *(self.schedule, self.seed & 0xFFFFFFFF, int(self.shuffle), self.cache_len, 0),
        )
        data = b"".join([header, self.state, *(records.to_bytes() for records in parts)])
        if len(data) > _MAX_BYTES:
            raise McugradError(f"the session has {len(data)} bytes, more than {_MAX_BYTES}: give fewer records")
        if self.cache_bytes > _MAX_BYTES:
            raise McugradError(
                f"the cache of the prefix has {self.cache_bytes} bytes, more than {_MAX_BYTES}: give fewer records"
            )
        return data

    @property
    def cache_bytes(self) -> int:
        """Of cache.bin."""
        return self.cache_len * len(self.train) if self.train is not None else 0

    def _check_labels(self, records: Records) -> None:
        if records.target_len or len(records) == 0:
            return
        low, high = int(np.min(records.y.astype(np.int64))), int(np.max(records.y.astype(np.int64)))
        if low < 0 or high >= self.output_len:
            raise McugradError(
                f"labels run from {low} to {high}: "
                f"a model with {self.output_len} outputs knows 0 to {self.output_len - 1}"
            )


@dataclass(frozen=True)
class Pass:
    """One profiled prediction ("predict") or training step ("step"): (index in the manifest's calls, ticks) in order.

    A call's ticks are without the timer's own; under QEMU `Board.instructions` turns them into instructions.
    """

    kind: str
    calls: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class SessionResult:
    """result.bin. Figures before and after the training; a session without training has only those after.

    `correct_*`: test records classified right. `loss_*`: with targets, the sum over the test records of the mean
    squared error. `losses`: the mean of every epoch (TRAIN) or the loss of every step (STEPS). `outputs`:
    [n_test, output_len] (PREDICT). `predict_ticks`, `step_ticks`: of `timed` passes together, without the timer's own
    (BENCH). `first_ticks`, `later_ticks`: of the training steps of the first epoch and of all others (TRAIN).
    `diverged_step`: the training step that found a divergence, or 0; a TRAIN session then ends with the state behind
    `restored_step` steps, the last of its `checkpoints`. Stack figures in bytes; ticks and stack are 0 on the host.
    """

    mode: Mode
    steps: int
    correct_before: int
    correct_after: int
    loss_before: float
    loss_after: float
    not_finite: int
    clipped_errors: int
    saturated_weights: int
    stack_high_water: int
    stack_reserve: int
    timed: int
    predict_ticks: int
    step_ticks: int
    diverged_step: int
    restored_step: int
    checkpoints: int
    first_ticks: int
    later_ticks: int
    losses: Float32
    outputs: Float32
    state: bytes
    profile: tuple[Pass, ...] = field(default=())

    def same_as(self, other: SessionResult) -> bool:
        """Whether two runs computed the same bits; what only a board measures (ticks, stack) is left out."""
        return self._computed() == other._computed()

    def _computed(self) -> tuple[object, ...]:
        counts = (self.mode, self.steps, self.not_finite, self.clipped_errors, self.saturated_weights)
        stops = (self.diverged_step, self.restored_step, self.checkpoints)
        scores = (self.correct_before, self.correct_after, struct.pack("<2f", self.loss_before, self.loss_after))
        return (*counts, *stops, *scores, self.losses.tobytes(), self.outputs.tobytes(), self.state)


def parse_result(data: bytes, output_len: int) -> SessionResult:
    """Read result.bin. Raises McugradError when it is not a complete result."""
    if len(data) < _RESULT.size:
        raise McugradError(f"result.bin has {len(data)} bytes: the firmware broke off, run it again")
    f = _RESULT.unpack_from(data)
    magic, version, mode, state_len, n_losses, n_outputs, n_profile, steps, before, after, loss_before, loss_after = f[
        :12
    ]
    not_finite, clipped, saturated, high_water, reserve, overhead, timed = f[12:19]
    predict_ticks, step_ticks, first_ticks, later_ticks = (f[i] + (f[i + 1] << 32) for i in (19, 21, 23, 25))
    size = _RESULT.size + 4 * (n_losses + n_outputs + 2 * n_profile) + state_len
    if (magic, version) != (_RESULT_MAGIC, _VERSION) or len(data) != size:
        raise McugradError("result.bin is not a complete result of this version: run the session again")
    at = _RESULT.size
    losses = np.frombuffer(data, "<f4", n_losses, at).astype(np.float32)
    outputs = np.frombuffer(data, "<f4", n_outputs, at + 4 * n_losses).astype(np.float32)
    profile = np.frombuffer(data, "<u4", 2 * n_profile, at + 4 * (n_losses + n_outputs)).reshape(-1, 2)
    return SessionResult(
        mode=Mode(mode),
        steps=steps,
        correct_before=before,
        correct_after=after,
        loss_before=loss_before,
        loss_after=loss_after,
        not_finite=not_finite,
        clipped_errors=clipped,
        saturated_weights=saturated,
        stack_high_water=high_water,
        stack_reserve=reserve,
        timed=timed,
        predict_ticks=max(0, predict_ticks - timed * overhead),
        step_ticks=max(0, step_ticks - timed * overhead),
        diverged_step=f[27],
        restored_step=f[28],
        checkpoints=f[29],
        first_ticks=first_ticks,
        later_ticks=later_ticks,
        losses=losses,
        outputs=outputs.reshape(-1, output_len),
        state=data[len(data) - state_len :],
        profile=_passes(profile.tolist(), overhead),
    )


def _passes(pairs: list[list[int]], overhead: int) -> tuple[Pass, ...]:
    passes: list[tuple[str, list[tuple[int, int]]]] = []
    for call, ticks in pairs:
        if call in _PROFILE_PASSES:
            passes.append((_PROFILE_PASSES[call], []))
        else:
            passes[-1][1].append((call, max(0, ticks - overhead)))
    return tuple(Pass(kind, tuple(calls)) for kind, calls in passes)


def shuffle_order(n: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The order in which a shuffled TRAIN session visits its n train records in an epoch: mg_shuffle() of 0..n-1."""
    if n == 0:
        return np.empty(0, np.int64)
    half = 1
    while half < 16 and (n - 1) >> (2 * half):
        half += 1
    salted = _mix(np.array(seed & 0xFFFFFFFF, np.uint32))
    key = int(_mix(np.array((int(salted) + 0x9E3779B9 * (epoch + 1)) & 0xFFFFFFFF, np.uint32)))
    order = np.arange(n, dtype=np.uint32)
    outside = np.ones(n, dtype=bool)
    while outside.any():
        order[outside] = _feistel(order[outside], key, half)
        outside = order >= n
    return order.astype(np.int64)


def _mix(x: Uint32) -> Uint32:
    y: Uint32 = np.array(x, np.uint32)
    y ^= y >> np.uint32(16)
    y *= np.uint32(0x7FEB352D)
    y ^= y >> np.uint32(15)
    y *= np.uint32(0x846CA68B)
    y ^= y >> np.uint32(16)
    return y


def _feistel(x: Uint32, key: int, half: int) -> Uint32:
    mask = np.uint32((1 << half) - 1)
    left, right = x >> np.uint32(half), x & mask
    for turn in range(1, 5):
        salt = np.uint32((key + 0x9E3779B9 * turn) & 0xFFFFFFFF)
        left, right = right, (left ^ _mix(salt + np.uint32(0x85EBCA6B) * right)) & mask
    mixed: Uint32 = (left << np.uint32(half)) | right
    return mixed
