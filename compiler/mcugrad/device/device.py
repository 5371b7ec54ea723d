"""`Device`: a compiled model on the other side of a serial line, with the verbs that its C API has."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from mcugrad.device.exchange import DeviceError, Exchange, Request, accepted
from mcugrad.device.frames import PAYLOAD
from mcugrad.device.protocol import RESTART, Found, Info, Region, Saved, Score, Statistics, Status, Step, Verb
from mcugrad.device.transport import BAUD, Transport, open_line
from mcugrad.errors import McugradError
from mcugrad.samples import quantize_samples
from mcugrad.simulate.build import read_manifest
from mcugrad.simulate.session import Schedule
from mcugrad.state_file import SavedState

Array = npt.NDArray[Any]
_PIECE = PAYLOAD - 4  # an offset goes before it
_TRIES = 20


class Device:
    """A device at `port`: a serial port's name, `tcp:HOST:PORT`, `unix:PATH`, or an open line.

    `model`: the folder that `mcugrad compile` wrote, or its manifest; with it samples are float32 as the ONNX input
    wants them, and a device that runs another model is refused. Without it they are int8 as the device's input is.
    `retry`, `patience`: see `Exchange`. A context manager. Every function raises DeviceError when the device is gone or
    refuses, DeviceResetError when it was reset: `reconnect` then.

        with Device("/dev/ttyACM0", "watch") as watch:
            watch.plan(Schedule.COSINE, 0.003, steps=len(x))
            for step in watch.train(x, y):
                print(step.loss)
            watch.save()
    """

    def __init__(
        self,
        port: str | Transport,
        model: str | Path | Mapping[str, Any] | None = None,
        *,
        baud: int = BAUD,
        retry: float = 0.5,
        patience: float = 20.0,
    ) -> None:
        self.manifest = read_manifest(Path(model)) if isinstance(model, (str, Path)) else model
        self._port, self._baud, self._retry, self._patience = port, baud, retry, patience
        self.info = self._connect()

    def _connect(self) -> Info:
        self._line = open_line(self._port, self._baud) if isinstance(self._port, str) else self._port
        try:
            self._exchange = Exchange(self._line, retry=self._retry, patience=self._patience)
            return self._begin(min(self._patience, 5.0))
        except BaseException:
            self._line.close()
            raise

    def _begin(self, patience: float) -> Info:
        info = self._exchange.open(patience)
        if self.manifest is not None:
            check_model(info, self.manifest, self._line.name)
        return info

    def reconnect(self) -> Info:
        """A new session, behind a reset or a replugged cable. What the device starts from is `info.found`."""
        if isinstance(self._port, str):
            self._line.close()
            self.info = self._connect()
        else:
            self.info = self._begin(self._patience)
        return self.info

    def __enter__(self) -> Device:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the line; the device keeps what it has."""
        self._line.close()

    @property
    def resent(self) -> int:
        """Frames that this session sent more than once."""
        return self._exchange.resent

    def refresh(self) -> Info:
        """`info`, as it is now."""
        self.info = self._exchange.info()
        return self.info

    # ---- samples -----------------------------------------------------------------------------------------------------

    def predict(self, x: Array) -> npt.NDArray[np.float32]:
        """float32 outputs (n, output_len) of samples (n, ...)."""
        rows = [self._outputs(sample) for sample in self._samples(x)]
        return np.array(rows, np.float32).reshape(len(rows), self.info.output_len)

    def _outputs(self, sample: bytes) -> Array:
        for _ in self._each(Verb.PREDICT, lambda _: sample, 1):
            pass
        return np.frombuffer(self._read(Region.OUTPUTS, 4 * self.info.output_len), "<f4")

    def train(self, x: Array, y: Array) -> Iterator[Step]:
        """Train on each sample once, in order; an answer each, as they come.

        `y`: class indices (n,), or float32 targets (n, target_len). Samples that are on their way when the caller
        stops are learned or not, each as a whole.
        """
        return map(Step.parse, self._records(Verb.TRAIN, x, y))

    def evaluate(self, x: Array, y: Array, on_score: Callable[[Score], None] | None = None) -> Score:
        """Judge samples, counting on the device; `on_score` sees the count grow."""
        self.score(reset=True)
        for answer in self._records(Verb.EVALUATE, x, y):
            if on_score is not None:
                on_score(Score.parse(answer[4:]))
        return self.score()

    def score(self, *, reset: bool = False) -> Score:
        """What evaluations counted since the last `reset`, which starts them again from 0 afterwards."""
        return Score.parse(self._exchange.call(Verb.SCORE, struct.pack("<I", reset)))

    def _records(self, verb: Verb, x: Array, y: Array) -> Iterator[bytes]:
        samples, wanted = self._samples(x), self._wanted(y)
        if len(samples) != len(wanted):
            raise McugradError(f"{len(samples)} samples and {len(wanted)} labels or targets: give one for each")
        return self._each(verb, lambda i: samples[i] + wanted[i], len(samples))

    def _samples(self, x: Array) -> list[bytes]:
        if self.manifest is not None and x.dtype != np.int8:
            x = quantize_samples(x, self.manifest)
        if x.dtype != np.int8 or x[:1].size != (self.info.input_len if len(x) else 0):
            raise McugradError(
                f"samples are {x.dtype} of shape {x.shape}: give (n, ...) with {self.info.input_len} int8 values each, "
                "or float32 and the model's folder"
            )
        return [sample.tobytes() for sample in x]

    def _wanted(self, y: Array) -> list[bytes]:
        targets = self.info.target_len
        if targets == 0 and not np.issubdtype(y.dtype, np.integer):
            raise McugradError(f"y holds {y.dtype}, and the device's model wants class indices")
        if targets == 0 and (wide := (y < -(2**31)) | (y >= 2**31)).any():
            raise McugradError(
                f"y holds the label {y[wide][0]}, which no int32 can hold: give class indices, 0 to "
                f"{self.info.output_len - 1}"
            )
        if targets and y[:1].size != (targets if len(y) else 0):
            raise McugradError(
                f"y has shape {y.shape}, and the device's model wants {targets} float32 targets a sample"
            )
        return [row.tobytes() for row in np.asarray(y, "<f4" if targets else "<i4")]

    def _each(self, verb: Verb, sample: Callable[[int], bytes], count: int) -> Iterator[bytes]:
        """The answers to `count` samples, which go as fast as the device takes them; one that the firmware dropped goes
        again, and so do those behind it."""
        done = tries = 0
        while done < count:
            sending = _Pieces(verb, sample, done, count)
            for answer in self._exchange.stream(sending):
                if answer.status == Status.SAMPLE:
                    sending.stop = True
                elif answer.status != Status.OK:
                    accepted(answer)
                elif answer.verb & ~0x80 == verb and not sending.stop:
                    done, tries = done + 1, 0
                    yield answer.payload
            tries += 1
            if tries > _TRIES:
                raise DeviceError("the device drops every sample half-way: its firmware uses the model all the time")

    # ---- training's plan, and what was learned -----------------------------------------------------------------------

    def plan(self, schedule: Schedule, learning_rate: float, steps: int, seed: int = 0) -> None:
        """Start a run of `steps` planned steps (0: a constant rate); what was learned stays."""
        self._exchange.call(Verb.PLAN, struct.pack("<IfII", schedule, learning_rate, steps, seed))

    def save(self) -> int:
        """Into the device's flash; the step that was saved. Raises DeviceError with the reason when it was not."""
        code, step = struct.unpack("<II", self._exchange.call(Verb.SAVE))
        if code != Saved.SAVED:
            raise DeviceError(f"the device did not save: {Saved(code).text}")
        return int(step)

    def load(self) -> int:
        """Back to the state in the device's flash; its step. Raises DeviceError when there is none: nothing changed."""
        code, step = struct.unpack("<II", self._exchange.call(Verb.LOAD))
        if code != Found.LOADED:
            raise DeviceError(f"the device has nothing to load: it keeps {Found(code).text}")
        return int(step)

    def reset(self) -> bool:
        """Factory weights, and an empty flash: whether there was one to empty."""
        return bool(int.from_bytes(self._exchange.call(Verb.RESET), "little"))

    def state(self) -> SavedState:
        """All that the device has learned. Raises DeviceError when it does not stop learning meanwhile."""
        info = self.info
        if not info.trains:
            raise DeviceError(Status.sentence(Status.FROZEN))
        for _ in range(_TRIES):
            data = self._read(Region.STATE, info.state_bytes)
            crc, step = struct.unpack("<II", self._exchange.call(Verb.CHECK))
            if zlib.crc32(data) == crc:
                return SavedState(info.model_hash, info.model_name, data, step)
        raise DeviceError("the state changes while it is read: stop the firmware's own training")

    def set_state(self, state: SavedState) -> None:
        """Make the device one that has learned `state`.

        It has room for one state alone: if this breaks off, the device is given its own back, or, if it cannot be
        reached any more, returns to what it had saved, or factory weights. Raises DeviceError for another model's.
        """
        if state.model_hash != self.info.model_hash or len(state.state) != self.info.state_bytes:
            raise DeviceError(
                f"the device runs model '{self.info.model_name}' (hash {self.info.model_hash.hex()[:8]}) and the state "
                f"belongs to '{state.model_name}' (hash {state.model_hash.hex()[:8]}): nothing was changed"
            )
        before = None if self.refresh().half_written else self.state()
        try:
            self._write(state.state)
        except BaseException:
            if before is not None:
                self._write(before.state)
            raise

    def _write(self, data: bytes) -> None:
        pieces = [(Verb.WRITE, struct.pack("<I", at) + data[at : at + _PIECE]) for at in range(0, len(data), _PIECE)]
        requests: list[Request] = [(Verb.BEGIN, self.info.model_hash), *pieces]
        for answer in self._exchange.stream([*requests, (Verb.COMMIT, struct.pack("<I", zlib.crc32(data)))]):
            accepted(answer)

    # ---- looking -----------------------------------------------------------------------------------------------------

    def statistics(self) -> Statistics:
        """How the training goes."""
        return Statistics.parse(self._exchange.call(Verb.STATISTICS))

    def scales(self) -> npt.NDArray[np.float32]:
        """The scale of every error tensor in the last step, float32."""
        return np.frombuffer(self._read(Region.SCALES, 4 * self.info.n_scales), "<f4")

    def _read(self, region: Region, count: int) -> bytes:
        pieces = [(at, min(PAYLOAD, count - at)) for at in range(0, count, PAYLOAD)]
        requests: list[Request] = [(Verb.READ, struct.pack("<III", region, *piece)) for piece in pieces]
        return b"".join(accepted(answer) for answer in self._exchange.stream(requests))


class _Pieces:
    """The requests that bring samples first .. count-1, until `stop` is set. The first begins with RESTART, since what
    came before may have been broken off."""

    def __init__(self, verb: Verb, sample: Callable[[int], bytes], first: int, count: int) -> None:
        self._verb, self._sample, self._first, self._count = verb, sample, first, count
        self.stop = False

    def __iter__(self) -> Iterator[Request]:
        for index in range(self._first, self._count):
            data = self._sample(index)
            for at in range(0, len(data), _PIECE):
                if self.stop:
                    return
                last = at + _PIECE >= len(data)
                offset = RESTART if index == self._first and at == 0 else at
                yield self._verb if last else Verb.SAMPLE, struct.pack("<I", offset) + data[at : at + _PIECE]


def check_model(info: Info, manifest: Mapping[str, Any], source: str) -> None:
    """Raises DeviceError unless the device runs the model that `manifest` describes."""
    wanted = bytes.fromhex(manifest.get("model_hash") or "") or bytes(16)
    name = str(manifest["name"])
    if (info.model_hash, info.model_name) != (wanted, name[:23]):
        raise DeviceError(
            f"the device at {source} runs model '{info.model_name}' (hash {info.model_hash.hex()[:8]}), not '{name}' "
            f"(hash {wanted.hex()[:8]}): give the folder that its firmware was built from, or flash it"
        )
