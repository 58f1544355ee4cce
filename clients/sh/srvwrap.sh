# SPDX-License-Identifier: 0BSD
# The worker protocol of srvwrap, in one file to copy; for any POSIX shell.
#
#     . "$(dirname "$0")/srvwrap.sh"
#     online                        now srvwrap knows that this process serves
#     exec server --fd "$LISTEN_FD"
#
# or, where the shell has to stay:
#
#     server --fd "$LISTEN_FD" & server=$!
#     on_shutdown told=0    # srvwrap tells the server too: the shell has only to stay
#     online
#     while kill -0 "$server" 2>/dev/null; do wait "$server"; done
#     exit "${told:-$?}"
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
    _srvwrap_has NOTIFY_FD || return 0
    # shellcheck disable=SC2064 # they are meant as they stand
    trap "$1" TERM INT
}

# Prints the numbers of the listening descriptors, in the operator's order, one a line. What the script starts inherits
# them: close those that it does not need, as in `date 3>&- 4>&-`, in what outlives the script.
listeners() {
    _srvwrap_has NOTIFY_FD || return 0
    _srvwrap_index=0
    while _srvwrap_has "LISTEN_FD_$_srvwrap_index"; do
        echo "$_srvwrap_fd"
        _srvwrap_index=$((_srvwrap_index + 1))
    done
}

_srvwrap_say() {
    _srvwrap_has NOTIFY_FD || return 0
    # dash knows no descriptors of two digits.
    if ! (: >&"$_srvwrap_fd") 2>/dev/null; then
        echo "NOTIFY_FD=$_srvwrap_fd is more than this shell can write to: use bash" >&2
        exit 1
    fi
    # Where srvwrap is gone this fails, and this process will be killed.
    (trap '' PIPE && printf '%s\n' "$1" >&"$_srvwrap_fd") || :
}

# Whether the variable of this name is set; its number is in _srvwrap_fd. A shell cannot ask whether a socket listens.
_srvwrap_has() {
    eval "[ -n \"\${$1+set}\" ]" || return 1
    eval "_srvwrap_fd=\$$1"
    case $_srvwrap_fd in
        '' | *[!0-9]*) ;;
        *) [ ! -S "/dev/fd/$_srvwrap_fd" ] || return 0 ;;
    esac
    echo "$1=$_srvwrap_fd is no open socket: what stands between srvwrap and this script has closed it" >&2
    exit 1
}
