<?php
// SPDX-License-Identifier: 0BSD
// The worker protocol of srvwrap, in one file to copy.
//
//     $sockets = srvwrap\listeners();                    // accept on these: select, and take false as "try again"
//     [$notice, $look] = srvwrap\on_shutdown($finish);   // call $look() where $notice is readable, as it says below
//     srvwrap\online();                                  // now srvwrap knows that it serves
//
// Not run by srvwrap, all four do nothing, and listeners() is empty. For what `php` itself runs.

namespace srvwrap;

/** Says that connections are accepted. */
function online(): void
{
    say('online');
}

/** Says that this process is about to end and is to be replaced. Finish and exit afterwards: nobody will ask. */
function offline(string $why = ''): void
{
    say(rtrim('offline ' . preg_replace('/\s+/', ' ', $why)));
}

/**
 * Has $finish() called once, on the line from srvwrap, SIGTERM or SIGINT. It is to lead to this: close the listeners,
 * answer for half a second with `Connection: close`, close what is idle, exit.
 *
 * Returned are a stream and a function, which reads the line: the program waits for the one, beside its connections,
 * and then calls the other. On a signal $finish() is called between any two statements. A forked child just ends by it.
 */
function on_shutdown(callable $finish): array
{
    $once = function () use (&$finish): void {
        [$call, $finish] = [$finish, null];
        $call && $call();
    };
    if (notice() && function_exists('pcntl_async_signals')) {
        pcntl_async_signals(true);
        $pid = getmypid();
        $told = fn ($n) => getmypid() === $pid ? $once() : pcntl_signal($n, SIG_DFL) && posix_kill(getmypid(), $n);
        array_map(fn ($n) => pcntl_signal($n, $told), [SIGTERM, SIGINT]);
    }
    $received = '';
    $look = function () use ($once, &$received): void {
        [$ready, $none] = [[notice()], null];
        if (!notice() || !@stream_select($ready, $none, $none, 0)) {
            return;
        }
        $chunk = (string) @stream_socket_recvfrom(notice(), 4096);
        $lines = explode("\n", str_replace("\r\n", "\n", $received . $chunk));
        $received = array_pop($lines);
        if ($chunk === '' || in_array('"shutdown"', $lines, true)) {
            $once();
        }
    };
    return [notice(), $look];
}

/**
 * The listening sockets, in the operator's order: streams, non-blocking, since other workers accept on them too. Never
 * call stream_socket_shutdown() on one, it stops the socket for all workers; fclose() ends this one's part.
 */
function listeners(): array
{
    static $found = [];
    while (notice() !== null && getenv($variable = 'LISTEN_FD_' . count($found)) !== false) {
        $found[] = inherited($variable, 'listening socket', true);
        stream_set_blocking(end($found), false);
    }
    return $found;
}

function say(string $line): void
{
    // Where that fails srvwrap is gone, and this process will be killed. PHP ignores SIGPIPE.
    notice() === null || @fwrite(notice(), "$line\n");
}

/** @return resource|null */
function notice()
{
    static $notice = null;
    return $notice ??= getenv('NOTIFY_FD') === false ? null : inherited('NOTIFY_FD', 'open socket');
}

/** The socket whose number is in this variable. Its absence is a mistake to be told at once. */
function inherited(string $variable, string $kind, bool $listens = false)
{
    $number = getenv($variable);
    $stream = @fopen("php://fd/$number", 'r+');
    $is_socket = $stream && stream_get_meta_data($stream)['stream_type'] === 'tcp_socket';
    if (!$is_socket || $listens && !accepts($stream)) {
        fwrite(STDERR, "$variable=$number is no $kind: what stands between srvwrap and this program has closed it, "
            . "or this is a child that was given the variable without the descriptor\n");
        exit(1);
    }
    keep_from_children();
    return $stream;
}

/** SO_ACCEPTCONN, which only ext-sockets can ask for. */
function accepts($stream): bool
{
    return !function_exists('socket_import_stream')
        || socket_get_option(socket_import_stream($stream), SOL_SOCKET, PHP_OS_FAMILY === 'Linux' ? 30 : 2) !== 0;
}

/** PHP itself knows no close-on-exec. Where there is ext-ffi, all descriptors but the first three are closed so. */
function keep_from_children(): void
{
    try {
        $libc = \FFI::cdef('int fcntl(int, int, ...);');
        foreach (array_filter(scandir('/dev/fd'), fn ($number) => $number > 2) as $number) {
            $libc->fcntl((int) $number, 2 /* F_SETFD */, 1 /* FD_CLOEXEC */);
        }
    } catch (\Throwable) {
        // Not there, or not allowed: children are given the descriptors.
    }
}
