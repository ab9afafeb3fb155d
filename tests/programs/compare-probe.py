#!/usr/bin/env python3
"""Runs the probe on the software device, on each road to the driver, and compares with what an H200 (driver 580) answered.

usage: compare-probe.py probe libcuda.so.1 probe.txt
"""
import difflib
import os
import subprocess
import sys
import tempfile


def main():
    probe, driver, expected = sys.argv[1:]
    with open(expected, encoding="utf-8") as f:
        want = f.read()
    for road in ("dlsym", "proc", "link"):
        with tempfile.TemporaryDirectory() as folder:
            environment = dict(os.environ, BERTH_ROAD=road, BERTH_SOFTWARE_DIR=folder, BERTH_SOFTWARE_MEMORY="256MiB",
                               LD_LIBRARY_PATH=os.path.dirname(os.path.abspath(driver)))
            run = subprocess.run([probe], env=environment, capture_output=True, text=True, timeout=60, check=False)
        if run.returncode != 0 or run.stdout != want:
            lines = difflib.unified_diff(want.splitlines(), run.stdout.splitlines(), "real device",
                                         f"software device ({road})", lineterm="")
            sys.exit("\n".join([*lines, run.stderr, f"status {run.returncode}"]))


main()
