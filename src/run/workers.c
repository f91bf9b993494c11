/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/workers.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "proxy/proxy.h"
#include "session/session.h"

struct worker;

/** The door of one pool in one worker. */
struct door {
    struct acceptor acceptor;
    struct worker *worker;
    uint32_t pool;
    uint64_t assigned; /* clients given to it so far; behind the mutex of all */
};

struct worker {
    struct workers *all;
    unsigned index;
    pthread_t thread;
    bool started; /* the thread was made */
    struct loop *loop;
    struct proxy *proxy;
    struct door *doors;
    struct task stop;
};

struct workers {
    struct workers_options options;
    pthread_mutex_t mutex;
    pthread_cond_t started;
    unsigned up;      /* threads that came up; behind the mutex, as the next three */
    unsigned failed;  /* threads that could not */
    unsigned running; /* threads that have not ended */
    bool stopping;    /* no client is handed over any more */
    struct worker workers[];
};

/** A client on its way to another worker. */
struct handover {
    struct task task;
    struct worker *to;
    uint32_t pool;
    int fd;
};

static const struct conf_pool *conf_of(const struct worker *w, uint32_t pool)
{
    return w->all->options.pools[pool]->conf;
}

static void take_client(struct worker *w, uint32_t pool, int fd)
{
    int on = 1;
    if (conf_of(w, pool)->tcpkeepalive)
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    int err = proxy_adopt(w->proxy, pool, fd);
    if (err == 0)
        return;
    log_error("pool '%s': can't take a client: %s", conf_of(w, pool)->name, strerror(-err));
    close(fd);
}

static void on_handover(struct task *t)
{
    struct handover *h = container_of(t, struct handover, task);
    take_client(h->to, h->pool, h->fd);
    free(h);
}

static uint64_t door_load(const struct door *d)
{
    return d->assigned - proxy_closed_count(d->worker->proxy, d->pool);
}

static uint64_t worker_load(const struct worker *w)
{
    uint64_t load = 0;
    for (uint32_t i = 0; i < w->all->options.pool_count; i++)
        load += door_load(&w->doors[i]);
    return load;
}

/* Is there no room for one more client of this pool? Behind the mutex. */
static bool full(const struct workers *ws, uint32_t pool)
{
    uint64_t all = 0;
    uint64_t here = 0;
    for (unsigned i = 0; i < ws->options.count; i++) {
        all += worker_load(&ws->workers[i]);
        here += door_load(&ws->workers[i].doors[pool]);
    }
    uint64_t most = (uint64_t)ws->options.pools[pool]->conf->client_connections;
    return all >= ws->options.clients_most || (most > 0 && here >= most);
}

/* The worker with the fewest clients, and among those the one that asks, so that no hand-over is
 * made without need. Behind the mutex. */
static struct worker *emptiest(struct worker *asking)
{
    struct workers *ws = asking->all;
    struct worker *best = asking;
    uint64_t least = worker_load(asking);
    for (unsigned i = 0; i < ws->options.count && least > 0; i++) {
        uint64_t load = worker_load(&ws->workers[i]);
        if (load < least) {
            least = load;
            best = &ws->workers[i];
        }
    }
    return best;
}

static void refuse(const struct door *d, int fd)
{
    log_warn("pool '%s': a client is closed at once: there are too many",
             conf_of(d->worker, d->pool)->name);
    proxy_count_refused(d->worker->proxy, d->pool);
    close(fd);
}

/* Posted behind the mutex, so that the stop, which is posted later, comes behind it. */
static bool hand_over(struct worker *to, uint32_t pool, int fd)
{
    struct handover *h = malloc(sizeof(*h));
    if (h == NULL)
        return false;
    *h = (struct handover){.task = {.run = on_handover}, .to = to, .pool = pool, .fd = fd};
    loop_post(to->loop, &h->task);
    return true;
}

static void on_accepted(struct acceptor *a, int fd)
{
    struct door *d = container_of(a, struct door, acceptor);
    struct workers *ws = d->worker->all;
    pthread_mutex_lock(&ws->mutex);
    struct worker *to = ws->stopping || full(ws, d->pool) ? NULL : emptiest(d->worker);
    bool taken = to != NULL && (to == d->worker || hand_over(to, d->pool, fd));
    if (taken)
        to->doors[d->pool].assigned++;
    pthread_mutex_unlock(&ws->mutex);
    if (!taken)
        refuse(d, fd);
    else if (to == d->worker)
        take_client(to, d->pool, fd);
}

static bool open_doors(struct worker *w)
{
    const struct workers_options *o = &w->all->options;
    w->doors = calloc(o->pool_count, sizeof(*w->doors));
    if (w->doors == NULL)
        return false;
    for (uint32_t i = 0; i < o->pool_count; i++) {
        struct door *d = &w->doors[i];
        *d = (struct door){.worker = w, .pool = i};
        d->acceptor.accepted = on_accepted;
        d->acceptor.fd = o->listeners[i];
        int err = loop_accept_start(w->loop, &d->acceptor);
        if (err != 0) {
            log_error("pool '%s': can't accept: %s", conf_of(w, i)->name, strerror(-err));
            return false;
        }
    }
    return true;
}

static void on_stopped(void *arg)
{
    struct worker *w = arg;
    loop_stop(w->loop);
}

static void on_stop(struct task *t)
{
    struct worker *w = container_of(t, struct worker, stop);
    for (uint32_t i = 0; i < w->all->options.pool_count; i++)
        loop_accept_stop(w->loop, &w->doors[i].acceptor);
    proxy_stop(w->proxy, on_stopped, w);
}

static bool worker_open(struct worker *w)
{
    const struct workers_options *o = &w->all->options;
    w->loop = loop_open(o->io);
    if (w->loop == NULL) {
        log_error("worker %u: can't open its %s loop: %s", w->index, o->io->name, strerror(errno));
        return false;
    }
    w->proxy = proxy_new(w->loop, o->pools, o->pool_count, o->stats, w->index, &session_ops);
    if (w->proxy == NULL)
        log_error("worker %u: no memory", w->index);
    else if (o->budget != NULL)
        proxy_limit_memory(w->proxy, o->budget);
    return w->proxy != NULL;
}

/* Tells the starter how it went, and waits until all workers are up: a hand-over needs every
 * worker's loop. */
static bool report(struct worker *w, bool good)
{
    struct workers *ws = w->all;
    pthread_mutex_lock(&ws->mutex);
    if (good)
        ws->up++;
    else
        ws->failed++;
    pthread_cond_broadcast(&ws->started);
    while (ws->up + ws->failed < ws->options.count)
        pthread_cond_wait(&ws->started, &ws->mutex);
    bool all = ws->failed == 0;
    pthread_mutex_unlock(&ws->mutex);
    return all;
}

/* Takes the worker down; after the last one no hand-over can be under way. */
static void worker_close(struct worker *w)
{
    if (w->proxy != NULL)
        proxy_free(w->proxy);
    if (w->loop != NULL)
        loop_free(w->loop);
    free(w->doors);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct workers *ws = w->all;
    if (report(w, worker_open(w) && open_doors(w))) {
        proxy_preconnect(w->proxy);
        loop_run(w->loop);
    }
    pthread_mutex_lock(&ws->mutex);
    bool last = --ws->running == 0;
    bool orderly = ws->stopping;
    pthread_mutex_unlock(&ws->mutex);
    if (last && orderly)
        ws->options.ended(ws->options.arg);
    return NULL;
}

static void start_thread(struct worker *w)
{
    int err = pthread_create(&w->thread, NULL, worker_main, w);
    w->started = err == 0;
    if (w->started)
        return;
    log_error("worker %u: can't start its thread: %s", w->index, strerror(err));
    pthread_mutex_lock(&w->all->mutex);
    w->all->running--;
    w->all->failed++;
    pthread_cond_broadcast(&w->all->started);
    pthread_mutex_unlock(&w->all->mutex);
}

struct workers *workers_start(const struct workers_options *options)
{
    struct workers *ws = calloc(1, sizeof(*ws) + options->count * sizeof(ws->workers[0]));
    if (ws == NULL)
        return NULL;
    ws->options = *options;
    pthread_mutex_init(&ws->mutex, NULL);
    pthread_cond_init(&ws->started, NULL);
    for (unsigned i = 0; i < options->count; i++) {
        struct worker *w = &ws->workers[i];
        w->all = ws;
        w->index = i;
        w->stop.run = on_stop;
        pthread_mutex_lock(&ws->mutex);
        ws->running++;
        pthread_mutex_unlock(&ws->mutex);
        start_thread(w);
    }
    pthread_mutex_lock(&ws->mutex);
    while (ws->up + ws->failed < options->count)
        pthread_cond_wait(&ws->started, &ws->mutex);
    bool good = ws->failed == 0;
    pthread_mutex_unlock(&ws->mutex);
    if (good)
        return ws;
    workers_join(ws);
    return NULL;
}

void workers_stop(struct workers *ws)
{
    pthread_mutex_lock(&ws->mutex);
    bool again = ws->stopping;
    ws->stopping = true;
    pthread_mutex_unlock(&ws->mutex);
    if (again)
        return;
    /* Every hand-over was posted before this, so that the stop comes behind it. */
    for (unsigned i = 0; i < ws->options.count; i++)
        loop_post(ws->workers[i].loop, &ws->workers[i].stop);
}

void workers_join(struct workers *ws)
{
    for (unsigned i = 0; i < ws->options.count; i++)
        if (ws->workers[i].started)
            pthread_join(ws->workers[i].thread, NULL);
    for (unsigned i = 0; i < ws->options.count; i++)
        worker_close(&ws->workers[i]);
    pthread_cond_destroy(&ws->started);
    pthread_mutex_destroy(&ws->mutex);
    free(ws);
}
