// A server by libevent's evhttp, with the half second in which clients let go of their connections.
#include "srvwrap.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <unistd.h>

static struct event_base *base;
static struct evhttp *http;
static struct evhttp_bound_socket *bound;
static struct event *notice;
static int draining, under_way;

static void end(evutil_socket_t descriptor, short what, void *of) {
    struct timeval soon = {0, 50000};
    (void)descriptor, (void)what, (void)of;
    if (under_way == 0) event_base_loopbreak(base);
    else event_base_once(base, -1, EV_TIMEOUT, end, NULL, &soon);
}

static void finish(void) {
    struct timeval half_a_second = {0, 500000};
    draining = 1;
    evhttp_del_accept_socket(http, bound);
    event_base_once(base, -1, EV_TIMEOUT, end, NULL, &half_a_second);
}

static void look(evutil_socket_t descriptor, short what, void *of) {
    (void)descriptor, (void)what, (void)of;
    if (srvwrap_on_shutdown(finish) < 0) event_del(notice);
}

static void reply(evutil_socket_t descriptor, short what, void *of) {
    struct evhttp_request *request = of;
    struct evbuffer *body = evbuffer_new();
    (void)descriptor, (void)what;
    evbuffer_add_printf(body, "%ld %s %s\n", (long)getpid(), getenv("SRVWRAP_SLOT"), getenv("SRVWRAP_GENERATION"));
    if (draining) evhttp_add_header(evhttp_request_get_output_headers(request), "Connection", "close");
    evhttp_send_reply(request, 200, "OK", body);
    evbuffer_free(body);
    under_way--;
}

static void answer(struct evhttp_request *request, void *of) {
    struct timeval slow = {0, 300000}, slower = {1, 500000};
    const char *path = evhttp_request_get_uri(request);
    (void)of;
    under_way++;
    if (strcmp(path, "/slower") == 0) event_base_once(base, -1, EV_TIMEOUT, reply, request, &slower);
    else if (strcmp(path, "/slow") == 0) event_base_once(base, -1, EV_TIMEOUT, reply, request, &slow);
    else reply(-1, 0, request);
}

int main(void) {
    int listener;
    if (srvwrap_listeners(&listener, 1) != 1) return 1;
    base = event_base_new();
    http = evhttp_new(base);
    evhttp_set_gencb(http, answer, NULL);
    bound = evhttp_accept_socket_with_handle(http, listener);
    // Told already, it calls finish here and now, and gives -1, of which an event takes no notice.
    notice = event_new(base, srvwrap_on_shutdown(finish), EV_READ | EV_PERSIST, look, NULL);
    event_add(notice, NULL);
    srvwrap_online();
    event_base_dispatch(base);
    evhttp_free(http);
    return 0;
}
