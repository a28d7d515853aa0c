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
    states = ["inactive", "active_awaiting_free", "active_allocated", "active_allocated"]
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
        "blocks": [block(BASE + 512 * index, 512, state, requested_size=500) for index, state in enumerate(states)],
    }


def block(address, size, state, where=FORWARD, **more):
    return {"address": address, "size": size, "requested_size": size, "state": state, "frames": where} | more


def one_segment(device, address, blocks):
    total = sum(block["size"] for block in blocks)
    return {"device": device, "address": address, "total_size": total, "stream": 0, "blocks": blocks}


def used(*entries):
    """Entries from words: time, `+` or `-`, address, size."""
    made = []
    for time_us, sign, address, size in entries:
        for action in ["alloc"] if sign == "+" else ["free_requested", "free_completed"]:
            made.append(entry(action, address, size, time_us))
    return made


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
        del what["segments"]
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
        del what["segments"]
        names = ["a\nb", "a\\nb", "plain"]
        what["device_traces"] = [
            [entry("alloc", 4096 * at, 512, at, frames((name, 1, "f"))) for at, name in enumerate(names)]
        ]
    elif kind == "old":
        # As PyTorch 2.0 writes blocks: without an address, in the order of the segment.
        blocks = [
            block(0, 1024, "inactive"),
            block(0, 512, "active_allocated", requested_size=500),
            block(0, 2048, "active_pending_free"),
            block(0, 512, "active_allocated"),
        ]
        for made in blocks:
            del made["address"], made["requested_size"]
        what["segments"] = [one_segment(0, BASE, blocks)]
        history = used((1, "+", BASE, 1024), (2, "+", BASE + 1024, 500), (3, "-", BASE, 1024))
        what["device_traces"] = [history + [entry("free_requested", BASE + 1536, 2048, 4)]]
        # The history comes first.
        what = {"device_traces": what["device_traces"], "segments": what["segments"]}
    elif kind == "taken-again":
        # In use by the table, released by the history; and one whose size is another.
        what["segments"] = [
            one_segment(0, BASE, [block(BASE, 512, "active_allocated"), block(BASE + 512, 1024, "active_allocated")])
        ]
        what["device_traces"] = [used((1, "+", BASE, 512), (2, "-", BASE, 512), (3, "+", BASE + 512, 600))]
    elif kind == "by-time":
        # One device releases before the other allocates: never more than 1,000 bytes at once.
        what["segments"] = []
        what["device_traces"] = [
            used((10, "+", BASE, 1000), (20, "-", BASE, 1000), (50, "+", BASE, 700), (60, "-", BASE, 700)),
            used((30, "+", BASE, 900), (40, "-", BASE, 900)),
            [],
        ]
    elif kind == "earlier":
        # The ring buffer has lost the allocation of what is released first.
        what["segments"] = [one_segment(0, BASE, [block(BASE, 4096, "active_allocated")])]
        what["device_traces"] = [
            used((1, "+", BASE + 8192, 100), (2, "-", BASE + 16384, 1000), (3, "-", BASE + 8192, 100))
        ]
    elif kind == "no-buffers":
        # Recorded, but nothing of a buffer.
        what["segments"] = [one_segment(0, BASE, [block(BASE, 512, "active_allocated")])]
        what["device_traces"] = [[entry("segment_alloc", BASE, 512, 1), entry("oom", 0, 4096, 2)]]
    elif kind == "odd-table":
        blocks = [block(BASE, 512, "active_allocated"), block(BASE + 512, 512, "active_allocated")]
        what["segments"] = [one_segment(0, BASE, blocks)]
        del blocks[1]["size"]
        what["device_traces"] = [used((1, "+", BASE, 512), (2, "+", BASE + 512, 512))]
    elif kind == "ranks":
        what = {"ranks": [{"rank": 0}, {"rank": 1, "snapshot": what}]}
    elif kind == "rank-dict":
        what = {0: what, 1: what}
    elif kind == "rank-pair":
        what = (what, what)
    elif kind == "rank-tuple":
        what = ({"rank": 0}, what, what, what)
    elif kind == "one-key":
        what = {"memory": {"snapshot": what}}
    elif kind == "segments":
        what = what["segments"]
    elif kind == "table-only":
        what = {"segments": what["segments"]}
    with open(path, "wb") as file:
        pickle.dump(what, file, protocol=protocol)


main()
