"""Makes the corpora as packed records (tests/clients/README.md): `make.py DIRECTORY RUST_SOURCES`.

words    a line of the words list each
sources  a Rust source file each, its path as key; large ones in pieces
access   a million lines of a web server's log, from a seeded generator
"""

import os
import random
import struct
import sys
from pathlib import Path

SOURCE_BYTES = 48 << 20
PIECE = 700_000
ACCESS_LINES = 1_000_000
SEED = 20240601


def pack(file, key, value):
    for part in (key, value):
        file.write(struct.pack(">i", -1) if part is None else struct.pack(">i", len(part)) + part)


def source_files(root):
    for directory, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".rs"):
                yield Path(directory, name)


def words(sources):
    listed = Path("/usr/share/dict/words")
    if listed.exists():
        return listed.read_bytes().splitlines()
    print("no /usr/share/dict/words: the words come from the Rust sources", file=sys.stderr)
    found = set()
    for path in source_files(sources):
        found.update(path.read_bytes().replace(b"(", b" ").replace(b".", b" ").split())
        if len(found) > 100_000:
            break
    return sorted(found)


def access_lines():
    choose = random.Random(SEED)
    paths = [f"/{a}/{b}" for a in ("shop", "api/v2", "img", "blog", "user") for b in range(400)]
    agents = ["Mozilla/5.0 (X11; Linux x86_64)", "curl/8.5.0", "Googlebot/2.1", "okhttp/4.12.0", "-"]
    statuses = [200] * 90 + [304] * 6 + [404] * 3 + [500]
    hosts = [".".join(str(choose.randrange(1, 255)) for _ in range(4)) for _ in range(5000)]
    moment = 0
    for _ in range(ACCESS_LINES):
        moment += choose.randrange(3)
        clock = f"{moment // 3600 % 24:02}:{moment // 60 % 60:02}:{moment % 60:02}"
        yield (
            f'{hosts[int(choose.random() ** 2 * 5000)]} - - [{1 + moment // 86400:02}/Jun/2024:{clock} +0000] '
            f'"GET {paths[int(choose.random() ** 3 * 2000)]} HTTP/1.1" {statuses[int(choose.random() * 100)]} '
            f'{int(choose.random() ** 4 * 200_000)} "-" "{agents[int(choose.random() * 5)]}"'
        ).encode()


def main(directory, sources):
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "words", "wb") as out:
        for word in words(sources):
            pack(out, None, word)
    with open(directory / "sources", "wb") as out:
        for path in source_files(sources):
            text = path.read_bytes()
            for at in range(0, max(len(text), 1), PIECE):
                pack(out, str(path.relative_to(sources)).encode(), text[at : at + PIECE])
            if out.tell() > SOURCE_BYTES:
                break
    with open(directory / "access", "wb") as out:
        for line in access_lines():
            pack(out, None, line)
    (directory / "complete").touch()


main(*sys.argv[1:])
