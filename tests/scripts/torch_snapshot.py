"""Writes a CUDA memory snapshot with the shape that PyTorch's `torch.cuda.memory._snapshot()` has.

usage: torch_snapshot.py OUT PROTOCOL ENTRIES DEVICES [shared|unshared]

Call stacks, frames and keys are shared objects, as PyTorch makes them; `unshared` makes every one anew. Each trace begins in the
middle, as a ring buffer does: its first release is of an address that was allocated before. One allocation of each device is
never released.
"""

import pickle
import random
import sys


def frames(depth, site):
    return [
        {"filename": f"/srv/model/layer{site % 7}.py", "line": 10 * site + level, "name": f"forward_{site % 11}"}
        for level in range(depth)
    ]


def copied(stack):
    # Texts made anew too, so that nothing is shared.
    return [{bytes(k, "utf8").decode(): (bytes(v, "utf8").decode() if isinstance(v, str) else v) for k, v in frame.items()} for frame in stack]


def trace(device, entries, shared):
    draw = random.Random(device)
    stacks = [frames(3 + site % 20, site) for site in range(64)]
    base = 0x7F0000000000 + (device << 32)
    time_us = 1_700_000_000_000_000
    live, free, made = [], [], 0
    out = []

    def entry(action, addr, size, site=None):
        stack = stacks[site if site is not None else draw.randrange(64)]
        out.append({
            "action": action, "addr": addr, "size": size, "stream": 0, "time_us": time_us + 7 * len(out),
            "frames": stack if shared else copied(stack),
        })

    entry("segment_alloc", base, 20 << 20)
    entry("free_requested", base + 0x100, 512)
    entry("free_completed", base + 0x100, 512)
    entry("alloc", base + 0x200, 1 << 20, 0)  # never released
    while len(out) < entries - 2 * len(live) - 4:
        if live and draw.random() < 0.45:
            addr, size = live.pop(draw.randrange(len(live)))
            entry("free_requested", addr, size)
            entry("free_completed", addr, size)
            free.append(addr)
        elif len(live) < 500:
            if free:
                addr = free.pop()
            else:
                made += 1
                addr = base + (1 << 20) * (2 + made)
            size = 512 * draw.randrange(1, 400)
            live.append((addr, size))
            entry("alloc", addr, size)
    for addr, size in live:
        entry("free_requested", addr, size)
        entry("free_completed", addr, size)
    out.append({"action": "oom", "device_free": 123, "size": 1 << 40, "stream": 0, "time_us": time_us, "frames": stacks[1]})
    out.append({"action": "snapshot", "addr": 0, "size": 0, "stream": 0, "time_us": time_us, "frames": []})
    return out


def main():
    out, protocol, entries, devices = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    shared = len(sys.argv) < 6 or sys.argv[5] != "unshared"
    traces = [trace(device, entries, shared) for device in range(devices)]
    block = {"address": 0x7F0000000000, "size": 512, "requested_size": 500, "state": "active_allocated", "frames": frames(3, 1)}
    snapshot = {
        "segments": [{
            "device": 0, "address": 0x7F0000000000, "total_size": 20 << 20, "allocated_size": 512, "active_size": 512,
            "requested_size": 500, "stream": 0, "segment_type": "large", "segment_pool_id": (0, 0), "is_expandable": False,
            "frames": frames(2, 3), "blocks": [block, {**block, "state": "inactive", "frames": []}],
        }],
        "device_traces": traces,
        "allocator_settings": {"PYTORCH_CUDA_ALLOC_CONF": "", "max_split_size": -1, "garbage_collection_threshold": 0.0,
                               "expandable_segments": False, "last": None},
        "external_annotations": [],
    }
    with open(out, "wb") as file:
        pickle.dump(snapshot, file, protocol=protocol)


main()
