"""The driver's own way to take a process off the device: a child holds memory, this process locks, checkpoints, restores and unlocks it.

usage: checkpoint.py GIB        prints {"ok", "gib", "out_s": lock + checkpoint, "in_s": restore + unlock}
"""
import ctypes
import json
import os
import pathlib
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import driver  # noqa: E402

GIB = 2**30


class LockArgs(ctypes.Structure):
    _fields_ = [('timeout_ms', ctypes.c_uint), ('reserved0', ctypes.c_uint), ('reserved1', ctypes.c_uint64 * 7)]


def child(gib):
    """Fills its memory, says so, and compares a word when asked."""
    driver.begin()
    at = ctypes.c_uint64()
    driver.call('cuMemAlloc_v2', ctypes.byref(at), ctypes.c_size_t(gib * GIB))
    driver.call('cuMemsetD32_v2', at, ctypes.c_uint(0x1234567), ctypes.c_size_t(gib * GIB // 4))
    driver.synchronize()
    print('full', flush=True)
    for _ in sys.stdin:
        word, right = ctypes.c_uint(), True
        for part in range(64):
            driver.call('cuMemcpyDtoH_v2', ctypes.byref(word), ctypes.c_uint64(at.value + part * gib * GIB // 64), ctypes.c_size_t(4))
            right = right and word.value == 0x1234567
        print('right' if right else 'wrong', flush=True)


def main(gib):
    held = subprocess.Popen([sys.executable, __file__, '--child', str(gib)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if held.stdout.readline().strip() != 'full':
            sys.exit('the child could not fill its memory')
        driver.call('cuInit', 0)
        lock = LockArgs(timeout_ms=10000)
        out = driver.timed(driver.call, 'cuCheckpointProcessLock', held.pid, ctypes.byref(lock))
        out += driver.timed(driver.call, 'cuCheckpointProcessCheckpoint', held.pid, None)
        back = driver.timed(driver.call, 'cuCheckpointProcessRestore', held.pid, None)
        back += driver.timed(driver.call, 'cuCheckpointProcessUnlock', held.pid, None)
        held.stdin.write('check\n')
        held.stdin.flush()
        right = held.stdout.readline().strip() == 'right'
        print(json.dumps({'ok': right, 'gib': gib, 'out_s': round(out, 3), 'in_s': round(back, 3)}), flush=True)
    finally:
        os.kill(held.pid, signal.SIGKILL)
        held.wait()


if __name__ == '__main__':
    if sys.argv[1] == '--child':
        child(int(sys.argv[2]))
    else:
        main(int(sys.argv[1]))
