"""The hardware suite's command, on the software device: what needs no PyTorch runs, and what it writes has the names that are promised."""
import json
import os
import subprocess

from conftest import BUILD, PATIENCE, ROOT

PARTS = ("programs", "launch", "swap", "exchange", "sizes", "exact", "faults", "kinds")


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
    assert rows["peak_error_bytes"]["value"] == 0 and rows["exchange_gbps"]["course"] and rows["swap_out_gbps"]["machine"] == "software device"
