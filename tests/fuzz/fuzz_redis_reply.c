/* SPDX-License-Identifier: BSD-3-Clause */
/* Any bytes of a redis server: see replies.h. */
#include "proto/redis/command.h"
#include "replies.h"

static enum reading one(uint8_t expect, struct span in, size_t *len)
{
    (void)expect;
    return read_redis_reply(in, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t any[] = {0, 0, 0};
    static const uint8_t joins[] = {CLASS_MGET, CLASS_MSET, CLASS_SUM};
    static const struct reply_wire redis = {&proto_redis, one, any, 1, joins, any, 3};
    replies_play(&redis, (struct input){data, size});
    return 0;
}
