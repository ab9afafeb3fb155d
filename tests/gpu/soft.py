"""Soft limit and trimming against PyTorch's own caching allocator; to be run as

    berth run --soft-memory 8GiB -- python3 tests/gpu/soft.py [--soft-gib 8]

Fills the cache up to just below the soft limit, then allocates over it: the allocator is told out-of-memory once, frees what it had cached, asks
again, and the program goes on with the right data. Then, over the soft limit by live tensors alone, it goes on, too. With `berth` at hand (BERTH,
or on the PATH), `berth trim` empties the cache through berth.on_trim. One line of JSON; status 0 when all of it held.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "python"))
import berth  # noqa: E402
import torch  # noqa: E402

GIB = 1 << 30


def tensor(gib, value):
    return torch.full((int(gib * GIB) // 4,), value, dtype=torch.float32, device="cuda")


def right(t, value):
    return bool((t == value).all().item())


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--soft-gib", type=float, default=8)
    soft = options.parse_args().soft_gib
    told = {"name": "soft_limit", "soft_bytes": int(soft * GIB)}
    live = tensor(soft / 8, 1)
    # Sizes that differ by more than the allocator's rounding, so that no cached block serves another.
    step = soft / 16
    cached = [tensor(step * n, n) for n in (1, 2, 3, 4)]
    ok = all(right(t, n) for t, n in zip(cached, (1, 2, 3, 4)))
    del cached
    torch.cuda.synchronize()
    told["reserved_before"] = torch.cuda.memory_reserved()
    over = tensor(soft / 2, 5)
    told["reserved_after"] = torch.cuda.memory_reserved()
    told["retries"] = torch.cuda.memory_stats()["num_alloc_retries"]
    ok &= right(live, 1) and right(over, 5)
    ok &= told["retries"] == 1 and told["reserved_after"] < told["reserved_before"] and told["reserved_after"] <= soft * GIB
    # Live tensors over the soft limit: refused now and then, never for good.
    more = [tensor(soft / 8, 10 + n) for n in range(8)]
    ok &= all(right(t, 10 + n) for n, t in enumerate(more)) and torch.cuda.memory_reserved() > soft * GIB
    told["retries_over"] = torch.cuda.memory_stats()["num_alloc_retries"] - told["retries"]
    told["ooms"] = torch.cuda.memory_stats()["num_ooms"]
    ok &= told["ooms"] == 0
    # Asked from outside.
    del more, over
    torch.cuda.synchronize()
    command = os.environ.get("BERTH") or shutil.which("berth")
    if command and berth.on_trim(torch.cuda.empty_cache):
        told["reserved_before_trim"] = before = torch.cuda.memory_reserved()
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        subprocess.run([command, "trim", str(os.getpid())], check=True, env=environment, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while torch.cuda.memory_reserved() == before and time.monotonic() < end:
            time.sleep(0.01)
        told["reserved_after_trim"] = torch.cuda.memory_reserved()
        ok &= told["reserved_after_trim"] < before and right(live, 1)
        berth.on_trim(None)
    told["ok"] = bool(ok)
    print(json.dumps(told))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
