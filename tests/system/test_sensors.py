"""A management library that is missing, hangs, crashes or talks nonsense: the daemon serves on, what can't be believed is unavailable and not zero, and what comes back is taken
again."""
import json

import pytest
from conftest import INSTRUMENTED, built, wait_until

WELL = {"used_bytes": 128 << 20, "utilisation_permille": 420, "power_mw": 123000, "power_limit_mw": 700000, "temperature_c": 40, "clock_mhz": 1500, "memory_clock_mhz": 1500,
        "ecc_corrected": 2}
FOREIGN = "foreign_bytes"


@pytest.fixture
def odd(machine):
    """A machine whose one device is behind tests/fake/odd-nvml.c; odd.is_("hang") from then on."""
    node = machine(device__kind="cuda", device__nvml=built("tests/fake/libodd-nvml.so"))
    node.mood = node.folder / "mood"
    node.environment["BERTH_ODD_NVML"] = str(node.mood)

    def is_(word):
        beside = node.folder / "mood.new"
        beside.write_text(word)
        beside.rename(node.mood)
    node.is_ = is_
    node.is_("well")
    return node


def told(node, *names):
    device = node.device()
    return {name: device.get(name) for name in names or WELL}


def is_well(node):
    wait_until(lambda: told(node) == WELL, lambda: f"all is told: {told(node)}\n{node.log[-2000:]}")


def test_nonsense_is_unavailable_and_not_believed(odd):
    odd.start()
    is_well(odd)
    assert odd.device()["name"].startswith("Odd?[2J?xxx")
    odd.is_("nonsense")
    wait_until(lambda: not any(told(odd).values()), lambda: f"nothing is told: {told(odd)}")
    assert set(told(odd, *WELL, FOREIGN).values()) == {None}
    # Nor is it zero anywhere.
    text = odd.berth("metrics").stdout
    for name in ("berth_device_power_watts", "berth_device_temperature_celsius", "berth_device_memory_used_bytes", "berth_device_clock_hertz", "berth_device_memory_errors_total"):
        assert f'{name}{{device="0"' not in text, name
    assert 'berth_device_memory_bytes{device="0"' in text
    out = odd.berth("status").stdout
    assert "unavailable" in out and "\x1b" not in out and "4294967" not in out, out
    sample = json.loads(odd.berth("sample", "--json", "--interval", "100ms").stdout)
    assert sample["devices"][0]["power_mw"] is None and sample["devices"][0]["temperature_c"] is None
    odd.is_("well")
    is_well(odd)
    # A device that is lost: the same.
    odd.is_("refuses")
    wait_until(lambda: not any(told(odd).values()), lambda: f"nothing is told: {told(odd)}")
    odd.is_("well")
    is_well(odd)


@pytest.mark.parametrize("how, said", [("hang", "the device driver does not answer"), ("ends", "the sensor process ended")] +
                         ([] if INSTRUMENTED else [("crash", "the sensor process ended")]))
def test_a_driver_that_is_gone_for_a_while(odd, how, said):
    odd.start()
    is_well(odd)
    first = odd.own_processes()["sensor"]
    odd.is_(how)
    # Nobody waits for it: each of these is answered while it hangs.
    wait_until(lambda: odd.berth("status").returncode == 0 and odd.berth("files").returncode is not None and said in odd.log, lambda: f"{said}: {odd.log[-2000:]}")
    wait_until(lambda: told(odd)["power_mw"] is None, lambda: f"unavailable: {told(odd)}")
    odd.is_("well")
    is_well(odd)
    odd.wait_log("the devices' sensors answer again")
    assert odd.own_processes()["sensor"] != first


@pytest.mark.parametrize("library, words", [("/nowhere/libnvidia-ml.so.1", ["/nowhere/libnvidia-ml.so.1", "cannot open"]), ("libm.so.6", ["libm.so.6 has no nvmlInit_v2"])])
def test_without_the_library_it_says_so(machine, library, words):
    node = machine(device__kind="cuda", device__nvml=library)
    daemon = node.spawn_daemon()
    assert daemon.wait(60) != 0
    assert all(word in daemon.err for word in words) and "no device to share" in daemon.err, daemon.err
