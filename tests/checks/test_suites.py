"""Suites: a unit test whose program can start threads is run under the thread sanitizer, too; the others would cost time there and find nothing."""
import json
import os
import re
import subprocess

BUILD = os.path.abspath(os.environ.get("BERTH_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build")))
STARTS = re.compile(r"\b(?:pthread_create|thrd_create|uv_thread_create\w*|uv_queue_work)\b")
# What links something that starts threads, and never asks for one.
ALONE = {"test-redo", "test-gateway-routes"}


def introspected(name):
    with open(os.path.join(BUILD, "meson-info", f"intro-{name}.json"), encoding="utf-8") as f:
        return json.load(f)


def test_what_can_start_threads_runs_under_the_thread_sanitizer():
    programs = {path for target in introspected("targets") if target["type"] == "executable" for path in target["filename"]}
    threaded, unit = set(), set()
    for test in introspected("tests"):
        used = programs & {os.path.join(BUILD, word) for word in test["cmd"]}
        suites = {suite.rsplit(":", 1)[-1] for suite in test["suite"]}
        unit |= used if "unit" in suites else set()
        threaded |= used if "threads" in suites else set()
    assert len(unit) > 50 and threaded
    for path in sorted(unit):
        symbols = subprocess.run(["nm", "-u", path], capture_output=True, text=True, check=True).stdout
        name = os.path.basename(path)
        if STARTS.search(symbols) and name not in ALONE:
            assert path in threaded, f"{name} can start threads: give its test the suite 'threads' (or name it in ALONE here, if it never does)"
        assert path not in threaded or name not in ALONE
