/* SPDX-License-Identifier: BSD-3-Clause */
/* A line of words as a person types it. What comes out is one request in RESP with the words that a reader of its own,
 * written after redis's rules, finds; a line that is unbalanced to one is so to both. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "answers.h"
#include "proto/redis/inline.h"
#include "reader.h"
#include "target.h"

/* What is left of the line, and the word that is read. NUL stands for its end. */
struct typed {
    const char *at;
    struct buf word;
};

static bool blank(char c)
{
    return c == '\0' || isspace((unsigned char)c);
}

static void add(struct typed *t, int c)
{
    char byte = (char)c;
    put(&t->word, span_of(&byte, 1));
}

static int hex(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* Behind a backslash between double quotes. */
static void escaped(struct typed *t)
{
    static const char names[] = "nrtba";
    static const char means[] = "\n\r\t\b\a";
    const char *name = *t->at != '\0' ? strchr(names, *t->at) : NULL;
    if (t->at[0] == 'x' && isxdigit((unsigned char)t->at[1]) && isxdigit((unsigned char)t->at[2])) {
        add(t, hex(t->at[1]) * 16 + hex(t->at[2]));
        t->at += 3;
        return;
    }
    add(t, name == NULL ? *t->at : means[name - names]);
    t->at++;
}

/* Behind an opening quote. False: it is not closed, or something follows the close. */
static bool quoted(struct typed *t, char quote)
{
    for (;;) {
        char c = *t->at;
        if (c == '\0')
            return false;
        t->at++;
        if (c == quote)
            return blank(*t->at);
        if (quote == '"' && c == '\\' && *t->at != '\0')
            escaped(t);
        else if (quote == '\'' && c == '\\' && *t->at == '\'')
            add(t, *t->at++);
        else
            add(t, c);
    }
}

/* A vertical tab and a form feed part words, but end none. */
static bool word(struct typed *t)
{
    while (strchr(" \n\r\t", *t->at) == NULL) {
        char c = *t->at++;
        if (c == '"' || c == '\'')
            return quoted(t, c);
        add(t, c);
    }
    return true;
}

/* Reads the line anew; false: it is unbalanced. The request's words must be the same. */
static bool same_words(const char *line, const struct reading_request *r, bool compare)
{
    struct typed t = {.at = line};
    size_t count = 0;
    bool balanced = true;
    for (;;) {
        while (*t.at != '\0' && blank(*t.at))
            t.at++;
        if (*t.at == '\0' || !balanced)
            break;
        buf_clear(&t.word);
        balanced = word(&t);
        if (compare && balanced && count < READER_WORDS)
            must(count < r->count && span_eq(buf_span(&t.word), r->words[count]));
        count++;
    }
    must(!compare || !balanced || count == r->count);
    buf_free(&t.word);
    return balanced;
}

static void convert(struct span line, const char *text)
{
    static struct reading_request r;
    struct buf out = {0};
    struct args args = {0};
    enum inline_result got = inline_convert(line, &out, &args);
    must(got != INLINE_NO_MEMORY);
    r.count = 0;
    if (got == INLINE_OK && buf_len(&out) > 0) {
        must(read_redis_request(buf_span(&out), &r) == READING_WHOLE && r.len == buf_len(&out));
        must(r.count == args.count);
        for (uint32_t i = 0; i < args.count && i < READER_WORDS; i++)
            must(span_eq(args_span(&args, buf_span(&out).ptr, i), r.words[i]));
    }
    must(same_words(text, &r, got == INLINE_OK) == (got == INLINE_OK));
    buf_free(&out);
    args_free(&args);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = calloc(1, size + 1);
    char *exact = malloc(size + 1);
    must(text != NULL && exact != NULL);
    /* The parser has cut the line before; no NUL comes that far. */
    for (size_t i = 0; i < size; i++)
        text[i] = data[i] == '\0' || data[i] == '\n' ? ' ' : (char)data[i];
    memcpy(exact + 1, text, size);
    convert(span_of(exact + 1, size), text);
    free(text);
    free(exact);
    return 0;
}
