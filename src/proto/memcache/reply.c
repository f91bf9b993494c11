/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/memcache/reply.h"

#include <string.h>

#include "proto/memcache/line.h"
#include "proto/memcache/scan.h"

enum {
    LINE_MAX_LEN = 4096, /* of a reply that is one line; memcached's longest are far shorter */
    FLAGS_DIGITS = 10,
    CAS_DIGITS = 20,
    BYTES_MAX = INT32_MAX,
};

/* Where the parsing of a reply stands; IN_BODY is the data of a VA, all others but LINE_START belong
 * to a VALUE block. */
enum state { LINE_START, IN_KEY, IN_FLAGS, IN_BYTES, IN_CAS, HEADER_END, IN_DATA, IN_BODY };

/* The whole lines that each expectation allows. */
static const struct span legal[][4] = {
    [EXPECT_NOTHING] = {{NULL, 0}},
    [EXPECT_OK] = {{"OK", 2}},
    [EXPECT_STORED] = {{"STORED", 6}, {"NOT_STORED", 10}},
    [EXPECT_CAS] = {{"STORED", 6}, {"EXISTS", 6}, {"NOT_FOUND", 9}, {"NOT_STORED", 10}},
    [EXPECT_DELETED] = {{"DELETED", 7}, {"NOT_FOUND", 9}},
    [EXPECT_TOUCHED] = {{"TOUCHED", 7}, {"NOT_FOUND", 9}},
    [EXPECT_NUMBER] = {{"NOT_FOUND", 9}},
    [EXPECT_VERSION] = {{NULL, 0}},
    [EXPECT_VALUES] = {{"END", 3}},
    [EXPECT_META_DEBUG] = {{NULL, 0}},
};

/* The two letters that each meta command may be answered with. */
static const char *const codes[] = {
    [EXPECT_META_GET] = "HD EN VA",       [EXPECT_META_SET] = "HD NS EX NF",
    [EXPECT_META_DELETE] = "HD NF EX NS", [EXPECT_META_NUMBER] = "HD VA NF NS EX",
    [EXPECT_META_DEBUG] = "ME EN",
};

/* The words that an error line begins with. */
static const struct span errors[] = {{"ERROR", 5}, {"CLIENT_ERROR", 12}, {"SERVER_ERROR", 12}};

static const struct span version = {"VERSION ", 8};
static const struct span value = {"VALUE ", 6};
static const struct span va = {"VA", 2};

static bool begins(struct span s, struct span with)
{
    return s.len >= with.len && memcmp(s.ptr, with.ptr, with.len) == 0;
}

/* Can `head`, the beginning of a line, grow into `line`, or into a line that begins with it? */
static bool may_become(struct span head, struct span line)
{
    return head.len <= line.len ? begins(line, head) : begins(head, line);
}

static bool is_meta(uint8_t expect)
{
    return expect >= EXPECT_META_GET;
}

/* Can `head`, the beginning of a line, grow into one that begins with a code of the command? Behind
 * it stand flags or nothing. */
static bool may_be_meta(uint8_t expect, struct span head)
{
    if (head.len > 2 && head.ptr[2] != ' ')
        return false;
    for (const char *code = codes[expect];; code += 3) {
        if (memcmp(head.ptr, code, head.len < 2 ? head.len : 2) == 0)
            return true;
        if (code[2] == '\0')
            return false;
    }
}

static bool is_error(struct span line)
{
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        size_t len = errors[i].len;
        if (begins(line, errors[i]) && (line.len == len || line.ptr[len] == ' '))
            return true;
    }
    return false;
}

/* Digits; old memcacheds pad a number that became shorter with spaces. */
static bool is_number(struct span line)
{
    size_t digits = 0;
    while (digits < line.len && line.ptr[digits] >= '0' && line.ptr[digits] <= '9')
        digits++;
    size_t i = digits;
    while (i < line.len && line.ptr[i] == ' ')
        i++;
    return digits > 0 && i == line.len && line.len <= 20;
}

/* Is this (the beginning of) a whole line that may answer it? */
static bool line_fits(uint8_t expect, struct span line)
{
    for (size_t i = 0; i < ARRAY_LEN(legal[0]) && legal[expect][i].ptr != NULL; i++) {
        if (span_eq(legal[expect][i], line))
            return true;
    }
    return (expect == EXPECT_NUMBER && is_number(line)) ||
           (expect == EXPECT_VERSION && begins(line, version)) ||
           (is_meta(expect) && line.len >= 2 && may_be_meta(expect, line));
}

/* Can the beginning of a line become one that may answer it? */
static bool head_fits(uint8_t expect, struct span head)
{
    if (head.len > 0 && head.ptr[head.len - 1] == '\r')
        head.len--;
    for (size_t i = 0; i < ARRAY_LEN(legal[0]) && legal[expect][i].ptr != NULL; i++) {
        if (head.len <= legal[expect][i].len && may_become(head, legal[expect][i]))
            return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        if (may_become(head, errors[i]))
            return true;
    }
    return head.len == 0 || (expect == EXPECT_NUMBER && is_number(head)) ||
           (expect == EXPECT_VERSION && may_become(head, version)) ||
           (expect == EXPECT_VALUES && may_become(head, value)) ||
           (is_meta(expect) && may_be_meta(expect, head));
}

/* The line of a VA is whole: what follows are as many bytes as it says, and a line end. */
static enum parse begin_body(struct reply_parser *p, struct span line)
{
    size_t at = 3;
    uint64_t n = 0;
    while (at < line.len && line.ptr[at] >= '0' && line.ptr[at] <= '9' && n <= BYTES_MAX)
        n = n * 10 + (uint64_t)(line.ptr[at++] - '0');
    if (at == 3 || n > BYTES_MAX || (at < line.len && line.ptr[at] != ' '))
        return PARSE_BAD;
    p->left = n + 2;
    p->number = 0;
    p->matched = 0;
    p->state = IN_BODY;
    return PARSE_MORE;
}

/* A line is whole: `line` is its beginning, without the CRLF. */
static enum parse judge(struct reply_parser *p, uint8_t expect, struct span line)
{
    if (line_fits(expect, line))
        return is_meta(expect) && begins(line, va) ? begin_body(p, line) : PARSE_DONE;
    /* A server that does not know ms takes its data block for requests. */
    if (expect == EXPECT_META_SET && span_eq(line, errors[0]))
        return PARSE_BAD;
    p->error = is_error(line);
    return p->error ? PARSE_DONE : PARSE_BAD;
}

/* Reads a line that comes in pieces, of which only the beginning is kept. `p->number` is its length
 * so far, `p->type` its last byte. */
static enum parse line_piece(struct reply_parser *p, uint8_t expect, struct span in, size_t *at)
{
    struct span rest = span_from(in, *at);
    const char *lf = memchr(rest.ptr, '\n', rest.len);
    size_t len = lf == NULL ? rest.len : (size_t)(lf - rest.ptr);
    size_t room = sizeof(p->head) - p->matched;
    size_t keep = len < room ? len : room;
    memcpy(p->head + p->matched, rest.ptr, keep);
    p->matched = (uint8_t)(p->matched + keep);
    if (len > 0)
        p->type = (uint8_t)rest.ptr[len - 1];
    p->number += len;
    *at += len;
    if (p->number > LINE_MAX_LEN || !head_fits(expect, span_of(p->head, p->matched)))
        return PARSE_BAD;
    if (lf == NULL)
        return PARSE_MORE;
    if (p->type != '\r')
        return PARSE_BAD;
    ++*at;
    size_t line = p->number - 1;
    return judge(p, expect, span_of(p->head, line < p->matched ? (size_t)line : p->matched));
}

static enum parse parse_line(struct reply_parser *p, uint8_t expect, struct span in, size_t *at)
{
    struct span rest = span_from(in, *at);
    if (p->number > 0)
        return line_piece(p, expect, in, at);
    size_t look = rest.len < LINE_MAX_LEN ? rest.len : LINE_MAX_LEN;
    const char *lf = memchr(rest.ptr, '\n', look);
    if (lf == NULL)
        return line_piece(p, expect, in, at);
    size_t len = (size_t)(lf - rest.ptr);
    if (len == 0 || lf[-1] != '\r')
        return PARSE_BAD;
    *at += len + 1;
    return judge(p, expect, span_of(rest.ptr, len - 1));
}

/* Steps over digits, at most `max`, and the byte behind them, which is `*behind`. NULL: there are
 * none, or too many, or the input ends there. */
static const char *step_number(const char *s, const char *end, size_t max, char *behind)
{
    const char *start = s;
    const char *stop = (size_t)(end - s) > max ? s + max : end;
    while (s < stop && *s >= '0' && *s <= '9')
        s++;
    if (s == start || s == end)
        return NULL;
    *behind = *s;
    return s + 1;
}

/* What follows the usual `VALUE ` line at `s`, and the length of its data. NULL: it is not whole, or
 * not of the usual form. */
static const char *usual_header(const char *s, const char *end, uint32_t *bytes)
{
    char behind;
    const char *key = s + value.len;
    s = scan_word(key, end);
    if (s == end || *s != ' ' || s == key || s - key > KEY_MAX)
        return NULL;
    s = step_number(s + 1, end, FLAGS_DIGITS, &behind);
    if (s == NULL || behind != ' ')
        return NULL;
    s = scan_number(s, end, bytes);
    if (s == NULL)
        return NULL;
    behind = *s++;
    if (behind == ' ')
        s = step_number(s, end, CAS_DIGITS, &behind);
    if (s == NULL || behind != '\r' || s == end || *s != '\n')
        return NULL;
    return s + 1;
}

static bool is_value(const char *s, const char *end)
{
    return end - s >= 6 && memcmp(s, "VALUE ", 6) == 0;
}

/* Steps over the VALUE block at `s`, if it is of the usual form and whole; else NULL. */
static const char *usual_block(const char *s, const char *end)
{
    uint32_t bytes;
    if (!is_value(s, end))
        return NULL;
    s = usual_header(s, end, &bytes);
    if (s == NULL || (size_t)(end - s) < (size_t)bytes + 2)
        return NULL;
    s += bytes;
    return s[0] == '\r' && s[1] == '\n' ? s + 2 : NULL;
}

/* Steps over all blocks that are whole and of the usual form, and over the line of one whose data is
 * not whole. */
static void usual_blocks(struct reply_parser *p, struct span in, size_t *at)
{
    const char *end = in.ptr + in.len;
    const char *s = in.ptr + *at;
    for (const char *next; (next = usual_block(s, end)) != NULL;)
        s = next;
    uint32_t bytes;
    const char *data = is_value(s, end) ? usual_header(s, end, &bytes) : NULL;
    if (data != NULL) {
        s = data;
        p->left = (uint64_t)bytes + 2;
        p->state = IN_DATA;
    }
    *at = (size_t)(s - in.ptr);
}

/* Reads the beginning of a line of a get's reply: a VALUE block, or the line that ends it all. */
static enum parse value_start(struct reply_parser *p, struct span in, size_t *at)
{
    struct span rest = span_from(in, *at);
    size_t need = value.len - p->matched;
    size_t n = rest.len < need ? rest.len : need;
    if (p->matched < value.len && memcmp(rest.ptr, value.ptr + p->matched, n) == 0 &&
        memcmp(p->head, value.ptr, p->matched) == 0) {
        memcpy(p->head + p->matched, rest.ptr, n);
        p->matched = (uint8_t)(p->matched + n);
        p->number += n;
        *at += n;
        if (p->matched < value.len)
            return PARSE_MORE;
        p->state = IN_KEY;
        p->number = 0;
        p->matched = 0;
        return PARSE_MORE;
    }
    return parse_line(p, EXPECT_VALUES, in, at);
}

static bool value_key(struct reply_parser *p, struct span in, size_t *at)
{
    struct span rest = span_from(in, *at);
    if (rest.len > KEY_MAX + 1)
        rest.len = KEY_MAX + 1;
    const char *space = memchr(rest.ptr, ' ', rest.len);
    size_t len = space == NULL ? rest.len : (size_t)(space - rest.ptr);
    if (memchr(rest.ptr, '\n', len) != NULL)
        return false;
    p->number += len;
    *at += len;
    if (p->number > KEY_MAX)
        return false;
    if (space == NULL)
        return true;
    ++*at;
    bool empty = p->number == 0;
    p->number = 0;
    p->matched = 0;
    p->state = IN_FLAGS;
    return !empty;
}

/* The number that was read has ended at `c`: what comes next? */
static bool number_end(struct reply_parser *p, char c)
{
    bool empty = p->matched == 0;
    p->matched = 0;
    if (p->state == IN_FLAGS) {
        p->state = IN_BYTES;
        return !empty && c == ' ';
    }
    if (p->state == IN_BYTES && c == ' ') {
        p->state = IN_CAS;
        return !empty;
    }
    p->state = HEADER_END;
    return !empty && c == '\r';
}

/* Reads a digit, or what ends a number, of a VALUE line. `p->matched` counts the digits. */
static bool value_digit(struct reply_parser *p, char c)
{
    if (c < '0' || c > '9')
        return number_end(p, c);
    p->matched++;
    if (p->state == IN_BYTES) {
        p->left = p->left * 10 + (uint64_t)(c - '0');
        return p->left <= BYTES_MAX && p->matched <= FLAGS_DIGITS;
    }
    return p->matched <= (p->state == IN_FLAGS ? FLAGS_DIGITS : CAS_DIGITS);
}

/* Passes over the data of a block; its line end is counted in `p->left`. */
static bool value_data(struct reply_parser *p, struct span in, size_t *at)
{
    size_t rest = in.len - *at;
    if (p->left > 2) {
        size_t n = p->left - 2 < rest ? (size_t)(p->left - 2) : rest;
        p->left -= n;
        *at += n;
        rest -= n;
    }
    while (rest > 0 && p->left > 0) {
        if (in.ptr[*at] != (p->left == 2 ? '\r' : '\n'))
            return false;
        ++*at;
        p->left--;
        rest--;
    }
    if (p->left == 0)
        p->state = LINE_START;
    return true;
}

static bool header_end(struct reply_parser *p, char c)
{
    p->left += 2;
    p->number = 0;
    p->state = IN_DATA;
    return c == '\n';
}

static bool value_step(struct reply_parser *p, struct span in, size_t *at)
{
    switch ((enum state)p->state) {
    case IN_KEY:
        return value_key(p, in, at);
    case IN_FLAGS:
    case IN_BYTES:
    case IN_CAS:
        return value_digit(p, in.ptr[(*at)++]);
    case HEADER_END:
        return header_end(p, in.ptr[(*at)++]);
    case IN_DATA:
        return value_data(p, in, at);
    case LINE_START:
    case IN_BODY:
        break;
    }
    never("no part of a block");
}

static enum parse parse_values(struct reply_parser *p, struct span in, size_t *at)
{
    while (*at < in.len) {
        if (p->state == LINE_START && p->number == 0)
            usual_blocks(p, in, at);
        if (p->state == LINE_START) {
            if (p->number == 0 && in.len - *at >= 5 && memcmp(in.ptr + *at, "END\r\n", 5) == 0) {
                *at += 5;
                return PARSE_DONE;
            }
            enum parse said = value_start(p, in, at);
            if (said != PARSE_MORE)
                return said;
        } else if (!value_step(p, in, at)) {
            return PARSE_BAD;
        }
    }
    return PARSE_MORE;
}

/* Reads the reply to a meta command: a line, and behind a VA its data. */
static enum parse parse_meta(struct reply_parser *p, uint8_t expect, struct span in, size_t *at)
{
    if (p->state == LINE_START) {
        enum parse said = parse_line(p, expect, in, at);
        if (said != PARSE_MORE || p->state == LINE_START)
            return said;
    }
    if (!value_data(p, in, at))
        return PARSE_BAD;
    return p->state == LINE_START ? PARSE_DONE : PARSE_MORE;
}

enum parse memcache_parse_reply(struct reply_parser *p, uint8_t expect, struct span in,
                                size_t *used)
{
    *used = 0;
    must(expect < ARRAY_LEN(legal));
    if (in.len == 0)
        return PARSE_MORE;
    if (expect == EXPECT_VALUES)
        return parse_values(p, in, used);
    if (expect == EXPECT_STORED && p->number == 0 && in.len >= 8 &&
        memcmp(in.ptr, "STORED\r\n", 8) == 0) {
        *used = 8;
        return PARSE_DONE;
    }
    return is_meta(expect) ? parse_meta(p, expect, in, used) : parse_line(p, expect, in, used);
}

/* Takes the VALUE block at byte `*at` of a reply that was framed before. An empty span: there is
 * none. */
static struct span next_block(struct span reply, size_t *at)
{
    struct span rest = span_from(reply, *at);
    const char *stop = usual_block(rest.ptr, rest.ptr + rest.len);
    if (stop != NULL) {
        *at += (size_t)(stop - rest.ptr);
        return span_of(rest.ptr, (size_t)(stop - rest.ptr));
    }
    if (!begins(rest, value))
        return SPAN("");
    struct reply_parser p = {.state = IN_KEY};
    size_t len = value.len;
    while (p.state != LINE_START && len < rest.len) {
        if (!value_step(&p, rest, &len))
            return SPAN("");
    }
    if (p.state != LINE_START)
        return SPAN("");
    *at += len;
    return span_of(rest.ptr, len);
}

/* Appends the blocks in the order of the keys. A miss leaves no block, and the keys are not at
 * hand: where a server has misses, its later blocks come earlier than its keys stand. Each server's
 * own order is kept, and with no miss the order is exact; twemproxy does the same. */
static bool join_blocks(const struct part_reply *parts, const uint16_t *part_of, uint32_t key_count,
                        size_t *at, struct chunk_pool *pool, struct chain *blocks)
{
    for (uint32_t i = 0; i < key_count;) {
        uint32_t part = part_of[i];
        size_t from = at[part];
        struct span block;
        /* Keys of one server that follow each other are copied in one piece. */
        do
            block = parts[part].failed ? SPAN("") : next_block(parts[part].bytes, &at[part]);
        while (++i < key_count && part_of[i] == part && block.len > 0);
        struct span run = {parts[part].bytes.ptr + from, at[part] - from};
        if (run.len > 0 && !chain_append(blocks, pool, run))
            return false;
    }
    return true;
}

/* The line that ends the joined reply: the first error of a part, else END. False if a part does
 * not end as it must. */
static bool find_end(const struct part_reply *parts, uint32_t part_count, const size_t *at,
                     struct span *end, uint32_t *bad)
{
    *end = SPAN("END\r\n");
    bool error = false;
    for (uint32_t i = 0; i < part_count; i++) {
        struct span last = parts[i].failed ? parts[i].bytes : span_from(parts[i].bytes, at[i]);
        if (parts[i].failed || parts[i].error) {
            *end = error ? *end : last;
            error = true;
        }
        bool whole = last.len >= 2 && memchr(last.ptr, '\n', last.len) == last.ptr + last.len - 1;
        bool ends = parts[i].failed || parts[i].error || span_eq(last, SPAN("END\r\n"));
        if (!whole || !ends || begins(last, value)) {
            *bad = i;
            return false;
        }
    }
    return true;
}

static bool join_values(const struct part_reply *parts, uint32_t part_count,
                        const uint16_t *part_of, uint32_t key_count, struct chunk_pool *pool,
                        struct chain *out, uint32_t *bad)
{
    struct buf cursors = {0};
    size_t size = part_count * sizeof(size_t);
    if (!buf_reserve(&cursors, size))
        return false;
    size_t *at = (size_t *)(void *)cursors.data;
    memset(at, 0, size);
    struct chain joined = {0};
    struct span end;
    bool ok = join_blocks(parts, part_of, key_count, at, pool, &joined) &&
              find_end(parts, part_count, at, &end, bad) && chain_append(&joined, pool, end);
    if (ok)
        chain_splice(out, pool, &joined);
    chain_clear(&joined, pool);
    buf_free(&cursors);
    return ok;
}

/* Appends the error lines of all parts that have one, as one line: who reads it must learn which
 * servers did not do it. False if memory is out; `*any` tells whether there was an error. */
static bool join_errors(const struct part_reply *parts, uint32_t part_count,
                        struct chunk_pool *pool, struct chain *out, bool *any)
{
    struct span between = SPAN("; ");
    bool good = true;
    *any = false;
    for (uint32_t i = 0; good && i < part_count; i++) {
        if (!parts[i].failed && !parts[i].error)
            continue;
        struct span line = parts[i].bytes;
        while (line.len > 0 && (line.ptr[line.len - 1] == '\r' || line.ptr[line.len - 1] == '\n'))
            line.len--;
        /* An empty line: there was no memory for it. What follows a mere ERROR or CLIENT_ERROR
         * must not change the word. */
        good = line.len > 0 && (!*any || chain_append(out, pool, between)) &&
               chain_append(out, pool, line);
        if (!*any && memchr(line.ptr, ' ', line.len) == NULL)
            between = SPAN(" ; ");
        *any = true;
    }
    return good;
}

static bool join_ok(const struct part_reply *parts, uint32_t part_count, struct chunk_pool *pool,
                    struct chain *out)
{
    struct chain joined = {0};
    bool any;
    bool ok = join_errors(parts, part_count, pool, &joined, &any) &&
              chain_append(&joined, pool, any ? SPAN("\r\n") : SPAN("OK\r\n"));
    if (ok)
        chain_splice(out, pool, &joined);
    chain_clear(&joined, pool);
    return ok;
}

bool memcache_join(uint8_t join, const struct part_reply *parts, uint32_t part_count,
                   const uint16_t *part_of, uint32_t key_count, struct chunk_pool *pool,
                   struct chain *out, uint32_t *bad)
{
    *bad = UINT32_MAX;
    if (join == JOIN_OK)
        return join_ok(parts, part_count, pool, out);
    return join_values(parts, part_count, part_of, key_count, pool, out, bad);
}
