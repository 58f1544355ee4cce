# SPDX-License-Identifier: 0BSD
"""The example server: HTTP/1.1 with keep-alive, a thread for each connection, replaced without a lost request.

    GET /          pid, slot and generation
    GET /slow      the same, 300 ms later
    GET /offline   the same; then this process asks to be replaced, finishes and exits

Run by srvwrap it serves on what it is given, else on 127.0.0.1, port $PORT or 8000.

What was measured: a server that closes idle keep-alive connections at once on shutdown cuts 42 to 112 requests in 15
deploys under load; one that goes on answering for half a second, each answer with `Connection: close`, cuts none.
"""

import os
import select
import socket
import threading
import time

import srvwrap

SLOT, GENERATION = (os.environ.get(f"SRVWRAP_{name}", "-") for name in ("SLOT", "GENERATION"))
BODY = f"{os.getpid()} {SLOT} {GENERATION}\n".encode()
DRAIN_S = 0.5

drain_until = None
# `told` becomes readable, for every thread that waits, when `tell` is closed.
told, tell = socket.socketpair()


def main():
    listeners = srvwrap.listeners() or [socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "8000"))))]
    notice = srvwrap.on_shutdown(drain)
    srvwrap.online()
    accept(listeners, [told, notice] if notice else [told])
    # Never shutdown(), which would stop the socket for the other workers: what waits in its queue is theirs.
    for listener in listeners:
        listener.close()
    # The threads are waited for, then the exit status is 0.


def drain():
    global drain_until
    if drain_until is None:
        drain_until = time.monotonic() + DRAIN_S
        tell.close()


def accept(listeners, wakers):
    while not is_ready(told, ready := wait([*wakers, *listeners])):
        for listener in listeners:
            if not is_ready(listener, ready):
                continue
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue  # another worker was faster, or the client has gone
            threading.Thread(target=serve, args=[connection]).start()


def serve(connection):
    received = b""
    with connection:
        try:
            while has_request(connection):
                chunk = connection.recv(65536)
                if not chunk:
                    return
                received += chunk
                while b"\r\n\r\n" in received:
                    head, received = received.split(b"\r\n\r\n", 1)
                    if not answer(connection, head):
                        return
        except (ConnectionResetError, BrokenPipeError):
            pass  # the client has gone


def has_request(connection):
    """Waits for more from the client. False where nothing has come by the end of the drain."""
    if is_ready(connection, wait([connection, told])):
        return True
    return is_ready(connection, wait([connection], max(0, drain_until - time.monotonic())))


def answer(connection, head):
    """Answers one request. False where it was the last of its connection."""
    path = head.split(b" ", 2)[1]
    if path == b"/slow":
        time.sleep(0.3)
    last = drain_until is not None or b"\r\nconnection: close" in head.lower()
    fields = [b"HTTP/1.1 200 OK", b"Content-Type: text/plain", b"Content-Length: %d" % len(BODY)]
    if last:
        fields.append(b"Connection: close")
    connection.sendall(b"\r\n".join(fields) + b"\r\n\r\n" + BODY)
    if path == b"/offline":
        srvwrap.offline("asked to")
        drain()
    return not last


def wait(sockets, limit_s=None):
    """The descriptors among these on which there is something to read, or whose other end is closed."""
    poll = select.poll()
    for each in sockets:
        poll.register(each, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(None if limit_s is None else limit_s * 1000)}


def is_ready(each, ready):
    return each.fileno() in ready


main()
