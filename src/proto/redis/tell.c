/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/tell.h"

#include "proto/redis/login.h"
#include "proto/redis/number.h"

/* Said where no server has told its version yet: what all commands that clients look for have. */
#define VERSION_UNKNOWN SPAN("7.0.0")

struct span question_word(const struct question *q, uint32_t i)
{
    return i < q->v->args->count ? args_span(q->v->args, q->v->base, i) : SPAN("");
}

bool question_is(const struct question *q, uint32_t i, struct span word)
{
    return span_ieq(question_word(q, i), word);
}

struct span question_version(const struct question *q)
{
    return q->facts->server_version.len > 0 ? q->facts->server_version : VERSION_UNKNOWN;
}

static void tell_time(struct question *q)
{
    char digits[NUMBER_MAX];
    write_array(q->w, 2);
    write_bulk(q->w, span_of(digits, number_write(digits, q->facts->now_us / 1000000)));
    write_bulk(q->w, span_of(digits, number_write(digits, q->facts->now_us % 1000000)));
}

bool redis_tell(const struct request_view *v, struct proto_session *ses,
                const struct proto_facts *facts, struct buf *out)
{
    struct writer w = {.out = out, .resp = session_resp(ses)};
    struct question q = {v, ses, facts, &w};
    switch (v->join) {
    case CLASS_TIME:
        tell_time(&q);
        break;
    case CLASS_INFO:
        tell_info(&q);
        break;
    case CLASS_CONFIG_GET:
        tell_config_get(&q);
        break;
    default:
        tell_client(&q, v->join);
    }
    return !w.failed;
}
