"""Arrays: counted, kept, right before and after."""
import ctypes
import pathlib
import sys

import _kind

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import driver  # noqa: E402


class Descriptor(ctypes.Structure):
    _fields_ = [('width', ctypes.c_size_t), ('height', ctypes.c_size_t), ('format', ctypes.c_int), ('channels', ctypes.c_uint)]


WIDTH, FLOAT = 1 << 16, 0x20
driver.begin()
array, plain, back = ctypes.c_void_p(), ctypes.c_uint64(), (ctypes.c_uint * WIDTH)()
driver.call('cuArrayCreate_v2', ctypes.byref(array), ctypes.byref(Descriptor(WIDTH, 0, FLOAT, 1)))
driver.call('cuMemAlloc_v2', ctypes.byref(plain), ctypes.c_size_t(_kind.SMALL))
driver.call('cuMemsetD32_v2', plain, ctypes.c_uint(0x3f800001), ctypes.c_size_t(_kind.SMALL // 4))
driver.call('cuMemcpyDtoA_v2', array, ctypes.c_size_t(0), plain, ctypes.c_size_t(WIDTH * 4))
_kind.middle()
driver.call('cuMemcpyAtoH_v2', back, array, ctypes.c_size_t(0), ctypes.c_size_t(WIDTH * 4))
_kind.take('array', bytes(back))
driver.call('cuMemcpyDtoH_v2', back, ctypes.c_uint64(plain.value + _kind.SMALL // 2), ctypes.c_size_t(WIDTH * 4))
_kind.take('plain', bytes(back))
_kind.done()
