"""The broker under test as a process that may be killed and started again on its port.

BROKER and THALWEG say which, as in tests/lib/broker.sh.
"""

import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

TESTS = Path(__file__).parent.parent


def free_port():
    """A port below the ephemeral range, free at this moment together with the one 1000 above it."""
    while True:
        port = random.SystemRandom().randrange(20000, 29000)
        try:
            for each in (port, port + 1000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", each))
            return port
        except OSError:
            continue


class Broker:
    def __init__(self, directory, options):
        self.data, self.out = directory / "data", directory / "broker.out"
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        listener = f"listeners=PLAINTEXT://{self.bootstrap}"
        options = [listener, f"log.dirs={self.data}", *options]
        self.port_file = None  # says that our broker listens; a killed one's port may still take connections
        if os.environ.get("BROKER") == "apache":
            properties = directory / "broker.properties"
            properties.write_text("\n".join(options) + "\n")
            self.command = [TESTS / "apache-kafka" / "run", properties]
        else:
            binary = os.environ.get("THALWEG") or TESTS.parent / "target" / "release" / "thalweg"
            self.port_file = directory / "port"
            settings = [part for option in options for part in ("-o", option)]
            self.command = [binary, "start", *settings, "--port-file", self.port_file]
        self.process = None

    def start(self):
        if self.port_file:
            self.port_file.unlink(missing_ok=True)
        with open(self.out, "a") as out:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        end = time.monotonic() + 90
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"the broker did not come up; it said:\n{self.said()}")
            time.sleep(0.02)

    def answers(self):
        if self.port_file:
            return self.port_file.exists() and self.port_file.stat().st_size > 0
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def kill(self):
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self):
        """SIGTERM; the broker has to end well and in time."""
        self.process.terminate()
        try:
            status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise SystemExit("the broker did not stop within 30 s")
        if status not in (0, 143, -15) or "panicked at" in self.out.read_text(errors="replace"):
            raise SystemExit(f"the broker ended with status {status}:\n{self.said()}")

    def said(self):
        return self.out.read_text(errors="replace")[-3000:]
