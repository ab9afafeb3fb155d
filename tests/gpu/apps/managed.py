"""Managed memory inside capacity, as sharing by unified memory moves it: prefetched out, faulted in by a kernel, prefetched in.

usage: managed.py GIB       prints {"ok", "gib", "prefetch_out_gbps", "fault_in_gbps", "prefetch_in_gbps"}. Refuses to ask for more than half of what is free.
"""
import ctypes
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import driver  # noqa: E402

GIB = 2**30
DEVICE, HOST = 1, 2  # enum CUmemLocationType


class Location(ctypes.Structure):
    _fields_ = [('type', ctypes.c_int), ('id', ctypes.c_int)]


def main(gib):
    device = driver.begin()
    free, total, at = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_uint64()
    driver.call('cuMemGetInfo_v2', ctypes.byref(free), ctypes.byref(total))
    size = gib * GIB
    if size > free.value // 2:
        sys.exit(f'{free.value} bytes are free: no managed memory of {size} on this card now')
    add = driver.adder()
    driver.call('cuMemAllocManaged', ctypes.byref(at), ctypes.c_size_t(size), ctypes.c_uint(1))

    def prefetch(kind, number):
        driver.call('cuMemPrefetchAsync_v2', at, ctypes.c_size_t(size), Location(kind, number), ctypes.c_uint(0), None)
        driver.synchronize()

    def gbps(seconds):
        return round(size / seconds / 1e9, 2)

    driver.call('cuMemsetD32_v2', at, ctypes.c_uint(0), ctypes.c_size_t(size // 4))
    add(at.value, size // 4)                     # populated on the device
    prefetch(HOST, 0)                            # host pages exist from here on
    faulted = driver.timed(add, at.value, size // 4)
    out = driver.timed(prefetch, HOST, 0)
    into = driver.timed(prefetch, DEVICE, device.value)
    add(at.value, size // 4)
    words, right = (ctypes.c_uint * 1024)(), True
    for part in range(64):
        driver.call('cuMemcpyDtoH_v2', words, ctypes.c_uint64(at.value + part * size // 64), ctypes.c_size_t(4096))
        right = right and all(w == 3 for w in words)
    driver.call('cuMemFree_v2', at)
    print(json.dumps({'ok': right, 'gib': gib, 'prefetch_out_gbps': gbps(out), 'fault_in_gbps': gbps(faulted), 'prefetch_in_gbps': gbps(into)}), flush=True)


if __name__ == '__main__':
    main(int(sys.argv[1]))
