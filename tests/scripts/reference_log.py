"""What a reference tracking server logs and answers, for a list of what happens to it.

An independent model, written from the recorded logs in corpus/imports and the description of the
servers' behaviour, without any code of heisenbed's. It counts references by (device, id), keeps
size, type and owner of the first ALLOC, and takes a dead process's keys away whole.

    reference_log.py SOCKET hex|decimal 112|144 DEVICES < happened > log     (answers on stderr)

Each line of stdin is one of
    m TYPE DEVICE ID SIZE BUFFER_TYPE PID       a message
    d PID                                       a process has died, and was swept
    e                                           the server was told to stop
An answer is a line "DEVICE dram l1 l1_small trace" or "DEVICE available count".
"""

import sys

NAMES = ["DRAM", "L1", "SYSTEM_MEMORY", "L1_SMALL", "TRACE"]
WRAP = 1 << 64
LARGEST = 100 << 30
BAR = "═" * 62


def mb(size):
    return "%g" % (size / 1048576)


def kb(size):
    return "%g" % (size / 1024)


class Server:
    def __init__(self, ids, layout, devices):
        self.ids, self.layout, self.devices = ids, layout, devices
        self.live = {}  # (device, id): [size, type, pid, count]
        self.meters = {}  # (device, kind): {id: (size, pid)}
        self.seen = 0

    def id(self, value):
        return hex(value) if self.ids == "hex" else str(value)

    def message(self, kind, device, key, size, memory, pid):
        if kind == 1:
            self.alloc(device, key, size, memory, pid)
        elif kind == 2:
            self.free(device, key, pid)
        elif kind == 3:
            self.answer(device)
        elif kind == 5:
            self.dump()
        elif kind == 6:
            count = self.devices or self.seen
            print(device, int(0 <= device < count), count, file=sys.stderr)
        elif kind in (4, 7, 12):
            pass
        elif kind in (8, 9, 10, 11) and self.layout == 144:
            self.meter(kind, device, key, size, memory, pid)
        else:
            print(f"Unknown message type: {kind}")

    def alloc(self, device, key, size, memory, pid):
        if not 0 <= device < (self.devices or 256):
            print(f"⚠️  Invalid device_id {device} - ignoring message")
            return
        if self.layout == 144 and not 0 < size <= LARGEST:
            print(f"⚠️  Invalid size {size} - ignoring message")
            return
        if memory >= len(NAMES):
            if self.layout == 144:
                print(f"⚠️  Invalid buffer_type {memory} for buffer {key} on device {device}")
                return
            print(f"⚠ [PID {pid}] Invalid buffer_type {memory} for buffer {key} on device {device}")
            return
        self.seen = max(self.seen, device + 1)
        entry = self.live.setdefault((device, key), [size, memory, pid, 0])
        entry[3] += 1
        count = f", ref_count={entry[3]}" if entry[3] > 1 else ""
        print(f"✓ [PID {pid}] Allocated {size} bytes of {NAMES[memory]} on device {device} "
              f"(buffer_id={self.id(key)}{count})")

    def free(self, device, key, pid):
        entry = self.live.get((device, key))
        if entry is None:
            print(f"⚠ [PID {pid}] Deallocation for unknown buffer {self.id(key)} on device {device} "
                  "(allocated before tracking started)")
            return
        entry[3] -= 1
        size, _, owner, left = entry
        rest = f"ref_count={left} remaining" if left else "FINAL"
        print(f"✗ [PID {owner}] Freed buffer {self.id(key)} on device {device} ({size} bytes, {rest})")
        if not left:
            del self.live[(device, key)]

    def meter(self, kind, device, key, size, memory, pid):
        """Totals of what is known by its id: the servers' own underflow."""
        opens, name = kind in (8, 10), {8: "CB_ALLOC", 9: "CB_FREE", 10: "KERNEL_LOAD", 11: "KERNEL_UNLOAD"}[kind]
        table = self.meters.setdefault((device, kind // 10), {})
        if opens:
            self.seen = max(self.seen, device + 1)
            table[key] = (size, pid)
        else:
            size = table.pop(key, (0, 0))[0]
        total = sum(size for size, _ in table.values())
        of = ["Application", "Fabric", "Dispatch"]
        subject = f"{of[memory] if memory < 3 else 'Unknown'} kernel on " if kind >= 10 else ""
        mark, sign = ("✓", "+") if opens else ("✗", "-")
        print(f"{mark} [{name}] {subject}Device {device}: {sign}{mb(size)} MB (Total: {mb(total)} MB)")

    def total(self, device, memories):
        sizes = [e[0] for (d, _), e in self.live.items() if d == device and e[1] in memories]
        return sum(sizes) % WRAP

    def answer(self, device):
        # SYSTEM_MEMORY is a Python client's L1_SMALL.
        totals = [self.total(device, memories) for memories in ([0], [1], [2, 3], [4])]
        print(device, *totals, file=sys.stderr)

    def on_devices(self):
        for device in sorted({device for device, _ in self.live}):
            yield device, [(key, e) for (d, key), e in sorted(self.live.items()) if d == device]

    def dump(self):
        print("📋 Received DUMP_REMAINING request...\n")
        print(f"╔{BAR}╗\n║           REMAINING ALLOCATED BUFFERS                       ║\n╚{BAR}╝")
        print(f"Total tracked allocations: {len(self.live)}\n")
        for device, entries in self.on_devices():
            print(f"Device {device}:")
            for memory, name in enumerate(NAMES):
                of = [(key, e) for key, e in entries if e[1] == memory]
                if not of:
                    continue
                print(f"  {name}: {len(of)} buffers, {mb(sum(e[0] for _, e in of) % WRAP)} MB total")
                for key, (size, _, pid, count) in of if len(of) <= 10 else []:
                    print(f"    - Buffer {hex(key)}: {kb(size)} KB (PID {pid}, ref_count={count})")
            print()
        if self.live:
            print(f"Total remaining buffers: {len(self.live)}\n")
        else:
            print("✓ No buffers remaining - perfect cleanup!")
        print("📋 DUMP_REMAINING complete.")

    def dies(self, pid):
        print("\n⚠️  Detected dead processes, cleaning up orphaned buffers...")
        print(f"   PID {pid} is dead, removing its buffers...")
        gone = [key for key, e in self.live.items() if e[2] == pid]
        size = sum(self.live.pop(key)[0] for key in gone) % WRAP
        if gone:
            print(f"   ✓ Removed {len(gone)} buffers ({mb(size)} MB) from PID {pid}")
        for kind, name in [(0, "CBs"), (1, "kernels")]:
            tables = [table for (_, k), table in self.meters.items() if k == kind]
            sizes = [t.pop(key)[0] for t in tables for key, v in list(t.items()) if v[1] == pid]
            if sizes:
                print(f"   ✓ Removed {len(sizes)} {name} ({mb(sum(sizes))} MB) from PID {pid}")
        print()

    def ends(self):
        print("\n📊 Current Statistics:")
        for device, entries in self.on_devices():
            print(f"  Device {device}:\n    Buffers: {len(entries)}")
            for memory in (0, 1):
                size = self.total(device, [memory])
                print(f"    {NAMES[memory]}: {size} bytes ({kb(size)} KB)")
            print(f"    Total: {self.total(device, range(5))} bytes")
        print(f"  Active allocations: {len(self.live)}\n\n🛑 Allocation Server stopped")


def main():
    socket, ids, layout, devices = sys.argv[1:]
    server = Server(ids, int(layout), int(devices))
    print(f"🚀 Allocation Server started\n   Listening on: {socket}\n   Press Ctrl+C to stop")
    for line in sys.stdin:
        what, *figures = line.split()
        figures = [int(figure) for figure in figures]
        {"m": server.message, "d": server.dies, "e": server.ends}[what](*figures)


main()
