"""Probes where files and processes are not what they seem: crowds, numbers that are used again, file systems above others, namespaces, hostile names, settings that change."""
import ctypes
import json
import os
import re
import signal
import struct
import subprocess
import sys

import pytest
from conftest import Process, built, program, wait_until
from test_probes import RUNGS, ROOT, UID, as_uid, assert_exact, counted, family, probed, programs_of, settled, snapshot, use_files  # noqa: F401 (probed is a fixture)

as_root = pytest.mark.skipif(not ROOT, reason="asks for namespaces, mounts or numbers of processes")


def attached(node):
    """The family of files, or None where this kernel has no kind of probe: then each says why, which others test."""
    f = settled(node)
    return f if f["state"] == "attached" else None


def churn(node, number, path):
    return subprocess.Popen([program("churn"), str(number), path], stdout=subprocess.PIPE, text=True, preexec_fn=as_uid)


def test_a_crowd_of_processes(probed):
    """More than ten thousand a second on a machine that can: rows and memory stay bounded, and nothing is lost of anybody, by whoever it was used."""
    node = probed(observe__uid=UID, observe__file_entries=65536).start()
    if not attached(node):
        return
    shared = node.folder / "shared"
    shared.write_bytes(b"x")
    inode, sums = shared.stat().st_ino, ("opens", "closes", "reads", "read_bytes")

    def same(number):
        wait_until(lambda: [(counted(node, inode) or {}).get(s) for s in sums] == [number] * 4, lambda: f"{number} of each: {counted(node, inode)}, {family(node)}")
    first = churn(node, 6000, shared)
    assert first.wait(300) == 0
    same(6000)
    before = snapshot(node)
    second = churn(node, 20000, shared)
    expected = use_files(node, "used")
    assert second.wait(300) == 0
    same(26000)
    blind = family(node)["blind"]
    assert_exact(node, expected, blind)
    after = snapshot(node)
    assert family(node)["full"] == 0
    for cache in after["caches"].values():
        assert cache["entries"] <= cache["limit"], after["caches"]
    assert len(after["processes"]) <= 2048 and after["own"]["pid"] == before["own"]["pid"]
    # A row takes some 400 bytes: were the 20,000 kept, that would be twice as much.
    assert after["own"]["rss_bytes"] < before["own"]["rss_bytes"] + (4 << 20), (before["own"], after["own"])


def process_with_number(number, work):
    """A process of this number that does work(), or None when the number is taken. Another thread of ours may have no lock that it needs: there is none."""
    tid = ctypes.c_int(number)
    arguments = struct.pack("11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(tid), 1, 0)
    pid = ctypes.CDLL(None, use_errno=True).syscall(435, arguments, len(arguments))  # clone3
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    if pid < 0:
        return None
    os.waitpid(pid, 0)
    return pid


@as_root
def test_a_number_that_is_used_again_is_another_process(probed):
    node = probed().start()
    if not attached(node):
        return
    path = node.folder / "used"

    def write(count):
        fd = os.open(path, os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"x" * count)
        os.close(fd)

    def rows(number):
        return [p for p in (snapshot(node) or {"processes": []})["processes"] if p["pid"] == number and p["total"]["write_bytes"] in (11, 7)]
    for _ in range(50):
        number = os.fork()
        if number == 0:
            write(11)
            os._exit(0)
        os.waitpid(number, 0)
        if process_with_number(number, lambda: write(7)):
            break
    else:
        raise AssertionError("no number could be had again")
    got = wait_until(lambda: (lambda r: len(r) == 2 and not any(p["alive"] for p in r) and r)(rows(number)), lambda: f"two processes, both ended: {rows(number)}")
    assert sorted(p["total"]["write_bytes"] for p in got) == [7, 11] and got[0]["start_ns"] != got[1]["start_ns"]
    assert all(p["total"]["writes"] == 1 for p in got)
    # The file's number may have been another file's, deleted a moment ago: that is another row.
    files = [(f["total"]["writes"], f["total"]["write_bytes"]) for f in snapshot(node)["files"] if f["inode"] == path.stat().st_ino]
    assert (2, 18) in files, files


WRITER = """
import os, sys, time
fds = [os.open(path, os.O_CREAT | os.O_RDWR) for path in sys.argv[1:]]
for number, fd in enumerate(fds):
    for _ in range(10 + number):
        os.write(fd, b"x" * (100 + number))
    os.pread(fd, 50, 0)
    st = os.fstat(fd)
    print(st.st_ino, os.major(st.st_dev), os.minor(st.st_dev), flush=True)
sys.stdin.read()
"""


def in_namespace(node, script, *paths, name="inside"):
    """A writer with known sums on these files, in mounts of its own: its process, and [(inode, major, minor)] as stat tells them. It lives until its input ends."""
    read, write = os.pipe()
    process = Process(name, node.folder, ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", f"{script} && exec \"$@\"", "sh", "setpriv", "--ruid", UID,
                                          sys.executable, "-c", WRITER, *paths], node.environment, stdin=read)
    os.close(read)
    node.processes.append(process)
    wait_until(lambda: process.out.count("\n") >= len(paths) or not process.running, lambda: process.report())
    process.input = os.fdopen(write, "w")
    return process, [tuple(map(int, line.split())) for line in process.out.splitlines()]


def rows_of(node, places):
    """The rows of these files, in order, once all sums are the writer's own."""
    def look():
        got = {(f["inode"], f["major"], f["minor"]): f for f in (snapshot(node) or {"files": []})["files"] if f["total"]["writes"]}
        rows = [got.get(place) for place in places]
        for number, row in enumerate(rows):
            if not row or not row["whole_path"] or [row["total"][k] for k in ("opens", "reads", "read_bytes", "writes", "write_bytes")] != [
                    1, 1, 50, 10 + number, (10 + number) * (100 + number)]:
                return None
        return rows
    return wait_until(look, lambda: f"{places}: {[f for f in snapshot(node)['files'] if f['inode'] in [p[0] for p in places]]}")


@as_root
def test_overlayfs_is_counted_once_and_said_to_be_approximate(probed):
    node = probed(observe__uid=UID).start()
    if not attached(node):
        return
    # A file that is there already is copied up when it is opened to be written.
    script = f"cd {node.folder} && mkdir o && mount -t tmpfs none o && mkdir o/low o/up o/work o/all && echo old >o/low/copied && mount -t overlay none -o lowerdir=o/low,upperdir=o/up,workdir=o/work o/all"
    process, places = in_namespace(node, script, f"{node.folder}/o/all/new", f"{node.folder}/o/all/copied")
    assert len(places) == 2, process.report()
    rows = rows_of(node, places)
    assert [r["name"] for r in rows] == [f"{node.folder}/o/all/new", f"{node.folder}/o/all/copied"] and all(r["approximate"] for r in rows), rows
    # Not once more for the file underneath: the copying, and the shell that made it, wrote to that.
    assert not [f for f in snapshot(node)["files"] if f["total"]["writes"] == 10 and (f["inode"], f["major"], f["minor"]) not in places]
    process.input.close()
    process.ok()


@as_root
def test_files_of_two_btrfs_subvolumes_are_two(probed):
    """They have the same number, and a device that only btrfs knows."""
    node = probed(observe__uid=UID).start()
    if not attached(node):
        return
    image, at = node.folder / "image", node.folder / "b"
    at.mkdir()
    with open(image, "wb") as f:
        f.truncate(130 << 20)
    subprocess.run(["mkfs.btrfs", "-q", image], check=True, timeout=60)
    tried = subprocess.run(["unshare", "--mount", "mount", "-o", "loop", image, at], capture_output=True, text=True, timeout=60)
    if tried.returncode:
        pytest.skip(f"this kernel mounts no btrfs from a file: {tried.stderr.strip()}")
    script = f"mount -o loop {image} {at} && btrfs subvolume create {at}/one >&2 && btrfs subvolume create {at}/two >&2"
    process, places = in_namespace(node, script, f"{at}/one/a", f"{at}/two/b")
    assert len(places) == 2 and places[0][0] == places[1][0] and places[0][2] != places[1][2], process.report()
    kernel = open("/sys/kernel/btf/vmlinux", "rb").read()
    if b"\0btrfs_inode\0" in kernel:
        rows = rows_of(node, places)
        assert [r["name"] for r in rows] == [f"{at}/one/a", f"{at}/two/b"] and not any(r["approximate"] for r in rows), rows
    else:  # a module: they may be taken for one, and that is said
        row = wait_until(lambda: (lambda r: r and r["total"]["writes"] == 21 and r)(counted(node, places[0][0], None)), lambda: str(counted(node, places[0][0], None)))
        assert row["approximate"]
    process.input.close()
    process.ok()


@as_root
def test_a_process_in_namespaces_of_its_own(probed):
    """Its files are where nobody else has any, and its number is another than the one that it knows."""
    node = probed(observe__uid=UID).start()
    if not attached(node):
        return
    inside = node.folder / "there"
    inside.mkdir()
    process, places = in_namespace(node, f"mount -t tmpfs none {inside}", f"{inside}/file")
    assert len(places) == 1 and not os.listdir(inside), process.report()
    assert rows_of(node, places)[0]["name"] == f"{inside}/file"
    got = snapshot(node)
    use = next(u for u in got["uses"] if u["file"] is not None and got["files"][u["file"]]["inode"] == places[0][0] and u["total"]["writes"] == 10)
    pid = got["processes"][use["process"]]["pid"]
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        numbers = next(line.split()[1:] for line in status if line.startswith("NSpid:"))
    assert numbers[0] == str(pid) and len(numbers) > 1
    process.input.close()
    process.ok()


@as_root
def test_without_tracefs(probed):
    usual = settled(probed().start())
    node = probed(observe__uid=UID)
    node.daemon = Process("berthd-notrace", node.folder, ["unshare", "--mount", "sh", "-c",
                          "for at in /sys/kernel/tracing /sys/kernel/debug; do [ ! -d $at ] || mount -t tmpfs none $at; done; exec " + built("src/node/berthd")],
                          node.environment)
    node.processes.append(node.daemon)
    node.daemons.append(node.daemon)
    f = settled(node)
    assert f["state"] == usual["state"]
    if f["state"] == "attached":
        # Those that need it say so, the next one counts.
        assert [r["rung"] for r in f["refused"]] == RUNGS[:RUNGS.index(f["rung"])] and all(r["reason"] for r in f["refused"])
        assert_exact(node, use_files(node, "used"), f["blind"])
    # This one may need it: then that is the reason.
    node.set(observe__files="tracepoints")
    assert node.berth("reload").returncode == 0
    f = settled(node, "tracepoints")
    if f["state"] == "attached":
        assert_exact(node, use_files(node, "again"), f["blind"])
    else:
        assert [r["rung"] for r in f["refused"]] == ["tracepoints"] and f["refused"][0]["reason"], f


STEADY = """
import os, sys
fd, done = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR), 0
while not os.path.exists(sys.argv[2]):
    for _ in range(100):
        os.pwrite(fd, b"x" * 7, 0)
        done += 1
print(done)
"""


def steady(node):
    """A writer that does not rest until it is told."""
    process = Process("steady", node.folder, [sys.executable, "-c", STEADY, str(node.folder / "steady"), str(node.folder / "enough")], node.environment, preexec_fn=as_uid)
    node.processes.append(process)
    path = node.folder / "steady"
    wait_until(path.exists, lambda: process.report())
    process.inode = path.stat().st_ino
    return process


def writes_of(node, process):
    """What was counted of it: it is in the table by its writes, as its open may have been before."""
    rows = [f["total"] for f in (snapshot(node) or {"files": []})["files"] if f["inode"] == process.inode and f["total"]["writes"]]
    assert all(r["write_bytes"] == 7 * r["writes"] for r in rows), rows
    return sum(r["writes"] for r in rows)


def test_attached_part_of_the_time_what_is_counted_is_exact(probed):
    node = probed(observe__uid=UID, observe__file_duty=50).start()
    f = attached(node)
    if not f:
        return
    assert f["window_permille"] == 500 and f["one_in"] == 1
    writer = steady(node)
    wait_until(lambda: writes_of(node, writer) > 1000, "some are counted")
    node.tell("enough")
    done = int(writer.ok())
    counted_of_it = writes_of(node, writer)
    assert 1000 < counted_of_it <= done
    # All of the time again: all.
    node.set(observe__file_duty=100)
    assert node.berth("reload").returncode == 0
    f = wait_until(lambda: (lambda f: f and f["window_permille"] == 1000 and f["state"] == "attached" and f)(family(node)), "it is attached all the time")
    assert_exact(node, use_files(node, "used"), f["blind"])


def test_kinds_of_probes_change_under_load(probed):
    node = probed(observe__uid=UID).start()
    first = attached(node)
    if not first:
        return
    pid = snapshot(node)["own"]["pid"]
    held = len(programs_of(pid)) if ROOT else 0
    writer = steady(node)
    for rung in [*reversed(RUNGS), "off"]:
        node.set(observe__files=rung)
        assert node.berth("reload").returncode == 0
        if rung == "off":
            wait_until(lambda: family(node)["state"] == "off", "files are off")
        elif settled(node, rung)["state"] == "attached":
            before = writes_of(node, writer)
            wait_until(lambda: writes_of(node, writer) > before, lambda: f"{rung} counts: {family(node)}")
    # While it loads, too: settings that change faster than anything settles.
    for rung in RUNGS * 3:
        node.set(observe__files=rung)
        assert node.berth("reload").returncode == 0
    node.set(observe__files="auto", observe__file_entries=4096)
    assert node.berth("reload").returncode == 0
    f = wait_until(lambda: (lambda f: f and f["entries_max"] == 4096 and f["rung"] == first["rung"] and f)(family(node)), lambda: f"as at first: {family(node)}")
    assert_exact(node, use_files(node, "used"), f["blind"])
    node.tell("enough")
    assert writes_of(node, writer) <= int(writer.ok())
    # The same process, and nothing of the earlier kinds is left in it.
    assert snapshot(node)["own"]["pid"] == pid
    wait_until(lambda: not ROOT or len(programs_of(pid)) == held, lambda: f"{held} programs, as at the start: {programs_of(pid)}")


HOSTILE = b"\x1b]0;\n\\\"{}"  # what sets a terminal's title, ends a line of metrics, a string, a label


def test_a_hostile_name_of_a_process_is_text_everywhere(probed):
    node = probed().start()
    if not attached(node):
        return
    code = f"import os, sys, time\nopen('/proc/self/comm', 'wb').write({HOSTILE!r})\nfd = os.open('evil', os.O_CREAT | os.O_RDWR)\nwhile True: os.pwrite(fd, b'x' * 100000, 0); time.sleep(0.01)"
    process = node.run(sys.executable, "-c", code, bare=True)
    shown = "\\x1b]0;\\x0a\\\\\"{}"

    def row():
        return next((p for p in (snapshot(node) or {"processes": []})["processes"] if p["pid"] == process.pid), None)
    wait_until(lambda: (row() or {}).get("comm") == shown, lambda: f"{shown}: {row()}")
    for command in (("files",), ("files", "--total"), ("top", "--once"), ("sample", "--processes"), ("sample", "--json", "--processes"), ("metrics",), ("doctor",), ("status",),
                    ("dump",)):
        done = node.berth(*command)
        assert done.stdout and "\x1b" not in done.stdout and "\x1b" not in done.stderr, command
        if "--json" in command:
            json.loads(done.stdout)
        if command == ("metrics",):
            # Each line is a comment or a sample whose labels end where they should.
            for line in done.stdout.splitlines():
                assert line.startswith("#") or re.fullmatch(r'\w+(\{(\w+="([^"\\\n]|\\[\\"n])*",?)*\})? \S+( \S+)?', line), line
    process.kill()
