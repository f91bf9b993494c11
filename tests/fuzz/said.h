/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit said is a FILE in memory, for what a unit says to people. */
#ifndef TESTS_FUZZ_SAID_H
#define TESTS_FUZZ_SAID_H

#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "base/span.h"

struct said {
    FILE *file;
    char *text;
    size_t len;
};

static inline void said_open(struct said *s)
{
    s->text = NULL;
    s->len = 0;
    s->file = open_memstream(&s->text, &s->len);
    must(s->file != NULL);
}

/** What was written so far. */
static inline struct span said_span(struct said *s)
{
    must(fflush(s->file) == 0);
    return span_of(s->text, s->len);
}

static inline void said_close(struct said *s)
{
    fclose(s->file);
    free(s->text);
}

#endif
