/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit tell answers the commands that ask about the client, its pool or the proxy: each of the TELL
 * classes of redis_classes.def is a function. */
#ifndef PROTO_REDIS_TELL_H
#define PROTO_REDIS_TELL_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/must.h"
#include "proto/proto.h"
#include "proto/redis/command.h"
#include "proto/redis/writer.h"

/** What a question is, and where its answer goes. */
struct question {
    const struct request_view *v;
    struct proto_session *ses;
    const struct proto_facts *facts;
    struct writer *w;
};

/** tell of proto_redis. */
bool redis_tell(const struct request_view *v, struct proto_session *ses,
                const struct proto_facts *facts, struct buf *out);

/** Word `i` of the request; "" behind the last one. */
struct span question_word(const struct question *q, uint32_t i);

/** Is word `i` this one, in any case? */
bool question_is(const struct question *q, uint32_t i, struct span word);

/** The version of the servers, or what is said in its place while none has told it. */
struct span question_version(const struct question *q);

/** about and about_read of proto_redis. */
bool redis_about(struct buf *out, uint8_t *expect);
bool redis_about_read(struct span reply, struct proto_about *out);

/** The answers, by class. */
void tell_info(struct question *q);
void tell_hello(struct question *q);
void tell_config_get(struct question *q);
void tell_client(struct question *q, enum command_class class);

#endif
