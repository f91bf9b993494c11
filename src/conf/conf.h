/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit conf is a configuration file as data: read, checked as a whole, immutable. */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/must.h"

/** An endpoint as written. */
struct conf_endpoint {
    char *text; /* as written, without weight, name and permissions: "127.0.0.1:6379", "/run/redis.sock" */
    char *host; /* host name or literal, brackets of IPv6 removed; NULL for a unix socket */
    char *path; /* unix socket, or NULL */
    uint16_t port;
    int mode; /* permissions of a unix listen socket, or -1 */
};

struct conf_server {
    struct conf_endpoint at;
    char *name;     /* what is hashed and shown in the stats: twemproxy's rule */
    uint32_t weight;
};

/** A pool; the fields between come from pool_keys.def, one for each key but `servers`. */
struct conf_pool {
    char *name;
    int line; /* of its name in the file */
    struct conf_endpoint listen;
    int hash;         /* index in hashes.def */
    int distribution; /* index in dists.def */
    char *hash_tag;   /* two bytes, or NULL */
    char *redis_auth; /* or NULL */
    bool redis;
    bool tcpkeepalive;
    bool reuseport;
    bool preconnect;
    bool auto_eject_hosts;
    int64_t timeout; /* ms; -1 or 0: wait for ever */
    int64_t backlog;
    int64_t client_connections; /* 0: no limit but the process's */
    int64_t redis_db;
    int64_t server_connections;
    int64_t server_retry_timeout; /* ms */
    int64_t server_failure_limit;
    struct conf_server *servers; /* sorted as twemproxy sorts: by length, then bytes */
    uint32_t server_count;
};

/** Process settings: the mapping `global:`; the command line is stronger. -1 and NULL: not given. */
struct conf_global {
    int64_t workers; /* 0: auto, one for each processor this process may run on */
    char *io;
};

struct conf {
    char *file;
    struct conf_global global;
    struct conf_pool *pools; /* sorted as twemproxy sorts: by length of the name, then bytes */
    uint32_t pool_count;
};

/** Reads and checks `file`. On failure returns NULL after writing every error found to `errors`, each as
 * `file:line:col: error: text`. */
must_check struct conf *conf_load(const char *file, FILE *errors);

/** As conf_load(), of `text` (for tests and fuzzing); `file` is only shown. */
must_check struct conf *conf_parse(const char *file, const char *text, size_t len, FILE *errors);

void conf_free(struct conf *c);

/** Writes every key with type, default, range and text: for --describe-config. */
void conf_describe(FILE *out);

#endif
