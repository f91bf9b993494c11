/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/listeners.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>

/* The address of a listen endpoint; NULL, or why there is none. */
static const char *resolve(const struct conf_endpoint *at, struct addr *out)
{
    if (at->path != NULL)
        return addr_unix(out, at->path) ? NULL : "the path is too long";
    int err = listen_resolve(at->host, at->port, out);
    return err == 0 ? NULL : gai_strerror(err);
}

/* A path is made by the user where they may make it, and else by root, who gives it to them. */
static int open_path(struct listener *l, const struct listen_options *options,
                     const struct privileges *privileges)
{
    int err = privileges_borrow(privileges, l->at.u.un.sun_path);
    if (err != 0)
        return err;
    int fd = listen_open(&l->at, options, &l->path);
    err = privileges_return(privileges);
    if (fd >= 0 && err == 0 && privileges->user != NULL && !privileges->is_already)
        err = listen_give(&l->at, &l->path, privileges->uid, privileges->gid);
    if (fd < 0 || err == 0)
        return fd;
    listen_close(fd, &l->at, &l->path);
    return err;
}

static bool open_one(struct listener *l, const struct conf_pool *pool, const char *file,
                     const struct privileges *privileges, FILE *errors)
{
    l->fd = -1;
    const char *why = resolve(&pool->listen, &l->at);
    if (why == NULL) {
        struct listen_options options = {
            .backlog = (int)pool->backlog, .reuseport = pool->reuseport, .mode = pool->listen.mode};
        int fd = addr_is_unix(&l->at) ? open_path(l, &options, privileges)
                                      : listen_open(&l->at, &options, &l->path);
        if (fd >= 0) {
            l->fd = fd;
            return true;
        }
        why = strerror(-fd);
    }
    fprintf(errors, "%s:%d: error: pool '%s' can't listen on '%s': %s\n", file, pool->line,
            pool->name, pool->listen.text, why);
    return false;
}

bool listeners_open(struct listeners *ls, const struct conf *conf,
                    const struct privileges *privileges, FILE *errors)
{
    ls->count = 0;
    ls->each = calloc(conf->pool_count, sizeof(*ls->each));
    ls->fds = calloc(conf->pool_count, sizeof(*ls->fds));
    bool good = ls->each != NULL && ls->fds != NULL;
    if (!good)
        fprintf(errors, "%s: error: no memory\n", conf->file);
    for (uint32_t i = 0; ls->each != NULL && ls->fds != NULL && i < conf->pool_count; i++) {
        good = open_one(&ls->each[i], &conf->pools[i], conf->file, privileges, errors) && good;
        ls->fds[i] = ls->each[i].fd;
        ls->count++;
    }
    if (!good)
        listeners_close(ls);
    return good;
}

void listeners_unlink(const struct listeners *ls)
{
    for (uint32_t i = 0; i < ls->count; i++)
        if (ls->each[i].fd >= 0)
            listen_unlink(&ls->each[i].at, &ls->each[i].path);
}

void listeners_close(struct listeners *ls)
{
    for (uint32_t i = 0; i < ls->count; i++) {
        struct listener *l = &ls->each[i];
        if (l->fd >= 0)
            listen_close(l->fd, &l->at, &l->path);
    }
    free(ls->each);
    free(ls->fds);
    *ls = (struct listeners){0};
}
