// A server by libmicrohttpd, with the half second in which clients let go of their connections.
#include "srvwrap.h"

#include <microhttpd.h>
#include <poll.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

static atomic_int draining, under_way;

static void finish(void) { draining = 1; }

static enum MHD_Result answer(void *of, struct MHD_Connection *connection, const char *path, const char *method,
                              const char *version, const char *upload, size_t *size, void **state) {
    char body[100];
    (void)of, (void)method, (void)version, (void)upload, (void)size;
    // Who answers in the first call, when the head alone is there, has the connection closed.
    if (*state == NULL) {
        *state = &under_way;
        under_way++;
        return MHD_YES;
    }
    if (strcmp(path, "/slow") == 0) usleep(300000);
    if (strcmp(path, "/slower") == 0) nanosleep(&(struct timespec){1, 500000000}, NULL);
    int length = snprintf(body, sizeof body, "%ld %s %s\n", (long)getpid(), getenv("SRVWRAP_SLOT"),
                          getenv("SRVWRAP_GENERATION"));
    struct MHD_Response *response =
        MHD_create_response_from_buffer((size_t)length, body, MHD_RESPMEM_MUST_COPY);
    if (draining) MHD_add_response_header(response, "Connection", "close");
    enum MHD_Result result = MHD_queue_response(connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
}

static void completed(void *of, struct MHD_Connection *connection, void **state,
                      enum MHD_RequestTerminationCode how) {
    (void)of, (void)connection, (void)how;
    if (*state != NULL) under_way--;
}

int main(void) {
    int listener;
    struct timespec half_a_second = {0, 500000000};
    if (srvwrap_listeners(&listener, 1) != 1) return 1;
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL | MHD_USE_ITC;
    struct MHD_Daemon *daemon =
        MHD_start_daemon(flags, 0, NULL, NULL, answer, NULL, MHD_OPTION_LISTEN_SOCKET, listener,
                         MHD_OPTION_NOTIFY_COMPLETED, completed, NULL, MHD_OPTION_END);
    if (daemon == NULL) return 1;
    struct pollfd notice = {srvwrap_on_shutdown(finish), POLLIN, 0};
    srvwrap_online();
    while ((notice.fd = srvwrap_on_shutdown(finish)) >= 0) poll(&notice, 1, -1);
    close(MHD_quiesce_daemon(daemon));
    while (nanosleep(&half_a_second, &half_a_second) != 0) {} // a signal cuts it short
    while (under_way > 0) usleep(50000);
    MHD_stop_daemon(daemon);
    return 0;
}
