"""fork before the first use, and exec of another program that uses the device, before and after."""
import os
import subprocess
import sys

import _kind

CHILD = 'import torch; torch.manual_seed(3); print((torch.randn(1024, 1024, device="cuda") @ torch.ones(1024, 8, device="cuda")).double().sum().item())'


def other():
    return subprocess.run([sys.executable, '-c', CHILD], capture_output=True, text=True, timeout=120, check=True).stdout.strip()


pid = os.fork()
if pid == 0:
    os._exit(7)
_kind.take('fork', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
import torch  # noqa: E402

torch.manual_seed(16)
b = _kind.ballast(1)
_kind.take('exec before', other())
pid = os.fork()  # a child that does not use the device
if pid == 0:
    os._exit(5)
_kind.take('fork later', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
_kind.middle()
_kind.take('exec after', other())
_kind.take('own', torch.randn(1000, device='cuda'))
_kind.weigh('ballast', b)
_kind.done()
