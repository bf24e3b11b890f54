"""The records that every client writes and reads, and the forms in which they leave a program.

The rules are those of tests/clients/README.md.
"""

import struct
import sys
from typing import NamedTuple, Optional

BASE_TIMESTAMP = 1_700_000_000_000
FILLER = b"thalweg " * 88
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


class Record(NamedTuple):
    offset: int
    timestamp: int
    key: Optional[bytes]
    value: Optional[bytes]
    headers: tuple

    def line(self, partition):
        headers = ",".join(f"{name}={value.hex()}" for name, value in sorted(self.headers)) or "-"
        return f"{partition} {self.offset} {self.timestamp} {shown(self.key)} {shown(self.value)} {headers}"


def shown(part):
    return "null" if part is None else "=" + part.hex()


def expected(who, i, offset=None):
    """Record `i` of `who`, at the offset `i` unless told otherwise."""
    key = None if i % 7 == 3 else f"{who}-{i}".encode()
    if i % 11 == 5 and key is not None:
        value = None
    elif i % 13 == 6:
        value = b""
    else:
        value = f"{who}:{i}:".encode() + FILLER[: 37 * i % 700]
    headers = []
    if i % 5 != 0:
        headers.append(("client", who.encode()))
        if i % 10 == 1:
            headers.append(("empty", b""))
        headers.append(("n", str(i).encode()))
    return Record(i if offset is None else offset, BASE_TIMESTAMP + 1000 * i, key, value, tuple(headers))


def write_packed(stream, key, value):
    for part in (key, value):
        if part is None:
            stream.write(struct.pack(">i", -1))
        else:
            stream.write(struct.pack(">i", len(part)) + part)


def read_packed(stream):
    """Pairs of key and value until the end of the stream."""

    def part():
        head = stream.read(4)
        if not head:
            return None, True
        (length,) = struct.unpack(">i", head)
        return (None if length < 0 else stream.read(length)), False

    while True:
        key, end = part()
        if end:
            return
        yield key, part()[0]


def equal(what, found, wanted):
    """Ends the program with the first difference of two lists of records."""
    for f, w in zip(found, wanted):
        if f != w:
            sys.exit(f"{what}: a record differs\n  found  {f}\n  wanted {w}")
    if len(found) != len(wanted):
        sys.exit(f"{what}: {len(found)} records, wanted {len(wanted)}")
