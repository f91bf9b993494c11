/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/writer.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

void write_raw(struct writer *w, struct span s)
{
    if (!buf_append(w->out, s))
        w->failed = true;
}

void write_text(struct writer *w, const char *fmt, ...)
{
    char text[513];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    size_t most = sizeof(text) - 1;
    write_raw(w, span_of(text, len < 0 ? 0 : ((size_t)len < most ? (size_t)len : most)));
}

void write_bulk(struct writer *w, struct span s)
{
    write_text(w, "$%zu\r\n", s.len);
    write_raw(w, s);
    write_raw(w, SPAN("\r\n"));
}

void write_integer(struct writer *w, int64_t n)
{
    write_text(w, ":%" PRId64 "\r\n", n);
}

void write_array(struct writer *w, uint64_t n)
{
    write_text(w, "*%" PRIu64 "\r\n", n);
}

void write_map(struct writer *w, uint64_t n)
{
    if (w->resp == 3)
        write_text(w, "%%%" PRIu64 "\r\n", n);
    else
        write_array(w, n * 2);
}

void write_set(struct writer *w, uint64_t n)
{
    write_text(w, "%c%" PRIu64 "\r\n", w->resp == 3 ? '~' : '*', n);
}

void write_verbatim(struct writer *w, struct span text)
{
    if (w->resp != 3) {
        write_bulk(w, text);
        return;
    }
    write_text(w, "=%zu\r\ntxt:", text.len + 4);
    write_raw(w, text);
    write_raw(w, SPAN("\r\n"));
}

void write_null(struct writer *w)
{
    write_raw(w, w->resp == 3 ? SPAN("_\r\n") : SPAN("$-1\r\n"));
}
