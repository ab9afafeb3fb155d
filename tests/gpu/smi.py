"""What a program under `berth run` sees of itself: NVML by ctypes, nvidia-smi, and the CUDA driver, side by side.

usage: berth run [--memory 40%] -- python3 tests/gpu/smi.py [MIB]

Allocates MIB (256) by cuMemAlloc, then prints one JSON line:
  driver          cuMemGetInfo: total, free
  nvml, nvml_v2   the two forms of memory figures
  compute         [pid, bytes] of nvmlDeviceGetComputeRunningProcesses_v3
  nvidia_smi      MiB: total, used of --query-gpu, in the order of its devices; null where there is no nvidia-smi
  apps            [pid, MiB] of --query-compute-apps; null likewise
  table           [pid, MiB] of the table of processes that nvidia-smi prints without arguments; null likewise
  names           of the real NVML: how many, which of them the stand-in lacks, whether they carry versions
  ok              NVML, nvidia-smi and the driver agree to the byte (nvidia-smi: to the MiB), and every list holds this process alone
  apps_own        nvidia-smi's own lists hold this process alone, with its memory; null where there is none
Nothing but Python's own modules is needed. The status is 0 when ok.
"""
import ctypes
import json
import os
import re
import shutil
import struct
import subprocess
import sys

U64 = ctypes.c_ulonglong


class Memory(ctypes.Structure):
    _fields_ = [("total", U64), ("free", U64), ("used", U64)]


class MemoryV2(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint), ("total", U64), ("reserved", U64), ("free", U64), ("used", U64)]


class Process(ctypes.Structure):
    _fields_ = [("pid", ctypes.c_uint), ("bytes", U64), ("gpu_instance", ctypes.c_uint), ("compute_instance", ctypes.c_uint)]


def fields(structure):
    return {name: getattr(structure, name) for name, _ in structure._fields_}


def good(code, what):
    if code:
        raise SystemExit(f"{what}: error {code}")


def use_driver(size):
    """Holds size bytes of device 0; what the driver says of its memory, and its UUID as NVML writes it."""
    cuda = ctypes.CDLL("libcuda.so.1")
    device, context, at = ctypes.c_int(), ctypes.c_void_p(), U64()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    uuid = (ctypes.c_ubyte * 16)()
    good(cuda.cuInit(0), "cuInit")
    good(cuda.cuDeviceGet(ctypes.byref(device), 0), "cuDeviceGet")
    good(cuda.cuDeviceGetUuid(uuid, device), "cuDeviceGetUuid")
    good(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device), "cuDevicePrimaryCtxRetain")
    good(cuda.cuCtxSetCurrent(context), "cuCtxSetCurrent")
    good(cuda.cuMemAlloc_v2(ctypes.byref(at), ctypes.c_size_t(size)), "cuMemAlloc_v2")
    good(cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)), "cuMemGetInfo_v2")
    text = bytes(uuid).hex()
    return {"total": total.value, "free": free.value}, "GPU-" + "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def ask_nvml(uuid):
    nvml = ctypes.CDLL("libnvidia-ml.so.1")
    device, v1, v2 = ctypes.c_void_p(), Memory(), MemoryV2(version=ctypes.sizeof(MemoryV2) | 2 << 24)
    count, list_ = ctypes.c_uint(256), (Process * 256)()
    good(nvml.nvmlInit_v2(), "nvmlInit_v2")
    good(nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(device)), "nvmlDeviceGetHandleByUUID")
    good(nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(v1)), "nvmlDeviceGetMemoryInfo")
    good(nvml.nvmlDeviceGetMemoryInfo_v2(device, ctypes.byref(v2)), "nvmlDeviceGetMemoryInfo_v2")
    good(nvml.nvmlDeviceGetComputeRunningProcesses_v3(device, ctypes.byref(count), list_), "nvmlDeviceGetComputeRunningProcesses_v3")
    return fields(v1), fields(v2), [[p.pid, p.bytes] for p in list_[:count.value]]


def nvidia_smi(uuid, query):
    """Rows of numbers, or None where there is no nvidia-smi."""
    if not shutil.which("nvidia-smi"):
        return None
    done = subprocess.run(["nvidia-smi", "-i", uuid, query, "--format=csv,noheader,nounits"], capture_output=True, text=True, timeout=60)
    if done.returncode:
        return f"status {done.returncode}: {(done.stdout + done.stderr)[-300:]}"
    return [[int(cell) if cell.strip().isdigit() else cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]


def process_table(uuid):
    """[pid, MiB] of the rows that a person reads; a figure that is none stays the text that is there."""
    if not shutil.which("nvidia-smi"):
        return None
    done = subprocess.run(["nvidia-smi", "-i", uuid], capture_output=True, text=True, timeout=60)
    if done.returncode:
        return f"status {done.returncode}: {(done.stdout + done.stderr)[-300:]}"
    rows = re.findall(r"^\|\s+\d+\s+\S+\s+\S+\s+(\d+)\s+[CGM+]+\s.*?(?:(\d+)MiB|(\S+))\s+\|$", done.stdout.partition("Processes:")[2], re.M)
    return [[int(pid), int(mib) if mib else other] for pid, mib, other in rows]


def alone(rows, size):
    """This process and nobody else, with its memory to the MiB."""
    return (isinstance(rows, list) and len(rows) == 1 and rows[0][0] == os.getpid() and isinstance(rows[0][1], int)
            and abs(rows[0][1] - size / (1 << 20)) <= 1)


def exported(path):
    """Names that a 64-bit library exports, and whether any carries a version of its own."""
    data = open(path, "rb").read()
    at, size, count = *struct.unpack_from("<Q", data, 0x28), *struct.unpack_from("<HH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, at + i * size) for i in range(count)]
    names, versioned = set(), any(kind == 0x6FFFFFFD for _, kind, *_ in sections)  # SHT_GNU_verdef
    for _, kind, _, _, offset, length, link, _, _, entry in sections:
        if kind != 11:  # SHT_DYNSYM
            continue
        strings = sections[link][4]
        for i in range(0, length, entry):
            name, info, _, section, _, _ = struct.unpack_from("<IBBHQQ", data, offset + i)
            if section and info >> 4 in (1, 2) and info & 15 in (2, 10):  # defined, global or weak, a function
                names.add(data[strings + name:data.index(b"\0", strings + name)].decode())
    return names, versioned


def compare_names():
    mapped = re.search(r"(/\S*libberth-nvml\.so)$", open("/proc/self/maps").read(), re.M)
    real_path = os.environ.get("BERTH_NVML")
    if not mapped or not real_path:
        return None
    real, versioned = exported(real_path)
    lacking = sorted(name for name in real - exported(mapped.group(1))[0] if name.startswith("nvml"))
    return {"real": len(real), "lacking": lacking[:40], "lacking_count": len(lacking), "versioned": versioned}


def main():
    size = int(sys.argv[1] if len(sys.argv) > 1 else 256) << 20
    driver, uuid = use_driver(size)
    v1, v2, compute = ask_nvml(uuid)
    memory = nvidia_smi(uuid, "--query-gpu=memory.total,memory.used,memory.free")
    apps = nvidia_smi(uuid, "--query-compute-apps=pid,used_memory")
    table = process_table(uuid)
    ok = (v2["free"] == driver["free"] and v2["used"] == size and v1["total"] == v2["total"] and v1["free"] == v2["free"]
          and v2["used"] + v2["free"] + v2["reserved"] == v2["total"] and compute == [[os.getpid(), size]])
    if "BERTH_MEMORY" in os.environ:
        ok = ok and v2["total"] == driver["total"]
    if memory is not None:
        # It rounds to whole MiB in its own way.
        ok = ok and len(memory) == 1 and all(abs(shown - told / (1 << 20)) <= 1 for shown, told in zip(memory[0], (v2["total"], size, v2["free"])))
    own = None if apps is None else alone(apps, size) and alone(table, size)
    ok = ok and own is not False
    print(json.dumps({"name": "smi", "ok": ok, "uuid": uuid, "driver": driver, "nvml": v1, "nvml_v2": v2, "compute": compute, "nvidia_smi": memory,
                      "apps": apps, "table": table, "apps_own": own, "names": compare_names()}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
