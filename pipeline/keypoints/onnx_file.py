"""The shapes of an ONNX network's inputs, which OpenCV does not tell.

An ONNX file is a Protocol Buffers message. Only the fields on the way to the input shapes are read (numbers of
onnx.proto3): ModelProto.graph 7, GraphProto.initializer 5 and input 11, ValueInfoProto.name 1 and type 2,
TypeProto.tensor_type 1, its shape 2, TensorShapeProto.dim 1, Dimension.dim_value 1; TensorProto.name 8.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import InputError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_BYTES = 2 << 30


def input_shapes(path: Path) -> list[tuple[int | None, ...]]:
    """Shapes of the inputs, None where a dimension is free.

    Raises:
        InputError: there is no such file or it is no ONNX network.
    """
    remedy = "Give the path of an .onnx file"
    try:
        size = Path(path).stat().st_size
        data = memoryview(Path(path).read_bytes()) if size <= _MAX_BYTES else None
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", remedy) from error
    if data is None:
        raise InputError(path, f"is larger than {_MAX_BYTES >> 30} GB", remedy)
    try:
        graph = _only(data, 7)
        weights = {bytes(_only(w, 8)) for w in _all(graph, 5)}
        inputs = [i for i in _all(graph, 11) if bytes(_only(i, 1)) not in weights]
        return [_shape(i) for i in inputs]
    except (IndexError, KeyError, ValueError) as error:
        raise InputError(path, "is no ONNX network", remedy) from error


def _shape(value_info: memoryview) -> tuple[int | None, ...]:
    shape = _only(_only(_only(value_info, 2), 1), 2)
    dims = []
    for dim in _all(shape, 1):
        values = [v for number, v in _fields(dim) if number == 1 and isinstance(v, int)]
        dims.append(values[-1] if values and values[-1] > 0 else None)
    return tuple(dims)


def _only(message: memoryview, number: int) -> memoryview:
    """The last field of that number, as Protocol Buffers have it. Raises KeyError if there is none."""
    found = _all(message, number)
    if not found:
        raise KeyError(number)
    return found[-1]


def _all(message: memoryview, number: int) -> list[memoryview]:
    return [v for n, v in _fields(message) if n == number and isinstance(v, memoryview)]


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of a message: whole numbers and byte strings; others are passed over."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value
        elif kind == _BYTES:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("a field reaches beyond its message")
            yield tag >> 3, message[at : at + length]
            at += length
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
