"""gguf.py: writes a GGUF file, version 3 (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): metadata, then tensors in F32 or Q8_0."""
import struct

import numpy

U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9
TENSOR_F32, TENSOR_Q8_0 = 0, 8
ALIGNMENT = 32
BLOCK = 32 # values of Q8_0 that share a scale


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def scalar(value):
    if isinstance(value, bool):
        return BOOL, struct.pack("<?", value)
    if isinstance(value, int):
        return U32, struct.pack("<I", value)
    if isinstance(value, float):
        return F32, struct.pack("<f", value)
    return STRING, text(value)


def entry(key, value):
    if not isinstance(value, list):
        kind, raw = scalar(value)
        return text(key) + struct.pack("<I", kind) + raw
    kind = 5 if isinstance(value[0], int) else scalar(value[0])[0] # arrays of whole numbers are I32
    items = b"".join(struct.pack("<i", v) if kind == 5 else scalar(v)[1] for v in value)
    return text(key) + struct.pack("<IIQ", ARRAY, kind, len(value)) + items


def q8_0(values):
    """Blocks of 32: a half-precision scale and 32 signed bytes."""
    blocks = numpy.ascontiguousarray(values, dtype=numpy.float32).reshape(-1, BLOCK)
    scale = numpy.abs(blocks).max(axis=1) / 127
    inverse = numpy.divide(1, scale, out=numpy.zeros_like(scale), where=scale > 0)
    whole = numpy.clip(numpy.rint(blocks * inverse[:, None]), -127, 127).astype(numpy.int8)
    out = numpy.empty((len(blocks), 2 + BLOCK), dtype=numpy.uint8)
    out[:, :2] = scale.astype(numpy.float16).view(numpy.uint8).reshape(-1, 2)
    out[:, 2:] = whole.view(numpy.uint8)
    return out.tobytes()


def write(path, metadata, tensors):
    """tensors: {name: array}. Matrices whose rows are whole blocks become Q8_0, all else F32."""
    head, infos, data = b"", b"", b""
    for key, value in metadata.items():
        head += entry(key, value)
    for name, array in tensors.items():
        packed = array.ndim == 2 and array.shape[-1] % BLOCK == 0
        raw = q8_0(array) if packed else numpy.ascontiguousarray(array, dtype="<f4").tobytes()
        # The fastest dimension comes first.
        infos += text(name) + struct.pack("<I", array.ndim) + b"".join(struct.pack("<Q", n) for n in reversed(array.shape))
        infos += struct.pack("<IQ", TENSOR_Q8_0 if packed else TENSOR_F32, len(data))
        data += raw + b"\0" * (-len(raw) % ALIGNMENT)
    start = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)) + head + infos
    start += b"\0" * (-len(start) % ALIGNMENT)
    with open(path, "wb") as file:
        file.write(start + data)
    return len(start) + len(data)
