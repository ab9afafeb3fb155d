"""What `berth run --watch --notify` tells a desktop: over a bus of the test's own, with somebody there who shows notifications, who says nothing, or nobody at all."""
import os
import re
import signal
import subprocess
import threading

import pytest
from conftest import Process, wait_until
from jeepney import HeaderFields, MessageType, message_bus, new_method_return
from jeepney.io.blocking import open_dbus_connection

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
"""
# Control characters, markup, and what is no UTF-8.
HOSTILE = b"\x1b[2J<b>&\xff\xe2\x80\xae"


class Desktop:
    """Shows notifications, that is: keeps them. mute: takes them and does not answer."""

    def __init__(self, address, mute=False):
        self.shown, self.mute = [], mute
        self.connection = open_dbus_connection(address, auth_timeout=60)
        self.connection.send_and_get_reply(message_bus.RequestName("org.freedesktop.Notifications"))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        try:
            while True:
                message = self.connection.receive()
                if message.header.message_type == MessageType.method_call and message.header.fields.get(HeaderFields.member) == "Notify":
                    self.shown.append(message.body)
                    if not self.mute:
                        self.connection.send(new_method_return(message, "u", (7,)))
        except OSError:
            pass  # the bus has gone


@pytest.fixture
def bus(node):
    path = node.folder / "bus"
    (node.folder / "bus.conf").write_text(CONFIG.format(path=path))
    daemon = Process("dbus", node.folder, ["dbus-daemon", f"--config-file={node.folder}/bus.conf", "--nofork", "--print-address"], node.environment)
    node.processes.append(daemon)
    wait_until(lambda: daemon.out or not daemon.running, "the bus listens")
    assert daemon.running, daemon.report()
    node.environment["DBUS_SESSION_BUS_ADDRESS"] = daemon.address = f"unix:path={path}"
    return daemon


def job(node, *options, script="exec sleep 1000"):
    """A program of a hostile name that hangs at once."""
    program = os.path.join(os.fsencode(node.folder), HOSTILE)
    with open(program, "wb") as f:
        f.write(b"#!/bin/sh\n" + script.encode() + b"\n")
    os.chmod(program, 0o755)
    return node.run(os.fsdecode(program), options=("--watch", "--notify", "--hang-after", "1s", "--watch-report", str(node.folder / "report"), *options))


def said(process, pattern):
    return wait_until(lambda: re.search(pattern, process.err), lambda: f"{pattern!r} in {process.report()}")


def test_alarms_are_shown_and_the_next_takes_the_place_of_the_last(node, bus):
    desktop = Desktop(bus.address)
    process = job(node, "--on-hang", "term", script="trap '' TERM\nwhile :; do sleep 1000; done")
    name, replaces, icon, summary, body, actions, hints, expires = wait_until(lambda: desktop.shown, lambda: f"a notification; {process.report()}")[0]
    assert (name, replaces, icon, actions, expires) == ("berth", 0, "", [], -1)
    assert summary == "Berth: ?[2J<b>&????" and body.startswith("hangs: no progress for 1"), (summary, body)
    assert hints == {"urgency": ("y", 2)}
    # It does not end by TERM, which is told ten seconds later, in the same bubble.
    assert process.wait() == -signal.SIGKILL
    wait_until(lambda: len(desktop.shown) > 1, "the second")
    assert desktop.shown[1][1] == 7 and desktop.shown[1][4] == "it did not end, and is ended with KILL"
    said(process, "ended by its watchdog")
    # Nor does the name reach the terminal or the report as it is.
    report = (node.folder / "report").read_bytes()
    assert b"\x1b" not in report and b"job ?[2J<b>&????, pid" in report
    assert "\x1b" not in process.err and "no notifications" not in process.err


def test_nobody_shows_notifications(node, bus):
    process = job(node, "--on-hang", "kill")
    assert process.wait() == -signal.SIGKILL
    said(process, "hangs: no progress")
    first = process.err.count("no notifications on this desktop")
    # The watchdog may have ended before the bus's refusal came; what it says, it says once.
    said(process, "ended by its watchdog")
    assert first <= 1
    # One that goes on says so.
    process = job(node)
    said(process, "no notifications on this desktop: ")
    process.kill()
    said(process, r": ended")
    assert process.err.count("no notifications on this desktop") == 1


def test_without_a_bus_the_other_channels_go_on(node):
    node.environment["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={node.folder}/nowhere"
    process = job(node)
    said(process, "hangs: no progress")
    said(process, "no notifications on this desktop: libsystemd or the session's bus is not there")
    process.kill()
    said(process, r": ended")


@pytest.mark.parametrize("what", ["bus", "desktop"])
def test_a_desktop_that_hangs_holds_up_nothing(node, bus, what):
    desktop = Desktop(bus.address, mute=True)
    if what == "bus":
        bus.kill(signal.SIGSTOP)
    process = job(node, "--on-hang", "kill")
    assert process.wait() == -signal.SIGKILL
    said(process, "ended by its watchdog")
    assert (node.folder / "report").exists()
    if what == "desktop":
        wait_until(lambda: desktop.shown, "it got the notification")

    def left():
        return subprocess.run(["pgrep", "-f", f"berth-watchdog.*--pid {process.pid} "], capture_output=True).stdout
    wait_until(lambda: not left(), lambda: f"no process is left waiting: {left()}")
