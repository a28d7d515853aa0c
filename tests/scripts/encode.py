#!/usr/bin/env python3
"""An encoder of the five real wire layouts that shares nothing with the crate: the layouts' table, written down as struct formats.

  encode.py SOCKET LAYOUT PID DEVICE ALLOCS FREES SIZE

Sends ALLOCS allocations and then FREES releases of the first of them, asks for the device's totals, and prints
`DRAM L1 CB KERNEL FRAME_BYTES` of the answer. CB and KERNEL are -1 where the layout does not carry them. With the 144-byte layout it also
sends one circular buffer and one kernel of SIZE each, and releases neither.
"""
import socket
import struct
import sys

# type, pad, device, size, buffer type, pad, pid, buffer id, timestamp, dram, l1, l1_small, trace
COMMON = "<B3xiQB3xiQQQQQQ"
REST = {
    72: "",
    112: "QQIIIIII",
    128: "QQQQIIIIII",
    144: "QQQQIIIIIIIIII",
    648: "64s512s",
}
ALLOC, FREE, QUERY, RESPONSE, CB_ALLOC, KERNEL_LOAD = 1, 2, 3, 4, 8, 10


def frame(layout, kind, device=0, size=0, buffer_type=0, pid=0, address=0):
    common = struct.pack(COMMON, kind, device, size, buffer_type, pid, address, 0, 0, 0, 0, 0)
    rest = REST[layout]
    zeros = [b"name", b"at frame.cpp:1"] if layout == 648 else [0] * len(rest)
    packed = common + struct.pack("<" + rest, *zeros)
    assert len(packed) == layout, (len(packed), layout)
    return packed


def receive(connection, count):
    answer = b""
    while len(answer) < count:
        piece = connection.recv(count - len(answer))
        if not piece:
            raise SystemExit(f"the server closed the connection after {len(answer)} of {count} bytes")
        answer += piece
    return answer


def main():
    path = sys.argv[1]
    layout, pid, device, allocs, frees, size = map(int, sys.argv[2:])
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(path)
    for index in range(allocs):
        connection.sendall(frame(layout, ALLOC, device, size, index % 2, pid, 0x1000 + 64 * index))
    for index in range(frees):
        connection.sendall(frame(layout, FREE, device, 0, 0, pid, 0x1000 + 64 * index))
    if layout == 144:
        connection.sendall(frame(layout, CB_ALLOC, device, size, 1, pid, 0x77))
        connection.sendall(frame(layout, KERNEL_LOAD, device, size, 0, pid, 0x78))
    connection.sendall(frame(layout, QUERY, device, pid=pid))
    answer = receive(connection, layout)
    kind, answered_device, _, _, _, _, _, dram, l1, _, _ = struct.unpack_from(COMMON, answer)
    assert (kind, answered_device) == (RESPONSE, device), (kind, answered_device)
    cb, kernel = struct.unpack_from("<QQ", answer, 72) if layout in (128, 144) else (-1, -1)
    print(dram, l1, cb, kernel, len(answer))


main()
