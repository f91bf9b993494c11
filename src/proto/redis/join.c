/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/join.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/redis/command.h"
#include "proto/redis/number.h"
#include "proto/redis/reply.h"

/* The replies that a policy joins, all of them of servers that succeeded, and where to. */
struct joining {
    const struct part_reply *parts;
    uint32_t count;
    const uint16_t *part_of;
    uint32_t key_count;
    struct chunk_pool *pool;
    struct chain *out;
    uint32_t *bad;
};

static bool not_joined(const struct joining *j, uint32_t part)
{
    *j->bad = part;
    return false;
}

/* Reads a line `mark number CR LF` at the front of `in`; returns its bytes, 0 if it is none or
 * negative. */
static size_t read_line(struct span in, char mark, uint64_t *n)
{
    const char *cr = in.len > 0 && in.ptr[0] == mark ? memchr(in.ptr, '\r', in.len) : NULL;
    if (cr == NULL || !span_u64(span_of(in.ptr + 1, (size_t)(cr - in.ptr) - 1), UINT32_MAX, n))
        return 0;
    return (size_t)(cr - in.ptr) + 2;
}

/* The reply of a part of a request that counts: how many of its keys. */
static bool part_count_of(const struct part_reply *part, uint32_t key_count, uint64_t *n)
{
    size_t len = read_line(part->bytes, ':', n);
    return len > 0 && len == part->bytes.len && *n <= key_count;
}

static bool append_number(char mark, uint64_t n, struct chunk_pool *pool, struct chain *out)
{
    char line[NUMBER_MAX + 3] = {mark};
    size_t len = 1 + number_write(line + 1, n);
    memcpy(line + len, "\r\n", 2);
    return chain_append(out, pool, span_of(line, len + 2));
}

static bool join_sum(const struct joining *j)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < j->count; i++) {
        uint64_t n = 0;
        if (!part_count_of(&j->parts[i], j->key_count, &n))
            return not_joined(j, i);
        sum += n;
    }
    return append_number(':', sum, j->pool, j->out);
}

/* What is left of the elements that a part replied with. */
struct values {
    struct span rest;
    uint64_t left;
    const struct span *keys; /* streams: those that were not looked for yet */
};

/* The elements of the array, set or map that `reply` is, and how many; false if it is none, or is not
 * of the kind `mark`. */
static bool read_elements(struct span reply, char mark, struct values *v)
{
    size_t header = read_line(reply, mark, &v->left);
    v->rest = span_from(reply, header);
    return header > 0;
}

/* Appends the values of all keys in their order. Neighbours of one part are appended as one. */
static bool append_values(struct values *v, const uint16_t *part_of, uint32_t key_count,
                          struct chunk_pool *pool, struct chain *out, uint32_t *bad)
{
    struct header h = HEADER_NONE;
    for (uint32_t i = 0; i < key_count;) {
        struct values *from = &v[part_of[i]];
        size_t run = 0;
        uint16_t part = part_of[i];
        for (; i < key_count && part_of[i] == part; i++) {
            size_t len = from->left > 0 ? redis_reply_value(&h, span_from(from->rest, run)) : 0;
            if (len == 0) {
                *bad = part;
                return false;
            }
            run += len;
            from->left--;
        }
        if (!chain_append(out, pool, span_of(from->rest.ptr, run)))
            return false;
        from->rest = span_from(from->rest, run);
    }
    return true;
}

static bool fill_array(struct values *v, const struct part_reply *parts, uint32_t part_count,
                       const uint16_t *part_of, uint32_t key_count, struct chunk_pool *pool,
                       struct chain *out, uint32_t *bad)
{
    for (uint32_t i = 0; i < part_count; i++) {
        if (!read_elements(parts[i].bytes, '*', &v[i])) {
            *bad = i;
            return false;
        }
    }
    if (!append_number('*', key_count, pool, out) ||
        !append_values(v, part_of, key_count, pool, out, bad))
        return false;
    for (uint32_t i = 0; i < part_count; i++) {
        if (v[i].left > 0 || v[i].rest.len > 0) {
            *bad = i;
            return false;
        }
    }
    return true;
}

static bool join_values(const struct joining *j)
{
    enum { FEW = 32 };
    struct values few[FEW];
    struct values *v = few;
    struct chain whole = {0};
    if (j->count > FEW)
        v = malloc(j->count * sizeof(*v));
    if (v == NULL)
        return false;
    bool ok = fill_array(v, j->parts, j->count, j->part_of, j->key_count, j->pool, &whole, j->bad);
    if (ok)
        chain_splice(j->out, j->pool, &whole);
    chain_clear(&whole, j->pool);
    if (v != few)
        free(v);
    return ok;
}

static bool pass_on(const struct joining *j, uint32_t part)
{
    return chain_append(j->out, j->pool, j->parts[part].bytes);
}

static bool join_first(const struct joining *j)
{
    return pass_on(j, 0);
}

/* An integer reply that is not negative. */
static bool read_integer(const struct part_reply *part, uint64_t *n)
{
    return part->bytes.len > 3 &&
           span_u64(span_of(part->bytes.ptr + 1, part->bytes.len - 3), INT64_MAX, n);
}

static bool join_total(const struct joining *j)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < j->count; i++) {
        uint64_t n = 0;
        if (!read_integer(&j->parts[i], &n))
            return not_joined(j, i);
        sum += n;
    }
    return append_number(':', sum, j->pool, j->out);
}

static bool join_least(const struct joining *j)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < j->count; i++) {
        uint64_t n = 0;
        if (!read_integer(&j->parts[i], &n))
            return not_joined(j, i);
        least = n < least ? n : least;
    }
    return append_number(':', least, j->pool, j->out);
}

/* Takes the integer at the front of `v`; false if it is none. */
static bool take_integer(struct values *v, uint64_t *n)
{
    size_t len = v->left > 0 ? read_line(v->rest, ':', n) : 0;
    v->rest = span_from(v->rest, len);
    v->left -= len > 0;
    return len > 0;
}

/* The replies of WAITAOF: pairs of numbers, and of each the smallest. */
static bool join_least_pair(const struct joining *j)
{
    uint64_t least[2] = {UINT64_MAX, UINT64_MAX};
    for (uint32_t i = 0; i < j->count; i++) {
        struct values v;
        if (!read_elements(j->parts[i].bytes, '*', &v) || v.left != 2)
            return not_joined(j, i);
        for (size_t k = 0; k < 2; k++) {
            uint64_t n = 0;
            if (!take_integer(&v, &n))
                return not_joined(j, i);
            least[k] = n < least[k] ? n : least[k];
        }
        if (v.rest.len > 0)
            return not_joined(j, i);
    }
    char text[2 * (NUMBER_MAX + 3) + 8];
    int len =
        snprintf(text, sizeof(text), "*2\r\n:%" PRIu64 "\r\n:%" PRIu64 "\r\n", least[0], least[1]);
    return chain_append(j->out, j->pool, span_of(text, (size_t)len));
}

static bool is_null(struct span reply)
{
    return span_eq(reply, SPAN("*-1\r\n")) || span_eq(reply, SPAN("$-1\r\n")) ||
           span_eq(reply, SPAN("_\r\n"));
}

/* All elements one after the other. A null has none; only nulls make a null. */
static bool join_concat(const struct joining *j)
{
    uint64_t count = 0;
    struct chain whole = {0};
    char mark = 0;
    bool ok = true;
    for (uint32_t i = 0; ok && i < j->count; i++) {
        struct values v = {.left = 0};
        struct span reply = j->parts[i].bytes;
        if (is_null(reply))
            continue;
        mark = mark == 0 ? reply.ptr[0] : mark;
        ok = read_elements(reply, mark, &v) || not_joined(j, i);
        count += v.left;
        ok = ok && chain_append(&whole, j->pool, v.rest);
    }
    if (ok && mark == 0)
        ok = pass_on(j, 0);
    else if (ok)
        ok = append_number(mark, count, j->pool, j->out);
    if (ok)
        chain_splice(j->out, j->pool, &whole);
    chain_clear(&whole, j->pool);
    return ok;
}

/* Bytes of the value at the front of `in`, of any kind; 0 if it is not whole. */
static size_t value_len(struct span in)
{
    struct reply_parser p = {0};
    size_t used = 0;
    enum parse r = redis_reply_parse(&p, REPLY_RESP3, in, &used);
    redis_reply_reset(&p);
    return r == PARSE_DONE ? used : 0;
}

/* Bytes of what is said of the stream `key` if that is next in `v`, the elements of a reply of kind `mark`: a name and
 * entries, in an array of their own unless they are those of a map. 0: it is another's turn. */
static size_t stream_len(const struct values *v, char mark, struct span key)
{
    char head[NUMBER_MAX + 8];
    int pair = snprintf(head, sizeof(head), "%s$%zu\r\n", mark == '%' ? "" : "*2\r\n", key.len);
    size_t head_len = (size_t)pair;
    size_t len = head_len + key.len + 2;
    if (v->left == 0 || v->rest.len < len || memcmp(v->rest.ptr, head, head_len) != 0 ||
        (key.len > 0 && memcmp(v->rest.ptr + head_len, key.ptr, key.len) != 0))
        return 0;
    size_t entries = value_len(span_from(v->rest, len));
    return entries == 0 ? 0 : len + entries;
}

/* Each reply has the streams that have something to read in the order in which they were asked for: so has the whole. */
static bool order_streams(const struct joining *j, struct values *v, char mark, struct chain *whole)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < j->count; i++)
        count += v[i].left;
    bool ok = append_number(mark, count, j->pool, whole);
    for (uint32_t i = 0; ok && i < j->key_count; i++) {
        struct values *from = &v[j->part_of[i]];
        size_t len = stream_len(from, mark, *from->keys++);
        ok = len == 0 || chain_append(whole, j->pool, span_of(from->rest.ptr, len));
        from->rest = span_from(from->rest, len);
        from->left -= len > 0;
    }
    for (uint32_t i = 0; ok && i < j->count; i++)
        if (v[i].left > 0 || v[i].rest.len > 0)
            return not_joined(j, i);
    return ok;
}

/* A null has none, and only nulls make a null. */
static bool read_streams(const struct joining *j, struct values *v, char *mark)
{
    for (uint32_t i = 0; i < j->count; i++) {
        struct span reply = j->parts[i].bytes;
        if (!is_null(reply)) {
            *mark = *mark == 0 ? reply.ptr[0] : *mark;
            if (!read_elements(reply, *mark, &v[i]))
                return not_joined(j, i);
        }
        v[i].keys = j->parts[i].keys;
    }
    return true;
}

static bool join_streams(const struct joining *j)
{
    if (j->parts[0].keys == NULL)
        return join_concat(j);
    struct chain whole = {0};
    struct values *v = calloc(j->count, sizeof(*v));
    char mark = 0;
    bool ok = v != NULL && read_streams(j, v, &mark);
    if (ok && mark == 0) {
        ok = pass_on(j, 0);
    } else if (ok) {
        ok = order_streams(j, v, mark, &whole);
        if (ok)
            chain_splice(j->out, j->pool, &whole);
    }
    chain_clear(&whole, j->pool);
    free(v);
    return ok;
}

/* Takes the bulk string at the front of `v`; false if it is none. */
static bool take_bulk(struct values *v, struct span *s)
{
    size_t len = v->left > 0 ? redis_reply_bulk(v->rest) : 0;
    *s = span_of(v->rest.ptr, len);
    v->rest = span_from(v->rest, len);
    v->left -= len > 0;
    return len > 0;
}

/* Reads all replies as arrays of the same length; v has room for each. */
static bool read_arrays(const struct joining *j, struct values *v)
{
    for (uint32_t i = 0; i < j->count; i++)
        if (!read_elements(j->parts[i].bytes, '*', &v[i]) || v[i].left != v[0].left)
            return not_joined(j, i);
    return true;
}

/* Element after element: 1 where all have 1. */
static bool and_elements(const struct joining *j, struct values *v, struct chain *whole)
{
    bool ok = append_number('*', v[0].left, j->pool, whole);
    while (ok && v[0].left > 0) {
        uint64_t all = 1;
        for (uint32_t i = 0; i < j->count; i++) {
            uint64_t n = 0;
            if (!take_integer(&v[i], &n))
                return not_joined(j, i);
            all = n == 0 ? 0 : all;
        }
        ok = append_number(':', all, j->pool, whole);
    }
    return ok;
}

/* Pairs of a name and a number: the numbers are added, the names must be the same. */
static bool add_pairs(const struct joining *j, struct values *v, struct chain *whole)
{
    bool ok = append_number('*', v[0].left, j->pool, whole);
    while (ok && v[0].left > 0) {
        uint64_t sum = 0;
        struct span name = SPAN("");
        for (uint32_t i = 0; i < j->count; i++) {
            struct span s;
            uint64_t n = 0;
            if (!take_bulk(&v[i], &s) || !take_integer(&v[i], &n) || (i > 0 && !span_eq(s, name)))
                return not_joined(j, i);
            name = s;
            sum += n;
        }
        ok = chain_append(whole, j->pool, name) && append_number(':', sum, j->pool, whole);
    }
    return ok;
}

static bool join_arrays(const struct joining *j,
                        bool (*elements)(const struct joining *, struct values *, struct chain *))
{
    struct chain whole = {0};
    struct values *v = calloc(j->count, sizeof(*v));
    if (v == NULL)
        return false;
    bool ok = read_arrays(j, v) && elements(j, v, &whole);
    if (ok)
        chain_splice(j->out, j->pool, &whole);
    chain_clear(&whole, j->pool);
    free(v);
    return ok;
}

static bool join_and(const struct joining *j)
{
    return join_arrays(j, and_elements);
}

static bool join_pairs(const struct joining *j)
{
    return join_arrays(j, add_pairs);
}

static bool join_most(const struct joining *j)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < j->count; i++) {
        uint64_t n = 0;
        if (!read_integer(&j->parts[i], &n))
            return not_joined(j, i);
        most = n > most ? n : most;
    }
    return append_number(':', most, j->pool, j->out);
}

static int order_spans(const void *a, const void *b)
{
    const struct span *x = a;
    const struct span *y = b;
    int order = memcmp(x->ptr, y->ptr, x->len < y->len ? x->len : y->len);
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* The bulk strings of all replies; `all` has room for them. */
static bool take_all(const struct joining *j, struct span *all)
{
    for (uint32_t i = 0; i < j->count; i++) {
        struct values v = {.left = 0};
        bool good = read_elements(j->parts[i].bytes, j->parts[i].bytes.ptr[0], &v);
        while (good && v.left > 0)
            good = take_bulk(&v, all++);
        if (!good)
            return not_joined(j, i);
    }
    return true;
}

static bool append_each_once(const struct joining *j, struct span *all, size_t count)
{
    struct chain whole = {0};
    uint64_t kept = 0;
    bool ok = true;
    qsort(all, count, sizeof(*all), order_spans);
    for (size_t i = 0; ok && i < count; i++) {
        if (i > 0 && span_eq(all[i], all[i - 1]))
            continue;
        ok = chain_append(&whole, j->pool, all[i]);
        kept++;
    }
    ok = ok && append_number(j->parts[0].bytes.ptr[0], kept, j->pool, j->out);
    if (ok)
        chain_splice(j->out, j->pool, &whole);
    chain_clear(&whole, j->pool);
    return ok;
}

/* The bulk strings of all, each once, in the order of their bytes. */
static bool join_union(const struct joining *j)
{
    size_t count = 0;
    for (uint32_t i = 0; i < j->count; i++) {
        struct values v = {.left = 0};
        struct span reply = j->parts[i].bytes;
        /* None of them is shorter than an empty string: so many can't be there. */
        if (!read_elements(reply, j->parts[0].bytes.ptr[0], &v) || v.left > reply.len / 5)
            return not_joined(j, i);
        count += v.left;
    }
    struct span *all = calloc(count + 1, sizeof(*all));
    bool ok = all != NULL && take_all(j, all) && append_each_once(j, all, count);
    free(all);
    return ok;
}

/* One of those that are not null. There is no chance in here but that of the servers, who chose the
 * bytes: these decide. */
static bool join_pick(const struct joining *j)
{
    uint64_t hash = 14695981039346656037u;
    uint32_t count = 0;
    for (uint32_t i = 0; i < j->count; i++) {
        struct span s = j->parts[i].bytes;
        count += !is_null(s);
        for (size_t k = 0; k < s.len; k++)
            hash = (hash ^ (unsigned char)s.ptr[k]) * 1099511628211u;
    }
    if (count == 0)
        return pass_on(j, 0);
    uint32_t chosen = (uint32_t)((hash >> 32) % count);
    uint32_t i = 0;
    for (uint32_t seen = 0;; i++)
        if (!is_null(j->parts[i].bytes) && seen++ == chosen)
            break;
    return pass_on(j, i);
}

/* The cursor of a server becomes one over all servers; see split.h. */
static bool join_scan(const struct joining *j)
{
    struct values v;
    struct span cursor;
    uint64_t at = 0;
    const struct part_reply *part = &j->parts[0];
    if (!read_elements(part->bytes, '*', &v) || v.left != 2 || !take_bulk(&v, &cursor))
        return not_joined(j, 0);
    const char *digits = memchr(cursor.ptr, '\n', cursor.len);
    size_t begin = (size_t)(digits - cursor.ptr) + 1;
    if (cursor.len < begin + 3 ||
        !span_u64(span_of(digits + 1, cursor.len - begin - 2), UINT64_MAX, &at))
        return not_joined(j, 0);
    uint64_t next = 0;
    if (at == 0 && part->server + 1 < part->servers)
        next = part->server + 1;
    else if (at != 0 && (__builtin_mul_overflow(at, part->servers, &next) ||
                         __builtin_add_overflow(next, part->server, &next)))
        return not_joined(j, 0);
    char text[NUMBER_MAX];
    size_t len = number_write(text, next);
    struct chain whole = {0};
    bool ok = chain_append(&whole, j->pool, SPAN("*2\r\n")) &&
              append_number('$', len, j->pool, &whole) &&
              chain_append(&whole, j->pool, span_of(text, len)) &&
              chain_append(&whole, j->pool, SPAN("\r\n")) && chain_append(&whole, j->pool, v.rest);
    if (ok)
        chain_splice(j->out, j->pool, &whole);
    chain_clear(&whole, j->pool);
    return ok;
}

/* A policy: what each reply must be, and the function. */
struct policy {
    enum reply_shape shape;
    bool (*join)(const struct joining *j);
};

static const struct policy policies[] = {
    [CLASS_MGET] = {REPLY_ARRAY, join_values},
    [CLASS_MSET] = {REPLY_STATUS, join_first},
    [CLASS_SUM] = {REPLY_INTEGER, join_sum},
    [CLASS_STREAMS] = {REPLY_ELEMENTS, join_streams},
    [CLASS_TOTAL] = {REPLY_INTEGER, join_total},
    [CLASS_CONCAT] = {REPLY_ELEMENTS, join_concat},
    [CLASS_PAIRS] = {REPLY_ARRAY, join_pairs},
    [CLASS_AND] = {REPLY_ARRAY, join_and},
    [CLASS_LEAST] = {REPLY_INTEGER, join_least},
    [CLASS_ALL_OK] = {REPLY_ANY, join_first},
    [CLASS_ONE_OK] = {REPLY_ANY, join_first},
    [CLASS_PICK] = {REPLY_STRING, join_pick},
    [CLASS_SCAN] = {REPLY_ARRAY, join_scan},
    [CLASS_WAIT] = {REPLY_INTEGER, join_least},
    [CLASS_WAITAOF] = {REPLY_ARRAY, join_least_pair},
    [CLASS_MOST] = {REPLY_INTEGER, join_most},
    [CLASS_UNION] = {REPLY_ELEMENTS, join_union},
};

enum reply_shape redis_join_shape(uint8_t join)
{
    return policies[join].shape;
}

/* The first part whose reply is of another kind than its request has, even when another part
 * failed. UINT32_MAX if there is none. */
static uint32_t odd_part(const struct policy *p, const struct part_reply *parts, uint32_t count)
{
    for (uint32_t i = 0; i < count && p->shape != REPLY_ANY; i++) {
        bool replied = !parts[i].failed && !parts[i].error;
        if (replied &&
            (parts[i].bytes.len == 0 || !redis_reply_is(p->shape, parts[i].bytes.ptr[0])))
            return i;
    }
    return UINT32_MAX;
}

/* The part whose error is the error of the whole; UINT32_MAX: none failed. Where one success is
 * enough, a server that had nothing to do is of least interest. */
static uint32_t failed_part(uint8_t join, const struct part_reply *parts, uint32_t count)
{
    uint32_t found = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        bool good = !parts[i].failed && !parts[i].error;
        bool idle = parts[i].bytes.len > 8 && memcmp(parts[i].bytes.ptr, "-NOTBUSY", 8) == 0;
        if (join == CLASS_ONE_OK && good)
            return UINT32_MAX;
        if (!good && (found == UINT32_MAX || (join == CLASS_ONE_OK && !idle)))
            found = i;
    }
    return found;
}

/* The first that succeeded comes first. */
static uint32_t first_good(const struct part_reply *parts)
{
    uint32_t i = 0;
    while (parts[i].failed || parts[i].error)
        i++;
    return i;
}

bool redis_join(uint8_t join, const struct part_reply *parts, uint32_t part_count,
                const uint16_t *part_of, uint32_t key_count, struct chunk_pool *pool,
                struct chain *out, uint32_t *bad)
{
    const struct policy *p = &policies[join];
    *bad = odd_part(p, parts, part_count);
    if (*bad != UINT32_MAX)
        return false;
    /* There was no memory for an error line if it is empty: then there is none for the whole. */
    uint32_t failed = failed_part(join, parts, part_count);
    if (failed != UINT32_MAX)
        return parts[failed].bytes.len > 0 && chain_append(out, pool, parts[failed].bytes);
    uint32_t skip = join == CLASS_ONE_OK ? first_good(parts) : 0;
    struct joining j = {parts + skip, part_count - skip, part_of, key_count, pool, out, bad};
    return p->join(&j);
}
