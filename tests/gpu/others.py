"""Other ways of sharing, as they are started: each is built elsewhere and given by path; without a path there is no row.

nvshare (https://github.com/grgalex/nvshare), built with its own Makefile: libnvshare.so, nvshare-scheduler, nvsharectl in one folder.
    nvshare-scheduler                              as root; makes /var/run/nvshare/scheduler.sock; one GPU, the first
    LD_PRELOAD=…/libnvshare.so PROGRAM             turns every allocation into managed memory and asks the scheduler for the lock; NVSHARE_DEBUG=1 tells more
    nvsharectl --set-tq=30 --anti-thrash=on        the quantum in seconds (30 by default), and whether turns are forced at all
    A program may not allocate more than the GPU has, and the sum of all must fit here: more managed memory than is free can hang a GPU.

HAMi-core (https://github.com/Project-HAMi/HAMi-core), built with cmake: libvgpu.so.
    mkdir /tmp/vgpulock                            its lock between processes lives there
    LD_PRELOAD=…/libvgpu.so PROGRAM                with CUDA_DEVICE_MEMORY_LIMIT=60g (per device), CUDA_DEVICE_SM_LIMIT=100 (no compute limit),
                                                   CUDA_DEVICE_MEMORY_SHARED_CACHE=FILE (a fresh one for each run: limits are remembered in it),
                                                   LIBCUDA_LOG_LEVEL=0 (errors only)
    Its README wants the library where it is found again by name; the full path is given.
"""
import os
import pathlib
import stat
import subprocess
import time


def preloaded(s):
    """Kinds of process for alone.start: what is given by --nvshare and --hami."""
    kinds = []
    if s.options.nvshare:
        folder = pathlib.Path(s.options.nvshare).resolve()
        start_nvshare(s, folder)
        kinds.append(('nvshare', dict(bare=True, preload=folder / 'libnvshare.so')))
    if s.options.hami:
        os.makedirs('/tmp/vgpulock', mode=0o777, exist_ok=True)
        kinds.append(('HAMi-core', dict(bare=True, preload=pathlib.Path(s.options.hami).resolve(),
                                        env={'CUDA_DEVICE_MEMORY_LIMIT': '60g', 'CUDA_DEVICE_SM_LIMIT': '100', 'LIBCUDA_LOG_LEVEL': '0',
                                             'CUDA_DEVICE_MEMORY_SHARED_CACHE': str(s.dir / f'hami-{time.monotonic_ns()}.cache')})))
    return kinds


def start_nvshare(s, folder):
    """Its scheduler, until the end of the part."""
    if not os.access(folder / 'nvshare-scheduler', os.X_OK):
        raise RuntimeError(f'{folder} has no nvshare-scheduler')
    sock = '/var/run/nvshare/scheduler.sock'
    if os.path.exists(sock):  # of one that ended
        os.unlink(sock)
    scheduler = s.launch(folder / 'nvshare-scheduler', name='nvshare-scheduler', bare=True)
    end = time.monotonic() + 10
    while not (os.path.exists(sock) and stat.S_ISSOCK(os.stat(sock).st_mode)):
        if not scheduler.running or time.monotonic() > end:
            raise RuntimeError('nvshare-scheduler did not start: ' + scheduler.words())
        time.sleep(0.05)
    subprocess.run([folder / 'nvsharectl', '--set-tq=30'], timeout=10, check=False)
