"""Reading a model file and the weights that it keeps in other files of its folder, and of no other folder."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from onnx import helper

from mcugrad.errors import McugradError

# A network for a 1 MB flash is far below this; what is above it is a mistake or an attack.
MAX_BYTES = 256 * 1024 * 1024


def read_proto(path: Path) -> onnx.ModelProto:
    """Parses the file and loads external weights into it. Raises McugradError for anything that is not a model."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise McugradError(f"{path} is not a file; give the path of an ONNX model")
        if size > MAX_BYTES:
            raise McugradError(f"{path} has {size:,} bytes, more than the {MAX_BYTES:,} accepted; give a smaller model")
        data = path.read_bytes()
    except OSError as error:
        raise McugradError(f"{path} cannot be read ({error.strerror}); give the path of an ONNX model") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError, whose module has no types
        raise McugradError(f"{path} is not an ONNX model, or it is truncated; export or copy it again") from error
    if not model.ir_version or not model.graph.node or not model.opset_import:
        raise McugradError(f"{path} is not an ONNX model, or it holds no operators; export or copy it again")
    _load_external(model, path)
    return model


def _tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    inner = [a.t for node in model.graph.node for a in node.attribute if a.type == onnx.AttributeProto.TENSOR]
    return [*model.graph.initializer, *inner]


def _load_external(model: onnx.ModelProto, path: Path) -> None:
    folder = path.parent.resolve()
    total = 0
    for tensor in _tensors(model):
        total += _check_size(tensor)
        if total > MAX_BYTES:
            raise McugradError(f"{path}: its tensors exceed {MAX_BYTES:,} bytes; give a smaller model")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.raw_data = _read_external(tensor, folder)
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]


def _check_size(tensor: onnx.TensorProto) -> int:
    if any(dim < 0 for dim in tensor.dims):
        raise McugradError(f"tensor '{tensor.name}' has a negative dimension; export the model again")
    try:
        item = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError) as error:
        raise McugradError(f"tensor '{tensor.name}' has unknown type {tensor.data_type}; export it again") from error
    return int(math.prod(tensor.dims) * item)


def _read_external(tensor: onnx.TensorProto, folder: Path) -> bytes:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    where = f"tensor '{tensor.name}': external data '{location}'"
    windows = PureWindowsPath(location)
    parts = {*PurePosixPath(location).parts, *windows.parts}
    if not location or "\0" in location or location.startswith("/") or windows.drive or windows.root or ".." in parts:
        raise McugradError(f"{where} is not a plain path inside the model's folder; keep the data beside the model")
    file = (folder / location).resolve()
    if not file.is_relative_to(folder):
        raise McugradError(f"{where} is a link that leads out of the model's folder; put a copy of the file there")
    expected = _check_size(tensor)
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", expected))
    except ValueError as error:
        raise McugradError(f"{where} has an offset or length that is no number; export the model again") from error
    if not file.is_file():
        raise McugradError(f"{where} is missing from {folder}; copy it there with the model")
    if offset < 0 or length != expected or offset + length > file.stat().st_size:
        raise McugradError(
            f"{where} does not hold the {expected} bytes at {offset} that the tensor needs; it is truncated or belongs "
            "to another model, copy it again"
        )
    with file.open("rb") as stream:
        stream.seek(offset)
        return bytes(stream.read(length))
