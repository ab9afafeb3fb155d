"""Probes in the kernel: what they count is exact to the byte on every kind that this kernel takes; what it refuses is told with its reason; nothing is left behind.

Which kinds there are depends on the kernel: each test asserts what the ladder reports, so none is left out anywhere.
"""
import json
import os
import shutil
import signal
import subprocess

import pytest
from conftest import BUILD, Process, built, program, wait_until

RUNGS = ["fexit", "kprobe", "call_exit", "sys_exit", "raw_exit", "tracepoints"]
COUNTS = ["opens", "closes", "reads", "writes", "read_bytes", "write_bytes"]
# Files of tests/programs/files.c that a kind of probe says it can't see right.
UNSEEN = {
    "sendfile and splice": {"send-from", "send-to", "splice-from", "splice-to"},
    "readv, preadv": {"vectors"}, "writev, pwritev": {"vectors"}, "copy_file_range": {"copy-from", "copy-to"}, "io_uring": {"ring"},
}
ROOT = os.geteuid() == 0


@pytest.fixture
def probed(machine):
    """A machine whose probes look all the time, ten times a second."""
    def make(**settings):
        return machine(observe__probes="always", observe__period="100ms", **settings)
    return make


def snapshot(node):
    done = node.berth("files", "--json")
    return json.loads(done.stdout) if done.returncode == 0 else None


def family(node, name="files"):
    got = snapshot(node)
    return got and next(f for f in got["families"] if f["family"] == name)


def settled(node, rung=None, name="files"):
    """Until the family of probes is attached (on this rung), or was refused on it."""
    def look():
        f = family(node, name)
        if not f:
            return None
        if f["state"] == "attached" and rung in (None, f["rung"]):
            return f
        return f if f["state"] == "unavailable" and (rung is None or any(r["rung"] == rung for r in f["refused"])) else None
    return wait_until(look, lambda: f"probes settle on {rung}: {family(node, name)}\n{node.log[-2000:]}")


def counted(node, inode, key="total"):
    """Sums of a file by its inode, or None."""
    got = snapshot(node)
    for f in got["files"] if got else []:
        if f["inode"] == inode and f["total"]["opens"]:
            return f[key] if key else f
    return None


# Counting this user alone, what else happens on the machine is in nobody's way.
UID = 54321


def as_uid():
    if ROOT:
        os.setresuid(UID, 0, 0)


def use_files(node, name, command=("files",)):
    """Runs the program in a folder of its own: {file: (inode, expected counts)}."""
    folder = node.folder / name
    folder.mkdir()
    done = subprocess.run([program(command[0]), folder, *map(str, command[1:])], capture_output=True, text=True, timeout=120, preexec_fn=as_uid)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if not line.startswith("#")]
    return {row[0]: (int(row[1]), dict(zip(COUNTS, map(int, row[2:])))) for row in rows}


def assert_exact(node, expected, blind):
    unseen = set().union(*(UNSEEN.get(b, set()) for b in blind))

    def wrong():
        rows = {f["inode"]: f["total"] for f in (snapshot(node) or {"files": []})["files"] if f["total"]["opens"]}
        return [(name, counts, rows.get(inode)) for name, (inode, counts) in expected.items() if name not in unseen
                and any(rows.get(inode, {}).get(k) != v for k, v in counts.items() if not (k == "closes" and "closes" in blind))]
    wait_until(lambda: not wrong(), lambda: f"the same: {wrong()}")


@pytest.mark.parametrize("rung", RUNGS)
def test_exact_where_it_loads_else_the_reason(probed, rung):
    node = probed(observe__files=rung, observe__uid=UID).start()
    f = settled(node, rung)
    if f["state"] == "unavailable":
        assert [r["rung"] for r in f["refused"]] == [rung] and f["refused"][0]["reason"] and f["refused"][0]["error"] != "E?", f
        return
    assert ROOT and not f["refused"] and f["links"], f
    assert "memory-mapped files" in f["blind"]
    expected = use_files(node, "used")
    assert_exact(node, expected, f["blind"])
    # Once more: the sums go on, and the other of the two maps is as good.
    again = use_files(node, "again")
    assert_exact(node, again, f["blind"])
    assert_exact(node, expected, f["blind"])
    after = family(node)
    assert after["hits"] > after["hooked"] > 0 and after["full"] == 0, after


def test_many_threads_on_the_same_files_lose_nothing(machine):
    # Read as often as can be: each reading begins a period, in which the first on a file makes its row, and here several are the first at once.
    node = machine(observe__probes="always", observe__period="50ms", observe__uid=UID).start()
    f = settled(node)
    if f["state"] != "attached":
        return
    expected = {}
    for number in range(2):
        expected.update({f"{number}-{name}": row for name, row in use_files(node, f"crowd-{number}", ("files-crowd", 4, 500, 60)).items()})
    assert_exact(node, expected, f["blind"])
    assert len(expected) == 1000 and family(node)["full"] == 0


def test_the_first_that_loads_is_taken_and_every_refusal_has_its_reason(probed):
    node = probed().start()
    f = settled(node)
    refused = [r["rung"] for r in f["refused"]]
    if f["state"] == "attached":
        assert refused == RUNGS[:RUNGS.index(f["rung"])], f
        assert f["hooked_cost_ns"] is None or f["hooked_cost_ns"] >= 0
    else:
        assert refused == RUNGS, f
    assert all(r["reason"] for r in f["refused"])
    # What is refused by the settings is not tried; and all that changes live.
    node.set(observe__refuse=",".join(RUNGS))
    assert node.berth("reload").returncode == 0
    f = wait_until(lambda: (lambda f: f and f["state"] == "unavailable" and f)(family(node)), "everything is refused")
    assert [(r["rung"], r["error"]) for r in f["refused"]] == [(rung, "ECANCELED") for rung in RUNGS]
    node.set(observe__refuse="", observe__files="off")
    assert node.berth("reload").returncode == 0
    wait_until(lambda: family(node)["state"] == "off", "files are off")
    node.set(observe__refuse="fexit, nonsense")
    done = node.berth("reload")
    assert done.returncode != 0 and "observe.refuse" in done.stderr


def test_sampled_says_so(probed):
    node = probed(observe__file_one_in=8, observe__uid=UID).start()
    f = settled(node)
    assert f["one_in"] == 8
    # The cheapest kind is another one where few calls are looked at.
    assert not any(r["rung"] == "call_exit" for r in f["refused"]) or any(r["rung"] == "sys_exit" for r in f["refused"])
    if f["state"] != "attached":
        return
    inode, counts = use_files(node, "used")["plain"]
    # Opens and closes are not sampled; once they are all there, so is what was done between them.
    exact = ["opens"] + (["closes"] if "closes" not in f["blind"] else [])
    got = wait_until(lambda: (lambda c: c and all(c[k] == counts[k] for k in exact) and c)(counted(node, inode)), lambda: f"{counts}, but {counted(node, inode)}")
    assert got["reads"] % 8 == 0 and got["writes"] % 8 == 0


def test_a_full_map_is_counted_and_harms_nothing(probed):
    node = probed(observe__file_entries=256).start()
    f = settled(node)
    assert f["state"] == "unavailable" or f["entries_max"] == 256
    if f["state"] != "attached":
        return
    folder = node.folder / "many"
    folder.mkdir()

    def fill():
        for i in range(1000):
            (folder / str(i)).write_bytes(b"x")
        return family(node)["full"] > 0
    wait_until(fill, "the map is full")
    # With the next window there is room again.
    for number in range(100):
        expected = use_files(node, f"used-{number}")["vectors"]
        if wait_until(lambda: (lambda s: s and s["total"]["opens"])(snapshot(node)), "counting goes on") and counted(node, expected[0]):
            break
    else:
        raise AssertionError("nothing is counted any more")


def test_renamed_deleted_and_hostile_names(probed):
    node = probed().start()
    if settled(node)["state"] != "attached":
        return
    path = node.folder / "evil\x1b[2J\n‮name"
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    inode = os.fstat(fd).st_ino

    def named(condition):
        os.write(fd, b"x")
        # The inode may have been another file's, deleted a moment ago: that is another row.
        rows = [f for f in (snapshot(node) or {"files": []})["files"] if f["inode"] == inode and (f["name"] or "").startswith(str(node.folder))]
        return rows and condition(rows[0]) and rows[0]
    row = wait_until(lambda: named(lambda r: r["whole_path"]), "the path is known")
    assert row["name"] == str(node.folder) + "/evil\\x1b[2J\\x0a\\xe2\\x80\\xaename" and not row["deleted"]
    for out in (node.berth("files", "--total").stdout, node.berth("files").stdout):
        assert "\x1b" not in out and "‮" not in out
    os.rename(path, node.folder / "renamed")
    wait_until(lambda: named(lambda r: r["name"] == str(node.folder / "renamed")), "the new name is known")
    os.unlink(node.folder / "renamed")
    wait_until(lambda: named(lambda r: r["deleted"]), "it is known to be deleted")
    os.close(fd)


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def test_a_probes_process_that_dies_is_started_again(probed):
    node = probed().start()
    settled(node)
    pid = snapshot(node)["own"]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: (lambda s: s and s["own"]["pid"] != pid)(snapshot(node)), "another process answers")
    assert settled(node)["state"] in ("attached", "unavailable")


def programs_of(pid):
    """Numbers of the BPF programs that this process holds."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        try:
            with open(f"/proc/{pid}/fdinfo/{fd}", encoding="utf-8") as info:
                found.update(int(line.split()[1]) for line in info if line.startswith("prog_id:"))
        except OSError:
            pass
    return found


def test_a_killed_daemon_leaves_no_probe(probed):
    events = ["/sys/kernel/tracing/kprobe_events", "/sys/kernel/tracing/uprobe_events"]
    before = [open(e, encoding="utf-8").read() if os.path.exists(e) and ROOT else "" for e in events]
    node = probed().start()
    f = settled(node)
    pid = snapshot(node)["own"]["pid"]
    programs = programs_of(pid) if ROOT else set()
    assert bool(programs) == (f["state"] == "attached")
    node.kill_daemon()
    wait_until(lambda: gone(pid), "the probes process has ended")
    tool = shutil.which("bpftool", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if programs and tool:
        wait_until(lambda: all(subprocess.run([tool, "prog", "show", "id", str(p)], capture_output=True).returncode for p in programs),
                   "the kernel has let go of its programs")
    assert before == [open(e, encoding="utf-8").read() if os.path.exists(e) and ROOT else "" for e in events]


def test_while_nobody_asks_nothing_is_attached(machine):
    node = machine(observe__period="100ms").start()
    assert "probes" not in node.own_processes()
    settled(node)
    assert "probes" in node.own_processes()
    node.set(observe__probes="off")
    assert node.berth("reload").returncode == 0
    wait_until(lambda: "probes" not in node.own_processes(), "the probes process has ended")
    done = node.berth("files")
    assert done.returncode != 0 and "observe.probes" in done.stderr


@pytest.mark.skipif(not ROOT, reason="asks for a mount namespace")
def test_without_type_information_every_rung_says_so(probed):
    node = probed()
    node.daemon = Process("berthd-nobtf", node.folder, ["unshare", "--mount", "sh", "-c",
                          f"mount -t tmpfs none /sys/kernel/btf && exec {built('src/node/berthd')}"], node.environment)
    node.processes.append(node.daemon)
    node.daemons.append(node.daemon)
    f = settled(node)
    assert f["state"] == "unavailable" and [r["rung"] for r in f["refused"]] == RUNGS and all(r["reason"] for r in f["refused"]), f


def as_nobody(node, tmp_path, *capabilities):
    """Starts the daemon as another user, with these capabilities."""
    folder = tmp_path
    while folder != folder.parent and os.stat(folder).st_uid == os.geteuid() and not os.stat(folder).st_mode & 0o001:
        os.chmod(folder, os.stat(folder).st_mode | 0o111)
        folder = folder.parent
    for path in [node.folder, *node.folder.rglob("*")]:
        os.chown(path, 65534, 65534)
    given = ",".join("+" + c for c in capabilities)
    node.daemon = Process("berthd-nobody", node.folder,
                          ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *(["--inh-caps", given, "--ambient-caps", given] if given else []),
                           built("src/node/berthd")], node.environment)
    node.processes.append(node.daemon)
    node.daemons.append(node.daemon)


@pytest.mark.skipif(not ROOT, reason="becomes another user")
def test_without_root_the_daemon_serves_and_says_what_is_missing(probed, tmp_path):
    node = probed()
    as_nobody(node, tmp_path)
    f = settled(node)
    assert f["state"] == "unavailable" and len(f["refused"]) == len(RUNGS), f
    assert "Operation not permitted" in f["refused"][0]["reason"] or "ermission" in f["refused"][0]["reason"]


GPU_RUNGS = ["uprobe_multi", "uprobe"]


def driver(node, folder=None):
    return {"LD_LIBRARY_PATH": str(folder or built("tests/fake")), "BERTH_SOFTWARE_DIR": str(node.folder / "device")}


def gpu_settled(node, rung):
    def look():
        f = family(node, "gpu")
        return f if f and (f["rung"] == rung or any(r["rung"] == rung for r in f["refused"])) else None
    return wait_until(look, lambda: f"probes on the driver settle: {family(node, 'gpu')}")


def hears(node, process):
    """Until the process's calls are counted: its library was found. What it did before it began to wait may be among them, or not."""
    wait_until(lambda: (gpu_counts(node, process.pid) or {}).get("waits"), lambda: f"the library is found: {family(node, 'gpu')}{process.report()}")
    process.before = gpu_counts(node, process.pid)


def gpu_counts(node, pid):
    got = snapshot(node)
    return next((p["gpu_total"] for p in got["processes"] if p["pid"] == pid), None) if got else None


def counts_of(node, process):
    """What the program said it did, once what was counted is the same."""
    said = json.loads(wait_until(lambda: process.out.strip(), lambda: process.report()))

    def same(got):
        return got and {name: number - process.before.get(name, 0) for name, number in got.items() if name != "waits"} == said
    wait_until(lambda: same(gpu_counts(node, process.pid)), lambda: f"{said}, but counted {gpu_counts(node, process.pid)}")


@pytest.mark.parametrize("rung", GPU_RUNGS)
def test_calls_of_the_driver_are_exact_where_it_loads_else_the_reason(probed, rung):
    node = probed(observe__gpu=rung, observe__files="off", observe__launch_budget=0).start()
    f = gpu_settled(node, rung)
    if f["state"] == "unavailable":
        assert [r["rung"] for r in f["refused"]] == [rung] and f["refused"][0]["reason"], f
        return
    assert ROOT and f["hooked_cost_ns"] > 0
    first = node.run("calls", "--go", node.folder / "go", "--end", node.folder / "end", bare=True, environment=driver(node))
    hears(node, first)
    f = family(node, "gpu")
    assert f["state"] == "attached" and f["programs"] > 20 and f["window_permille"] == 1000
    # A copy in another folder is another library, and found as well; one that is linked to the same file is not counted twice.
    own = node.folder / "own"
    own.mkdir()
    shutil.copy(built("tests/fake/libcuda.so.1"), own / "libcuda.so.1")
    second = node.run("calls", "--go", node.folder / "go", "--end", node.folder / "end", "--launches", 777, bare=True, environment=driver(node, own))
    hears(node, second)
    node.tell("go")
    counts_of(node, first)
    counts_of(node, second)
    node.tell("end")
    first.ok()
    second.ok()
    assert family(node, "gpu")["links"] >= 2


@pytest.mark.skipif(not ROOT, reason="makes a root of its own for a process")
def test_a_library_in_a_container_is_found_by_its_file(probed):
    node = probed(observe__files="off", observe__launch_budget=0).start()
    f = wait_until(lambda: (lambda f: f and (f["rung"] or f["refused"]) and f)(family(node, "gpu")), "probes on the driver settle")
    if f["state"] == "unavailable":
        assert f["refused"]
        return
    # Its own mount namespace, in which the library lies where nothing is outside.
    inside = node.folder / "inside"
    inside.mkdir()
    script = (f"mount -t tmpfs none {inside} && cp {built('tests/fake/libcuda.so.1')} {inside}/ && "
              f"exec env LD_LIBRARY_PATH={inside} {program('calls')} --go {node.folder / 'go'} --end {node.folder / 'end'}")
    process = Process("contained", node.folder, ["unshare", "--mount", "sh", "-c", script], {**node.environment, **driver(node)})
    node.processes.append(process)
    hears(node, process)
    assert not os.listdir(inside)
    node.tell("go")
    counts_of(node, process)
    node.tell("end")
    process.ok()


def test_launches_beyond_the_budget_are_counted_part_of_the_time(probed):
    node = probed(observe__files="off", observe__launch_budget=1).start()
    f = wait_until(lambda: (lambda f: f and (f["rung"] or f["refused"]) and f)(family(node, "gpu")), "probes on the driver settle")
    if f["state"] == "unavailable":
        assert f["refused"]
        return
    process = node.run("launch-bench", "--bursts", 1000000, bare=True, environment=driver(node))
    f = wait_until(lambda: (lambda f: f and f["window_permille"] < 1000 and f)(family(node, "gpu")), "there are too many launches to count them all")
    assert f["window_permille"] >= 1 and f["hits"] > 0
    wait_until(lambda: (gpu_counts(node, process.pid) or {}).get("launches"), "they are counted all the same")
    process.kill()
