/* SPDX-License-Identifier: BSD-3-Clause */
#include "upstream/conn_reply.h"

#include <stdio.h>

#include "base/log.h"
#include "upstream/conn_fifo.h"

/* ---- the handshake ---- */

bool conn_say_handshake(struct server_conn *sc)
{
    const struct pool *p = pool_of(sc);
    struct buf hello = {0};
    sc->handshake_left = p->proto->handshake(&sc->profile->login, &hello, &sc->handshake_expect);
    sc->preamble = buf_len(&hello);
    bool good = sc->handshake_left != UINT32_MAX && stream_write(&sc->stream, buf_span(&hello));
    buf_free(&hello);
    return good;
}

/* The server did not take the handshake; it said so in a reply if that is `whole`. Of a login that a
 * client brought this is the client's matter, and says nothing of the server's health. */
static void refused(struct server_conn *sc, bool whole)
{
    struct span text = {sc->handshake_text, sc->handshake_len};
    char line[HANDSHAKE_KEEP + 3];
    size_t len = whole && sc->parser.error ? pool_of(sc)->proto->refusal(text, line) : 0;
    if (len > 0 && sc->profile != up_of(sc)->plain) {
        conn_end_refused(sc, span_of(line, len));
        return;
    }
    const char *shown = len > 0 ? line : sc->handshake_text;
    char what[HANDSHAKE_KEEP + 32];
    snprintf(what, sizeof(what), "refused the connection: %.*s", (int)strcspn(shown, "\r\n"),
             shown);
    conn_end_protocol(sc, what);
}

/* Reads on in the replies of the handshake. Returns the bytes used; the state tells how it went. */
static size_t read_handshake(struct server_conn *sc, struct span in)
{
    const struct proto *proto = pool_of(sc)->proto;
    size_t used = 0;
    enum parse r = proto->parse_reply(&sc->parser, sc->handshake_expect, in, &used);
    size_t room = sizeof(sc->handshake_text) - 1 - sc->handshake_len;
    size_t keep = r == PARSE_BAD ? in.len : used; /* all that may help to understand it */
    keep = keep < room ? keep : room;
    memcpy(sc->handshake_text + sc->handshake_len, in.ptr, keep);
    sc->handshake_len = (uint8_t)(sc->handshake_len + keep);
    if (r == PARSE_MORE)
        return used;
    struct span text = {sc->handshake_text, sc->handshake_len};
    if (r == PARSE_BAD || !proto->handshake_ok(sc->handshake_at, text)) {
        refused(sc, r == PARSE_DONE);
        return in.len;
    }
    /* A greeting must not be taken for the first reply, nor every reply behind it for that of the
     * request before. */
    if (sc->stream.sent == 0) {
        conn_end_protocol(sc, "replied before it was asked");
        return in.len;
    }
    proto->reply_reset(&sc->parser);
    memset(sc->handshake_text, 0, sizeof(sc->handshake_text));
    sc->handshake_len = 0;
    sc->handshake_at++;
    sc->handshake_left--;
    if (sc->handshake_left == 0)
        conn_ready(sc);
    return used;
}

/* ---- replies ---- */

/* What nobody asked for is of use to whoever looks for the reason: redis and memcached say in this
 * way that they have too many clients. */
static size_t unasked(struct server_conn *sc, struct span in, const char *what)
{
    size_t len = 0;
    while (len < in.len && len < HANDSHAKE_KEEP && in.ptr[len] != '\r' && in.ptr[len] != '\n')
        len++;
    log_warn("pool '%s': server '%s' %s: %.*s", pool_of(sc)->conf->name, server_name(sc), what,
             (int)len, in.ptr);
    conn_end_protocol(sc, what);
    return in.len;
}

/* Keeps the error that answered the first request, in case the server closes the connection next. */
static void note_first_error(struct server_conn *sc, const struct part *p, struct span line)
{
    size_t len = 0;
    while (len < line.len && len < HANDSHAKE_KEEP - 1 && line.ptr[len] >= ' ' &&
           line.ptr[len] <= '~')
        len++;
    memcpy(sc->handshake_text, line.ptr, len);
    sc->handshake_text[len] = '\0';
    sc->handshake_len = (uint8_t)len;
    sc->first_bytes = p->bytes;
}

/* Has an error left a transaction open on the connection? Not one that begins with the word of those that
 * abort it. */
static bool left_open(const struct server_conn *sc, const struct part *p, struct span piece)
{
    if (!p->brackets || !sc->parser.error)
        return false;
    struct span aborted = pool_of(sc)->proto->transaction->aborted;
    size_t word = strcspn(aborted.ptr, " ");
    return piece.len < word || memcmp(piece.ptr, aborted.ptr, word) != 0;
}

/* What comes next would become a part of it. It says nothing of the server's health. */
static void end_open(struct server_conn *sc)
{
    char reason[REASON_TEXT];
    snprintf(reason, sizeof(reason), "Invalid argument (server '%s' left a transaction open)",
             server_name(sc));
    conn_end(sc, END_STOP, reason);
}

/* Reads on in the reply of the part at the head. */
static size_t read_reply(struct server_conn *sc, struct span in)
{
    const struct proto *proto = pool_of(sc)->proto;
    if (list_empty(&sc->parts))
        return unasked(sc, in, "sent a reply that nobody asked for");
    struct part *p = part_of(sc->parts.next);
    if (p->start >= user_sent(sc))
        return unasked(sc, in, "replied before it was asked");
    size_t used = 0;
    enum parse r = proto->parse_reply(&sc->parser, p->expect, in, &used);
    if (r == PARSE_BAD) {
        conn_end_protocol(sc, "sent what is not a reply");
        return in.len;
    }
    stat_add(&sc->server->stats->response_bytes, used);
    if (p->skip > 0) {
        if (r == PARSE_DONE) {
            p->skip--;
            proto->reply_reset(&sc->parser);
        }
        return used;
    }
    struct span piece = {in.ptr, used};
    if (r == PARSE_MORE) {
        p->on->reply(p, piece, false, false);
        return used;
    }
    bool error = sc->parser.error;
    bool open = left_open(sc, p, piece);
    proto->reply_reset(&sc->parser);
    if (error && p->start == 0)
        note_first_error(sc, p, piece);
    conn_fifo_remove(sc, p);
    stat_add(&sc->server->stats->responses, 1);
    p->on->reply(p, piece, true, error);
    if (open)
        end_open(sc);
    return used;
}

size_t conn_data(struct stream *s, struct span in)
{
    struct server_conn *sc = of_stream(s);
    size_t used = 0;
    bool was_ready = sc->state == SERVER_CONN_READY;
    while (used < in.len && sc->state != SERVER_CONN_CLOSING) {
        struct span rest = span_from(in, used);
        used +=
            sc->state == SERVER_CONN_HANDSHAKE ? read_handshake(sc, rest) : read_reply(sc, rest);
    }
    if (sc->state == SERVER_CONN_CLOSING)
        return in.len;
    if (was_ready)
        pool_server_succeeded(up_of(sc)->pool, sc->server->index);
    loop_at_turn_end(up_of(sc)->loop, &sc->account);
    if (sc->state == SERVER_CONN_DRAINING && sc->part_count == 0)
        conn_end(sc, END_LATE, "");
    return in.len;
}
