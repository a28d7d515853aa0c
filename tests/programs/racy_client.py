#!/usr/bin/env python3
"""A tracking client of the 72-byte layout in threads, which shares no code with heisenbed.

  racy_client.py MODE SOCKET [SEED]

correct     one lock is held from the address to its message, and from the message to the release
free-first  the address is given back first and its FREE sent after, under no lock
leaks       each thread forgets a few buffers

It ends with 0 where what the mode is about happened (correct: always), and with 3 where it did not.
"""
import os
import random
import socket
import struct
import sys
import threading
import time

ALLOC, FREE = 1, 2
# type, pad, device, size, buffer type, pad, process, address, timestamp, four totals
FRAME = struct.Struct("<B3xiQB3xiQQQQQQ")


class Allocator:
    """The address that was given back last goes out first."""

    def __init__(self):
        self.lock = threading.Lock()
        self.free = []
        self.fresh = 0

    def take(self):
        with self.lock:
            if self.free:
                return self.free.pop()
            self.fresh += 4096
            return self.fresh

    def give_back(self, address):
        with self.lock:
            self.free.append(address)


class Tracker:
    """One connection; counts by address what it has sent: ALLOCs less FREEs."""

    def __init__(self, path):
        self.server = socket.socket(socket.AF_UNIX)
        self.server.connect(path)
        self.lock = threading.Lock()
        self.shown = {}
        self.overlapped = False

    def tell(self, kind, address):
        size, buffer_type = (4096, 1) if kind == ALLOC else (0, 0)
        frame = FRAME.pack(kind, 0, size, buffer_type, os.getpid(), address, 0, 0, 0, 0, 0)
        with self.lock:
            self.server.sendall(frame)
            shown = self.shown.get(address, 0) + (1 if kind == ALLOC else -1)
            self.shown[address] = shown
            self.overlapped |= shown > 1


def work(mode, draw, allocator, tracker, lifecycle, forgotten):
    held = []
    left = 150
    forgets = 3 if mode == "leaks" else 0
    while left or held:
        if left and (not held or (len(held) < 12 and draw.random() < 0.5)):
            left -= 1
            with lifecycle:
                address = allocator.take()
                tracker.tell(ALLOC, address)
            held.append(address)
            continue
        address = held.pop(draw.randrange(len(held)))
        if forgets and left < 75:
            forgets -= 1
            forgotten.append(address)
        elif mode == "free-first":
            allocator.give_back(address)
            if draw.random() < 0.05:
                time.sleep(draw.random() / 5000)
            tracker.tell(FREE, address)
        else:
            with lifecycle:
                tracker.tell(FREE, address)
                allocator.give_back(address)


def main():
    mode, path = sys.argv[1], sys.argv[2]
    if mode not in ("correct", "free-first", "leaks"):
        raise SystemExit(__doc__)
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    # Threads take turns often, as those of other languages do.
    sys.setswitchinterval(1e-5)
    allocator, tracker, lifecycle, forgotten = Allocator(), Tracker(path), threading.Lock(), []
    workers = [
        threading.Thread(
            target=work,
            args=(mode, random.Random(seed * 64 + i), allocator, tracker, lifecycle, forgotten),
        )
        for i in range(2 + seed % 3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    tracker.server.close()
    struck = {"correct": True, "free-first": tracker.overlapped, "leaks": bool(forgotten)}
    sys.exit(0 if struck[mode] else 3)


main()
