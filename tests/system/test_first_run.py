"""What `make run` does: everything is started, a model answers, tasks run, programs share a device; then it ends, and nothing of it is left."""
import os
import pathlib
import subprocess

from conftest import BUILD, PATIENCE

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "first-run"


def test_it_shows_what_it_says(tmp_path):
    folder = tmp_path / "kept"
    environment = {**os.environ, "BERTH_SOCKET": str(tmp_path / "node.sock")}
    done = subprocess.run([TOOL, BUILD, "--folder", folder, "--listen", "127.0.0.1:0", "--rounds", "4", "--no-stay"], stdin=subprocess.DEVNULL, env=environment,
                          capture_output=True, text=True, timeout=240 * PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout
    assert "/setup#setup_" in shown, "the link that makes the first admin"
    asked = shown.index("is asked:")
    answer = shown[asked:shown.index("\n== ", asked)].split("\n\n", 1)[1].strip()
    assert len(answer.split()) >= 3 and "Not shown" not in answer, shown
    for name in ("count", "sum", "clean records", "check records", "watch the machine", "steps"):
        assert f"{name:24} done" in shown, shown
    assert "3 of 3 programs right, 0 out of memory" in shown
    # What was submitted is still there, and none of the processes.
    assert (folder / "pool").is_dir()
    left = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True)
    assert not left.stdout, left.stdout


def test_a_build_that_is_not_there_is_named(tmp_path):
    done = subprocess.run([TOOL, tmp_path / "nowhere"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60 * PATIENCE)
    assert done.returncode == 1 and "build first: make build" in done.stderr
