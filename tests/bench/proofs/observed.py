"""The gradients that an emitted training step applies, read where it applies them.

Every integer update is w + floor(u - acc * rate * qas). We build the emitted C with a longer mg_internal.h, in which
u = 0 and what floor is given, -acc * rate * qas in float32, is also written down, by the tensor and element that u was
drawn for. The kernels are the emitted ones. The float32 classifier needs no such help: at a huge rate its change is the
gradient.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from host_model import HostModel
from mcugrad.graph import Parameter
from mcugrad.pipeline import Compiled

from .networks import Array

RATE = 2.0**20
HEAD_RATE = 0.5  # NUMERICS.md

_OBSERVED = """
/* Added by the gradient proof: what an update is about to do, in order. */
void mcugrad_drawn(uint32_t key, uint32_t element);
void mcugrad_stepped(float step);
static inline float mg_observed_uniform(uint32_t key, uint32_t i) {
    mcugrad_drawn(key, i);
    return 0.0f;
}
static inline int32_t mg_observed_step(float v) {
    mcugrad_stepped(v);
    return mg_floor_step(v);
}
#define mg_uniform mg_observed_uniform
#define mg_floor_step mg_observed_step
#endif
"""
_RECORDER = """#include <stdint.h>
#include "mcugrad.h"
typedef struct { uint32_t key, element; float step; } seen_t;
seen_t mcugrad_seen[CAPACITY];
uint32_t mcugrad_counts[2]; /* drawn, stepped */
void mcugrad_drawn(uint32_t key, uint32_t element);
void mcugrad_stepped(float step);
uint32_t mcugrad_key(uint32_t tensor);
void mcugrad_drawn(uint32_t key, uint32_t element) {
    seen_t *seen = &mcugrad_seen[mcugrad_counts[0]++ % CAPACITY];
    seen->key = key, seen->element = element;
}
void mcugrad_stepped(float step) { mcugrad_seen[mcugrad_counts[1]++ % CAPACITY].step = step; }
uint32_t mcugrad_key(uint32_t tensor) { return mg_random_key(&(mg_random_t){0, 0, tensor}); }
"""
_SEEN = np.dtype([("key", "<u4"), ("element", "<u4"), ("step", "<f4")])


class ObservedSteps:
    """A compiled model whose steps show their gradients; build files go to `folder`."""

    def __init__(self, compiled: Compiled, folder: Path) -> None:
        self.model, self.names = compiled.model, compiled.selection.names
        self.capacity = 1 + sum(p.value.size for p in self._parameters() if not p.is_float)
        self.host = HostModel(compiled, folder, edit=self._observed)
        library = self.host.library
        library.mcugrad_key.restype = ctypes.c_uint32
        self._keys = {name: library.mcugrad_key(i) for i, name in enumerate(self.names)}
        assert len(set(self._keys.values())) == len(self.names), "two tensors draw from one random stream"
        self._counts = (ctypes.c_uint32 * 2).in_dll(library, "mcugrad_counts")
        seen = (ctypes.c_uint8 * (self.capacity * _SEEN.itemsize)).in_dll(library, "mcugrad_seen")
        self._seen = np.frombuffer(memoryview(seen), _SEEN)

    def _parameters(self) -> list[Parameter]:
        return [self.model.parameter(name) for name in self.names]

    def _observed(self, files: dict[str, str]) -> dict[str, str]:
        header, end = files["mg_internal.h"].rstrip(), "#endif"
        assert header.endswith(end)
        recorder = f"#define CAPACITY {self.capacity}u\n{_RECORDER}"
        return {**files, "mg_internal.h": header.removesuffix(end) + _OBSERVED, "recorder.c": recorder}

    def warm_up(self, x: Array, targets: Array, learning_rate: float) -> bytes:
        """Train from the factory's weights on every sample once, by nearest rounding; the whole instance after it.

        What floor is given lacks the u that makes the rounding stochastic, so half a quantum is not added either: the
        weights only need to be those of a network in training, and every error's scale to be predicted.
        """
        self.host.init()
        self.host.plan(learning_rate, 0)
        for sample, target in zip(x, targets, strict=True):
            assert np.isfinite(self.host.train_step(sample, np.atleast_1d(target)))
        return self.host.save()

    def gradients(self, saved: bytes, x: Array, target: Array) -> tuple[float, dict[str, Array]]:
        """Loss and gradient of one step from `saved`, by every trained tensor in its own units, float64.

        NaN: elements that the step leaves alone (channels that do not train, dead channels).
        """
        self.host.restore(saved)
        before = self.host.state()
        self.host.plan(RATE, 0)
        self._counts[:] = [0, 0]
        loss = self.host.train_step(x, np.atleast_1d(target))
        drawn, stepped = self._counts
        assert drawn == stepped < self.capacity, f"{drawn} elements drew a number, {stepped} moved"
        seen, after = self._seen[:drawn], self.host.state()
        found = {}
        for parameter in self._parameters():
            if parameter.is_float:
                change = after[parameter.name].astype(np.float64) - before[parameter.name]
                found[parameter.name] = -change / (RATE * HEAD_RATE)
            else:
                found[parameter.name] = self._integer(parameter, seen)
        return loss, found

    def _integer(self, parameter: Parameter, seen: Array) -> Array:
        own = seen[seen["key"] == self._keys[parameter.name]]
        assert len(np.unique(own["element"])) == len(own), f"{parameter.name}: an element moves twice"
        step = np.full(parameter.value.size, np.nan)
        step[own["element"]] = own["step"]
        scale = parameter.scale.astype(np.float64).reshape(-1, *[1] * (parameter.value.ndim - 1))
        rate = RATE * (HEAD_RATE if parameter.head else 1.0)
        return -step.reshape(parameter.value.shape) * scale**2 / rate
