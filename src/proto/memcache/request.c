/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/memcache/request.h"

#include <string.h>

#include "proto/memcache/line.h"
#include "proto/memcache/meta.h"
#include "proto/memcache/reading.h"
#include "proto/memcache/reply.h"
#include "proto/memcache/tell.h"
#include "proto/memcache/usual.h"
#include "proto/memcache/verb.h"

enum {
    LINE_CUT_MAX = 2048, /* a longer line that has not ended must be a get, or memcached closes */
    LINE_WHOLE_MAX = 16384, /* its read buffer: no line but a get can be longer */
    INDENT_MAX = 100,       /* spaces before a long get */
};

/* What a store command says beside its key. */
struct item {
    uint32_t flags;
    int32_t exptime;
    int32_t bytes;
    uint64_t cas;
    bool has_cas;
    bool plain; /* the numbers are written in their usual form */
};

/* Begins a canonical request: name and key, with room for `more` bytes behind them. */
static bool put_name(struct reading *r, struct span key, size_t more)
{
    struct buf *b = r->scratch;
    buf_clear(b);
    if (!buf_reserve(b, r->verb->len + 1 + key.len + more))
        return false;
    put(b, verb_name(r->verb));
    put(b, SPAN(" "));
    put(b, key);
    return true;
}

/* Hands out a request with one key, as `wire`. */
static enum parse forward(struct reading *r, uint32_t len, struct span wire, bool quiet)
{
    if (!reading_push(r, r->words.v[0]) || !reading_push(r, r->words.v[1]))
        return reading_bad(r->out, NO_MEMORY);
    struct request_view *out = r->out;
    out->kind = REQUEST_FORWARD;
    out->len = len;
    out->write = r->verb->write;
    out->quiet = quiet;
    out->expect = r->verb->expect;
    out->ranges = 1;
    out->keys[0] = (struct key_range){1, 1, 1};
    out->wire = wire;
    return PARSE_DONE;
}

/* Does the last word forbid an answer? memcached looks there even when that word should be
 * something else. */
static bool says_noreply(const struct words *w)
{
    return span_eq(w->v[w->count - 1], SPAN("noreply"));
}

/* Is the line the very one that we would write? No word that is left out, and single spaces between
 * them. */
static bool is_canonical(const struct reading *r)
{
    return r->words.count == r->verb->least + 1u && reading_is_tight(r);
}

static bool read_numbers(const struct words *w, struct item *item)
{
    item->plain = true;
    if (!line_u32(w->v[2], &item->flags, &item->plain) ||
        !line_i32(w->v[3], &item->exptime, &item->plain) ||
        !line_i32(w->v[4], &item->bytes, &item->plain))
        return false;
    if (item->has_cas && !line_u64(w->v[5], &item->cas, &item->plain))
        return false;
    return item->bytes >= 0 && item->bytes <= INT32_MAX - 2;
}

/* The same request with one reading, and loud. */
static bool compose_store(struct reading *r, const struct item *item, struct span data)
{
    struct buf *b = r->scratch;
    if (!put_name(r, r->words.v[1], 4 * (1 + NUMBER_MAX) + 2 + data.len))
        return false;
    put_number(b, item->flags, false);
    put_i32(b, item->exptime);
    put_number(b, (uint64_t)item->bytes, false);
    if (item->has_cas)
        put_number(b, item->cas, false);
    put(b, SPAN("\r\n"));
    put(b, data);
    return true;
}

/* Reads a line and the data block behind it. A bad line has no data block: memcached reads commands
 * on behind it. */
static enum parse read_store(struct reading *r)
{
    bool quiet = says_noreply(&r->words);
    struct item item = {.has_cas = r->verb->least == 5};
    if (r->words.v[1].len > KEY_MAX || !read_numbers(&r->words, &item))
        return reading_answer(r, BAD_FORMAT, quiet);
    size_t data = (size_t)item.bytes + 2;
    if (r->line.len + data >= REQUEST_MAX) {
        r->ses->skip = data;
        return reading_answer(r, TOO_LARGE, quiet);
    }
    size_t total = r->line.len + data;
    if (r->in.len < total)
        return reading_wait(r, item.bytes);
    if (memcmp(r->in.ptr + total - 2, "\r\n", 2) != 0) {
        r->line.len = (uint32_t)total;
        return reading_answer(r, SPAN("CLIENT_ERROR bad data chunk\r\n"), quiet);
    }
    struct span wire = {r->in.ptr, total};
    if (!item.plain || !is_canonical(r)) {
        if (!compose_store(r, &item, span_of(r->in.ptr + r->line.len, data)))
            return reading_bad(r->out, NO_MEMORY);
        wire = buf_span(r->scratch);
    }
    return forward(r, (uint32_t)total, wire, quiet);
}

/* Reads incr, decr and touch: a key and a number. */
static enum parse read_number(struct reading *r)
{
    const struct words *w = &r->words;
    bool quiet = says_noreply(w);
    bool plain = true;
    bool delta = r->verb->shape == SHAPE_DELTA;
    uint64_t by = 0;
    int32_t exptime = 0;
    if (w->v[1].len > KEY_MAX)
        return reading_answer(r, BAD_FORMAT, quiet);
    if (delta && !line_u64(w->v[2], &by, &plain))
        return reading_answer(r, SPAN("CLIENT_ERROR invalid numeric delta argument\r\n"), quiet);
    if (!delta && !line_i32(w->v[2], &exptime, &plain))
        return reading_answer(r, BAD_EXPTIME, quiet);
    if (plain && is_canonical(r))
        return forward(r, r->line.len, span_of(r->in.ptr, r->line.len), quiet);
    if (!put_name(r, w->v[1], 1 + NUMBER_MAX + 2))
        return reading_bad(r->out, NO_MEMORY);
    if (delta)
        put_number(r->scratch, by, false);
    else
        put_i32(r->scratch, exptime);
    put(r->scratch, SPAN("\r\n"));
    return forward(r, r->line.len, buf_span(r->scratch), quiet);
}

/* Reads delete, which takes a 0 behind the key for old clients' sake. In `delete noreply` the word
 * is the key. */
static enum parse read_delete(struct reading *r)
{
    const struct words *w = &r->words;
    bool quiet = w->count > 2 && says_noreply(w);
    bool zero = w->count > 2 && span_eq(w->v[2], SPAN("0"));
    bool good =
        w->count == 2 || (w->count == 3 && (zero || quiet)) || (w->count == 4 && zero && quiet);
    if (!good)
        return reading_answer(r,
                              SPAN("CLIENT_ERROR bad command line format.  "
                                   "Usage: delete <key> [noreply]\r\n"),
                              quiet);
    if (w->v[1].len > KEY_MAX)
        return reading_answer(r, BAD_FORMAT, quiet);
    if (is_canonical(r))
        return forward(r, r->line.len, span_of(r->in.ptr, r->line.len), quiet);
    if (!put_name(r, w->v[1], 2))
        return reading_bad(r->out, NO_MEMORY);
    put(r->scratch, SPAN("\r\n"));
    return forward(r, r->line.len, buf_span(r->scratch), quiet);
}

/* Answers with nothing and ends the connection, as memcached does. */
static enum parse hang_up(struct reading *r)
{
    r->out->close = true;
    return reading_answer(r, SPAN(""), false);
}

static enum parse read_version(struct reading *r)
{
    r->out->kind = REQUEST_FORWARD;
    r->out->len = r->line.len;
    r->out->expect = EXPECT_VERSION;
    r->out->wire = SPAN("version\r\n");
    return PARSE_DONE;
}

/* Reads flush_all, which may have a delay. */
static enum parse read_flush(struct reading *r)
{
    const struct words *w = &r->words;
    bool quiet = w->count > 1 && says_noreply(w);
    bool delayed = w->count > (quiet ? 2 : 1);
    bool plain = true;
    int32_t delay = 0;
    if (!r->ses->settings->allow_flush)
        return reading_answer(r,
                              SPAN("CLIENT_ERROR flush_all not allowed "
                                   "(this pool has no allow_flush: true)\r\n"),
                              quiet);
    if (delayed && !line_i32(w->v[1], &delay, &plain))
        return reading_answer(r, BAD_EXPTIME, quiet);
    buf_clear(r->scratch);
    if (!buf_reserve(r->scratch, r->verb->len + 1 + NUMBER_MAX + 2))
        return reading_bad(r->out, NO_MEMORY);
    put(r->scratch, verb_name(r->verb));
    if (delayed)
        put_i32(r->scratch, delay);
    put(r->scratch, SPAN("\r\n"));
    r->out->kind = REQUEST_BROADCAST;
    r->out->len = r->line.len;
    r->out->write = true;
    r->out->quiet = quiet;
    r->out->expect = r->verb->expect;
    r->out->join = JOIN_OK;
    r->out->wire = buf_span(r->scratch);
    return PARSE_DONE;
}

/* Reads verbosity. Clients that send it expect an OK, but none of them is to change what a server, or
 * this proxy, logs for all. */
static enum parse read_level(struct reading *r)
{
    uint32_t level;
    bool plain = true;
    bool quiet = says_noreply(&r->words);
    if (!line_u32(r->words.v[1], &level, &plain))
        return reading_answer(r, BAD_FORMAT, quiet);
    return reading_answer(r, SPAN("OK\r\n"), quiet);
}

/* Refuses what is about one server, and says so; silently, if no answer is wanted. */
static enum parse read_refused(struct reading *r)
{
    struct buf *b = r->scratch;
    buf_clear(b);
    if (!buf_append(b, SPAN("CLIENT_ERROR ")) || !buf_append(b, verb_name(r->verb)) ||
        !buf_append(b, SPAN(" is not served by this proxy: ask a server directly\r\n")))
        return reading_bad(r->out, NO_MEMORY);
    return reading_answer(r, buf_span(b), says_noreply(&r->words));
}

/* Writes the words of the view as one line with single spaces into the scratch buffer, and makes the
 * view one of that line. A second word that is an exptime is written in its usual form. `bytes` is
 * that of all words. */
static bool rewrite_keys(struct reading *r, size_t bytes, const int32_t *exptime)
{
    struct buf *b = r->scratch;
    struct args *args = r->p->args;
    buf_clear(b);
    if (!buf_reserve(b, bytes + args->count + NUMBER_MAX + 2))
        return false;
    for (uint32_t i = 0; i < args->count; i++) {
        struct span word = args_span(args, r->in.ptr, i);
        size_t at = buf_len(b);
        if (i == 1 && exptime != NULL) {
            put_i32(b, *exptime);
        } else {
            if (i > 0)
                put(b, SPAN(" "));
            put(b, word);
        }
        at += i > 0;
        args->v[i] = (struct arg){(uint32_t)at, (uint32_t)(buf_len(b) - at)};
    }
    put(b, SPAN("\r\n"));
    r->out->base = buf_span(b).ptr;
    r->out->wire = buf_span(b);
    return true;
}

/* Reads the keys of a get, which are words `first` and on, from `rest`. One key that is too long
 * refuses all. `bytes` is that of the words before them; `exptime`, if it is not NULL, that of the
 * second word, which is not written in its usual form. */
static enum parse read_keys(struct reading *r, struct span rest, uint32_t first, size_t bytes,
                            const int32_t *exptime)
{
    struct request_view *out = r->out;
    struct args *args = r->p->args;
    struct span key;
    while (line_word(&rest, &key)) {
        if (key.len > KEY_MAX)
            return reading_answer(r, BAD_FORMAT, false);
        if (!reading_push(r, key))
            return reading_bad(out, NO_MEMORY);
        bytes += key.len;
    }
    uint32_t count = args->count - first;
    if (count == 0)
        return reading_answer(r, first == 1 ? SPAN("ERROR\r\n") : SPAN("END\r\n"), false);
    bool one = count == 1 || r->ses->settings->single_server;
    out->kind = one ? REQUEST_FORWARD : REQUEST_SPLIT;
    out->len = r->line.len;
    out->write = r->verb->write;
    out->expect = EXPECT_VALUES;
    out->join = JOIN_VALUES;
    out->ranges = 1;
    out->keys[0] = (struct key_range){first, count, 1};
    out->wire = span_of(r->in.ptr, r->line.len);
    bool same = r->line.strict && bytes + args->count - 1 == r->line.text.len && exptime == NULL;
    if (!same && !rewrite_keys(r, bytes, exptime))
        return reading_bad(out, NO_MEMORY);
    return PARSE_DONE;
}

/* Reads get and gets, of any number of keys; `rest` is what follows the name. */
static enum parse read_get(struct reading *r, struct span name, struct span rest)
{
    if (!reading_push(r, name))
        return reading_bad(r->out, NO_MEMORY);
    return read_keys(r, rest, 1, name.len, NULL);
}

/* Reads gat and gats: gets with an exptime before the keys. */
static enum parse read_gat(struct reading *r, struct span name, struct span rest)
{
    struct span word;
    int32_t exptime;
    bool plain = true;
    if (!line_word(&rest, &word))
        return reading_answer(r, SPAN("ERROR\r\n"), false);
    if (!line_i32(word, &exptime, &plain))
        return reading_answer(r, BAD_EXPTIME, false);
    if (!reading_push(r, name) || !reading_push(r, word))
        return reading_bad(r->out, NO_MEMORY);
    enum parse said = read_keys(r, rest, 2, name.len + word.len, plain ? NULL : &exptime);
    bool forwarded = said == PARSE_DONE && r->out->kind != REQUEST_LOCAL;
    if (forwarded && r->out->wire.len > LINE_CUT_MAX)
        return reading_answer(r, SPAN("CLIENT_ERROR line is too long for this command\r\n"), false);
    return said;
}

bool memcache_compose_part(const struct request_view *v, const uint32_t *order, uint32_t count,
                           struct buf *out)
{
    size_t bytes = 0;
    uint32_t head = v->keys[0].first; /* the name, and the exptime if there is one */
    for (uint32_t i = 0; i < head; i++)
        bytes += 1 + args_span(v->args, v->base, i).len;
    for (uint32_t i = 0; i < count; i++)
        bytes += 1 + request_key(v, order[i]).len;
    if (!buf_reserve(out, bytes + 2))
        return false;
    for (uint32_t i = 0; i < head; i++) {
        if (i > 0)
            put(out, SPAN(" "));
        put(out, args_span(v->args, v->base, i));
    }
    for (uint32_t i = 0; i < count; i++) {
        put(out, SPAN(" "));
        put(out, request_key(v, order[i]));
    }
    put(out, SPAN("\r\n"));
    return true;
}

/* A command without a row. memcached hangs up on what looks like HTTP, so that a web page can't
 * make a browser speak to it; it looks only where none of its commands begins with that letter. */
static enum parse read_unknown(struct reading *r, struct span name)
{
    bool searched = memchr("gsacidt", name.ptr[0], 7) != NULL;
    bool meta = name.ptr[0] == 'm' && name.len == 2;
    struct span last = r->words.v[r->words.count - 1];
    if (name.len >= 2 && !searched && !meta && last.len >= 5 && memcmp(last.ptr, "HTTP/", 5) == 0)
        return hang_up(r);
    return reading_answer(r, SPAN("ERROR\r\n"), false);
}

static enum parse read_words(struct reading *r)
{
    uint32_t args = r->words.count - 1;
    if (args < r->verb->least || (r->verb->most > 0 && args > r->verb->most))
        return reading_answer(r, SPAN("ERROR\r\n"), false);
    switch ((enum shape)r->verb->shape) {
    case SHAPE_STORE:
        return read_store(r);
    case SHAPE_DELTA:
    case SHAPE_EXPTIME:
        return read_number(r);
    case SHAPE_KEY:
        return read_delete(r);
    case SHAPE_BARE:
        return read_version(r);
    case SHAPE_FLUSH:
        return read_flush(r);
    case SHAPE_LEVEL:
        return read_level(r);
    case SHAPE_QUIT:
        return hang_up(r);
    case SHAPE_REFUSED:
        return read_refused(r);
    case SHAPE_STATS:
        return tell_read(r);
    case SHAPE_META:
        return meta_read(r);
    case SHAPE_META_SET:
        return meta_read_set(r);
    case SHAPE_META_DEBUG:
        return meta_read_debug(r);
    case SHAPE_META_NOOP:
        return reading_answer(r, SPAN("MN\r\n"), false);
    case SHAPE_KEYS:
    case SHAPE_EXPTIME_KEYS:
        break;
    }
    never("gets are read word by word");
}

static enum parse read_line(struct reading *r)
{
    struct span rest = r->line.text;
    struct span name;
    if (!line_word(&rest, &name))
        return reading_answer(r, SPAN("ERROR\r\n"), false);
    r->verb = verb_find(name);
    if (r->verb != NULL && r->verb->shape == SHAPE_KEYS)
        return read_get(r, name, rest);
    if (r->verb != NULL && r->verb->shape == SHAPE_EXPTIME_KEYS)
        return read_gat(r, name, rest);
    r->words.v[0] = name;
    r->words.count = 1;
    line_split(rest, &r->words);
    if (r->verb == NULL)
        return read_unknown(r, name);
    return read_words(r);
}

/* Only gets may be long lines. */
static bool is_get(struct span in)
{
    size_t at = 0;
    while (at < in.len && in.ptr[at] == ' ')
        at++;
    struct span s = span_from(in, at);
    return at <= INDENT_MAX && ((s.len >= 4 && memcmp(s.ptr, "get ", 4) == 0) ||
                                (s.len >= 5 && memcmp(s.ptr, "gets ", 5) == 0));
}

/* The line has no end yet. memcached closes on a long one that is no get, and so do we. */
static enum parse unfinished(struct request_parser *p, struct span in, struct request_view *out)
{
    if (in.len >= REQUEST_MAX)
        return reading_bad(out, NO_MEMORY);
    p->scan = (uint32_t)in.len;
    if (in.len > LINE_CUT_MAX && !is_get(in))
        return reading_bad(out, SPAN(""));
    return PARSE_MORE;
}

/* Drops what is here of the data block of a refused request. */
static enum parse skip(struct proto_session *ses, struct span in, struct request_view *out)
{
    size_t n = in.len < REQUEST_MAX ? in.len : REQUEST_MAX - 1;
    if (n > ses->skip)
        n = (size_t)ses->skip;
    ses->skip -= n;
    out->kind = REQUEST_NONE;
    out->len = (uint32_t)n;
    return PARSE_DONE;
}

enum parse memcache_parse_request(struct request_parser *p, struct proto_session *ses,
                                  struct span in, struct buf *scratch, struct request_view *out)
{
    reading_begin(out, in.ptr, p->args);
    if (ses->skip > 0)
        return skip(ses, in, out);
    if (p->pos > 0 && in.len < (size_t)p->pos + p->bulk + 2)
        return PARSE_MORE;
    /* Nothing was read yet, or the usual line of a store. */
    if (p->scan == 0) {
        enum parse said = usual_request(p, ses, in, out);
        ses->begun = ses->begun || said != PARSE_BAD;
        if (said != PARSE_BAD)
            return said;
    }
    if (in.len > 0 && !ses->begun && in.ptr[0] == '\x80')
        return reading_bad(out, SPAN("CLIENT_ERROR the binary protocol is not served\r\n"));
    const char *lf = NULL;
    if (in.len > p->scan)
        lf = memchr(in.ptr + p->scan, '\n', in.len - p->scan);
    if (lf == NULL)
        return unfinished(p, in, out);
    size_t len = (size_t)(lf - in.ptr) + 1;
    if (len >= REQUEST_MAX)
        return reading_bad(out, NO_MEMORY);
    if (len > LINE_WHOLE_MAX && !is_get(in))
        return reading_bad(out, SPAN(""));
    p->scan = (uint32_t)(len - 1);
    ses->begun = true;
    struct reading r;
    r.p = p;
    r.ses = ses;
    r.in = in;
    r.scratch = scratch;
    r.out = out;
    r.line = line_cut(in, lf);
    return read_line(&r);
}
