/* SPDX-License-Identifier: BSD-3-Clause */
/* Any bytes of a memcached: see replies.h. */
#include "proto/memcache/reply.h"
#include "replies.h"

static enum reading one(uint8_t expect, struct span in, size_t *len)
{
    return read_memcache_reply(in, expect == EXPECT_VALUES, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t expects[] = {
        EXPECT_NOTHING,  EXPECT_OK,          EXPECT_STORED,      EXPECT_CAS,       EXPECT_DELETED,
        EXPECT_TOUCHED,  EXPECT_NUMBER,      EXPECT_VERSION,     EXPECT_VALUES,    EXPECT_META_GET,
        EXPECT_META_SET, EXPECT_META_DELETE, EXPECT_META_NUMBER, EXPECT_META_DEBUG};
    static const uint8_t joins[] = {JOIN_VALUES, JOIN_OK};
    static const uint8_t join_expects[] = {EXPECT_VALUES, EXPECT_OK};
    static const struct reply_wire memcache = {
        &proto_memcache, one, expects, ARRAY_LEN(expects), joins, join_expects, 2};
    replies_play(&memcache, (struct input){data, size});
    return 0;
}
