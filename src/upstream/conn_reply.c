/* SPDX-License-Identifier: BSD-3-Clause */
#include "upstream/conn_reply.h"

#include <stdio.h>

#include "base/hint.h"
#include "base/log.h"
#include "upstream/conn_fifo.h"

/* Bytes of a part, and of what is around it, that are fetched ahead. */
enum { PART_HINTED = 128 };

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
slow_path static void note_first_error(struct server_conn *sc, const struct part *p,
                                       struct span line)
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

/* Has the reply to a transaction, of which this is a piece, left it open on the connection? Not an error
 * that begins with the word of those that abort it. The word may come in pieces. */
slow_path static bool left_open(struct server_conn *sc, struct span piece, bool last)
{
    struct span aborted = pool_of(sc)->proto->transaction->aborted;
    size_t word = strcspn(aborted.ptr, " ");
    size_t room = sizeof(sc->head) - sc->head_len;
    size_t keep = piece.len < room ? piece.len : room;
    memcpy(sc->head + sc->head_len, piece.ptr, keep);
    sc->head_len = (uint8_t)(sc->head_len + keep);
    if (!last)
        return false;
    bool ended =
        !sc->parser.error || (sc->head_len >= word && memcmp(sc->head, aborted.ptr, word) == 0);
    sc->head_len = 0;
    return !ended;
}

/* What comes next would become a part of it; or what was to be in it is done as if it stood alone, and may
 * keep all others waiting. It says nothing of the server's health. */
slow_path static void end_unbracketed(struct server_conn *sc, const char *what)
{
    char reason[REASON_TEXT];
    snprintf(reason, sizeof(reason), "Invalid argument (server '%s' %s)", server_name(sc), what);
    if (sc->state == SERVER_CONN_READY)
        conn_end_rescuing(sc, END_STOP, reason);
    else
        conn_end(sc, END_STOP, reason);
}

/* The reply of the part at the head is whole with this piece. */
static inline void end_reply(struct server_conn *sc, struct part *p, struct span piece)
{
    bool error = sc->parser.error;
    pool_of(sc)->proto->reply_reset(&sc->parser);
    if (error && p->start == 0)
        note_first_error(sc, p, piece);
    conn_fifo_remove(sc, p);
    sc->fresh.responses++;
    p->on->reply(p, piece, true, error);
}

/* A piece of a reply before the one that the part is sent for. It is dropped, unless it says that a
 * transaction does not begin: then it is the reply, since others may never come. */
slow_path static void skip_reply(struct server_conn *sc, struct part *p, struct span piece,
                                 bool last)
{
    bool refused = p->brackets == PART_OPENS && sc->parser.error;
    if (refused && last) {
        end_reply(sc, p, piece);
        end_unbracketed(sc, "did not begin a transaction");
    } else if (refused) {
        p->on->reply(p, piece, false, false);
    } else if (last) {
        p->skip--;
        p->brackets = p->brackets == PART_OPENS ? PART_OPENED : p->brackets;
        pool_of(sc)->proto->reply_reset(&sc->parser);
    }
}

/* Reads on in the reply of the part at the head. */
static size_t read_reply(struct server_conn *sc, struct span in)
{
    const struct proto *proto = pool_of(sc)->proto;
    if (list_empty(&sc->parts))
        return unasked(sc, in, "sent a reply that nobody asked for");
    struct part *p = part_of(sc->parts.next);
    /* The one behind it is next, and it has waited for long. */
    hint_soon(p->link.next, PART_HINTED);
    if (p->start >= user_sent(sc))
        return unasked(sc, in, "replied before it was asked");
    size_t used = 0;
    enum parse r = proto->parse_reply(&sc->parser, p->expect, in, &used);
    if (r == PARSE_BAD) {
        conn_end_protocol(sc, "sent what is not a reply");
        return in.len;
    }
    sc->fresh.response_bytes += used;
    struct span piece = {in.ptr, used};
    if (p->skip > 0) {
        skip_reply(sc, p, piece, r == PARSE_DONE);
        return used;
    }
    bool open = p->brackets != PART_PLAIN && left_open(sc, piece, r == PARSE_DONE);
    if (r == PARSE_MORE) {
        p->on->reply(p, piece, false, false);
        return used;
    }
    end_reply(sc, p, piece);
    if (open)
        end_unbracketed(sc, "left a transaction open");
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
