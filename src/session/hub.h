/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit hub has the subscriptions of all clients of a pool in one worker that log in to the servers as
 * the same user: each topic is subscribed to once, on one connection to its server (unit line), however
 * many clients hear it. This header is shared by the units that do it, and by nobody else: hub (topics,
 * who hears them, where they are), line (a connection, and what was said on it), subscribe (what
 * clients ask for).
 *
 *   client -> subscriber -> sub <- topic -> leg -> line -> server
 *
 * A topic has a leg for every server on which it is, or is to be, subscribed to: one, or (patterns, and
 * what servers tell of their own keys) all. A leg has at most one request under way:
 *
 *   OFF -> ASKED -> ON -> ENDING -> OFF
 *
 * When the answer is here and something else is wanted by then, that is asked next. So whatever happens
 * meanwhile, what is wanted is reached.
 *
 * A client that subscribes waits (struct asking) until all legs of all topics that it named are ON, or
 * one of them could not be had. What follows for clients is done when the news that brought it about
 * have been taken in (hub_settle): they may leave then, and everything with them. */
#ifndef SESSION_HUB_H
#define SESSION_HUB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dict.h"
#include "base/list.h"
#include "base/must.h"
#include "base/span.h"
#include "proto/proto.h"
#include "proxy/client.h"
#include "proxy/request.h"
#include "upstream/ear.h"

struct hub;
struct line;
struct topic;

/** What was said on a line and is not answered yet. */
struct query {
    struct list link; /* in line.queries, in their order */
    uint64_t since;   /* ms */
};

enum leg_state { LEG_OFF, LEG_ASKED, LEG_ON, LEG_ENDING };

struct leg {
    struct leg *next; /* of its topic */
    struct list link; /* in line.legs */
    struct query query;
    struct topic *topic;
    struct line *line;
    enum leg_state state;
    bool wanted;
};

/** A server as a hub sees it. */
struct line {
    struct hub *hub;
    struct ear ear;
    struct list legs;
    struct list queries;
    struct query ping;
    bool up;                  /* the login is done */
    bool told;                /* the log knows that it is lost */
    bool again;               /* memory was out for something that was to be said */
    uint64_t since;           /* ms: when it was opened; then, when something was heard last */
    uint64_t up_since;        /* ms */
    uint64_t unused;          /* ms: when the last leg went */
    uint64_t retry_at;        /* ms: it is not opened before */
    uint32_t backoff;         /* ms: the last wait */
    char reason[REASON_TEXT]; /* why it was lost last */
    bool own;                 /* ... in a line of the server's own */
};

struct topic {
    struct dict_node node; /* in hub.topics */
    struct hub *hub;
    struct leg *legs;
    struct list told;   /* subs whose clients hear it */
    struct list untold; /* ... and wait for it */
    uint32_t sub_count;
    uint32_t name_len;
    enum topic_kind kind;
    uint32_t held; /* so many look at it: it may not go, though nobody needs it */
    char name[];
};

/** A client's subscription to a topic. */
struct sub {
    struct dict_node node; /* in hub.subs */
    struct list in_topic;
    struct list
        in_who; /* in subscriber.subs, in the order in which it subscribed: those told come first */
    struct topic *topic;
    struct subscriber *who;
    bool told;  /* the client knows of it, and hears it */
    bool waits; /* it is counted in asking.left */
};

/** A client's request to subscribe that is not answered yet. */
struct asking {
    struct list link; /* in hub.askings, then in hub.ready */
    struct subscriber *who;
    struct request *request;
    uint64_t since; /* ms */
    uint32_t left;  /* subs that wait for the servers */
    bool ready;
    bool failed;
    bool line;                /* `reason` is a whole line of a server's */
    char reason[REASON_TEXT]; /* why it failed */
    uint32_t count;
    struct sub *subs[]; /* by the words of the request */
};

/** A client that has subscriptions, or asks for some. */
struct subscriber {
    struct client *client;
    struct hub *hub;
    struct asking *asking; /* NULL: none */
    struct list subs[TOPIC_KINDS];
    uint32_t told[TOPIC_KINDS]; /* subscriptions that it was told of */
    uint32_t count;             /* all */
};

struct hub {
    struct hub *next; /* of its front */
    struct front *front;
    struct profile *profile; /* how it logs in to the servers */
    struct dict topics;      /* by kind and name */
    struct dict subs;        /* by topic and subscriber */
    struct list askings;
    struct list ready;    /* askings that are to be answered */
    uint32_t subscribers; /* clients that have something here */
    uint64_t unused;      /* ms: when the last of them left */
    uint64_t ring;        /* number of the ring by which topics are where they are */
    struct timer tick;
    struct buf work; /* what is being said */
    struct buf push; /* a message, as some clients hear it */
    bool settling;
    uint32_t line_count;
    struct line lines[]; /* by server */
};

static inline const struct proto_pubsub *words_of_hub(const struct hub *h)
{
    return h->front->proto->pubsub;
}

static inline uint64_t hub_now(const struct hub *h)
{
    return loop_now(h->front->px->loop);
}

static inline struct meter *hub_meter(const struct hub *h)
{
    return &h->front->px->loop->pool.meter;
}

static inline struct span topic_name(const struct topic *t)
{
    return span_of(t->name, t->name_len);
}

/* ---- hub.c ---- */

/** The hub for the user that logs in so, made if there is none. NULL: up->reason says why. */
must_check struct hub *hub_for(struct front *front, const struct proto_login *login);

/** Does a client that logs in so belong to it? */
bool hub_is_for(const struct hub *h, const struct proto_login *login);

/** The subscription of `who` to that topic, made if there is none: it is then not told, and waits if the
 * servers have to be asked. NULL if memory is out. */
must_check struct sub *hub_add(struct hub *h, struct subscriber *who, enum topic_kind kind,
                               struct span name);

/** The one that there is; NULL: none. */
struct sub *hub_find(const struct hub *h, const struct subscriber *who, enum topic_kind kind,
                     struct span name);

/** From here on the client of the sub hears it. */
void hub_tell(struct sub *s);

/** Takes a subscription away and frees it. */
void hub_drop(struct sub *s);

/** Asks the servers for what the sub needs, or finds out that it can't be had. */
void hub_need(struct sub *s);

/** It cannot be granted: `reason` as in ear_events.ended. */
void asking_fail(struct asking *a, struct span reason, bool line);

/** One of those that it waits for came. */
void asking_came(struct asking *a);

/** Answers the askings that are ready. */
void hub_settle(struct hub *h);

/** From a line: the leg's state has changed to ON. */
void hub_leg_on(struct leg *l);

/** From a line: the server did not let it be subscribed to, and said so in this line. */
void hub_leg_refused(struct leg *l, struct span line);

/** From a line: it was lost, for this reason, and the leg with it. */
void hub_leg_lost(struct leg *l, struct span reason, bool line);

/** From a line: news of a topic. False: it is none that this server may tell. */
must_check bool hub_message(struct line *line, const struct news *n, struct span bytes);

/** The leg is OFF and not wanted: frees it, and the topic if nobody needs it. */
void leg_free(struct leg *l);

/** Frees the hubs of a front; no client has anything there. */
void hubs_end(struct front *front);

/* ---- line.c ---- */

void line_init(struct line *line, struct hub *h, struct server_slot *server);

/** Sees to it that there is a connection, or an attempt at one. False: not now; line->reason says why. */
must_check bool line_open(struct line *line);

/** Says what is to be said for the leg to become what is wanted, if that can be said now. It may be
 * gone. */
void line_review(struct leg *l);

/** Looks after the time. */
void line_tick(struct line *line);

/** Closes it. No leg is wanted. */
void line_close(struct line *line);

/* ---- subscribe.c ---- */

/** The asking is ready: answers it, and frees it. */
void asking_answer(struct asking *a);

#endif
