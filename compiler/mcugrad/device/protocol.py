"""Words of the serial protocol: verbs, statuses, and what the answers hold (runtime_c/PROTOCOL.md)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from mcugrad.errors import McugradError

VERSION = 1
RESTART = 0x80000000  # the offset that begins a sample behind one that was dropped
_INFO = struct.Struct("<15I16s24s")
_STATISTICS = struct.Struct("<4I4f6I")


class Verb(IntEnum):
    """mg_verb_t."""

    INFO = 0x01
    OPEN = 0x02
    SAMPLE = 0x10
    PREDICT = 0x11
    TRAIN = 0x12
    EVALUATE = 0x13
    SCORE = 0x14
    PLAN = 0x15
    SAVE = 0x16
    LOAD = 0x17
    RESET = 0x18
    BEGIN = 0x19
    WRITE = 0x1A
    COMMIT = 0x1B
    READ = 0x20
    STATISTICS = 0x21
    CHECK = 0x22


class Status(IntEnum):
    """mg_status_t."""

    OK = 0
    SESSION = 1
    ORDER = 2
    VERB = 3
    FORMAT = 4
    SAMPLE = 5
    FROZEN = 6
    LABEL = 7
    MODEL = 8
    WRITING = 9
    DAMAGED = 10

    @staticmethod
    def sentence(status: int) -> str:
        """What a refusal means, and what to do."""
        known = status in _SENTENCES
        return _SENTENCES[Status(status)] if known else f"the device refused with status {status}: update mcugrad"


_SENTENCES = {
    Status.VERB: "the device's firmware does not know this request: build it again with this mcugrad",
    Status.FORMAT: "the device's firmware refused a request's form: build it again with this mcugrad",
    Status.SAMPLE: "the device dropped a sample half-way: send it again",
    Status.FROZEN: "the device's model was compiled without training: compile it with --train",
    Status.LABEL: "the device refused a label that is no class of its model",
    Status.MODEL: "the device runs another model than the one that this state belongs to: nothing was changed",
    Status.WRITING: "the device holds half a state: push one, load the saved one, or reset it",
    Status.DAMAGED: "the state came out damaged, so the device went back to the one it saved, or factory weights",
}


class Region(IntEnum):
    """mg_region_t."""

    STATE = 0
    OUTPUTS = 1
    SCALES = 2


class Found(IntEnum):
    """mg_load_t: what a device starts from, or why there is no saved state."""

    LOADED = 0
    EMPTY = 1
    DAMAGED = 2
    OTHER_FORMAT = 3
    OTHER_MODEL = 4
    BROKEN = 5
    NO_ROOM = 6
    NO_FLASH = 7

    @property
    def text(self) -> str:
        return _FOUND[self]


_FOUND = {
    Found.LOADED: "the saved state",
    Found.EMPTY: "factory weights: nothing was saved",
    Found.DAMAGED: "factory weights: what was saved is damaged",
    Found.OTHER_FORMAT: "factory weights: what was saved has another format",
    Found.OTHER_MODEL: "factory weights: what was saved is another model's",
    Found.BROKEN: "factory weights: the flash read differently the second time",
    Found.NO_ROOM: "factory weights: the flash has no room for two states",
    Found.NO_FLASH: "factory weights: no flash driver",
}


class Saved(IntEnum):
    """mg_save_t."""

    SAVED = 0
    TOO_SOON = 1
    WORN = 2
    OTHER_FORMAT = 3
    OTHER_MODEL = 4
    NO_ROOM = 5
    NO_FLASH = 6

    @property
    def text(self) -> str:
        return _SAVED[self]


_SAVED = {
    Saved.SAVED: "saved",
    Saved.TOO_SOON: "it was saved a moment ago: train some more steps first",
    Saved.WORN: "its flash is worn out: what was saved before is still there",
    Saved.OTHER_FORMAT: "its flash holds states of another format: reset it if they may go",
    Saved.OTHER_MODEL: "its flash holds another model's states: reset it if they may go",
    Saved.NO_ROOM: "its flash has no room for two states: give the driver more sectors",
    Saved.NO_FLASH: "its firmware has no flash driver: pull the state into a file instead",
}


@dataclass(frozen=True)
class Info:
    """What a device is. Lengths as in <name>.h; `row_len` 0: a sample lies in SRAM as a whole; `state_bytes` 0: nothing
    trains; `step`: of the training's plan; `half_written`: a state is being written."""

    window: int
    session: int
    input_len: int
    row_len: int
    output_len: int
    target_len: int
    trains: bool
    state_bytes: int
    n_scales: int
    step: int
    saves: bool
    found: Found
    half_written: bool
    model_hash: bytes
    model_name: str

    @staticmethod
    def parse(payload: bytes, source: str) -> Info:
        """From INFO's answer. Raises McugradError for another version of the protocol."""
        version = int.from_bytes(payload[:4], "little")
        if version != VERSION or len(payload) != _INFO.size:
            raise McugradError(
                f"the device at {source} speaks version {version} of the protocol and this mcugrad {VERSION}: "
                "build its firmware again"
            )
        f = _INFO.unpack(payload)
        return Info(
            window=f[1],
            session=f[3],
            input_len=f[4],
            row_len=f[5],
            output_len=f[6],
            target_len=f[7],
            trains=bool(f[8]),
            state_bytes=f[9],
            n_scales=f[10],
            step=f[11],
            saves=bool(f[12]),
            found=Found(f[13]),
            half_written=bool(f[14]),
            model_hash=f[15],
            model_name=f[16].rstrip(b"\0").decode(errors="replace"),
        )


@dataclass(frozen=True)
class Step:
    """One training step. `updated`: False when the loss was not finite or the training has diverged; `step`: of the
    plan, afterwards; `checkpoint_due`: the loss has fallen markedly, save the state."""

    loss: float
    step: int
    updated: bool
    diverged: bool
    checkpoint_due: bool

    @staticmethod
    def parse(payload: bytes) -> Step:
        flags, loss, step = struct.unpack("<IfI", payload)
        return Step(loss, step, bool(flags & 1), bool(flags & 2), bool(flags & 4))


@dataclass(frozen=True)
class Score:
    """Counted on the device: samples, those whose largest output is the label's, and, with targets, the sum of their
    mean squared errors."""

    scored: int
    correct: int
    loss: float

    @property
    def accuracy(self) -> float:
        return self.correct / self.scored if self.scored else 0.0

    @staticmethod
    def parse(payload: bytes) -> Score:
        return Score(*struct.unpack("<IIf", payload))


@dataclass(frozen=True)
class Statistics:
    """A device at work. `rate`: of the next step; `last_loss`, `mean_loss`: of the last step and of this block of up to
    128; `diverged`: the step that found it, or 0; `stack`: bytes ever used, 0 where not measured; the last two count
    frames that were dropped."""

    step: int
    total_steps: int
    schedule: int
    seed: int
    learning_rate: float
    rate: float
    last_loss: float
    mean_loss: float
    diverged: int
    clipped_errors: int
    saturated_weights: int
    stack: int
    damaged_frames: int
    long_frames: int

    @staticmethod
    def parse(payload: bytes) -> Statistics:
        return Statistics(*_STATISTICS.unpack(payload))
