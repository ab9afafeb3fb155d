"""Managed memory, a little of it: counted, kept, right before and after."""
import ctypes
import pathlib
import sys

import _kind

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import driver  # noqa: E402

SIZE = _kind.SMALL
driver.begin()
add, at, plain = driver.adder(), ctypes.c_uint64(), ctypes.c_uint64()
driver.call('cuMemAllocManaged', ctypes.byref(at), ctypes.c_size_t(SIZE), ctypes.c_uint(1))
driver.call('cuMemAlloc_v2', ctypes.byref(plain), ctypes.c_size_t(SIZE))
driver.call('cuMemsetD32_v2', plain, ctypes.c_uint(5), ctypes.c_size_t(SIZE // 4))
words = (ctypes.c_uint * (SIZE // 4)).from_address(at.value)
words[0], words[SIZE // 4 - 1] = 41, 99
for name in ('before', 'after'):
    add(at.value, SIZE // 4)
    add(plain.value, SIZE // 4)
    back = (ctypes.c_uint * 1024)()
    driver.call('cuMemcpyDtoH_v2', back, ctypes.c_uint64(plain.value + SIZE // 2), ctypes.c_size_t(4096))
    _kind.take(name, (words[0], words[1], words[SIZE // 4 - 1], bytes(back)))
    if name == 'before':
        _kind.middle()
_kind.done()
