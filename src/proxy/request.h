/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit request is the life of one request: read by its client, sent as one part (or answered here,
 * or split: split.h), and its reply passed on when all replies before it have left.
 *
 * Lifetime: made by its client, stands in the client's FIFO until its reply has left. If the client
 * goes first, `client` becomes NULL, the reply is swallowed, and the request goes with its last
 * part. */
#ifndef PROXY_REQUEST_H
#define PROXY_REQUEST_H

#include <stdbool.h>

#include "base/chain.h"
#include "base/hint.h"
#include "base/slab.h"
#include "proto/proto.h"
#include "proxy/client.h"
#include "upstream/part.h"

struct split;

/** A request of at least so many bytes is linked into the server's queue rather than copied, where it can
 * be. */
enum { REQUEST_LINKED = 16384 };

/** A reply of so many bytes that waits for its turn lies in the request itself, which then is three
 * lines of the processor's cache, of which the third is touched only if a reply waits. */
enum { REQUEST_FEW = 88 };

struct request {
    struct request *next; /* in the client's FIFO */
    struct client *client;
    struct proxy *px;
    struct split *split; /* NULL: not split */
    struct part part;    /* the only one, unless it is split */
    bool quiet;          /* nothing is answered */
    bool done;           /* the reply is whole */
    bool streamed; /* bytes of the reply have left, so that it can't be replaced by an error */
    uint8_t hush;  /* replies that are not wanted, until this one's first bytes tell */
    uint8_t head_len;
    char head[UNHEARD_HEAD]; /* those first bytes */
    uint8_t few_len;         /* bytes of the reply that wait in `few`; 0: none */
    /* The reply, while it is not its turn. */
    union {
        struct chain parked; /* while there are none in `few` */
        char few[REQUEST_FEW];
    };
};

/** What becomes of the one part of a request. */
extern const struct part_events request_events;

enum request_fate {
    REQUEST_STARTED,
    REQUEST_TAKEN, /* ... and its bytes were taken away from the input, which is changed */
    REQUEST_WAITS, /* nothing happened: the client is read no further until its turn comes */
};

/** Carries out one request that was read. `in` is the input it is at the front of, if its bytes may
 * be taken from there, else an empty span. */
must_check enum request_fate request_start(struct client *c, const struct request_view *v,
                                           struct span in);

/** What it does with the keys it names. */
static inline enum intent request_intent(const struct request_view *v)
{
    return v->write ? INTENT_WRITE : INTENT_READ;
}

/** Answers with these bytes, in its turn. */
void request_answer(struct client *c, struct span reply);

/** Answers with an error line of ours, in its turn. */
void request_refuse(struct client *c, const struct request_view *v, struct span reason);

/** A request can't even be noted: its client can't be answered in order any more. */
void request_no_memory(struct client *c);

/** The server for requests that name no key, always the same one; SERVER_NONE if all are ejected. */
uint32_t request_keyless(struct upstream *up);

/** The server for all keys of the view. False: there is none, and the client was told why. */
must_check bool request_route(struct client *c, const struct request_view *v, uint32_t *server);

/** Answers that the keys of the view are on different servers. */
void request_answer_cross(struct client *c, const struct request_view *v);

/** Does the request have to wait because the server is busy? *fate says what became of it then: one
 * that has waited for too long is answered instead. */
must_check bool request_held_back(struct client *c, const struct request_view *v, uint32_t server,
                                  enum request_fate *fate);

/** Makes an error line of `reason` the reply (or closes the client, if part of a reply has left).
 */
void request_fail(struct request *r, struct span reason);

/** The reply is whole and parked (or written). The request may be gone afterwards. */
void request_done(struct request *r);

/** Puts a new request at the end of the client's FIFO. NULL if memory is out. */
must_check struct request *request_new(struct client *c, bool quiet);

/** The client is gone: the reply will be swallowed. */
void request_orphan(struct request *r);

/** Slow path of request_free(): it is split, or more than a few bytes are parked. */
void request_drop(struct request *r);

/** Takes it out of memory; it stands in no FIFO and has no part under way. */
static inline void request_free(struct request *r)
{
    if (unlikely(r->split != NULL || (r->few_len == 0 && r->parked.first != NULL)))
        request_drop(r);
    slab_return(&r->px->request_slab, r);
}

/** What part_events say of drains() and stays(), for every part of `r`; and the part ended. */
void request_drains(struct request *r);
bool request_stays(const struct request *r);

/** The same, of the one part that a request holds in itself. */
void request_part_drains(struct part *p);
bool request_part_stays(const struct part *p);
void request_part_ended(struct request *r, const struct part *p);

/** Adds to the parked reply. False if memory is out. */
must_check bool request_park(struct request *r, struct span bytes);

/** Of the head of a client's FIFO, part of whose reply has left: adds bytes that stand for themselves behind
 * that reply. False if memory is out. */
must_check bool request_park_behind(struct request *r, struct span bytes);

/** Bytes of its reply that are parked. */
static inline size_t request_parked(const struct request *r)
{
    return r->few_len > 0 ? r->few_len : r->parked.len;
}

/** Its turn has come: queues what is parked for the client. False if memory is out. */
must_check bool request_send_parked(struct request *r);

#endif
