/* SPDX-License-Identifier: BSD-3-Clause */
#include "admin/stats_http.h"

#include <limits.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/list.h"

enum {
    CONNECTIONS_MAX = 128,
    CONNECTIONS_SPARE = 64, /* closed, but not yet forgotten by the library */
    IDLE_SECONDS = 30,      /* longer than monitoring waits between two looks on one connection */
    MEMORY_MAX = 16384,     /* of a connection: its request's head */
};

struct stats_http {
    const struct stats *stats;
    struct MHD_Daemon *daemon;
    struct list connections; /* struct connection, oldest first */
    unsigned count;
};

struct connection {
    struct list link;
    int fd;
};

/* Sends a body that was malloc'd, or a literal. */
static enum MHD_Result reply(struct MHD_Connection *c, unsigned status, const char *type,
                             struct span body, enum MHD_ResponseMemoryMode mode)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(body.len, (void *)body.ptr, mode);
    if (r == NULL) {
        if (mode == MHD_RESPMEM_MUST_FREE)
            free((void *)body.ptr); /* NOLINT: literals come with MHD_RESPMEM_PERSISTENT */
        return MHD_NO;
    }
    enum MHD_Result done = MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        done = done == MHD_YES ? MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD")
                               : MHD_NO;
    if (done == MHD_YES)
        done = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return done;
}

static enum MHD_Result reply_stats(const struct stats_http *h, struct MHD_Connection *c)
{
    struct buf json = {0};
    if (!stats_json(h->stats, &json)) {
        buf_free(&json);
        return MHD_NO;
    }
    /* Nothing was taken from its front, so that its memory is the body's. */
    return reply(c, MHD_HTTP_OK, "application/json", buf_span(&json), MHD_RESPMEM_MUST_FREE);
}

/* The library calls this first when the head of a request is in, and again when its body is. A
 * wrong method is refused at once, so that no body is waited for. */
static enum MHD_Result answer(void *arg, struct MHD_Connection *c, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_len, void **request)
{
    (void)version;
    (void)upload;
    const struct stats_http *h = arg;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return reply(c, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", SPAN("only GET and HEAD\n"),
                     MHD_RESPMEM_PERSISTENT);
    if (*request == NULL || *upload_len > 0) {
        *request = arg; /* any mark does */
        *upload_len = 0;
        return MHD_YES;
    }
    if (strcmp(url, "/") != 0)
        return reply(c, MHD_HTTP_NOT_FOUND, "text/plain", SPAN("not found; the numbers are at /\n"),
                     MHD_RESPMEM_PERSISTENT);
    return reply_stats(h, c);
}

/* Keeps the list of connections in step with the library's. */
static void notice(void *arg, struct MHD_Connection *c, void **context,
                   enum MHD_ConnectionNotificationCode what)
{
    struct stats_http *h = arg;
    struct connection *mine = *context;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        mine = malloc(sizeof(*mine));
        *context = mine;
        if (mine == NULL)
            return;
        mine->fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        list_append(&h->connections, &mine->link);
        h->count++;
    } else if (mine != NULL) {
        list_unlink(&mine->link);
        h->count--;
        free(mine);
        *context = NULL;
    }
}

struct stats_http *stats_http_open(const struct stats *stats)
{
    struct stats_http *h = calloc(1, sizeof(*h));
    if (h == NULL)
        return NULL;
    h->stats = stats;
    list_init(&h->connections);
    h->daemon = MHD_start_daemon(
        MHD_USE_NO_LISTEN_SOCKET | MHD_USE_EPOLL, 0, NULL, NULL, answer, h,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX + CONNECTIONS_SPARE,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)MEMORY_MAX, MHD_OPTION_NOTIFY_CONNECTION, notice, h,
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
    if (h->daemon == NULL) {
        free(h);
        return NULL;
    }
    return h;
}

void stats_http_close(struct stats_http *h)
{
    if (h == NULL)
        return;
    MHD_stop_daemon(h->daemon);
    free(h);
}

void stats_http_adopt(struct stats_http *h, int fd)
{
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(peer);
    (void)getpeername(fd, (struct sockaddr *)&peer, &len);
    if (h->count >= CONNECTIONS_MAX) {
        shutdown(LIST_FIRST(&h->connections, struct connection, link)->fd, SHUT_RDWR);
        stats_http_run(h);
    }
    /* On failure the library has closed the socket. */
    (void)MHD_add_connection(h->daemon, fd, (struct sockaddr *)&peer, len);
}

int stats_http_fd(const struct stats_http *h)
{
    return MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

int stats_http_timeout(struct stats_http *h)
{
    unsigned long long ms;
    if (MHD_get_timeout(h->daemon, &ms) != MHD_YES)
        return -1;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

void stats_http_run(struct stats_http *h)
{
    (void)MHD_run(h->daemon);
}
