"""Pickles written opcode by opcode, as no pickler would write them."""

import struct

HEAD = b"\x80\x02"


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def name(module: str, word: str) -> bytes:
    return f"c{module}\n{word}\n".encode()


def call(function: bytes, *args: bytes) -> bytes:
    return function + b"(" + b"".join(args) + b"tR"


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def big(value: int) -> bytes:
    data = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def storage(count: int, kind: str = "FloatStorage") -> bytes:
    return b"(" + text("storage") + name("torch", kind) + text("0") + text("cpu") + number(count) + b"tQ"


def tensor(store: bytes, offset: bytes, shape: bytes, stride: bytes) -> bytes:
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return call(rebuild, store, offset, shape, stride, b"\x89", call(name("collections", "OrderedDict")))


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(big, values)) + b"t"


def stand_in() -> bytes:
    return name("ultralytics.nn.tasks", "PoseModel") + b")\x81"


def raw(data: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(data)) + data


def array(code: str, data: bytes, *shape: int) -> bytes:
    empty = call(name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), numbers(0), b"C\x01b")
    dtype = call(name("numpy", "dtype"), text(code), b"\x89", b"\x88")
    return empty + b"(" + number(1) + numbers(*shape) + dtype + b"\x89" + data + b"tb"
