// SPDX-License-Identifier: 0BSD
// The worker protocol of srvwrap, in one file to copy. C99 and POSIX; include it in one file of the program.
//
//     count = srvwrap_listeners(sockets, 8);   // accept on these: poll, and take EAGAIN as "try again"
//     notice = srvwrap_on_shutdown(finish);    // poll this too, and when it is readable call the same again
//     srvwrap_online();                        // now srvwrap knows that this process serves
//
// Not run by srvwrap, all four do nothing, and there are no listeners. Nothing here waits, and there is no thread.
#ifndef SRVWRAP_H
#define SRVWRAP_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// The socket whose number is in this variable, kept from children. -1 where the variable is not set.
static inline int srvwrap_inherited(const char *variable, int option) {
    const char *text = getenv(variable);
    char *end;
    int is = 0;
    socklen_t size = sizeof is;
    if (text == NULL) return -1;
    int number = (int)strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || getsockopt(number, SOL_SOCKET, option, &is, &size) != 0 || is == 0) {
        const char *kind = option == SO_ACCEPTCONN ? "listening socket" : "open socket";
        fprintf(stderr, "%s=%s is no %s: what stands between srvwrap and this program has closed it\n", variable,
                text, kind);
        exit(1);
    }
    fcntl(number, F_SETFD, FD_CLOEXEC);
    return number;
}

static inline void srvwrap_say(const char *word, const char *why) {
    char line[4096];
    int notice = srvwrap_inherited("NOTIFY_FD", SO_TYPE);
    if (notice < 0) return;
    snprintf(line, sizeof line - 1, *why == '\0' ? "%s" : "%s %s", word, why);
    for (char *each = line; *each != '\0'; each++)
        if (*each == '\r' || *each == '\n') *each = ' ';
    strcat(line, "\n");
    for (const char *rest = line; *rest != '\0';) {
        ssize_t count = send(notice, rest, strlen(rest), MSG_NOSIGNAL);
        if (count < 0 && errno != EINTR) return; // srvwrap is gone, and this process will be killed
        rest += count < 0 ? 0 : count;
    }
}

// Says that connections are accepted.
static inline void srvwrap_online(void) { srvwrap_say("online", ""); }

// Says that this process is about to end and is to be replaced. Finish and exit afterwards: nobody will ask.
static inline void srvwrap_offline(const char *why) { srvwrap_say("offline", why); }

static int srvwrap_notice = -1;
static pid_t srvwrap_process;

// Ends what there is to read, which whoever polls the descriptor notices. The writing side stays open. A child that was
// forked shares the descriptor: there the signal does what it does by itself.
static inline void srvwrap_signalled(int number) {
    int before = errno;
    if (getpid() == srvwrap_process) shutdown(srvwrap_notice, SHUT_RD);
    else if (signal(number, SIG_DFL) != SIG_ERR) raise(number);
    errno = before;
}

// Whether the line has come, or the end of all lines.
static inline int srvwrap_is_told(void) {
    static char line[12];
    static size_t length;
    char byte;
    ssize_t count;
    while ((count = recv(srvwrap_notice, &byte, 1, MSG_DONTWAIT)) > 0) {
        if (byte == '\n' && length > 0 && line[length - 1] == '\r') length--;
        if (byte == '\n' && length == 10 && memcmp(line, "\"shutdown\"", 10) == 0) return 1;
        if (byte == '\n') length = 0;
        else if (length < sizeof line) line[length++] = byte;
    }
    return count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

// Has finish called once, on the line from srvwrap, SIGTERM or SIGINT, from inside a call of this function, be it the
// first: call it before you wait, poll the descriptor that it returns, and call it again when that is readable. Once
// finish was called, -1 is returned, of which poll takes no notice. finish is to lead to this: close the listeners,
// answer for half a second with `Connection: close`, close what is idle, exit.
static inline int srvwrap_on_shutdown(void (*finish)(void)) {
    static int was_told;
    if (srvwrap_notice < 0 && (srvwrap_notice = srvwrap_inherited("NOTIFY_FD", SO_TYPE)) >= 0) {
        struct sigaction action = {.sa_handler = srvwrap_signalled, .sa_flags = SA_RESTART};
        srvwrap_process = getpid();
        sigaction(SIGTERM, &action, NULL);
        sigaction(SIGINT, &action, NULL);
    }
    if (srvwrap_notice >= 0 && !was_told && srvwrap_is_told()) {
        was_told = 1;
        finish();
    }
    return was_told ? -1 : srvwrap_notice;
}

// The listening sockets, in the operator's order, non-blocking, since other workers accept on them too: at most `most`
// of them, into `found`. Returns their number. Never call shutdown() on one, it stops the socket for all workers.
static inline size_t srvwrap_listeners(int *found, size_t most) {
    char variable[32];
    size_t count = 0;
    for (; count < most && srvwrap_inherited("NOTIFY_FD", SO_TYPE) >= 0; count++) {
        snprintf(variable, sizeof variable, "LISTEN_FD_%zu", count);
        if ((found[count] = srvwrap_inherited(variable, SO_ACCEPTCONN)) < 0) break;
        fcntl(found[count], F_SETFL, fcntl(found[count], F_GETFL) | O_NONBLOCK);
    }
    return count;
}

#endif
