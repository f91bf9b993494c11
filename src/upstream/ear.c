/* SPDX-License-Identifier: BSD-3-Clause */
#include "upstream/ear.h"

#include "upstream/conn.h"

void ear_init(struct ear *e, struct server_slot *server, struct profile *profile,
              const struct ear_events *on)
{
    *e = (struct ear){.on = on, .server = server};
    e->slot.profile = profile;
    e->slot.ear = e;
    list_init(&e->slot.line);
    list_init(&e->slot.lined);
    list_init(&e->slot.called);
}

bool ear_open(struct ear *e)
{
    must(!ear_is_open(e));
    return upstream_open(e->server, &e->slot);
}

bool ear_say(struct ear *e, struct span wire)
{
    struct server_conn *sc = e->slot.conn;
    must(sc != NULL && sc->state == SERVER_CONN_READY);
    return stream_write(&sc->stream, wire);
}

static struct server_conn *let_go(struct ear *e)
{
    struct server_conn *sc = e->slot.conn;
    if (sc != NULL)
        sc->ear = NULL;
    return sc;
}

void ear_close(struct ear *e)
{
    struct server_conn *sc = let_go(e);
    if (sc != NULL)
        server_conn_stop(sc, "nobody listens any more");
}

void ear_late(struct ear *e, const char *reason)
{
    struct server_conn *sc = let_go(e);
    must(sc != NULL);
    stat_add(&e->server->stats->server_timedout, 1);
    conn_count_failure(sc);
    conn_end(sc, END_LATE, reason);
}

size_t ear_data(struct stream *s, struct span in)
{
    struct server_conn *sc = of_stream(s);
    size_t used = sc->ear == NULL ? in.len : sc->ear->on->heard(sc->ear, in);
    if (sc->state == SERVER_CONN_CLOSING)
        return in.len;
    if (used == EAR_BAD) {
        conn_end_protocol(sc, "sent what does not belong to a subscription");
        return in.len;
    }
    stat_add(&sc->server->stats->response_bytes, used);
    pool_server_succeeded(up_of(sc)->pool, sc->server->index);
    return used;
}
