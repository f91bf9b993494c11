/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/memcache/request.h"

#include <string.h>

#include "proto/memcache/line.h"
#include "proto/memcache/reply.h"
#include "proto/memcache/usual.h"
#include "proto/memcache/verb.h"

enum {
    LINE_CUT_MAX = 2048, /* a longer line that has not ended must be a get, or memcached closes */
    LINE_WHOLE_MAX = 16384, /* its read buffer: no line but a get can be longer */
    INDENT_MAX = 100,       /* spaces before a long get */
    NUMBER_MAX = 20,        /* characters of a 64-bit number, sign included */
};

static const struct span bad_format = {"CLIENT_ERROR bad command line format\r\n", 38};
static const struct span no_memory = {"SERVER_ERROR out of memory reading request\r\n", 44};

static const struct span bad_exptime = {"CLIENT_ERROR invalid exptime argument\r\n", 39};

/* A request that is being read. */
struct reading {
    struct request_parser *p;
    struct proto_session *ses;
    struct span in;
    struct buf *scratch;
    struct request_view *out;
    const struct verb *verb;
    struct line line;
    struct words words; /* of all but a get */
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

/* Every field but the keys, which count only as far as `ranges` says: to zero it all costs as much
 * as a short get. */
static void view_begin(struct request_view *v, const char *base, const struct args *args)
{
    v->kind = REQUEST_NONE;
    v->len = 0;
    v->write = false;
    v->quiet = false;
    v->close = false;
    v->expect = EXPECT_NOTHING;
    v->join = 0;
    v->ranges = 0;
    v->wire = (struct span){0};
    v->reply = (struct span){0};
    v->base = base;
    v->args = args;
}

/* Answers with `reply`, or with nothing if the request wants no reply. */
static enum parse answer(struct reading *r, struct span reply, bool quiet)
{
    r->out->kind = quiet ? REQUEST_NONE : REQUEST_LOCAL;
    r->out->len = r->line.len;
    r->out->reply = reply;
    return PARSE_DONE;
}

/* Answers with nothing and ends the connection, as memcached does. */
static enum parse hang_up(struct reading *r)
{
    r->out->close = true;
    return answer(r, SPAN(""), false);
}

/* Nothing behind this can be read. */
static enum parse bad(struct request_view *out, struct span reply)
{
    out->reply = reply;
    return PARSE_BAD;
}

static bool push(struct reading *r, struct span word)
{
    return args_push(r->p->args, (uint32_t)(word.ptr - r->in.ptr), (uint32_t)word.len);
}

/* Writes behind what is in the buf; room for it was reserved. */
static void put(struct buf *b, struct span s)
{
    memcpy(b->data + b->tail, s.ptr, s.len);
    b->tail += s.len;
}

static void put_number(struct buf *b, uint64_t n, bool negative)
{
    char text[NUMBER_MAX + 1];
    size_t at = sizeof(text);
    do {
        text[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    if (negative)
        text[--at] = '-';
    put(b, SPAN(" "));
    put(b, span_of(text + at, sizeof(text) - at));
}

static void put_i32(struct buf *b, int32_t n)
{
    put_number(b, n < 0 ? (uint64_t) - (int64_t)n : (uint64_t)n, n < 0);
}

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
    if (!push(r, r->words.v[0]) || !push(r, r->words.v[1]))
        return bad(r->out, no_memory);
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
    const struct words *w = &r->words;
    if (!r->line.strict || w->count != r->verb->least + 1u)
        return false;
    size_t len = w->count - 1;
    for (uint32_t i = 0; i < w->count; i++)
        len += w->v[i].len;
    return len == r->line.text.len;
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
        return answer(r, bad_format, quiet);
    size_t data = (size_t)item.bytes + 2;
    if (r->line.len + data >= REQUEST_MAX) {
        r->ses->skip = data;
        return answer(r, SPAN("SERVER_ERROR object too large for cache\r\n"), quiet);
    }
    size_t total = r->line.len + data;
    if (r->in.len < total) {
        r->p->pos = r->line.len;
        r->p->bulk = (uint32_t)item.bytes;
        return PARSE_MORE;
    }
    if (memcmp(r->in.ptr + total - 2, "\r\n", 2) != 0) {
        r->line.len = (uint32_t)total;
        return answer(r, SPAN("CLIENT_ERROR bad data chunk\r\n"), quiet);
    }
    struct span wire = {r->in.ptr, total};
    if (!item.plain || !is_canonical(r)) {
        if (!compose_store(r, &item, span_of(r->in.ptr + r->line.len, data)))
            return bad(r->out, no_memory);
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
        return answer(r, bad_format, quiet);
    if (delta && !line_u64(w->v[2], &by, &plain))
        return answer(r, SPAN("CLIENT_ERROR invalid numeric delta argument\r\n"), quiet);
    if (!delta && !line_i32(w->v[2], &exptime, &plain))
        return answer(r, bad_exptime, quiet);
    if (plain && is_canonical(r))
        return forward(r, r->line.len, span_of(r->in.ptr, r->line.len), quiet);
    if (!put_name(r, w->v[1], 1 + NUMBER_MAX + 2))
        return bad(r->out, no_memory);
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
        return answer(r,
                      SPAN("CLIENT_ERROR bad command line format.  "
                           "Usage: delete <key> [noreply]\r\n"),
                      quiet);
    if (w->v[1].len > KEY_MAX)
        return answer(r, bad_format, quiet);
    if (is_canonical(r))
        return forward(r, r->line.len, span_of(r->in.ptr, r->line.len), quiet);
    if (!put_name(r, w->v[1], 2))
        return bad(r->out, no_memory);
    put(r->scratch, SPAN("\r\n"));
    return forward(r, r->line.len, buf_span(r->scratch), quiet);
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
        return answer(r,
                      SPAN("CLIENT_ERROR flush_all not allowed "
                           "(this pool has no allow_flush: true)\r\n"),
                      quiet);
    if (delayed && !line_i32(w->v[1], &delay, &plain))
        return answer(r, bad_exptime, quiet);
    buf_clear(r->scratch);
    if (!buf_reserve(r->scratch, r->verb->len + 1 + NUMBER_MAX + 2))
        return bad(r->out, no_memory);
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
        return answer(r, bad_format, quiet);
    return answer(r, SPAN("OK\r\n"), quiet);
}

/* Refuses a command that is not served; silently, if memcached would not answer it either. */
static enum parse read_later(struct reading *r)
{
    return answer(r, SPAN("ERROR\r\n"), says_noreply(&r->words));
}

/* Refuses a meta set, together with the data block that memcached would take. */
static enum parse read_later_data(struct reading *r)
{
    int32_t bytes;
    bool plain = true;
    if (r->words.v[1].len <= KEY_MAX && line_i32(r->words.v[2], &bytes, &plain) && bytes >= 0 &&
        bytes <= INT32_MAX - 2)
        r->ses->skip = (uint64_t)bytes + 2;
    return answer(r, SPAN("ERROR\r\n"), false);
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
            return answer(r, bad_format, false);
        if (!push(r, key))
            return bad(out, no_memory);
        bytes += key.len;
    }
    uint32_t count = args->count - first;
    if (count == 0)
        return answer(r, first == 1 ? SPAN("ERROR\r\n") : SPAN("END\r\n"), false);
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
        return bad(out, no_memory);
    return PARSE_DONE;
}

/* Reads get and gets, of any number of keys; `rest` is what follows the name. */
static enum parse read_get(struct reading *r, struct span name, struct span rest)
{
    if (!push(r, name))
        return bad(r->out, no_memory);
    return read_keys(r, rest, 1, name.len, NULL);
}

/* Reads gat and gats: gets with an exptime before the keys. */
static enum parse read_gat(struct reading *r, struct span name, struct span rest)
{
    struct span word;
    int32_t exptime;
    bool plain = true;
    if (!line_word(&rest, &word))
        return answer(r, SPAN("ERROR\r\n"), false);
    if (!line_i32(word, &exptime, &plain))
        return answer(r, bad_exptime, false);
    if (!push(r, name) || !push(r, word))
        return bad(r->out, no_memory);
    enum parse said = read_keys(r, rest, 2, name.len + word.len, plain ? NULL : &exptime);
    bool forwarded = said == PARSE_DONE && r->out->kind != REQUEST_LOCAL;
    if (forwarded && r->out->wire.len > LINE_CUT_MAX)
        return answer(r, SPAN("CLIENT_ERROR line is too long for this command\r\n"), false);
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
    return answer(r, SPAN("ERROR\r\n"), false);
}

static enum parse read_words(struct reading *r)
{
    uint32_t args = r->words.count - 1;
    if (args < r->verb->least || (r->verb->most > 0 && args > r->verb->most))
        return answer(r, SPAN("ERROR\r\n"), false);
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
    case SHAPE_LATER:
        return read_later(r);
    case SHAPE_LATER_DATA:
        return read_later_data(r);
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
        return answer(r, SPAN("ERROR\r\n"), false);
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
        return bad(out, no_memory);
    p->scan = (uint32_t)in.len;
    if (in.len > LINE_CUT_MAX && !is_get(in))
        return bad(out, SPAN(""));
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
    view_begin(out, in.ptr, p->args);
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
        return bad(out, SPAN("CLIENT_ERROR the binary protocol is not served\r\n"));
    const char *lf = NULL;
    if (in.len > p->scan)
        lf = memchr(in.ptr + p->scan, '\n', in.len - p->scan);
    if (lf == NULL)
        return unfinished(p, in, out);
    size_t len = (size_t)(lf - in.ptr) + 1;
    if (len >= REQUEST_MAX)
        return bad(out, no_memory);
    if (len > LINE_WHOLE_MAX && !is_get(in))
        return bad(out, SPAN(""));
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
