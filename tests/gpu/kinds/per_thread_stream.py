"""The per-thread default stream: threads that launch and copy by the _ptsz and _ptds forms of the driver's functions."""
import ctypes
import os
import pathlib
import sys
import threading

import _kind

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import driver  # noqa: E402

WORDS, THREADS = (4 << 20 if os.environ.get('BERTH_SOFTWARE_DIR') else 64 << 20), 4
driver.begin()
context, function = ctypes.c_void_p(), driver.kernel()
driver.call('cuCtxGetCurrent', ctypes.byref(context))
at = [ctypes.c_uint64() for _ in range(THREADS)]
results, errors = {}, []


def on_thread(number, phase):
    try:
        driver.call('cuCtxSetCurrent', context)
        if phase == 0:
            driver.call('cuMemAlloc_v2', ctypes.byref(at[number]), ctypes.c_size_t(WORDS * 4))
            driver.call('cuMemsetD32Async_ptsz', at[number], ctypes.c_uint(number * 1000), ctypes.c_size_t(WORDS), None)
        for _ in range(20):
            driver.launch('cuLaunchKernel_ptsz', function, at[number].value, WORDS)
        driver.call('cuStreamSynchronize_ptsz', None)
        back = (ctypes.c_uint * 4096)()
        driver.call('cuMemcpyDtoH_v2_ptds', back, ctypes.c_uint64(at[number].value + (WORDS - 4096) * 4), ctypes.c_size_t(4096 * 4))
        results[phase, number] = bytes(back)
    except Exception as error:
        errors.append(f'{type(error).__name__}: {error}')


for phase in (0, 1):
    threads = [threading.Thread(target=on_thread, args=(n, phase)) for n in range(THREADS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        sys.exit('; '.join(errors))
    if phase == 0:
        _kind.middle()
for key in sorted(results):
    _kind.take(str(key), results[key])
_kind.done()
