/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/memcache/meta.h"

#include "proto/memcache/reply.h"

enum {
    WORDS_MAX = 19, /* words of a line, its command included */
    DECODED_MAX = KEY_MAX / 4 * 3 + 3,
};

/* What the flags of a request say that concerns us. */
struct flags {
    bool quiet;
    bool base64;
    bool writes;  /* it may change the item */
    bool twice;   /* there are several `q` */
    bool invalid; /* ... and the first flag that memcached minds is one that it does not know */
};

/* Where the flags of a command begin. */
static uint32_t first_flag(const struct reading *r)
{
    return r->verb->shape == SHAPE_META_SET ? 3 : 2;
}

static void read_flags(const struct reading *r, struct flags *f)
{
    uint64_t seen[2] = {0, 0};
    bool minded = false;
    *f = (struct flags){.writes = r->verb->write};
    for (uint32_t i = first_flag(r); i < r->words.count; i++) {
        unsigned char c = (unsigned char)r->words.v[i].ptr[0];
        uint64_t bit = UINT64_C(1) << (c % 64);
        bool again = c >= 127 || (seen[c / 64] & bit) != 0;
        bool unknown = !again && memchr("bcfhklOqstuvCDFIJLMNPRT", c, 23) == NULL;
        f->invalid = f->invalid || (unknown && !minded);
        minded = minded || again || unknown;
        f->twice = f->twice || (c == 'q' && f->quiet);
        f->quiet = f->quiet || c == 'q';
        f->base64 = f->base64 || c == 'b';
        f->writes = f->writes || memchr("ENRT", c, 4) != NULL;
        if (!again)
            seen[c / 64] |= bit;
    }
}

/* Two `q` can't both be taken out: the server would not see that a flag stands there twice. */
static struct span twice_error(const struct reading *r, const struct flags *f)
{
    if (r->verb->expect == EXPECT_META_DELETE || r->verb->expect == EXPECT_META_NUMBER)
        return SPAN("CLIENT_ERROR invalid or duplicate flag\r\n");
    return f->invalid ? SPAN("CLIENT_ERROR invalid flag\r\n")
                      : SPAN("CLIENT_ERROR duplicate flag\r\n");
}

/* The value of a base64 digit; 64 for '=', 65 for what stands for nothing. */
static unsigned digit_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (unsigned)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (unsigned)(c - 'a') + 26;
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0') + 52;
    if (c == '+' || c == '/')
        return c == '+' ? 62 : 63;
    return c == '=' ? 64 : 65;
}

/* Decodes as memcached does: other characters are passed over, '=' stands for a zero, and the first
 * group of four that has one is the last. Returns the bytes; 0: memcached refuses the key. */
static size_t decode(struct span text, char out[DECODED_MAX])
{
    size_t digits = 0;
    for (size_t i = 0; i < text.len; i++)
        digits += digit_value(text.ptr[i]) <= 64;
    if (digits % 4 != 0)
        return 0;
    size_t len = 0;
    unsigned pad = 0;
    uint32_t group = 0;
    size_t have = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned v = digit_value(text.ptr[i]);
        if (v > 64)
            continue;
        pad += v == 64;
        group = group << 6 | (v & 63);
        if (++have < 4)
            continue;
        out[len++] = (char)(group >> 16);
        out[len++] = (char)(group >> 8);
        out[len++] = (char)group;
        have = 0;
        group = 0;
        if (pad > 0)
            break;
    }
    return pad > 2 ? 0 : len - pad;
}

/* Hands out a request with one key, as `wire`; behind it in the scratch buffer, `decoded` bytes of
 * its key may lie. */
static enum parse forward(struct reading *r, const struct flags *f, uint32_t len, struct span wire,
                          size_t decoded)
{
    struct request_view *out = r->out;
    struct span key = decoded > 0 ? span_of(wire.ptr + wire.len, decoded) : r->words.v[1];
    out->base = decoded > 0 ? wire.ptr : r->in.ptr;
    if (!args_push(r->p->args, (uint32_t)(key.ptr - out->base), (uint32_t)key.len))
        return reading_bad(out, NO_MEMORY);
    out->kind = REQUEST_FORWARD;
    out->len = len;
    out->write = f->writes;
    out->expect = r->verb->expect;
    out->hush = f->quiet ? r->verb->expect : 0;
    out->ranges = 1;
    out->keys[0] = (struct key_range){0, 1, 1};
    out->wire = wire;
    return PARSE_DONE;
}

/* The first `count` words of the line, without `q`. A number of bytes is written in its usual form. */
static void put_line(struct reading *r, uint32_t count, const int32_t *bytes)
{
    struct buf *b = r->scratch;
    put(b, verb_name(r->verb));
    for (uint32_t i = 1; i < count; i++) {
        struct span word = r->words.v[i];
        if (i == 2 && bytes != NULL) {
            put_i32(b, *bytes);
        } else if (i < first_flag(r) || word.ptr[0] != 'q') {
            put(b, SPAN(" "));
            put(b, word);
        }
    }
    put(b, SPAN("\r\n"));
}

/* Writes the request in the form that has one reading and no `q`, and behind it the key if that came
 * as base64. */
static enum parse rewrite(struct reading *r, const struct flags *f, uint32_t words,
                          const int32_t *bytes, struct span data)
{
    struct buf *b = r->scratch;
    char key[DECODED_MAX];
    size_t decoded = f->base64 ? decode(r->words.v[1], key) : 0;
    buf_clear(b);
    if (!buf_reserve(b, r->line.len + NUMBER_MAX + 4 + data.len + sizeof(key)))
        return reading_bad(r->out, NO_MEMORY);
    put_line(r, words, bytes);
    put(b, data);
    size_t len = buf_len(b);
    put(b, span_of(key, decoded));
    return forward(r, f, r->line.len + (uint32_t)data.len, span_of(buf_span(b).ptr, len), decoded);
}

enum parse meta_read(struct reading *r)
{
    struct flags f;
    bool get = r->verb->expect == EXPECT_META_GET;
    if (r->words.v[1].len > KEY_MAX)
        return reading_answer(r, BAD_FORMAT, false);
    if (r->words.count > WORDS_MAX)
        return reading_answer(r,
                              get ? SPAN("CLIENT_ERROR options flags are too long\r\n")
                                  : SPAN("CLIENT_ERROR options flags too long\r\n"),
                              false);
    read_flags(r, &f);
    if (f.twice)
        return reading_answer(r, twice_error(r, &f), false);
    if (f.quiet || f.base64 || !reading_is_tight(r))
        return rewrite(r, &f, r->words.count, NULL, SPAN(""));
    return forward(r, &f, r->line.len, span_of(r->in.ptr, r->line.len), 0);
}

/* Reads a line and the data block behind it. memcached takes the block even if it refuses the flags,
 * or the block itself, so that both are left to it; a line whose length it can't read has none. */
enum parse meta_read_set(struct reading *r)
{
    const struct words *w = &r->words;
    struct flags f;
    int32_t bytes;
    bool plain = true;
    if (w->v[1].len > KEY_MAX || w->count < 3)
        return reading_answer(r, BAD_FORMAT, false);
    if (w->count > WORDS_MAX)
        return reading_answer(r, SPAN("CLIENT_ERROR options flags too long\r\n"), false);
    if (!line_i32(w->v[2], &bytes, &plain) || bytes < 0 || bytes > INT32_MAX - 2)
        return reading_answer(r, BAD_FORMAT, false);
    size_t data = (size_t)bytes + 2;
    if (r->line.len + data >= REQUEST_MAX) {
        r->ses->skip = data;
        return reading_answer(r, TOO_LARGE, false);
    }
    uint32_t total = r->line.len + (uint32_t)data;
    if (r->in.len < total)
        return reading_wait(r, bytes);
    read_flags(r, &f);
    if (f.twice) {
        r->line.len = total;
        return reading_answer(r, twice_error(r, &f), false);
    }
    if (f.quiet || f.base64 || !plain || !reading_is_tight(r))
        return rewrite(r, &f, w->count, &bytes, span_of(r->in.ptr + r->line.len, data));
    return forward(r, &f, total, span_of(r->in.ptr, total), 0);
}

/* me has one flag, a `b` directly behind the key; memcached does not look at what follows. */
enum parse meta_read_debug(struct reading *r)
{
    const struct words *w = &r->words;
    if (w->count < 2 || w->v[1].len > KEY_MAX)
        return reading_answer(r, BAD_FORMAT, false);
    struct flags f = {.base64 = w->count > 2 && span_eq(w->v[2], SPAN("b"))};
    return rewrite(r, &f, f.base64 ? 3 : 2, NULL, SPAN(""));
}

bool meta_unheard(uint8_t hush, struct span head)
{
    if (hush == EXPECT_META_GET)
        return span_eq(head, SPAN("EN"));
    return span_eq(head, SPAN("HD")) || (hush == EXPECT_META_NUMBER && span_eq(head, SPAN("VA")));
}
