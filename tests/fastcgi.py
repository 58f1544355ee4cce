"""FastCGI clients that never pause: each answer is written out, and so is each request that had none.

    python3 fastcgi.py PORT SCRIPT        ends when its standard input does
"""

import socket
import struct
import sys
import threading


def record(kind, content):
    return struct.pack("!BBHHBx", 1, kind, 1, len(content), 0) + content


def pair(name, value):
    return struct.pack("!BB", len(name), len(value)) + name.encode() + value.encode()


def ask(port, script):
    """The body of one answer, by a connection of its own."""
    names = {"SCRIPT_FILENAME": script, "REQUEST_METHOD": "GET", "REDIRECT_STATUS": "200"}
    request = record(1, struct.pack("!HB5x", 1, 0))
    request += record(4, b"".join(pair(*each) for each in names.items())) + record(4, b"") + record(5, b"")
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(request)
        stream, body = connection.makefile("rb"), b""
        while True:
            _, kind, _, length, padding = struct.unpack("!BBHHBx", stream.read(8))
            content = stream.read(length + padding)[:length]
            if kind == 3:
                return body.split(b"\r\n\r\n", 1)[1].decode().strip()
            body += content if kind == 6 else b""


def client(port, script, stop, writing):
    while not stop.wait(0.004):
        try:
            line = "answer " + ask(port, script)
        except Exception as error:  # pylint: disable=broad-except
            line = "lost " + repr(error)
        with writing:
            print(line, flush=True)


stopped, lock = threading.Event(), threading.Lock()
for _ in range(4):
    threading.Thread(target=client, args=(int(sys.argv[1]), sys.argv[2], stopped, lock)).start()
sys.stdin.read()
stopped.set()
