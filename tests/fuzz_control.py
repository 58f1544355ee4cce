#!/usr/bin/env python3
"""Fuzzes the control socket of a real srvwrap with what protocol/openapi.json allows, and with what it does not.

    cargo build && python3 -m venv target/fuzz && target/fuzz/bin/pip install schemathesis==4.32.5 &&
        target/fuzz/bin/python tests/fuzz_control.py

    schemathesis ── TCP ──> Proxy ── unix ──> srvwrap ── two shells
                                                 ^
                  Keeper: ends what would last, ─┘ and looks whether srvwrap lives

schemathesis makes requests from the document, valid and mutated, from a fixed seed (--seed, --examples), and judges
every response: its status, its fields, its headers, whether a wrong body was refused. Deploys of random programs fail,
as they should. POST /stop ends srvwrap: it is fuzzed last, against one srvwrap after another. At the end srvwrap must
answer, replace its workers in a deploy, hold no more memory and no more descriptors than a little, and have said
nothing of a panic.

Exits with 0 where nothing was found, with 1 on a finding, with 2 where it cannot run. What it does not do: send what is
no HTTP (the tests of the limits do), or replace `cargo test`, where a smaller fuzzer runs always.
"""

import argparse
import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORKER = ["/bin/sh", "-c", "echo online >&3; exec sleep 1000"]
WORKERS = 2
# Every worker takes some: so a scale to 65535 fails, as on a small machine, and does not fill this one.
DESCRIPTORS = 256
# How long /events is read, a deploy may last, and something that must come may take; in seconds.
EVENTS_TIME = 0.2
DEPLOY_TIME = 0.3
PATIENCE = 30
# What srvwrap may have grown by in the end, in KiB.
MOST_GROWTH = 16 << 10

# What an order that is right may be answered with, and one that is wrong.
CONFIG = """
warnings = false

[checks]
not_a_server_error.expected-statuses = ["2xx", "4xx", 503]
positive_data_acceptance.expected-statuses = [200, 409, 422, 503]
negative_data_rejection.expected-statuses = [400, 404, 405, 413, 417, 431, 501]

[phases.stateful]
enabled = false
"""


class Unix(http.client.HTTPConnection):
    """An HTTP connection to a unix socket."""

    def __init__(self, path, timeout=PATIENCE):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = connected(self.path, self.timeout)


def connected(path, timeout):
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(timeout)
    stream.connect(str(path))
    return stream


class Srvwrap:
    """A running srvwrap in an empty directory of its own."""

    def __init__(self, binary):
        self.directory = tempfile.TemporaryDirectory(prefix="srvwrap-fuzz-")
        self.socket = Path(self.directory.name) / "s"
        self.log_path = Path(self.directory.name) / "log"
        limits = ["--online-timeout", "1s", "--stop-timeout", "1s"]
        command = [binary, *limits, "--socket", str(self.socket), "-n", str(WORKERS), "-p", "127.0.0.1:0", *WORKER]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.directory.name,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS)),
            )
        self.wait_for("it is online", lambda: "workers online: " in self.log())

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_for(self, what, fact):
        until = time.monotonic() + PATIENCE
        while not fact():
            if time.monotonic() > until or self.process.poll() is not None:
                raise Finding(f"this does not come: {what}; srvwrap: {self.process.poll()}")
            time.sleep(0.01)

    def ask(self, method, path, body=None):
        """The status and the JSON of one response."""
        connection = Unix(self.socket)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            return response.status, json.load(response)
        finally:
            connection.close()

    def status(self):
        return self.ask("GET", "/status")[1]

    def memory(self):
        """Resident, in KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.directory.cleanup()


class Finding(Exception):
    """What srvwrap has done wrong, in a sentence."""


class Proxy:
    """TCP on loopback in, the control socket out. A stream of events is ended, as srvwrap would end it."""

    def __init__(self, target):
        # A callable, since there may be one srvwrap after another.
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            server = connected(self.target(), None)
        except OSError:
            client.close()
            return
        events = threading.Event()
        threading.Thread(target=self.to_server, args=(client, server, events), daemon=True).start()
        self.to_client(server, client, events)
        # So that the other thread ends too.
        for stream in (client, server):
            try:
                stream.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        client.close()

    @staticmethod
    def to_server(client, server, events):
        try:
            while data := client.recv(1 << 16):
                if data.startswith((b"GET /events ", b"GET /events?")):
                    events.set()
                    server.settimeout(EVENTS_TIME)
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    @staticmethod
    def to_client(server, client, events):
        last = b""
        until = None
        try:
            while True:
                try:
                    data = server.recv(1 << 16)
                except TimeoutError:
                    data = None
                if events.is_set() and until is None:
                    until = time.monotonic() + EVENTS_TIME
                if data is None or (until is not None and time.monotonic() > until and last.endswith(b"\r\n")):
                    # Chunks: every one of them ends with a line.
                    client.sendall((data or b"") + b"0\r\n\r\n")
                    return
                if not data:
                    return
                client.sendall(data)
                last = data
        except OSError:
            pass

    def close(self):
        self.listener.close()


class Keeper(threading.Thread):
    """Ends deploys that would last (a bake may take a year), and brings the workers back to a few."""

    def __init__(self, srvwrap):
        super().__init__(daemon=True)
        self.srvwrap = srvwrap
        self.over = threading.Event()
        self.fault = None

    def run(self):
        while not self.over.wait(0.1):
            try:
                self.turn()
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.fault = f"srvwrap does not answer while it is fuzzed: {error!r}"
                return

    def turn(self):
        status = self.srvwrap.status()
        deploy = status["deploy"]
        if deploy and deploy["elapsed_ms"] > DEPLOY_TIME * 1000:
            self.srvwrap.ask("POST", "/abort")
        elif status["activity"] == "serving" and status["workers_wanted"] > 2 * WORKERS:
            self.srvwrap.ask("POST", "/scale", {"to": WORKERS})

    def stop(self):
        self.over.set()
        self.join(PATIENCE)
        if self.fault:
            raise Finding(self.fault)


def strict_document(directory):
    """The document, where `default` stands for the statuses that its description has and for no others."""
    document = json.loads((ROOT / "protocol/openapi.json").read_text())
    others = re.findall(r"\b[45]\d\d\b", document["components"]["responses"]["Other"]["description"])
    for methods in document["paths"].values():
        for operation in methods.values():
            other = operation["responses"].pop("default")
            for status in others:
                operation["responses"].setdefault(status, other)
    path = Path(directory) / "openapi.json"
    path.write_text(json.dumps(document))
    return path


def run_schemathesis(port, options, choice):
    """Whether it found nothing."""
    with tempfile.TemporaryDirectory(prefix="srvwrap-fuzz-") as directory:
        config = Path(directory) / "schemathesis.toml"
        config.write_text(CONFIG)
        command = [sys.executable, "-c", "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"]
        command += ["--config-file", str(config), "run", str(strict_document(directory))]
        command += ["--url", f"http://127.0.0.1:{port}", "--checks", "all", "--seed", str(options.seed)]
        command += ["--max-examples", str(options.examples), "--generation-database", "none", "--no-color"]
        command += ["--request-timeout", str(PATIENCE), "--continue-on-failure", "--generation-allow-x00", "true"]
        command += ["--suppress-health-check", "all", "--output-truncate", "false", *choice]
        return subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL).returncode == 0


def fuzz_all_but_stop(options):
    srvwrap = Srvwrap(options.binary)
    proxy = Proxy(lambda: srvwrap.socket)
    keeper = Keeper(srvwrap)
    try:
        ask_for_too_many(srvwrap)
        memory, descriptors = srvwrap.memory(), srvwrap.descriptors()
        keeper.start()
        nothing = run_schemathesis(proxy.port, options, ["--exclude-path", "/stop"])
        keeper.stop()
        look_after(srvwrap, memory, descriptors)
        if not nothing:
            raise Finding("schemathesis has findings")
    except Finding:
        print(f"srvwrap said last:\n{srvwrap.log()[-4000:]}", file=sys.stderr)
        raise
    finally:
        proxy.close()
        srvwrap.end()


def ask_for_too_many(srvwrap):
    """Whether as many workers as one may ask for, for which there is no room, are a failure that comes soon. What
    memory that takes it may keep."""
    orders = [
        ("/scale", {"to": 65535}),
        ("/deploy", {"workers": 65535}),
        ("/deploy", {"workers": 65535, "surge": 65535}),
    ]
    for path, body in orders:
        status, answer = srvwrap.ask("POST", path, body)
        if status != 422 or answer["outcome"] != "failed":
            raise Finding(f"{path} {body}: {status} {answer}")


def look_after(srvwrap, memory, descriptors):
    """Whether srvwrap is as it was, after all that it was sent."""
    if "panicked" in srvwrap.log() or "fault of srvwrap" in srvwrap.log():
        raise Finding("srvwrap has panicked, or says that it is at fault")
    srvwrap.wait_for("nothing is under way", lambda: srvwrap.status()["activity"] == "serving")
    body = {"program": WORKER, "directory": "/", "workers": WORKERS}
    status, answer = srvwrap.ask("POST", "/deploy", body)
    if status != 200:
        raise Finding(f"a deploy that is right: {status} {answer}")
    told = srvwrap.status()
    online = [worker for worker in told["workers"] if worker["state"] == "online"]
    if len(online) != WORKERS or srvwrap.ask("GET", "/readyz")[0] != 200:
        raise Finding(f"its workers are not online: {told}")
    srvwrap.wait_for("its descriptors are closed", lambda: srvwrap.descriptors() <= descriptors + 2)
    grown = srvwrap.memory() - memory
    print(f"srvwrap has grown by {grown} KiB to {memory + grown} KiB, has {srvwrap.descriptors()} descriptors open, "
          f"is at generation {told['generation']}")
    if grown > MOST_GROWTH:
        raise Finding(f"srvwrap has grown by {grown} KiB")


class Stopped:
    """One srvwrap after another, for what ends it: the next begins when somebody asks."""

    def __init__(self, binary):
        self.binary = binary
        self.lock = threading.Lock()
        self.current = Srvwrap(binary)
        self.count = 1
        self.faults = []

    def socket(self):
        with self.lock:
            # Whoever was told to stop says so before it ends.
            if self.is_ending():
                self.take_leave()
                self.current = Srvwrap(self.binary)
                self.count += 1
            return self.current.socket

    def is_ending(self):
        return self.current.process.poll() is not None or "stopping" in self.current.log() or "killing" in self.current.log()

    def take_leave(self):
        try:
            code = self.current.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            code = None
        if code not in (0, 1) or "panicked" in self.current.log():
            self.faults.append(f"srvwrap ended with {code}:\n{self.current.log()}")
        self.current.end()


def fuzz_stop(options):
    stopped = Stopped(options.binary)
    proxy = Proxy(stopped.socket)
    try:
        nothing = run_schemathesis(proxy.port, options, ["--include-path", "/stop"])
        print(f"{stopped.count} of them were stopped")
        if stopped.faults:
            raise Finding(stopped.faults[0])
        if not nothing:
            raise Finding("schemathesis has findings at POST /stop")
    finally:
        proxy.close()
        stopped.current.end()


def main():
    parser = argparse.ArgumentParser(description="Fuzzes the control socket of srvwrap by protocol/openapi.json.")
    parser.add_argument("--binary", default=str(ROOT / "target/debug/srvwrap"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=40, help="for each route and kind")
    parser.add_argument("--only", choices=["stop", "others"])
    options = parser.parse_args()
    options.binary = os.path.abspath(options.binary)
    try:
        import schemathesis  # noqa: F401
    except ImportError:
        print("schemathesis is missing: the first lines of this file say how to install it", file=sys.stderr)
        return 2
    if not os.path.exists(options.binary):
        print(f"there is no {options.binary}: cargo build makes it", file=sys.stderr)
        return 2
    # So that what was started is ended, whoever ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by TERM"))
    try:
        if options.only != "stop":
            fuzz_all_but_stop(options)
        if options.only != "others":
            fuzz_stop(options)
    except Finding as finding:
        print(f"found: {finding}", file=sys.stderr)
        return 1
    print("nothing was found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
