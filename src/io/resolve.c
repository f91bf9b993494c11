/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More addresses of one name than this are left out. */
enum { ADDRESSES_MAX = 16 };

/* One look-up. It belongs to the resolver, so that its owner may go away while the thread works on
 * it. */
struct query {
    struct list link;     /* waiting or done */
    struct lookup *owner; /* NULL when cancelled; only the loop's thread looks at it */
    char *host;
    uint16_t port;
    int err;
    size_t count;
    struct addr addrs[ADDRESSES_MAX];
};

struct resolver {
    struct loop *loop;
    struct task task; /* brings `done` to the loop */
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t more;
    struct list waiting;
    struct list done;
    bool posted;
    bool busy; /* the thread is in getaddrinfo() */
    bool stop; /* the loop is gone */
};

static void query_free(struct query *q)
{
    free(q->host);
    free(q);
}

static void queries_free(struct list *queries)
{
    LIST_FOREACH_SAFE (it, queries) {
        struct query *q = container_of(it, struct query, link);
        must(q->owner == NULL);
        query_free(q);
    }
    list_init(queries);
}

static void dispose(struct resolver *r)
{
    queries_free(&r->waiting);
    queries_free(&r->done);
    pthread_cond_destroy(&r->more);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

static void ask_system(struct query *q)
{
    const struct addrinfo hints = {
        .ai_flags = AI_NUMERICSERV, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    char service[8];
    snprintf(service, sizeof(service), "%u", (unsigned)q->port);
    struct addrinfo *found = NULL;
    q->err = getaddrinfo(q->host, service, &hints, &found);
    if (q->err != 0)
        return;
    for (struct addrinfo *f = found; f != NULL && q->count < ADDRESSES_MAX; f = f->ai_next) {
        struct addr *a = &q->addrs[q->count++];
        a->len = f->ai_addrlen;
        memcpy(&a->u, f->ai_addr, f->ai_addrlen);
    }
    freeaddrinfo(found);
}

/* Called and left with the mutex held. */
static void work_one(struct resolver *r)
{
    struct query *q = LIST_FIRST(&r->waiting, struct query, link);
    list_unlink(&q->link);
    r->busy = true;
    pthread_mutex_unlock(&r->mutex);
    ask_system(q);
    pthread_mutex_lock(&r->mutex);
    r->busy = false;
    list_append(&r->done, &q->link);
    if (!r->posted && !r->stop) {
        r->posted = true;
        loop_post(r->loop, &r->task);
    }
}

static void *work(void *arg)
{
    struct resolver *r = arg;
    bool detached = false;
    pthread_mutex_lock(&r->mutex);
    while (!r->stop) {
        if (list_empty(&r->waiting)) {
            pthread_cond_wait(&r->more, &r->mutex);
            continue;
        }
        work_one(r);
        detached = r->stop; /* it was not waited for */
    }
    pthread_mutex_unlock(&r->mutex);
    if (detached)
        dispose(r);
    return NULL;
}

static void report(struct task *t)
{
    struct resolver *r = container_of(t, struct resolver, task);
    struct list done;
    pthread_mutex_lock(&r->mutex);
    r->posted = false;
    list_move(&done, &r->done);
    pthread_mutex_unlock(&r->mutex);
    while (!list_empty(&done)) {
        struct query *q = LIST_FIRST(&done, struct query, link);
        struct lookup *owner = q->owner;
        list_unlink(&q->link);
        if (owner != NULL) {
            owner->backend = NULL;
            owner->done(owner, q->err, q->addrs, q->count);
        }
        query_free(q);
    }
}

static struct resolver *resolver_new(struct loop *l)
{
    struct resolver *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->loop = l;
    r->task.run = report;
    list_init(&r->waiting);
    list_init(&r->done);
    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->more, NULL);
    return r;
}

static int start(struct resolver *r)
{
    /* Signals are the business of other threads. */
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&r->thread, NULL, work, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    r->started = err == 0;
    return -err;
}

static int ask(struct resolver *r, struct lookup *k, const char *host, uint16_t port)
{
    int err = r->started ? 0 : start(r);
    if (err != 0)
        return err;
    struct query *q = calloc(1, sizeof(*q));
    if (q == NULL)
        return -ENOMEM;
    q->host = strdup(host);
    if (q->host == NULL) {
        free(q);
        return -ENOMEM;
    }
    q->port = port;
    q->owner = k;
    k->backend = q;
    pthread_mutex_lock(&r->mutex);
    list_append(&r->waiting, &q->link);
    pthread_cond_signal(&r->more);
    pthread_mutex_unlock(&r->mutex);
    return 0;
}

int resolver_lookup(struct resolver **r, struct loop *l, struct lookup *k, const char *host,
                    uint16_t port)
{
    if (*r == NULL)
        *r = resolver_new(l);
    return *r == NULL ? -ENOMEM : ask(*r, k, host, port);
}

void resolver_cancel(struct lookup *k)
{
    struct query *q = k->backend;
    k->backend = NULL;
    if (q != NULL)
        q->owner = NULL;
}

void resolver_free(struct resolver *r)
{
    if (r == NULL)
        return;
    if (!r->started) {
        dispose(r);
        return;
    }
    pthread_t thread = r->thread;
    pthread_mutex_lock(&r->mutex);
    r->stop = true;
    bool busy = r->busy;
    pthread_cond_signal(&r->more);
    pthread_mutex_unlock(&r->mutex);
    if (busy) {
        pthread_detach(thread); /* it disposes of the resolver itself, perhaps already */
        return;
    }
    pthread_join(thread, NULL);
    dispose(r);
}
