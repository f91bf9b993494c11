/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit crowd is many clients in one thread: it makes their connections, sends what they ask, checks
 * what they are answered and counts. What a client does when all its requests are answered is up to
 * `on_free`.
 *
 * Lifetime: crowd_init() begins it; clients live in it from crowd_connect() to crowd_free(). */
#ifndef BENCH_CROWD_H
#define BENCH_CROWD_H

#include <stdbool.h>
#include <stdint.h>

#include "answer.h"
#include "base/buf.h"
#include "histogram.h"
#include "options.h"
#include "payload.h"

struct client {
    int fd; /* -1: lost */
    bool connected;
    bool met;      /* its first reply has come */
    uint32_t head; /* of its FIFO of requests: `asked` from here on, cyclic */
    uint32_t asked;
    struct ask *asks; /* room for a whole pipeline */
    struct answer answer;
    struct buf out;
};

/** What was counted while `counting` was on. Errors count always. */
struct tally {
    uint64_t requests;
    uint64_t bytes; /* received */
    uint64_t errors;
    char first_error[256]; /* printable, without quotes */
    struct histogram latency;
};

struct crowd {
    const struct options *opt;
    struct payload payload;
    int poll;
    uint64_t now;    /* ns, as of the event that is being handled */
    uint64_t random; /* state */
    struct client *clients;
    uint32_t begun; /* clients whose connection was begun, the first of `clients` */
    uint32_t met;   /* of these, those who had their first reply */
    uint32_t lost;
    bool counting;
    struct tally tally;
    void (*on_free)(struct crowd *c, struct client *cl);
    char *scratch; /* where bytes are received */
};

/** A crowd of opt->clients, none of them connected. Aborts if memory is out. */
void crowd_init(struct crowd *c, const struct options *opt);
void crowd_free(struct crowd *c);

/** Begins the connection of the next client; on_free() follows. */
void crowd_connect(struct crowd *c);

/** Draws a request of the mix: born now. */
struct ask crowd_draw(struct crowd *c);

/** Puts a request into a client's out buffer; crowd_send() sends it. At most opt->pipeline may be
 * unanswered. */
void crowd_ask(struct crowd *c, struct client *cl, struct ask a);

/** Sends what a client has to say, as far as the kernel takes it; the rest follows by itself. */
void crowd_send(struct crowd *c, struct client *cl);

/** Handles what happens until `until` (ns on watch_clock()), at least once. */
void crowd_turn(struct crowd *c, uint64_t until);

#endif
