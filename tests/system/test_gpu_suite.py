"""The hardware suite's command, on the software device: what needs no PyTorch runs, and what it writes has the names that are promised."""
import json
import os
import subprocess

from conftest import BUILD, PATIENCE, ROOT

PARTS = ("programs", "launch", "swap", "exchange", "sizes", "exact", "faults", "kinds", "restart", "models")


def test_the_suite_runs_on_the_software_device(tmp_path):
    out = tmp_path / "figures.json"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("BERTH_SOCKET", "BERTH_CONFIG"))}
    done = subprocess.run([os.path.join(ROOT, "tests/gpu/run"), "--software", "--build", BUILD, "--out", str(out), "--only", ",".join(PARTS + ("neighbour",)),
                           "--kinds", "managed_memory,per_thread_stream,second_context"],
                          capture_output=True, text=True, timeout=400 * PATIENCE, env=environment)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "not run neighbour: needs two devices" in done.stdout
    rows = {row["name"]: row for row in json.loads(out.read_text())}
    assert {"swap_out_gbps", "swap_in_gbps", "first_swap_stall", "exchange_gbps", "swap_by_size", "peak_error_bytes", "faults_right"} <= rows.keys()
    assert rows["kinds_right"]["value"] == rows["kinds_moved"]["value"] == 3
    assert {"model_switch_ttft_s", "restart_ttft_s", "poisson_mean_over_fcfs", "poisson_p95_over_fcfs"} <= rows.keys()
    assert rows["peak_error_bytes"]["value"] == 0 and rows["exchange_gbps"]["course"] and rows["swap_out_gbps"]["machine"] == "software device"


SWITCHED = """
import ctypes, json, os, sys
sys.path[:0] = [os.environ['GPU_SUITE'], os.environ['GPU_SUITE'] + '/apps']
import driver
from switch import Switch, asked
driver.begin()
function, at = driver.kernel(), ctypes.c_uint64()
table = (ctypes.c_void_p * 2)(0, asked(ctypes.CDLL('libcuda.so.1'), 'cuLaunchKernel', 13000, 1))  # as a runtime keeps it
driver.call('cuMemAlloc_v2', ctypes.byref(at), 1 << 20)
launch = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, *[ctypes.c_uint] * 7, *[ctypes.c_void_p] * 3)
values = ctypes.c_uint64(at.value), ctypes.c_uint64(256), ctypes.c_uint(1)
parameters = (ctypes.c_void_p * 3)(*(ctypes.addressof(x) for x in values))
switch = Switch(os.environ['BERTH_BARE'])
found = switch.find()
for bare in (False, True, False):
    moved = switch.to(bare)
    for _ in range(100):
        assert launch(table[1])(function, 1, 1, 1, 256, 1, 1, 0, None, parameters, None) == 0
    driver.synchronize()
    print(json.dumps({'bare': bare, 'exchanged': moved, 'found': found}), flush=True)
    sys.stdin.readline()
"""


def test_a_process_calls_the_driver_hooked_and_bare_in_turn(node):
    """What the cost of a training is measured with: bare, the process issues nothing that Berth counts."""
    environment = dict(node.environment, GPU_SUITE=os.path.join(ROOT, "tests/gpu"), BERTH_BARE=os.path.join(BUILD, "tests/fake/libcuda.so.1"))
    with subprocess.Popen([os.path.join(BUILD, "src/cli/berth"), "run", "--", "python3", "-c", SWITCHED], env=environment, text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        counts = []
        for bare in (False, True, False):
            told = json.loads(process.stdout.readline())
            assert told["bare"] == bare and told["found"] > 0
            counts.append(node.status()["clients"][0]["launches"])
            process.stdin.write("on\n")
            process.stdin.flush()
        assert process.wait(60) == 0
    assert [b - a for a, b in zip([0] + counts, counts)] == [100, 0, 100]
