"""Packed records (tests/clients/README.md) of WHO, about as many bytes as asked for: `lines.py WHO BYTES`."""

import struct
import sys

who, left = sys.argv[1], int(sys.argv[2])
i = 0
while left > 0:
    key, value = f"{who}-{i}".encode(), b"value %d " % i * (1 + i % 40)
    left -= sys.stdout.buffer.write(struct.pack(">i", len(key)) + key + struct.pack(">i", len(value)) + value)
    i += 1
