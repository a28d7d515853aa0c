"""Writes CUDA memory snapshots of the shape that PyTorch's `torch.cuda.memory._snapshot()` has, as pickles.

usage: snapshot.py KIND PROTOCOL FILE
"""

import pickle
import sys


def frames(*places):
    return [{"filename": f, "line": line, "name": name} for f, line, name in places]


FORWARD = frames(("??", 0, "torch::unwind::unwind()"), ("model.py", 42, "forward"), ("train.py", 7, "<module>"))
CACHE = frames(("cache.py", 13, "insert"), ("train.py", 9, "<module>"))
BASE = 0x7F0000000000


def entry(action, addr, size, time_us, where=FORWARD, **more):
    of = {"action": action, "addr": addr, "size": size, "stream": 0, "time_us": time_us, "frames": where}
    return of | {"compile_context": "N/A", "user_metadata": ""} | more


def device_trace(device):
    start = 1_700_000_000_000_000 + device
    entries = [
        # The ring buffer has lost this one's allocation.
        entry("free_requested", BASE + 0x900000, 1024, start),
        entry("free_completed", BASE + 0x900000, 1024, start + 1, frames=[]),
        entry("segment_alloc", BASE, 2 << 20, start + 2),
        entry("segment_map", BASE + (4 << 20), 2 << 20, start + 2),
    ]
    for index in range(4):
        entries.append(entry("alloc", BASE + 512 * index, 512, start + 10 + index, CACHE if index == 3 else FORWARD))
    entries.append(entry("oom", 0, 80 << 30, start + 20, device_free=12345))
    del entries[-1]["addr"]
    entries.append(entry("free_requested", BASE, 512, start + 30))
    entries.append(entry("free_completed", BASE, 512, start + 31))
    # On a stream that still uses it: not completed yet.
    entries.append(entry("free_requested", BASE + 512, 512, start + 32, stream=-7))
    entries.append(entry("segment_unmap", BASE + (4 << 20), 2 << 20, start + 40))
    entries.append(entry("segment_free", BASE + (6 << 20), 2 << 20, start + 41))
    entries.append(entry("snapshot", 0, 0, start + 50))
    return entries


def segment(device):
    block = {"address": BASE, "size": 512, "requested_size": 500, "state": "active_allocated", "frames": FORWARD}
    return {
        "device": device,
        "address": BASE,
        "total_size": 2 << 20,
        "allocated_size": 1536,
        "active_size": 1536,
        "requested_size": 1500,
        "stream": 0,
        "segment_type": "small",
        "segment_pool_id": (0, 0),
        "is_expandable": False,
        "frames": FORWARD,
        "blocks": [dict(block, address=BASE + 512 * index) for index in range(4)],
    }


def snapshot(devices):
    return {
        "segments": [segment(device) for device in range(devices)],
        "device_traces": [device_trace(device) for device in range(devices)],
        "allocator_settings": {"PYTORCH_CUDA_ALLOC_CONF": "", "max_split_size": -1, "garbage_collection_threshold": 0.0},
        "external_annotations": [],
    }


class Evil:
    """What makes reading a pickle dangerous: it names a function and its arguments."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def main():
    kind, protocol, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    what = snapshot(3)
    if kind == "evil":
        # In the middle of what is read.
        what["device_traces"][1][2]["frames"] = Evil(path + ".executed")
    elif kind == "odd":
        what["device_traces"] = [
            [
                entry("alloc", BASE, 512, 1),
                {"action": "alloc", "size": 512},
                {"action": "teleport", "addr": 1, "size": 1},
                {"addr": 1, "size": 1},
                "no dict",
                entry("alloc", "here", 512, 1),
                entry("alloc", 1.5, 512, 1),
                entry("free_completed", BASE, 512, 2),
            ]
        ]
    elif kind == "frames":
        names = ["a\nb", "a\\nb", "plain"]
        what["device_traces"] = [
            [entry("alloc", 4096 * at, 512, at, frames((name, 1, "f"))) for at, name in enumerate(names)]
        ]
    with open(path, "wb") as file:
        pickle.dump(what, file, protocol=protocol)


main()
