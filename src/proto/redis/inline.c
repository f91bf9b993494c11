/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/inline.h"

#include <stdbool.h>
#include <string.h>

#include "proto/redis/number.h"

/* Where the reading of a line stands; 0 is seen at its end. */
struct cursor {
    const char *at;
    const char *end;
};

static char peek(const struct cursor *c, size_t ahead)
{
    return (size_t)(c->end - c->at) > ahead ? c->at[ahead] : '\0';
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return (c >= 'A' && c <= 'F') ? c - 'A' + 10 : -1;
}

static char escaped(char c)
{
    static const char from[] = "nrtba";
    static const char to[] = "\n\r\t\b\a";
    const char *found = memchr(from, c, sizeof(from) - 1);
    return found == NULL ? c : to[found - from];
}

/* Reads one byte of a word within double quotes. */
static char quoted_byte(struct cursor *c)
{
    char byte = *c->at;
    size_t taken = 1;
    if (byte == '\\' && peek(c, 1) == 'x' && hex_digit(peek(c, 2)) >= 0 &&
        hex_digit(peek(c, 3)) >= 0) {
        byte = (char)(hex_digit(peek(c, 2)) * 16 + hex_digit(peek(c, 3)));
        taken = 4;
    } else if (byte == '\\' && peek(c, 1) != '\0') {
        byte = escaped(peek(c, 1));
        taken = 2;
    }
    c->at += taken;
    return byte;
}

/* Reads on from behind an opening `quote` to behind the closing one. Bytes go to out[len...] unless
 * it is NULL. */
static bool read_quoted(struct cursor *c, char quote, char *out, size_t *len)
{
    while (c->at < c->end && *c->at != quote) {
        char byte = *c->at;
        if (quote == '"') {
            byte = quoted_byte(c);
        } else {
            c->at += (byte == '\\' && peek(c, 1) == '\'') ? 1 : 0;
            byte = *c->at++;
        }
        if (out != NULL)
            out[*len] = byte;
        (*len)++;
    }
    if (c->at == c->end)
        return false;
    c->at++;
    return c->at == c->end || is_blank(*c->at);
}

/* Vertical tab and form feed part words but do not end one. */
static bool ends_word(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Reads one word, which is there, into `out` unless that is NULL. False if its quotes are not
 * balanced. */
static bool read_word(struct cursor *c, char *out, size_t *len)
{
    *len = 0;
    while (c->at < c->end && !ends_word(*c->at)) {
        char byte = *c->at++;
        if (byte == '"' || byte == '\'')
            return read_quoted(c, byte, out, len);
        if (out != NULL)
            out[*len] = byte;
        (*len)++;
    }
    return true;
}

static bool next_word(struct cursor *c)
{
    while (c->at < c->end && is_blank(*c->at))
        c->at++;
    return c->at < c->end;
}

static bool put_header(struct buf *out, char mark, uint64_t n)
{
    if (!buf_reserve(out, NUMBER_MAX + 3))
        return false;
    out->data[out->tail++] = mark;
    out->tail += number_write(out->data + out->tail, n);
    out->data[out->tail++] = '\r';
    out->data[out->tail++] = '\n';
    return true;
}

static bool put_word(struct cursor *c, struct buf *out, struct args *args)
{
    struct cursor measure = *c;
    size_t len = 0;
    if (!read_word(&measure, NULL, &len) || !put_header(out, '$', len) ||
        !buf_reserve(out, len + 2))
        return false;
    if (!args_push(args, (uint32_t)buf_len(out), (uint32_t)len))
        return false;
    if (!read_word(c, out->data + out->tail, &len))
        return false;
    out->tail += len;
    return buf_append(out, SPAN("\r\n"));
}

enum inline_result inline_convert(struct span line, struct buf *out, struct args *args)
{
    const struct cursor begin = {line.ptr, line.ptr + line.len};
    uint32_t words = 0;
    size_t len = 0;
    for (struct cursor c = begin; next_word(&c); words++)
        if (!read_word(&c, NULL, &len))
            return INLINE_UNBALANCED;
    if (words == 0)
        return INLINE_OK;
    if (!put_header(out, '*', words))
        return INLINE_NO_MEMORY;
    for (struct cursor c = begin; next_word(&c);)
        if (!put_word(&c, out, args))
            return INLINE_NO_MEMORY;
    return INLINE_OK;
}
