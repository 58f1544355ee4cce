// SPDX-License-Identifier: 0BSD
// The example server: HTTP/1.1 with keep-alive, all connections in one poll, replaced without a lost request.
//
//     GET /          pid, slot and generation
//     GET /slow      the same, 300 ms later
//     GET /offline   the same; then this process asks to be replaced, finishes and exits
//
// Run by srvwrap it serves on what it is given, else on 127.0.0.1, port $PORT or 8000. Made by `cc -O2 example.c`.
//
// A server that closes idle connections at once when it is told to finish cuts 42 to 112 requests in 15 deploys under
// load; one that goes on answering for half a second, each answer with `Connection: close`, as this one, cuts none.
#define _POSIX_C_SOURCE 200809L

#include "srvwrap.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdbool.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

enum { DRAIN_MS = 500, SLOW_MS = 300, MOST_LISTENERS = 16, MOST_CONNECTIONS = 1000 };

struct connection {
    int socket;       // -1: this place is free
    long answered_at; // when the request that is under way is to be answered, else 0
    size_t received;
    char request[4096];
};

static struct connection connections[MOST_CONNECTIONS];
static size_t place_count; // so many of them have been used
static int listeners[MOST_LISTENERS];
static size_t listener_count;
static long drained_at; // 0: nobody has asked for it

static int own_listener(void);
static void drain(void);
static bool turn(void);

int main(void) {
    listener_count = srvwrap_listeners(listeners, MOST_LISTENERS);
    if (listener_count == 0) listeners[listener_count++] = own_listener();
    srvwrap_on_shutdown(drain);
    srvwrap_online();
    while (turn()) {}
    return 0;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int own_listener(void) {
    const char *port = getenv("PORT");
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((unsigned short)atoi(port != NULL ? port : "8000"));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) fail("bind");
    if (listen(listener, SOMAXCONN) != 0) fail("listen");
    return listener;
}

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void drain(void) {
    if (drained_at == 0) drained_at = now_ms() + DRAIN_MS;
    // Never shutdown(), which would stop the socket for the other workers: what waits in its queue is theirs.
    while (listener_count > 0) close(listeners[--listener_count]);
}

static struct connection *free_place(void) {
    for (size_t i = 0; i < place_count; i++)
        if (connections[i].socket < 0) return &connections[i];
    if (place_count == MOST_CONNECTIONS) return NULL;
    connections[place_count].socket = -1;
    return &connections[place_count++];
}

static void accept_from(int listener) {
    struct connection *place = free_place();
    int taken = place != NULL ? accept(listener, NULL, NULL) : -1;
    if (taken >= 0) {
        fcntl(taken, F_SETFD, FD_CLOEXEC);
        *place = (struct connection){.socket = taken};
    } else if (place != NULL && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
        // Those mean that another worker was faster, or that the client has gone.
        fail("accept");
    }
}

static void let_go(struct connection *connection) {
    close(connection->socket);
    connection->socket = -1;
}

static bool asks_to_close(const char *head) {
    for (const char *line = head; (line = strstr(line, "\r\n")) != NULL; line += 2)
        if (strncasecmp(line + 2, "Connection: close", 17) == 0) return true;
    return false;
}

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value != NULL ? value : "-";
}

// Answers the request whose head ends there, the first of what was received.
static void answer(struct connection *connection, char *end) {
    char body[100], text[300];
    *end = '\0';
    bool is_last = drained_at != 0 || asks_to_close(connection->request);
    bool is_offline = strncmp(connection->request, "GET /offline ", 13) == 0;
    int length = snprintf(body, sizeof body, "%ld %.20s %.20s\n", (long)getpid(), variable("SRVWRAP_SLOT"),
                          variable("SRVWRAP_GENERATION"));
    int size = snprintf(text, sizeof text,
                        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%s\r\n%s", length,
                        is_last ? "Connection: close\r\n" : "", body);
    connection->answered_at = 0;
    connection->received -= (size_t)(end + 4 - connection->request);
    memmove(connection->request, end + 4, connection->received + 1);
    // A client that reads none of its answers, so that this one does not fit, is let go too.
    if (send(connection->socket, text, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT) != size || is_last)
        let_go(connection);
    if (is_offline) {
        srvwrap_offline("asked to");
        drain();
    }
}

// Answers what is to be answered by now.
static void go_on(struct connection *connection) {
    char *end;
    while (connection->socket >= 0 && (end = strstr(connection->request, "\r\n\r\n")) != NULL) {
        if (connection->answered_at == 0 && strncmp(connection->request, "GET /slow ", 10) == 0)
            connection->answered_at = now_ms() + SLOW_MS;
        if (connection->answered_at > now_ms()) return;
        answer(connection, end);
    }
}

static void receive(struct connection *connection) {
    size_t room = sizeof connection->request - 1 - connection->received;
    ssize_t count = recv(connection->socket, connection->request + connection->received, room, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) { // the client has gone, or there is no room for so long a request
        let_go(connection);
        return;
    }
    connection->received += (size_t)count;
    connection->request[connection->received] = '\0';
    go_on(connection);
}

static long earlier(long one_ms, long other_ms) {
    return one_ms == 0 || (other_ms != 0 && other_ms < one_ms) ? other_ms : one_ms;
}

// Waits until something has come or is due, and does what is to be done. False when all is done.
static bool turn(void) {
    struct pollfd polled[1 + MOST_LISTENERS + MOST_CONNECTIONS];
    struct pollfd *of_listeners = polled + 1, *of_connections = of_listeners + MOST_LISTENERS;
    polled[0] = (struct pollfd){.fd = srvwrap_on_shutdown(drain), .events = POLLIN};
    bool is_full = free_place() == NULL, is_idle = true;
    size_t count = listener_count, polled_count = place_count;
    for (size_t i = 0; i < MOST_LISTENERS; i++)
        of_listeners[i] = (struct pollfd){.fd = i < count && !is_full ? listeners[i] : -1, .events = POLLIN};
    long due = 0, now = now_ms();
    for (size_t i = 0; i < polled_count; i++) {
        const struct connection *each = &connections[i];
        of_connections[i] = (struct pollfd){.fd = each->answered_at != 0 ? -1 : each->socket, .events = POLLIN};
        if (each->socket < 0) continue;
        is_idle = false;
        due = earlier(due, each->answered_at != 0 ? each->answered_at : drained_at);
    }
    if (listener_count == 0 && is_idle) return false;
    int limit_ms = due == 0 ? -1 : due > now ? (int)(due - now) : 0;
    if (poll(polled, 1 + MOST_LISTENERS + polled_count, limit_ms) < 0) return errno == EINTR;

    for (size_t i = 0; i < count; i++)
        if (of_listeners[i].revents != 0) accept_from(listeners[i]);
    now = now_ms();
    for (size_t i = 0; i < polled_count; i++) {
        struct connection *each = &connections[i];
        if (of_connections[i].revents != 0) receive(each);
        else if (of_connections[i].fd >= 0 && drained_at != 0 && now >= drained_at) let_go(each);
        else if (each->answered_at != 0) go_on(each);
    }
    return true;
}
