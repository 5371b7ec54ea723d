"""mcugrad compiles an ONNX graph into the C of a firmware that trains that graph, in int8, on a microcontroller."""

__version__ = "0.1.0"
