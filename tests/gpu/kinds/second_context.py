"""A context of the program's own beside the primary one, memory in both."""
import ctypes
import pathlib
import sys

import _kind

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import driver  # noqa: E402

SIZE = _kind.SMALL
device = driver.begin()
first, second, at = ctypes.c_void_p(), ctypes.c_void_p(), {}
driver.call('cuCtxGetCurrent', ctypes.byref(first))
driver.call('cuCtxCreate_v2', ctypes.byref(second), ctypes.c_uint(0), device)
for number, context in enumerate((first, second)):
    driver.call('cuCtxSetCurrent', context)
    at[number] = ctypes.c_uint64()
    driver.call('cuMemAlloc_v2', ctypes.byref(at[number]), ctypes.c_size_t(SIZE))
    driver.call('cuMemsetD32_v2', at[number], ctypes.c_uint(number + 1), ctypes.c_size_t(SIZE // 4))
    driver.synchronize()
for name in ('before', 'after'):
    for number, context in enumerate((first, second)):
        driver.call('cuCtxSetCurrent', context)
        driver.adder()(at[number].value, SIZE // 4)
        back = (ctypes.c_uint * 1024)()
        driver.call('cuMemcpyDtoH_v2', back, ctypes.c_uint64(at[number].value + SIZE - 4096), ctypes.c_size_t(4096))
        _kind.take(f'{name} {number}', bytes(back))
    if name == 'before':
        _kind.middle()
_kind.done()
