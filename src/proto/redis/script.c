/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/script.h"

#include <sha1.h>
#include <string.h>

#include "proto/redis/number.h"

/* The digest of the body as hexadecimal digits. */
static void name_of(struct span body, char name[SCRIPT_NAME])
{
    char text[SHA1_DIGEST_STRING_LENGTH];
    _Static_assert(SHA1_DIGEST_STRING_LENGTH == SCRIPT_NAME + 1, "digits, and a NUL");
    SHA1Data((const uint8_t *)body.ptr, body.len, text);
    memcpy(name, text, SCRIPT_NAME);
}

static bool load(struct span body, struct buf *out)
{
    char digits[NUMBER_MAX];
    return buf_append(out, SPAN("*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$")) &&
           buf_append(out, span_of(digits, number_write(digits, body.len))) &&
           buf_append(out, SPAN("\r\n")) && buf_append(out, body) && buf_append(out, SPAN("\r\n"));
}

static bool missing(struct span reply)
{
    static const struct span word = SPAN("-NOSCRIPT");
    return reply.len >= word.len && memcmp(reply.ptr, word.ptr, word.len) == 0;
}

const struct proto_scripts redis_scripts = {.name = name_of, .load = load, .missing = missing};

void script_view(const struct command *c, struct request_view *v)
{
    v->kind = REQUEST_SCRIPT;
    v->join = CLASS_ALL_OK;
    switch (c->class) {
    case CLASS_SCRIPT_FLUSH:
        v->verb = SCRIPT_FLUSH;
        break;
    case CLASS_SCRIPT_LOAD:
        v->verb = SCRIPT_LOAD;
        v->script = args_span(v->args, v->base, 2);
        break;
    default:
        v->verb = SCRIPT_RUN;
        v->script = args_span(v->args, v->base, 1);
    }
}
