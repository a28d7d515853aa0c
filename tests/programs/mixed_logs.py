#!/usr/bin/env python3
"""Writes server logs of programs in which several things go wrong at once, which share no code with
heisenbed, and what went wrong in each.

  mixed_logs.py FOLDER RUNS SEED CAUSES...

CAUSES is some of these letters, or - for none: R FREEs are sent late, after their address was given
back; L messages are lost; D FREEs are sent twice; K buffers are forgotten; A the log begins late; P
the process ends and another one gets its id; T two memories use the same addresses.

FOLDER gets CAUSES-SEED.log for each run, and truth.json: of each log the causes that struck in it,
by their names. Threads, devices, sizes and how often each cause strikes are drawn.
"""
import json
import pathlib
import random
import sys

NAMES = {
    "R": "reordering",
    "L": "loss",
    "D": "double-release",
    "K": "real-leak",
    "A": "late-attach",
    "P": "pid-reuse",
    "T": "type-aliasing",
}


class Memory:
    """The addresses of a device: one space, or, where they alias, one for each memory."""

    def __init__(self, aliases):
        self.free = []
        self.fresh = {"L1": 0x10000, "DRAM": 0x10000}
        self.aliases = aliases

    def take(self, draw, last_first):
        if self.free and draw.random() < 0.9:
            return self.free.pop(-1 if last_first else draw.randrange(len(self.free)))
        memory = "L1" if draw.random() < 0.7 else "DRAM"
        if not self.aliases:
            # A process after this one uses each address for the same memory.
            memory = "L1" if (self.fresh["L1"] >> 16) % 3 else "DRAM"
        space = memory if self.aliases else "L1"
        self.fresh[space] += 0x10000
        return self.fresh[space] - 0x10000, memory, 0


class Program:
    """Its threads take turns at random; a message has the time at which the server gets it."""

    def __init__(self, causes, seed):
        self.causes = causes
        self.draw = draw = random.Random(seed)
        self.threads = draw.choice([1, 2, 2, 3, 4, 8])
        if "R" in causes and self.threads == 1:
            self.threads = 2 + draw.randrange(3)
        self.steps = draw.choice([150, 400, 1000, 3000])
        self.most_live = draw.choice([2, 5, 12, 40])
        self.last_first = draw.random() < 0.5
        self.devices = draw.choice([1, 1, 2])
        self.often = {cause: draw.choice([0.003, 0.01, 0.05]) for cause in "LDK"}
        self.often["R"] = draw.choice([0.01, 0.05, 0.2, 0.5])
        self.lateness = draw.choice([2, 5, 20, 200, 2000])
        self.in_bursts = draw.random() < 0.4
        self.sizes = [1024 << draw.randrange(6) for _ in range(draw.choice([1, 3, 6]))]
        self.messages = []
        self.struck = dict.fromkeys(NAMES, 0)
        self.live = []
        self.now = 0
        self.lose_next = 0
        self.renew()

    def renew(self):
        self.memories = [Memory("T" in self.causes) for _ in range(self.devices)]

    def strikes(self, cause):
        return cause in self.causes and self.draw.random() < self.often[cause]

    def send(self, kind, buffer, after=0.0):
        if "L" in self.causes and self.is_lost():
            self.struck["L"] += 1
            return
        self.messages.append((self.now + after, len(self.messages), kind, buffer))

    def is_lost(self):
        if self.lose_next:
            self.lose_next -= 1
            return True
        if not self.in_bursts:
            return self.strikes("L")
        if self.draw.random() < self.often["L"] / 5:
            self.lose_next = self.draw.randrange(1, 20)
            return True
        return False

    def allocate(self):
        device = self.draw.randrange(self.devices)
        address, memory, shown_until = self.memories[device].take(self.draw, self.last_first)
        self.struck["R"] += shown_until > self.now
        self.struck["T"] += "T" in self.causes
        buffer = (device, address, memory, self.draw.choice(self.sizes))
        self.live.append(buffer)
        self.send("ALLOC", buffer)

    def release(self, busy, thread):
        buffer = self.live.pop(self.draw.randrange(len(self.live)))
        if self.strikes("K"):
            self.struck["K"] += 1
            return
        after = 0.0
        if self.strikes("R"):
            after = 1.5 + int(self.draw.expovariate(1 / self.lateness))
            busy[thread] = self.now + after
        self.send("FREE", buffer, after)
        device, address, memory, _ = buffer
        self.memories[device].free.append((address, memory, self.now + after))
        if self.strikes("D"):
            self.struck["D"] += 1
            self.send("FREE", buffer, after + 0.1 + self.draw.randrange(3))

    def run(self):
        busy = [0.0] * self.threads
        for step in range(self.steps):
            self.now += 1
            if "P" in self.causes and step == self.steps // 2:
                self.struck["P"] += 1
                self.live.clear()
                self.renew()
                # What its threads were about to send comes before the next process begins.
                self.now += 100 * self.lateness
            thread = self.draw.randrange(self.threads)
            if busy[thread] > self.now:
                continue
            is_full = len(self.live) >= self.most_live
            if self.live and (is_full or self.draw.random() < 0.5):
                self.release(busy, thread)
            else:
                self.allocate()
        for buffer in self.live:
            self.now += 1
            self.send("FREE", buffer)
        self.messages.sort()
        if "A" in self.causes:
            self.begin_late()
        return self

    def begin_late(self):
        first = self.draw.randrange(1, max(2, len(self.messages) // 3))
        live = {}
        for _, _, kind, (device, address, *_) in self.messages[:first]:
            key = (device, address)
            live[key] = live.get(key, 0) + (1 if kind == "ALLOC" else -1)
        self.struck["A"] = sum(count > 0 for count in live.values())
        self.messages = self.messages[first:]


def lines(messages):
    """What a server that counts references writes."""
    shown = {}
    for _, _, kind, (device, address, memory, size) in messages:
        key = (device, address)
        count, first_size = shown.get(key, (0, size))
        at = f"buffer_id={address:#x}"
        if kind == "ALLOC":
            shown[key] = (count + 1, first_size if count else size)
            again = f", ref_count={count + 1}" if count else ""
            yield f"✓ [PID 4242] Allocated {size} bytes of {memory} on device {device} ({at}{again})"
        elif count:
            shown[key] = (count - 1, first_size)
            left = f"ref_count={count - 1} remaining" if count > 1 else "FINAL"
            yield (
                f"✗ [PID 4242] Freed buffer {address:#x} on device {device} "
                f"({first_size} bytes, {left})"
            )
        else:
            yield (
                f"⚠ [PID 4242] Deallocation for unknown buffer {address:#x} on device {device} "
                "(allocated before tracking started)"
            )


def main():
    if len(sys.argv) < 5:
        raise SystemExit(__doc__)
    folder, runs, first = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    truth = {}
    for causes in sys.argv[4:]:
        for seed in range(first, first + runs):
            program = Program(causes, seed).run()
            name = f"{causes}-{seed}.log"
            text = "".join(line + "\n" for line in lines(program.messages))
            (folder / name).write_text(text, encoding="utf-8")
            struck = [NAMES[cause] for cause, count in program.struck.items() if count]
            truth[name] = struck
    (folder / "truth.json").write_text(json.dumps(truth), encoding="utf-8")


main()
