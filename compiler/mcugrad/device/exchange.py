"""Requests and answers over a line that loses, repeats and damages bytes: each request is executed once, in order.

Requests have sequence numbers in a session; the device remembers its last answers and gives them again. So a request
whose answer does not come is simply sent again.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mcugrad.device.frames import ANSWER, Decoder, Frame, encode
from mcugrad.device.protocol import Info, Status, Verb
from mcugrad.device.transport import Transport
from mcugrad.errors import McugradError

Request = tuple[Verb, bytes]
_SLOWEST = 4.0  # seconds between two tries, at most


class DeviceError(McugradError):
    """The device did not answer, or refused."""


class DeviceResetError(DeviceError):
    """The device was reset, or another host has taken it over: its session is over."""


@dataclass
class _Sent:
    frame: Frame
    answer: Frame | None = None


class Exchange:
    """One session. `retry`: seconds after which a request is sent again, doubled each time; `patience`: seconds without
    any sound frame after which the device counts as gone."""

    def __init__(self, line: Transport, *, retry: float = 0.5, patience: float = 20.0) -> None:
        self._line, self._retry, self._patience = line, retry, patience
        self._decoder = Decoder()
        self._session, self._sequence, self._window = 0, 0, 1
        self._nonce = secrets.randbits(32)
        self.resent = 0  # frames

    def open(self, patience: float | None = None) -> Info:
        """Start a session, which ends that of any other host. Raises DeviceError when nothing answers in time."""
        for _ in range(5):
            self._session, self._sequence, self._window = secrets.randbits(31) + 1, 0, 1
            info = self.info(patience)
            answer = self._alone(Verb.OPEN, info.session.to_bytes(4, "little"), patience)
            if answer.status == Status.OK:
                self._window = info.window
                return info
        raise DeviceError(
            f"the device at {self._line.name} is taken over again and again: is another host talking to it?"
        )

    def info(self, patience: float | None = None) -> Info:
        """INFO belongs to no session. Raises DeviceError when nothing answers, or with another protocol version."""
        return Info.parse(self._alone(Verb.INFO, b"", patience).payload, self._line.name)

    def call(self, verb: Verb, payload: bytes = b"") -> bytes:
        """One request; the answer's payload. Raises DeviceError when it is refused."""
        (answer,) = self.stream([(verb, payload)])
        return accepted(answer)

    def stream(self, requests: Iterable[Request]) -> Iterator[Frame]:
        """The answers, in order, refusals too, while as many requests as the device takes at once are on their way.

        When the caller stops half-way, those are executed or not; the next request begins a new session.
        """
        if not self._session:
            self.open()
        waiting: deque[_Sent] = deque()
        source = iter(requests)
        try:
            while self._fill(waiting, source):
                self._await(waiting)
                answer = waiting.popleft().answer
                assert answer is not None
                yield answer
        except BaseException:
            self._session = 0
            raise

    def _fill(self, waiting: deque[_Sent], source: Iterator[Request]) -> bool:
        """Send what the window has room for; False when there is nothing left to wait for."""
        while len(waiting) < self._window and (request := next(source, None)) is not None:
            self._sequence = (self._sequence + 1) & 0xFFFF
            waiting.append(_Sent(Frame(request[0], self._sequence, self._session, request[1])))
            self._send(waiting[-1].frame)
        return bool(waiting)

    def _await(self, waiting: deque[_Sent]) -> None:
        """Until the oldest request is answered."""
        delay, silence = self._retry, time.monotonic() + self._patience
        again = time.monotonic() + delay
        ordered = False
        while waiting[0].answer is None:
            now = time.monotonic()
            if now >= silence:
                raise DeviceError(f"the device at {self._line.name} has stopped answering: check its cable and power")
            if now >= again:
                self._send_again(waiting)
                delay = min(2 * delay, max(_SLOWEST, self._retry))
                again = now + delay
            for frame in self._receive(max(0.0, min(again, silence) - now)):
                silence = time.monotonic() + self._patience
                if frame.session != self._session:
                    continue
                if frame.status == Status.SESSION:
                    raise DeviceResetError(
                        f"the device at {self._line.name} was reset, or another host has taken it over"
                    )
                if frame.status == Status.ORDER:
                    if not ordered:  # it misses what came before: no need to wait any longer
                        self._send_again(waiting)
                    ordered = True
                    continue
                for sent in waiting:
                    if sent.frame.sequence == frame.sequence and sent.frame.verb == frame.verb & ~ANSWER:
                        sent.answer = sent.answer or frame

    def _send_again(self, waiting: Iterable[_Sent]) -> None:
        for sent in waiting:
            if sent.answer is None:
                self.resent += 1
                self._send(sent.frame)

    def _alone(self, verb: Verb, payload: bytes, patience: float | None) -> Frame:
        """A request outside of the order: its sequence number only tells its answer from others'."""
        self._nonce = (self._nonce + 1) & 0xFFFFFFFF
        frame = Frame(verb, self._nonce & 0xFFFF, self._session, payload)
        delay, end = self._retry, time.monotonic() + (self._patience if patience is None else patience)
        while time.monotonic() < end:
            self._send(frame)
            again = time.monotonic() + delay
            delay = min(2 * delay, max(_SLOWEST, self._retry))
            while (left := min(again, end) - time.monotonic()) > 0:
                for answer in self._receive(left):
                    if (answer.verb, answer.sequence, answer.session) == (
                        verb | ANSWER,
                        frame.sequence,
                        frame.session,
                    ):
                        return answer
        raise DeviceError(
            f"nothing at {self._line.name} answers as an mcugrad device: check the port, its baud rate, and that the "
            "board runs a firmware with the serial protocol"
        )

    def _send(self, frame: Frame) -> None:
        try:
            self._line.write(encode(frame))
        except OSError as problem:
            raise self._gone(problem) from problem

    def _receive(self, timeout: float) -> Iterator[Frame]:
        try:
            data = self._line.read(timeout)
        except OSError as problem:
            raise self._gone(problem) from problem
        return (frame for frame in self._decoder.feed(data) if frame.verb & ANSWER)

    def _gone(self, problem: OSError) -> DeviceError:
        return DeviceResetError(f"{self._line.name} is gone ({problem.strerror or problem}): plug the board in again")


def accepted(answer: Frame) -> bytes:
    """The payload of an answer. Raises DeviceError for a refusal."""
    if answer.status != Status.OK:
        raise DeviceError(Status.sentence(answer.status))
    return answer.payload
