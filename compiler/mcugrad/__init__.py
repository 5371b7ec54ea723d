"""mcugrad compiles an ONNX graph into the C of a firmware that trains that graph, in int8, on a microcontroller."""

import os

__version__ = "0.1.0"

# onnxruntime's wheels report their use to its maker and keep a device id under ~/.cache as soon as they are imported.
# A compiler has no business doing either; who wants it sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
