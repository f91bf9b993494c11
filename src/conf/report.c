/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf/report.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Nobody reads more, and a hostile file can't make us hold more. */
enum { REPORT_MAX = 1000 };

static bool grow(struct report *r)
{
    size_t room = r->room == 0 ? 8 : r->room * 2;
    struct report_error *errors = realloc(r->errors, room * sizeof(*errors));

    if (errors == NULL)
        return false;
    r->errors = errors;
    r->room = room;
    return true;
}

void report_add(struct report *r, struct place at, const char *fmt, ...)
{
    char *text;
    va_list args;
    int len;

    if (r->count >= REPORT_MAX || (r->count == r->room && !grow(r))) {
        r->dropped++;
        return;
    }
    va_start(args, fmt);
    len = vasprintf(&text, fmt, args);
    va_end(args);
    if (len < 0) {
        r->dropped++;
        return;
    }
    r->errors[r->count] = (struct report_error){at, r->count, text};
    r->count++;
}

bool report_empty(const struct report *r)
{
    return r->count == 0 && r->dropped == 0;
}

static int by_place(const void *left, const void *right)
{
    const struct report_error *a = left;
    const struct report_error *b = right;

    if (a->at.line != b->at.line)
        return a->at.line < b->at.line ? -1 : 1;
    if (a->at.column != b->at.column)
        return a->at.column < b->at.column ? -1 : 1;
    return a->order < b->order ? -1 : 1;
}

static bool same(const struct report_error *a, const struct report_error *b)
{
    return a->at.line == b->at.line && a->at.column == b->at.column &&
           strcmp(a->text, b->text) == 0;
}

void report_write(struct report *r, const char *file, FILE *out)
{
    if (r->count > 1)
        qsort(r->errors, r->count, sizeof(*r->errors), by_place);
    for (size_t i = 0; i < r->count; i++) {
        const struct report_error *e = &r->errors[i];

        /* What is said of an anchor is said again of each alias. */
        if (i > 0 && same(e, e - 1))
            continue;
        if (e->at.line == 0)
            fprintf(out, "%s: error: %s\n", file, e->text);
        else
            fprintf(out, "%s:%d:%d: error: %s\n", file, e->at.line, e->at.column, e->text);
    }
    if (r->dropped > 0)
        fprintf(out, "%s: error: %zu more errors are not shown\n", file, r->dropped);
}

void report_free(struct report *r)
{
    for (size_t i = 0; i < r->count; i++)
        free(r->errors[i].text);
    free(r->errors);
    *r = (struct report){0};
}
