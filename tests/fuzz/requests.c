/* SPDX-License-Identifier: BSD-3-Clause */
#include "requests.h"

#include <stdlib.h>
#include <string.h>

/* Byte by byte every byte is looked at anew by this test: too slow for long inputs. */
enum { BYTEWISE_MAX = 256, PARTS = 3, KEYS_MAX = 512 };

enum cuts { CUT_NOWHERE, CUT_BY_CHANCE, CUT_EVERYWHERE };

/* One client, and what was told of its requests. */
struct play {
    const struct wire *w;
    struct proto_settings settings;
    struct proto_login login;
    struct proto_session session;
    struct request_parser parser;
    struct args args;
    struct buf scratch;
    struct buf told;
    struct chance chance;
    bool ended;
};

static void tell(struct play *p, const char *what, struct span s)
{
    put_text(&p->told, what);
    put_header(&p->told, ' ', s.len);
    put(&p->told, s);
    put_text(&p->told, "\n");
}

/* Is `wire` for servers? */
static bool goes_out(const struct request_view *v)
{
    return v->kind != REQUEST_NONE && v->kind != REQUEST_LOCAL && v->kind != REQUEST_TELL;
}

static void tell_view(struct play *p, const struct request_view *v)
{
    put_header(&p->told, 'k', v->kind);
    tell(p, "wire", v->wire);
    tell(p, "login", v->kind == REQUEST_LOGIN ? v->login.user : SPAN(""));
    tell(p, "reply", v->reply);
    put_header(&p->told, v->write ? 'w' : 'r', v->len);
    put_header(&p->told, v->close ? 'c' : 'o', v->expect);
    put_header(&p->told, v->quiet ? 'q' : 'l', v->join);
    put_header(&p->told, 'h', v->hush);
    for (uint32_t i = 0; goes_out(v) && i < request_key_count(v); i++)
        tell(p, "key", request_key(v, i));
}

/* Is `bytes` exactly one request? */
static void read_as_one(const struct wire *w, struct span bytes, struct reading_request *r)
{
    must(w->request(bytes, r) == READING_WHOLE);
    must(r->len == bytes.len);
}

/* Is `bytes` exactly one reply, for the proxy's parser as for ours? */
static void one_reply(const struct wire *w, uint8_t expect, struct span bytes)
{
    struct reply_parser parser = {0};
    size_t used = 0;
    must(w->proto->parse_reply(&parser, expect, bytes, &used) == PARSE_DONE);
    must(used == bytes.len);
    w->proto->reply_reset(&parser);
}

static void chain_read(const struct chain *c, struct buf *out)
{
    for (const struct chunk *k = c->first; k != NULL; k = k->next)
        put(out, span_of(k->data + k->head, k->tail - k->head));
    must(buf_len(out) == c->len);
}

/* What the parts of a split were asked and answered. */
struct parts {
    uint32_t order[PARTS][KEYS_MAX];
    uint32_t counts[PARTS];
    uint16_t part_of[KEYS_MAX];
    uint32_t used; /* parts that have a key */
    struct part_reply replies[PARTS];
    struct buf answers[PARTS];
};

static void deal_keys(struct play *p, struct parts *s, uint32_t keys)
{
    uint32_t where[PARTS] = {0};
    for (uint32_t i = 0; i < PARTS; i++)
        where[i] = UINT32_MAX;
    for (uint32_t i = 0; i < keys; i++) {
        uint32_t *at = &where[chance_under(&p->chance, PARTS)];
        if (*at == UINT32_MAX)
            *at = s->used++;
        s->order[*at][s->counts[*at]++] = i;
        s->part_of[i] = (uint16_t)*at;
    }
}

static void ask_parts(struct play *p, const struct request_view *v, struct parts *s)
{
    static struct reading_request r;
    for (uint32_t i = 0; i < s->used; i++) {
        struct buf wire = {0};
        must(p->w->proto->compose_part(v, s->order[i], s->counts[i], &wire));
        read_as_one(p->w, buf_span(&wire), &r);
        p->w->answer(&r, &s->answers[i]);
        s->replies[i].bytes = buf_span(&s->answers[i]);
        one_reply(p->w, p->w->proto->part_expect(v), s->replies[i].bytes);
        buf_free(&wire);
    }
}

static void check_split(struct play *p, const struct request_view *v,
                        const struct reading_request *whole)
{
    static struct parts s;
    struct chunk_pool pool = {0};
    struct chain joined = {0};
    struct buf got = {0};
    struct buf want = {0};
    uint32_t keys = request_key_count(v);
    uint32_t bad = UINT32_MAX;
    if (keys > KEYS_MAX || keys == 0)
        return;
    memset(&s, 0, sizeof(s));
    deal_keys(p, &s, keys);
    ask_parts(p, v, &s);
    if (p->w->proto->join(v->join, s.replies, s.used, s.part_of, keys, &pool, &joined, &bad)) {
        chain_read(&joined, &got);
        one_reply(p->w, v->expect, buf_span(&got));
        p->w->answer(whole, &want);
        must(!p->w->joins_exactly(whole) || span_eq(buf_span(&got), buf_span(&want)));
    } else {
        must(!p->w->joins_exactly(whole));
    }
    chain_clear(&joined, &pool);
    chunk_pool_free(&pool);
    for (uint32_t i = 0; i < PARTS; i++)
        buf_free(&s.answers[i]);
    buf_free(&got);
    buf_free(&want);
}

static void check_view(struct play *p, const struct request_view *v)
{
    static struct reading_request r;
    size_t len = 0;
    if (v->kind == REQUEST_LOCAL && v->reply.len > 0) {
        must(p->w->reply(v->reply, &len) == READING_WHOLE);
        must(len == v->reply.len);
    }
    /* RESET goes to no server: what it asks for is what the pool's own connections have. */
    bool own = v->kind == REQUEST_LOGIN && v->resets && v->wire.len == 0;
    if (!goes_out(v) || own)
        return;
    read_as_one(p->w, v->wire, &r);
    for (uint32_t i = 0; i < request_key_count(v); i++)
        must(request_key(v, i).len <= v->wire.len);
    if (v->kind == REQUEST_SPLIT)
        check_split(p, v, &r);
}

/* One request from the front of `in`; its bytes, 0 if it is not whole. */
static size_t play_one(struct play *p, struct span in)
{
    struct request_view v;
    uint64_t before = (uint64_t)p->parser.pos + p->parser.scan;
    enum parse got = p->w->proto->parse_request(&p->parser, &p->session, in, &p->scratch, &v);
    if (got == PARSE_MORE) {
        /* What was looked at is not looked at again. */
        must((uint64_t)p->parser.pos + p->parser.scan >= before);
        return 0;
    }
    if (got == PARSE_BAD) {
        size_t len = 0;
        must(p->w->reply(v.reply, &len) == READING_WHOLE && len == v.reply.len);
        tell(p, "bad", v.reply);
        p->ended = true;
        return 0;
    }
    must(v.len > 0 && v.len <= in.len);
    tell_view(p, &v);
    check_view(p, &v);
    p->ended = v.close;
    args_clear(&p->args);
    p->parser = (struct request_parser){.args = &p->args};
    return v.len;
}

/* All requests at the front of `in`, each time in memory of its exact size; returns their bytes. */
static size_t play_all(struct play *p, struct span in)
{
    size_t at = 0;
    size_t used = 1;
    while (!p->ended && used > 0 && at < in.len) {
        struct span rest = span_from(in, at);
        char *exact = malloc(rest.len);
        must(exact != NULL);
        memcpy(exact, rest.ptr, rest.len);
        used = play_one(p, span_of(exact, rest.len));
        at += used;
        free(exact);
    }
    return at;
}

static size_t next_cut(struct play *p, enum cuts cuts, size_t from, size_t end)
{
    if (cuts == CUT_EVERYWHERE)
        return from + 1;
    if (cuts == CUT_NOWHERE)
        return end;
    size_t most = chance_under(&p->chance, 3) == 0 ? 4 : end - from;
    size_t n = 1 + chance_under(&p->chance, most);
    return n < end - from ? from + n : end;
}

static void play_begin(struct play *p, const struct wire *w, uint8_t choice, uint8_t seed)
{
    *p = (struct play){.w = w, .chance = chance_of(seed)};
    p->settings.single_server = (choice & 1) != 0;
    p->settings.allow_flush = (choice & 2) != 0;
    if (choice & 4)
        p->settings.password = SPAN("secret");
    p->settings.db = choice & 8 ? 3 : 0;
    p->login =
        (struct proto_login){.password = p->settings.password, .db = p->settings.db, .resp = 2};
    p->session.settings = &p->settings;
    p->session.login = &p->login;
    p->parser.args = &p->args;
}

static void play_end(struct play *p)
{
    if (p->w->proto->session_end != NULL)
        p->w->proto->session_end(&p->session);
    args_free(&p->args);
    buf_free(&p->scratch);
    buf_free(&p->told);
}

/* Plays it all; what was told stays in `p`. */
static void play_cut(struct play *p, struct span in, enum cuts cuts)
{
    size_t at = 0;
    for (size_t to = 0; to < in.len && !p->ended;) {
        to = next_cut(p, cuts, to, in.len);
        at += play_all(p, span_of(in.ptr + at, to - at));
    }
    put_header(&p->told, '=', at);
}

void requests_play(const struct wire *w, struct input in)
{
    struct play whole;
    uint8_t choice = input_byte(&in);
    uint8_t seed = input_byte(&in);
    struct span wire = input_bytes(&in, in.left);
    play_begin(&whole, w, choice, seed);
    play_cut(&whole, wire, CUT_NOWHERE);
    for (enum cuts cuts = CUT_BY_CHANCE; cuts <= CUT_EVERYWHERE; cuts++) {
        struct play p;
        if (cuts == CUT_EVERYWHERE && wire.len > BYTEWISE_MAX)
            break;
        play_begin(&p, w, choice, seed);
        play_cut(&p, wire, cuts);
        must(span_eq(buf_span(&p.told), buf_span(&whole.told)));
        play_end(&p);
    }
    play_end(&whole);
}
