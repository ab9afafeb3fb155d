"""Whole-system tests: real processes on a software device.

Each test gets machines of its own: a folder for the device's memory, a socket, a settings file. Nothing is shared between tests, so
they may run at the same time. Tests wait for what `berth status` tells, never for time; deadlines are generous, and end a test only
when something hangs.
"""
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

MIB, GIB = 1 << 20, 1 << 30
OWN_FOLDER = pytest.StashKey()
ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.path.abspath(os.environ.get("BERTH_BUILD", os.path.join(ROOT, "build")))
PATIENCE = float(os.environ.get("BERTH_TEST_PATIENCE", "1"))
INSTRUMENTED = "build-asan" in BUILD or "build-tsan" in BUILD  # programs take several times their memory
KEPT = ("PATH", "LANG", "LC_ALL", "TERM", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS")
SANITIZER = re.compile(r"(AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error):?.*")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """A folder of its own for each run. The one that pytest shares between runs of a user is closed to others again by each run that begins, and so by a test
    beside one whose daemon is another user."""
    if not config.option.basetemp:
        config.option.basetemp = tempfile.mkdtemp(prefix="berth-tests-")
        config.stash[OWN_FOLDER] = config.option.basetemp


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    """Nothing stays behind, unless somebody will want to look."""
    folder = session.config.stash.get(OWN_FOLDER, None)
    if folder and exitstatus == 0:
        shutil.rmtree(folder, ignore_errors=True)


def built(path):
    return os.path.join(BUILD, path)


def program(name):
    """A test program, by name."""
    return built(os.path.join("tests/programs", name))


def bytes_of(text):
    """Of a setting: "64MiB"."""
    number, unit = re.fullmatch(r"(\d+)([KMG]iB)?", text).groups()
    return int(number) << {None: 0, "KiB": 10, "MiB": 20, "GiB": 30}[unit]


def wait_until(condition, what, seconds=60.0):
    """Polls until condition() is truthy, and returns that."""
    end = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds * PATIENCE:.0f} s still not: {what() if callable(what) else what}")
        time.sleep(0.01)


def own_memory(pid):
    """Bytes that lie in memory for this process alone, or in files that have no name: all but programs, libraries and their data as they were built."""
    found, nameless = 0, False
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as smaps:
        for line in smaps:
            words = line.split()
            if not words[0].endswith(":"):
                nameless = len(words) > 5 and words[5].startswith("/memfd:")
            elif words[0] == ("Rss:" if nameless else "Anonymous:"):
                found += int(words[1]) << 10
    return found


class Process:
    """A process with its output in files."""

    def __init__(self, name, folder, argv, environment, **options):
        self.name, self.argv = name, [str(word) for word in argv]
        self.out_path, self.err_path = folder / f"{name}.out", folder / f"{name}.err"
        options.setdefault("stdin", subprocess.DEVNULL)
        with open(self.out_path, "ab") as out, open(self.err_path, "ab") as err:
            self.popen = subprocess.Popen(self.argv, stdout=out, stderr=err, env=environment, cwd=folder,
                                          start_new_session=True, **options)
        self.pid = self.popen.pid

    @property
    def out(self):
        return self.out_path.read_text(errors="replace")

    @property
    def err(self):
        return self.err_path.read_text(errors="replace")

    @property
    def running(self):
        return self.popen.poll() is None

    def wait(self, seconds=90.0):
        """Its exit code."""
        try:
            return self.popen.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self} did not end within {seconds * PATIENCE:.0f} s\n{self.report()}") from None

    def ok(self, seconds=90.0):
        """Waits and insists on success: the program checked its own data."""
        code = self.wait(seconds)
        assert code == 0, f"{self} ended with {code}\n{self.report()}"
        return self.out

    def kill(self, number=signal.SIGKILL):
        if self.running:
            os.kill(self.pid, number)

    def end(self):
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait()

    def report(self):
        return f"--- {self.name}: {' '.join(self.argv)}\n{self.out[-3000:]}{self.err[-3000:]}"

    def __str__(self):
        return f"{self.name} (pid {self.pid})"


class Node:
    """One software machine with its daemon."""

    def __init__(self, folder, **settings):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "device").mkdir(exist_ok=True)
        self.settings = {"device.kind": "software", "device.software_memory": "256MiB", "node.log_level": "debug", "arena.size": "2GiB", "arena.ready": "64MiB"}
        self.settings_path = folder / "berthd.conf"
        self.environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        self.environment.update({
            "HOME": str(folder), "BERTH_SOCKET": str(folder / "socket"), "BERTH_CONFIG": str(self.settings_path),
            "BERTH_SOFTWARE_DIR": str(folder / "device")})
        self.processes, self.daemon, self.count, self.daemons = [], None, 0, []
        self.set(**settings)

    # Settings

    def set(self, **settings):
        """Writes the settings file: slice__min="1s" is min in [slice]."""
        for name, value in settings.items():
            self.settings[name.replace("__", ".", 1)] = value
        self.write(self.settings)

    def write(self, settings):
        text, sections = "", {}
        for name, value in settings.items():
            section, name = name.split(".", 1)
            sections.setdefault(section, []).append(f"{name} = {value}\n")
        for section, lines in sections.items():
            text += f"[{section}]\n" + "".join(lines)
        self.settings_path.write_text(text)

    # The daemon

    def start(self):
        self.daemon = self.spawn_daemon()
        wait_until(lambda: not self.daemon.running or self.berth("status", "--json").returncode == 0, "the daemon answers")
        assert self.daemon.running, self.daemon.report()
        return self

    def spawn_daemon(self, *arguments, environment=None):
        self.count += 1
        daemon = Process(f"berthd-{self.count}", self.folder, [built("src/node/berthd"), *arguments],
                         {**self.environment, **(environment or {})})
        self.processes.append(daemon)
        self.daemons.append(daemon)
        return daemon

    def own_processes(self):
        """{name: pid} of the daemon and the processes it keeps: "sensor", "keeper", and, while somebody asks, "probes"."""
        found, look = {"berthd": self.daemon.pid}, [self.daemon.pid]
        for pid in look:
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as children:
                        look += map(int, children.read().split())
            with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8") as comm:
                name = comm.read().strip()
                if name.startswith("berthd: "):
                    found[name.removeprefix("berthd: ")] = pid
        return found

    def stop(self):
        """The daemon ends as it should when it is told to."""
        self.daemon.kill(signal.SIGTERM)
        assert self.daemon.wait(30) == 0, self.daemon.report()

    def kill_daemon(self):
        self.daemon.kill(signal.SIGKILL)
        self.daemon.wait(30)

    def restart(self):
        self.kill_daemon()
        return self.start()

    @property
    def log(self):
        return "".join(daemon.err for daemon in self.daemons)

    def wait_log(self, pattern, seconds=60.0):
        return wait_until(lambda: re.search(pattern, self.log), f"the log says {pattern!r}", seconds)

    # The command line

    def berth(self, *arguments, **options):
        return subprocess.run([built("src/cli/berth"), *map(str, arguments)], capture_output=True, text=True, env=self.environment,
                              timeout=60 * PATIENCE, stdin=subprocess.DEVNULL, **options)

    def status(self):
        done = self.berth("status", "--json")
        assert done.returncode == 0, done.stderr + (self.daemon.report() if self.daemon else "")
        return json.loads(done.stdout)

    def device(self, index=0):
        return self.status()["devices"][index]

    def client(self, process, status=None):
        """What the daemon knows of a process, or None."""
        pid = process.pid if isinstance(process, Process) else process
        for client in (status or self.status())["clients"]:
            if client["pid"] == pid:
                return client
        return None

    def wait(self, condition, what, seconds=60.0):
        """Until condition(status) holds; returns that status."""
        last = {}

        def look():
            last.update(self.status())
            return last if condition(last) else None

        def explain():
            dead = [p.report() for p in self.processes if not p.running and p.popen.returncode and p not in self.daemons]
            return f"{what}; status: {json.dumps(last, indent=1)[-4000:]}\n" + "\n".join(dead)[-6000:] + self.log[-3000:]

        return wait_until(look, explain, seconds)

    def switched(self, times, index=0):
        """Until programs had to give way so often since the daemon began."""
        return self.wait(lambda status: status["devices"][index]["switches"] >= times, f"{times} switches")

    def wait_state(self, process, *states, seconds=60.0):
        """Until the process is a client in one of these states; returns the client."""
        def reached(status):
            client = self.client(process, status)
            assert process.running or client, f"{process} ended before it was {states}\n{process.report()}"
            return client and client["state"] in states

        return self.client(process, self.wait(reached, f"{process} is {' or '.join(states)}", seconds))

    # Programs

    def run(self, name, *arguments, options=(), environment=None, bare=False, **popen):
        """Starts a test program under `berth run`, or bare."""
        self.count += 1
        argv = [program(name) if "/" not in name else name, *arguments]
        if not bare:
            argv = [built("src/cli/berth"), "run", *options, "--", *argv]
        process = Process(f"{os.path.basename(name)}-{self.count}", self.folder, argv, {**self.environment, **(environment or {})}, **popen)
        self.processes.append(process)
        return process

    def tell(self, name="end"):
        """What programs with until="end" wait for."""
        (self.folder / name).touch()

    def close(self):
        """Ends everything; the daemon must end well, and no sanitizer may have spoken."""
        try:
            if self.daemon and self.daemon.running:
                self.stop()
        finally:
            for process in self.processes:
                process.end()
        for process in self.processes:
            found = SANITIZER.search(process.err)
            assert not found, f"{found.group()} in {process.report()}"


def held_allocations(node):
    """Files of the software device that some process still has open or mapped: each is an allocation (tests/fake/store.h)."""
    held = []
    for path in sorted((node.folder / "device").iterdir()):
        if path.name in ("header", "lock"):
            continue
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(path.name)
    return held


def open_files(pid):
    """What the descriptors of a process are of."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


def what_is_lost(node):
    """What is not as it was before the first program came; nothing, when all is."""
    lost = [f"allocation {name}" for name in held_allocations(node)]
    if not node.daemon or not node.daemon.running:
        return lost
    status, dump = node.status(), json.loads(node.berth("dump").stdout)
    lost += [f"client {c['pid']}" for c in status["clients"]] + [f"connection of {c['pid']}" for c in dump["clients"] if c["role"] != "control"]
    for device in status["devices"]:
        for figure in ("granted_bytes", "used_bytes", "swapped_bytes", "foreign_bytes", "clients", "waiting", "stuck"):
            if device["shared"] and device[figure]:
                lost.append(f"device {device['index']}: {figure} {device[figure]}")
    arena, segment = dump["arena"], dump["daemon"]["segment_bytes"]
    for figure in ("lent_bytes", "in_work_bytes", "holders_without_connection"):
        if arena[figure]:
            lost.append(f"arena: {figure} {arena[figure]}")
    if arena["free_bytes"] != arena["budget_bytes"] or arena["ready_bytes"] != arena["segments"] * segment:
        lost.append(f"arena: {arena}")
    if arena["ready_bytes"] >= bytes_of(node.settings["arena.ready"]) + segment:
        lost.append(f"arena: more kept ready than {node.settings['arena.ready']}: {arena}")
    files = open_files(node.daemon.pid)
    if len([f for f in files if f.startswith("/memfd:")]) != arena["segments"]:
        lost.append(f"berthd: descriptors {files} for {arena['segments']} segments")
    lost += [f"berthd: a descriptor of {f}" for f in files if f.startswith(str(node.folder / "device"))]
    return lost


def nothing_is_lost(node):
    """Once all programs have ended: the daemon's books are at rest, all memory of the devices is free, and of the host's none is held but what is kept ready."""
    lost = []

    def clean():
        lost[:] = what_is_lost(node)
        return not lost

    wait_until(clean, lambda: "\n".join(["all that was granted, lent and used is back", *lost]))


@pytest.fixture
def machine(tmp_path):
    """machine(setting=value, …) makes a machine whose daemon is not started yet."""
    nodes = []

    def make(**settings):
        nodes.append(Node(tmp_path / f"node-{len(nodes)}", **settings))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()


@pytest.fixture
def node(machine):
    """A machine with one software device of 256 MiB, its daemon started."""
    return machine().start()


def work(node, mib, *arguments, options=(), environment=None, chunk=16, seed=None, bare=False, **named):
    """Starts the program that fills memory, changes all of it in every round, and knows what must come out."""
    argv = ["--memory", f"{mib}MiB", "--chunk", f"{min(chunk, mib)}MiB", "--seed", seed or node.count + 1, *arguments]
    for name, value in named.items():
        argv += [f"--{name}", value]
    return node.run("work", *argv, options=options, environment=environment, bare=bare)


def result(process, seconds=120.0):
    """The JSON line that a test program ends with, all right."""
    return json.loads(process.ok(seconds).splitlines()[-1])


@pytest.fixture
def slow(machine):
    """A machine whose link is slow enough to see every state, and whose slices are short enough not to wait for them. Its device is small,
    so that a switch takes no longer than it has to."""
    return machine(device__software_memory="128MiB", device__software_link="256MiB", slice__mode="fixed", slice__fixed="300ms", client__return_after="60s").start()
