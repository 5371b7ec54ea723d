"""A device on the other side of a serial line: `Device` has the verbs (runtime_c/PROTOCOL.md the bytes)."""

from mcugrad.device.device import Device
from mcugrad.device.exchange import DeviceError, DeviceResetError
from mcugrad.device.protocol import Info, Score, Statistics, Step
from mcugrad.device.transport import is_port

__all__ = ["Device", "DeviceError", "DeviceResetError", "Info", "Score", "Statistics", "Step", "is_port"]
