/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit scripts keeps the bodies of scripts that clients loaded, so that a server that has lost one, since it was
 * started anew or stands in for another, is given it again before it is called.
 *
 * The bodies are the pool's: whichever worker a client came by, the others know what it loaded. They stand behind a
 * mutex, and each worker has a view of them, which it renews when their number has changed: a call takes no lock. The
 * view also knows on which connections a script was loaded, for there it is known to come before any call. */
#ifndef UPSTREAM_SCRIPTS_H
#define UPSTREAM_SCRIPTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/meter.h"
#include "base/must.h"
#include "base/span.h"
#include "proto/proto.h"

enum {
    SCRIPTS_MAX = 256,       /* of a pool; when there are more the oldest is forgotten */
    SCRIPTS_BYTES = 4 << 20, /* of all of them */
    SCRIPT_CONNS = 4,        /* connections to a server on which a script is known to be */
};

/** One body; whoever holds it has a reference. */
struct script {
    _Atomic uint32_t refs;
    char name[SCRIPT_NAME];
    size_t len;
    char body[];
};

/** The bodies of a pool. */
struct scripts {
    pthread_mutex_t mutex;
    struct script *all[SCRIPTS_MAX]; /* the oldest first */
    uint32_t count;
    size_t bytes;
    _Atomic uint32_t version; /* of what there is */
};

void scripts_init(struct scripts *s);
void scripts_free(struct scripts *s);

/** Keeps a body under its name, unless it is too large, or memory is out. */
void scripts_add(struct scripts *s, const char name[SCRIPT_NAME], struct span body);

/** Forgets all. */
void scripts_clear(struct scripts *s);

/** One script in a worker's view. */
struct seen_script {
    struct script *script;
    uint32_t *
        on; /* SCRIPT_CONNS for each server: numbers of connections on which it was loaded; 0: none */
};

struct script_view {
    struct scripts *source;
    uint32_t servers;
    uint32_t version; /* of the source, when it was looked at */
    uint32_t count;
    struct seen_script *all;
    struct meter *meter; /* counts the bodies that are held */
    size_t counted;
};

void script_view_init(struct script_view *v, struct scripts *source, uint32_t servers,
                      struct meter *meter);
void script_view_free(struct script_view *v);

/** The script of that name, in any case; good until the next call. NULL if its body is not known. */
struct seen_script *script_find(struct script_view *v, struct span name);

/** A script was found missing on a connection where it should have been: nothing is known of any. */
void script_view_doubt(struct script_view *v);

/** Was it loaded on connection number `conn` (not 0) of the server? And it will be, before anything else. */
bool script_is_on(const struct seen_script *s, uint32_t server, uint32_t conn);
void script_put_on(struct seen_script *s, uint32_t server, uint32_t conn);

#endif
