/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit options reads the command line of the load generator. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "answer.h"

enum { OPTIONS_TARGETS = 16, OPTIONS_WATCHED = 32 };

struct options {
    const struct dialect *dialect;
    struct sockaddr_in targets[OPTIONS_TARGETS]; /* connections take them in turn */
    uint32_t target_count;
    pid_t watched[OPTIONS_WATCHED]; /* whose CPU time and memory are reported */
    uint32_t watched_count;
    uint32_t clients;
    uint32_t in_flight; /* connections that are being made at a time */
    uint32_t pipeline;
    uint32_t gets; /* gets : sets is the mix of requests */
    uint32_t sets;
    uint32_t count; /* keys of a get */
    uint32_t keys;
    size_t size;   /* of a value, bytes */
    uint32_t rate; /* requests a second; 0: as fast as replies come */
    uint64_t warm_up;
    uint64_t measure; /* ns */
    bool fill;        /* set every key on every target, and end */
    bool idle;        /* make connections, then look at them doing nothing for `measure` */
};

/** Reads the command line. When it is wrong or asks for help, says so and ends the program. */
void options_read(struct options *o, int argc, char **argv);

#endif
