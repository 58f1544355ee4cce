# SPDX-License-Identifier: 0BSD
"""The worker protocol of srvwrap, in one file to copy.

    sockets = srvwrap.listeners()     # accept on these: wait with poll, and take BlockingIOError as "try again"
    srvwrap.on_shutdown(finish)       # finish() is called once, when srvwrap wants this process to end
    srvwrap.online()                  # now srvwrap knows that it serves

Not run by srvwrap, all four do nothing, and listeners() is empty. No thread: what srvwrap writes is read at SIGIO.
"""

import atexit
import fcntl
import os
import signal
import socket
import sys


def online():
    """Says that connections are accepted."""
    _say("online")


def offline(why=""):
    """Says that this process is about to end and is to be replaced. Finish and exit afterwards: nobody will ask."""
    _say(f"offline {' '.join(why.split())}".rstrip())


def on_shutdown(finish):
    """Has finish() called once, on the line from srvwrap, SIGTERM or SIGINT. Call it in the main thread.

    finish() runs in the main thread, between any two of its instructions: let it only wake or mark something. It is to
    lead to this: close the listeners, answer for half a second with `Connection: close`, close what is idle, exit.
    Returned is a socket, or None. Where the main thread waits, let it wait for this one too, and do nothing with it:
    Python may sleep over a signal that comes just before a wait, and over what there is to read it cannot.
    """
    global _finish, _owner
    if _notice is None:
        return None
    _finish, _owner = finish, os.getpid()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _told)
    signal.signal(signal.SIGIO, _look)
    fcntl.fcntl(_notice, fcntl.F_SETOWN, _owner)
    fcntl.fcntl(_notice, fcntl.F_SETFL, os.O_ASYNC)
    _look()  # what came before that gave no signal
    return _notice


def listeners():
    """The listening sockets, in the operator's order, non-blocking: other workers accept on them too.

    Never call shutdown() on one, it stops the socket for all workers; close() ends this one's part. Call this once.
    """
    found = []
    while _notice is not None and f"LISTEN_FD_{len(found)}" in os.environ:
        variable = f"LISTEN_FD_{len(found)}"
        listener = _inherited(variable)
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            _is_lost(variable, "is no listening socket")
        listener.setblocking(False)
        found.append(listener)
    return found


def _say(line):
    if _notice is None:
        return
    try:
        _notice.sendall(line.encode() + b"\n")
    except (BrokenPipeError, ConnectionResetError):
        pass  # srvwrap is gone, and this process will be killed


def _look(*_):
    global _received
    try:
        while True:
            chunk = _notice.recv(4096, socket.MSG_DONTWAIT)
            *lines, _received = (_received + chunk).replace(b"\r\n", b"\n").split(b"\n")
            if b'"shutdown"' in lines or not chunk:
                return _told()
    except BlockingIOError:
        pass
    except ConnectionResetError:
        _told()  # srvwrap is gone, and has not read everything


def _told(number=None, _=None):
    global _finish
    if number and os.getpid() != _owner:  # a child by fork, which ends as it would by itself
        signal.signal(number, signal.SIG_DFL)
        return os.kill(os.getpid(), number)
    finish, _finish = _finish, None
    if finish is not None:
        # On its way out Python puts its handlers away: a signal that came then would end it by that signal.
        fcntl.fcntl(_notice, fcntl.F_SETFL, 0)
        for number in (signal.SIGTERM, signal.SIGINT):
            atexit.register(signal.signal, number, signal.SIG_IGN)
        finish()


def _inherited(variable):
    """The socket whose number is in this variable, kept from children. Its absence is a mistake to be told at once."""
    try:
        inherited = socket.socket(fileno=int(os.environ[variable]))
    except (OSError, ValueError, OverflowError) as why:
        _is_lost(variable, f"is no open socket ({why})")
    inherited.set_inheritable(False)
    return inherited


def _is_lost(variable, what):
    sys.exit(f"{variable}={os.environ[variable]} {what}: what stands between srvwrap and this program has closed it, "
             "or this is a child that was given the variable without the descriptor")


_notice = _inherited("NOTIFY_FD") if "NOTIFY_FD" in os.environ else None
_received = b""
_finish = _owner = None
