/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit reply frames what a memcached answers, and joins the answers to the parts of a request. It is
 * strict: a server that says what the command can't be answered with has lost step, and what
 * follows belongs to nobody. */
#ifndef PROTO_MEMCACHE_REPLY_H
#define PROTO_MEMCACHE_REPLY_H

#include "proto/proto.h"

/** What a command may be answered with, the error lines beside. */
enum reply_expect {
    EXPECT_NOTHING, /* error lines only: the command is never forwarded */
    EXPECT_OK,      /* OK */
    EXPECT_STORED,  /* STORED, NOT_STORED */
    EXPECT_CAS,     /* those, EXISTS, NOT_FOUND */
    EXPECT_DELETED, /* DELETED, NOT_FOUND */
    EXPECT_TOUCHED, /* TOUCHED, NOT_FOUND */
    EXPECT_NUMBER,  /* a number, NOT_FOUND */
    EXPECT_VERSION, /* VERSION text */
    EXPECT_VALUES,  /* any number of VALUE blocks, END */
    /* Two letters and flags; behind VA a data block. */
    EXPECT_META_GET,    /* HD, EN, VA */
    EXPECT_META_SET,    /* HD, NS, EX, NF; never a mere ERROR */
    EXPECT_META_DELETE, /* HD, NF, EX, NS */
    EXPECT_META_NUMBER, /* HD, NF, NS, EX, VA */
    EXPECT_META_DEBUG,  /* ME, EN */
};

/** How the replies of the parts of one request become one. */
enum reply_join {
    JOIN_VALUES, /* the blocks of all, in the order of the keys, and one END */
    JOIN_OK,     /* OK if all said so, else the errors of all that did not */
};

/** As struct proto says. */
enum parse memcache_parse_reply(struct reply_parser *p, uint8_t expect, struct span in,
                                size_t *used);
bool memcache_join(uint8_t join, const struct part_reply *parts, uint32_t part_count,
                   const uint16_t *part_of, uint32_t key_count, struct chunk_pool *pool,
                   struct chain *out, uint32_t *bad);

#endif
