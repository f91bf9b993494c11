/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit proto is what the proxy knows of a wire protocol: one const vtable, one folder each. It is pure: bytes in, bytes
 * out, no fd, no clock, no memory beyond what it is handed. Nothing outside proto/ asks which protocol it is. */
#ifndef PROTO_PROTO_H
#define PROTO_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/chain.h"
#include "base/must.h"
#include "base/span.h"
#include "proto/args.h"

/** What a parser says. */
enum parse {
    PARSE_DONE, /* one whole message was framed */
    PARSE_MORE, /* more bytes are needed */
    PARSE_BAD,  /* the framing is broken: nothing behind it can be read */
};

/** A request is shorter than this, all in all: redis closes a connection whose query buffer passes 1 GiB. */
#define REQUEST_MAX ((size_t)1 << 30)

/** Where the parsing of one request stands; resumable however its bytes are cut, linear in all. Zeroed (but for `args`,
 * which the caller sets to an empty vector) before the first byte of each request; the fields are the protocol's own. */
struct request_parser {
    struct args *args; /* arguments so far */
    uint32_t pos;      /* bytes of the message that are framed */
    uint32_t scan;     /* bytes behind pos that are known to hold no line end */
    uint32_t left;     /* arguments still to come */
    uint32_t bulk;     /* length of the argument that is being received */
    uint8_t state;
};

/** What a server is told at the start of a connection, and how it speaks from then on. The spans live as long as
 * whoever hands it on says. */
struct proto_login {
    struct span user;     /* len 0: the server's default one */
    struct span password; /* len 0: none is given */
    uint32_t db;
    uint8_t resp; /* redis: version of the protocol, 2 or 3 */
};

/** What a protocol must know of the pool to answer for it. All spans live as long as the pool's settings. */
struct proto_settings {
    struct span password; /* redis_auth; len 0: none is set */
    uint32_t db;          /* redis_db */
    uint32_t servers;     /* of the pool */
    bool
        single_server; /* every key is on the one server: keys need not share a shard, nothing is split */
    void *commands;   /* of commands_new(); NULL: every command is as the protocol has it */
    bool allow_flush; /* clients may empty the servers */
};

/** Which replies a client does not want: those of requests that are read while it is not MUTE_NONE are dropped. */
enum mute {
    MUTE_NONE,
    MUTE_ALL,  /* until it says otherwise */
    MUTE_NEXT, /* of the next request; then MUTE_NONE */
    MUTE_SKIP, /* of the request that says so; then MUTE_NEXT */
};

/** What a protocol remembers of one client between requests. Zeroed when the client comes. */
struct proto_session {
    const struct proto_settings *settings;
    const struct proto_login *login; /* of the connections that its requests go by */
    uint64_t skip; /* memcache: bytes of a refused data block that are still to be dropped */
    bool authed;   /* gave the right password */
    bool begun;    /* memcache: a request was read */
    uint8_t mute;  /* enum mute */
    bool resets;   /* the login under way forgets all that the client was, if it is good */
    union {
        struct {
            bool queues; /* its requests are the rest of a transaction: see enum session_verb */
            bool hears;  /* it is subscribed to something */
        };
        uint16_t special; /* any of these */
    };
    void *own; /* the protocol's, of its own memory, until session_end(); NULL: nothing */
};

/** A command that the protocol does not know. */
struct proto_custom {
    struct span name;
    bool write;
    bool counted;  /* word `first` says how many keys follow it */
    uint8_t first; /* the first word that is a key; 0: it has none */
    int8_t last;   /* the last one, from the end when negative */
    uint8_t step;
};

/** What the configuration says of commands. */
struct proto_commands {
    /** Of a row of the protocol's table: may clients not use it, or may they even though it has to be
     * allowed first? */
    bool (*denied)(const void *source, uint32_t row);
    bool (*allowed)(const void *source, uint32_t row);
    const void *source;
    uint32_t custom_count;
    const struct proto_custom *custom;
};

/** A number that the proxy counts, and its name. */
struct proto_number {
    const char *name;
    uint64_t value;
};

/** A server, for answers that tell about it. */
struct proto_server_fact {
    struct span name;    /* as the stats show it */
    struct span address; /* as the configuration has it */
};

/** What a server said of itself. */
struct proto_about {
    char version[32]; /* "": nothing was said */
    char lines[160];  /* more of it, in the way in which tell() shows it */
};

/** What only the floors above know, for answers of ours that tell of client, pool and process. It is
 * gathered for one call of tell(), and so are the bytes of its spans. */
struct proto_facts {
    uint64_t client_id;              /* unique in the process, from 1 on */
    struct span client;              /* its address; "" if it is not known (any more) */
    struct span here;                /* the address that it came to */
    uint32_t subscribed[3];          /* what it is subscribed to, by enum topic_kind */
    int client_fd;                   /* number of its descriptor */
    uint64_t client_age;             /* s since it came */
    uint64_t now_us;                 /* of the calendar: us since 1970 */
    uint64_t uptime;                 /* s since the process began */
    uint64_t pid;                    /* of the process */
    uint32_t workers;                /* threads that serve clients */
    struct span pool;                /* its name */
    struct span version;             /* of this proxy */
    const struct proto_about *about; /* a server of the pool */
    uint32_t server_count;           /* of the pool */
    const void *source;              /* who answers the calls below */
    /** Number `i` of the pool, summed over all workers; false behind the last one. */
    bool (*number)(const struct proto_facts *f, uint32_t i, struct proto_number *out);
    bool (*server_number)(const struct proto_facts *f, uint32_t server, uint32_t i,
                          struct proto_number *out);
    void (*server)(const struct proto_facts *f, uint32_t server, struct proto_server_fact *out);
    /** Setting `i` of the pool as the configuration would have it, its value cut to `size`;
     * passwords are hidden. NULL behind the last one. */
    const char *(*setting)(const struct proto_facts *f, uint32_t i, char *value, size_t size);
    /** Bytes of memory that the process has; 0 if it can't be told. */
    uint64_t (*memory)(void);
};

enum request_kind {
    REQUEST_NONE,    /* read and answered by nothing (an empty line, *0) */
    REQUEST_LOCAL,   /* `reply` is the answer, made here */
    REQUEST_FORWARD, /* `wire` goes to one server, chosen by the keys, which must all be on it */
    REQUEST_SPLIT, /* keys may go to different servers: compose_part() for each, join() of the replies. When all
                      * are on one server, `wire` is forwarded as it is. */
    REQUEST_LOGIN, /* `wire` goes to one server on a connection with `login`; if the reply is no error, this client's
                    * requests go by such connections from then on */
    REQUEST_BROADCAST, /* `wire` goes to every server of the pool, and join() of the replies is the reply. With one
                        * server it is forwarded. */
    REQUEST_SERVER, /* compose_part() without keys makes what goes to server number `server`, and join() of its
                     * reply is the reply */
    REQUEST_TELL,    /* tell() makes the answer, of what the floors above know */
    REQUEST_SESSION, /* `verb` says what: it needs what lasts from one request to the next */
    REQUEST_SCRIPT, /* `verb` says what: a REQUEST_FORWARD that calls a `script`, or a REQUEST_BROADCAST that loads
                      * one or forgets all */
};

/** What a REQUEST_SESSION does. In a transaction (session.queues) requests are kept, in the order in which they
 * come, until SESSION_EXEC sends them all at once to the one server that has all their keys. */
enum session_verb {
    SESSION_MULTI,   /* begins a transaction */
    SESSION_EXEC,    /* carries it out */
    SESSION_DISCARD, /* drops it */
    SESSION_ABORT,   /* drops it, if there is one, and what is watched; `reply` is the answer */
    SESSION_WATCH,   /* makes the next transaction fail if the keys change */
    SESSION_UNWATCH, /* or not */
    SESSION_BLOCK,   /* the server may take `block_ms` to answer */
    SESSION_WAIT, /* so may every server; join() of the replies is the reply. Each is asked on a connection that
                      * was made to stand for all that was done so far: see struct proto_wait */
    SESSION_ASIDE, /* every server is asked on a connection of its own, past what waits on the others; join() of the
                      * replies is the reply */
    SESSION_SUBSCRIBE,   /* to the topics that are its keys, of kind `topic` */
    SESSION_UNSUBSCRIBE, /* from these; from all of that kind if it names none */
};

/** What a REQUEST_SCRIPT does. */
enum script_verb {
    SCRIPT_RUN,   /* calls the one whose name is `script` */
    SCRIPT_LOAD,  /* `script` is its body */
    SCRIPT_FLUSH, /* forgets all */
};

/** Characters of a script's name, which says what is in it. */
enum { SCRIPT_NAME = 40 };

/** What is said of scripts. */
struct proto_scripts {
    void (*name)(struct span body, char name[SCRIPT_NAME]);
    /** Appends a request that loads it, with one reply. False if memory is out. */
    bool (*load)(struct span body, struct buf *out);
    /** Does the reply to a call say that the server does not have it? */
    bool (*missing)(struct span reply);
};

/** A server may take for ever. */
#define BLOCK_FOREVER UINT64_MAX

/** What is said around transactions. */
struct proto_transaction {
    struct span begin;   /* the request that begins one; a server answers it with one reply */
    struct span end;     /* the one that carries it out */
    struct span unwatch; /* the one that forgets what is watched */
    /* Answers to the client. */
    struct span begun;
    struct span queued;
    struct span dropped;
    struct span unwatched;
    struct span nested;       /* an error: begun twice */
    struct span watch_inside; /* an error: watches in a transaction */
    struct span no_exec;      /* an error: EXEC without a transaction */
    struct span no_discard;   /* an error: DISCARD without one */
    struct span aborted;      /* an error: one of its requests was wrong */
    /** Nothing was done, since what was watched may have changed. */
    struct span (*changed)(const struct proto_session *ses);
};

/** Of requests that wait until a server has passed on what was asked of it on the same connection: how a connection
 * comes to stand for what was asked on all the others. */
struct proto_wait {
    struct span lead;               /* the requests that do it */
    uint32_t skip;                  /* their replies before the last one */
    bool (*led)(struct span reply); /* did they, by the last reply? If not, it is an error line */
};

/** What clients subscribe to. A topic is one of these and a name. */
enum topic_kind {
    TOPIC_CHANNEL,
    TOPIC_PATTERN, /* all channels whose names it matches */
    TOPIC_SHARD,   /* a channel of its own kind, apart from the others */
    TOPIC_KINDS,
};

/** What a server says on a connection that has subscriptions. */
enum news_kind {
    NEWS_MESSAGE, /* was published; clients hear it */
    NEWS_ON,      /* the subscription to that topic stands: the reply */
    NEWS_OFF,     /* it has ended: the reply */
    NEWS_PONG,    /* the reply to ping() */
    NEWS_ERROR,   /* an error is the reply */
};

struct news {
    enum news_kind kind;
    enum topic_kind topic;
    struct span name; /* of the topic; of NEWS_ERROR the line */
    size_t len;       /* bytes of it all */
};

/** How subscriptions are spoken of. The appending ones return false if memory is out. */
struct proto_pubsub {
    /** Appends the request that begins (`on`) or ends the subscription to one topic. */
    bool (*ask)(struct buf *out, enum topic_kind kind, bool on, struct span name);
    /** Appends one that a server answers though it has nothing else to say. */
    bool (*ping)(struct buf *out);
    /** Reads what `in` begins with; costs the same however much of it is here. PARSE_BAD: a server does not say that. */
    enum parse (*hear)(struct span in, struct news *out);
    /** Is what is published by this name, of itself, published by every server? */
    bool (*everywhere)(struct span name);
    /** Appends what a client is told: it is, or is no longer (not `on`), subscribed to this topic, and to `count` in all. */
    bool (*tell)(struct buf *out, uint8_t resp, enum topic_kind kind, bool on, struct span name,
                 uint64_t count);
    /** Appends what a client is told that ends all its subscriptions of a kind and has none. */
    bool (*tell_none)(struct buf *out, uint8_t resp, enum topic_kind kind, uint64_t count);
    /** The NEWS_MESSAGE `message` as a client of that version hears it: itself, or what is then in the empty `work`. No
     * bytes: memory is out. */
    struct span (*message)(struct span message, uint8_t resp, struct buf *work);
};

/** Where keys lie among the arguments: args[first], args[first + step], ... `count` of them. */
struct key_range {
    uint32_t first;
    uint32_t count;
    uint32_t step;
};

enum { KEY_RANGES = 4 };

enum { UNHEARD_HEAD = 2 };

/** One request as it was read. Spans point into the message, or into `scratch`; valid until the next parse. */
struct request_view {
    enum request_kind kind;
    uint32_t len; /* bytes of the whole message; to be consumed */
    bool write;   /* may change data (the intent for routing) */
    bool quiet; /* the client expects no reply: whatever comes is dropped, even an error of ours */
    bool
        close; /* after this reply the client's connection is closed and nothing behind it is read */
    uint8_t expect; /* for parse_reply(); protocol's own */
    uint8_t
        hush; /* which replies the client does not want to hear, for unheard(); 0: it wants any */
    uint8_t
        join; /* for compose_part() and join(), or tell(); protocol's own. REQUEST_LOGIN: if not 0, and no
                   * server answers, the login is good, and tell() with it makes the answer */
    bool about; /* REQUEST_TELL: it tells what the servers are */
    bool named; /* REQUEST_SPLIT: join() wants to know the keys */
    uint8_t
        ranges; /* how many of keys[] are in use; 0: no key, any server will do (always the same one) */
    struct key_range keys[KEY_RANGES];
    uint64_t block_ms;        /* SESSION_BLOCK, SESSION_WAIT */
    uint8_t verb;             /* REQUEST_SESSION: enum session_verb */
    uint8_t topic;            /* SESSION_SUBSCRIBE and SESSION_UNSUBSCRIBE: enum topic_kind */
    struct proto_login login; /* REQUEST_LOGIN; its spans lie where those of the view do */
    struct span name;         /* ... what the client is called from then on; NULL: as before */
    bool resets;              /* ... ends all that the client holds, and can't fail */
    uint32_t server;    /* REQUEST_SERVER: its number in the pool, less than settings.servers */
    uint64_t cursor;    /* REQUEST_SERVER: for compose_part(); protocol's own */
    struct span script; /* REQUEST_SCRIPT */
    struct span wire;   /* what to send: the message itself, or its canonical form in scratch */
    struct span reply;  /* REQUEST_LOCAL, or PARSE_BAD: the line to answer before closing */
    const char *base;   /* where the message begins: what args are relative to */
    const struct args *args;
};

/** Empties a view. Of what stands behind the keys only that is set which belongs to every kind of request: to
 * zero the rest, and keys of which none is in use, would cost as much as to frame a short request. */
static inline void request_view_clear(struct request_view *v)
{
    memset(v, 0, offsetof(struct request_view, keys));
    v->wire = span_of(NULL, 0);
    v->reply = span_of(NULL, 0);
    v->base = NULL;
    v->args = NULL;
}

/** The keys of a view in order; total number. */
static inline uint32_t request_key_count(const struct request_view *v)
{
    uint32_t count = 0;
    for (uint32_t r = 0; r < v->ranges; r++)
        count += v->keys[r].count;
    return count;
}

/** Slow path of request_key(): not in the first range. */
struct span request_key_behind(const struct request_view *v, uint32_t i);

/** Key `i` of 0..request_key_count()-1. */
static inline struct span request_key(const struct request_view *v, uint32_t i)
{
    const struct key_range *first = &v->keys[0];
    if (i >= first->count)
        return request_key_behind(v, i);
    return args_span(v->args, v->base, first->first + i * first->step);
}

/** Where the parsing of one reply stands. Zeroed before the first byte of each reply. Replies are not kept: every byte
 * that was looked at counts as consumed, so that a reply can be passed on while it arrives. */
struct reply_parser {
    uint64_t left;   /* bytes of a body still to come, line end included */
    uint64_t number; /* a length that is being read */
    void *
        stack; /* redis: counts of the open nested arrays, when deeper than a few; freed by reply_reset() */
    uint32_t depth;
    uint32_t counts[4];
    uint8_t state;
    uint8_t type;
    bool error; /* the reply is an error line of the server's; valid once PARSE_DONE was said */
    bool negative;
    uint8_t matched; /* bytes of a line's beginning that were matched so far */
    char head[24];   /* the beginning of a line, kept to recognise it when it comes in pieces */
};

/** How the reply of a part of a split request ended. */
struct part_reply {
    struct span
        bytes; /* the server's reply, whole; or, if `failed`, an error line of ours made by error() */
    bool failed;             /* no reply came: dead server, timeout */
    bool error;              /* the server answered with an error */
    uint32_t server;         /* its number in the pool */
    uint32_t servers;        /* of the pool */
    const struct span *keys; /* of its request, in order, if the view was `named` */
};

struct proto {
    const char *name;

    /** Reads one request from the front of `in`, which always begins at the message's first byte. Fills `out` on
     * PARSE_DONE; on PARSE_BAD sets out->reply. Canonical forms and local replies are written into `scratch`, which
     * this call may clear first. */
    enum parse (*parse_request)(struct request_parser *p, struct proto_session *ses, struct span in,
                                struct buf *scratch, struct request_view *out);

    /** Appends the answer to a REQUEST_TELL. False if memory is out. May be NULL if there are none. */
    bool (*tell)(const struct request_view *v, struct proto_session *ses,
                 const struct proto_facts *facts, struct buf *out);

    /** A table of commands for the settings of a pool. NULL if memory is out. May be NULL if the protocol
     * has none. */
    void *(*commands_new)(const struct proto_commands *c);
    void (*commands_free)(void *commands);

    /** Frees what a session holds; its client goes. NULL: it holds nothing. */
    void (*session_end)(struct proto_session *ses);

    /** Appends the request for the keys numbered order[0..count-1] (ascending) of a REQUEST_SPLIT. False if memory is
     * out. */
    bool (*compose_part)(const struct request_view *v, const uint32_t *order, uint32_t count,
                         struct buf *out);

    /** What a part of this view expects as reply (a canonical part may differ from the whole). */
    uint8_t (*part_expect)(const struct request_view *v);

    /** Looks at `in`, sets `*used` to how many bytes of it belong to this reply. PARSE_DONE: the reply is whole;
     * PARSE_BAD: not a reply to what was expected: the connection can't be trusted any more. */
    enum parse (*parse_reply)(struct reply_parser *p, uint8_t expect, struct span in, size_t *used);
    /** Does a reply that begins with `head` (its first UNHEARD_HEAD bytes, or all if it has fewer) say what the client
     * asked not to hear? `hush` is the view's. Errors of ours are always heard. NULL: no view has a hush. */
    bool (*unheard)(uint8_t hush, struct span head);
    /** Frees what a parser of an unfinished reply holds, and zeroes it. */
    void (*reply_reset)(struct reply_parser *p);

    /** Joins the replies of the parts of a split request to one, at the end of `out`. `part_of[i]` is the part that
     * key i went to; keys keep their order inside a part; a broadcast has none. `join` is the view's. A shard that
     * failed makes an error of the whole, never a miss. False if memory is out or a part's reply has not the shape it
     * must have (`*bad` then names that part, else it is UINT32_MAX). */
    bool (*join)(uint8_t join, const struct part_reply *parts, uint32_t part_count,
                 const uint16_t *part_of, uint32_t key_count, struct chunk_pool *pool,
                 struct chain *out, uint32_t *bad);

    /** A REQUEST_LOGIN is carried out: notes what it changes besides the connections, until login_end() says how it went.
     * False if memory is out. NULL if there are none. */
    bool (*login_begin)(struct proto_session *ses, const struct request_view *v);
    void (*login_end)(struct proto_session *ses, bool good);

    /** NULL if the protocol has no transactions. */
    const struct proto_transaction *transaction;
    /** NULL if no view is a REQUEST_SCRIPT. */
    const struct proto_scripts *scripts;
    /** NULL if no view is a SESSION_WAIT. */
    const struct proto_wait *wait;

    /** NULL if the protocol has no subscriptions. */
    const struct proto_pubsub *pubsub;

    /** Appends an error line of ours: `-ERR reason` or `SERVER_ERROR reason`. False if memory is out. */
    bool (*error)(struct buf *out, struct span reason);

    /** Appends the error for keys that must be on one server and are not. */
    bool (*error_cross)(struct buf *out, const struct request_view *v);

    /** Appends what a fresh server connection with `login` must be sent before any request, and says how many replies it will
     * bring, and with what `expect`. Every one must be a success: see handshake_ok(). UINT32_MAX if memory is out: then
     * nothing may be sent on it. */
    uint32_t (*handshake)(const struct proto_login *login, struct buf *out, uint8_t *expect);
    /** Was reply number `i` of the handshake (its first bytes, cut to a bound) a success? */
    bool (*handshake_ok)(uint32_t i, struct span reply);
    /** Writes the error line that tells a client of such a reply (its first bytes, cut to a bound), an error of the
     * server's, into `line`, which has room for reply.len + 3 bytes. Returns its bytes; 0 if it can't be told. NULL if
     * there is no handshake. */
    size_t (*refusal)(struct span reply, char *line);

    /** Appends a request that asks a server whether it is alive, and what its reply is to be read as. False if memory
     * is out. */
    bool (*probe)(struct buf *out, uint8_t *expect);
    /** Does this reply to it (its first bytes, cut to a bound) say that the server can serve? One that is still loading
     * its data can't. */
    bool (*alive)(struct span reply);

    /** Appends a request that asks a server what it is, and what its reply is to be read as. False if memory is out.
     * NULL: no view is about that. */
    bool (*about)(struct buf *out, uint8_t *expect);
    /** Reads the reply (its first bytes, cut to a bound); false, and `out` is as it was, if it does not say. */
    bool (*about_read)(struct span reply, struct proto_about *out);
};

extern const struct proto proto_redis;
extern const struct proto proto_memcache;

#endif
