# SPDX-License-Identifier: 0BSD
# The worker protocol of srvwrap, in one file to copy; for any POSIX shell.
#
#     . ./srvwrap.sh
#     online                        now srvwrap knows that this process serves
#     exec server --fd "$LISTEN_FD"
#
# or, where the shell has to stay:
#
#     server --fd "$LISTEN_FD" & server=$!
#     on_shutdown 'kill -TERM "$server"'
#     online
#     while kill -0 "$server" 2>/dev/null; do wait "$server"; done
#
# Not run by srvwrap, all four do nothing, and listeners prints nothing.

# Says that connections are accepted.
online() {
    _srvwrap_say online
}

# Says that this process is about to end and is to be replaced: offline [WHY]. Finish and exit afterwards.
offline() {
    _srvwrap_say "offline${1:+ $(printf %s "$*" | tr '\n' ' ')}"
}

# Has commands run when srvwrap wants this process to end: on_shutdown COMMANDS. A shell runs them when the program in
# its foreground has ended, so start that in the background and wait for it.
on_shutdown() {
    [ -n "${NOTIFY_FD-}" ] || return 0
    # shellcheck disable=SC2064 # they are meant as they stand
    trap "$1" TERM INT
}

# Prints the numbers of the listening descriptors, in the operator's order, one a line.
listeners() {
    [ -n "${NOTIFY_FD-}" ] || return 0
    _srvwrap_index=0
    while eval "_srvwrap_fd=\${LISTEN_FD_$_srvwrap_index-}" && [ -n "$_srvwrap_fd" ]; do
        echo "$_srvwrap_fd"
        _srvwrap_index=$((_srvwrap_index + 1))
    done
}

_srvwrap_say() {
    [ -n "${NOTIFY_FD-}" ] || return 0
    printf '%s\n' "$1" >&"$NOTIFY_FD" || {
        echo "NOTIFY_FD=$NOTIFY_FD is no open descriptor: what stands between srvwrap and this script has closed it" >&2
        exit 1
    }
}
