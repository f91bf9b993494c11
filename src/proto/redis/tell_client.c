/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit tell_client answers CLIENT: what is the client's own is kept and told; what would need a server
 * connection of its own is refused, unless it asks for what is so anyway. */
#include "proto/redis/identity.h"
#include "proto/redis/login.h"
#include "proto/redis/number.h"
#include "proto/redis/tell.h"

static void ok(struct question *q)
{
    write_raw(q->w, SPAN("+OK\r\n"));
}

/* Sets a name that the client gave; `what` is how redis calls it. */
static void set_name(struct question *q, enum identity_kind kind, struct span name,
                     const char *what)
{
    if (name.len <= IDENTITY_MAX && !identity_valid(name))
        write_text(q->w, "-ERR %s cannot contain spaces, newlines or special characters.\r\n",
                   what);
    else if (name.len > IDENTITY_MAX)
        write_text(q->w, "-ERR %s can have %d bytes at most behind this proxy\r\n", what,
                   IDENTITY_MAX);
    else if (!identity_set(q->ses, kind, name))
        q->w->failed = true;
    else
        ok(q);
}

static void set_info(struct question *q)
{
    if (question_is(q, 2, SPAN("lib-name"))) {
        set_name(q, IDENTITY_LIB, question_word(q, 3), "lib-name");
    } else if (question_is(q, 2, SPAN("lib-ver"))) {
        set_name(q, IDENTITY_LIB_VERSION, question_word(q, 3), "lib-ver");
    } else {
        struct span s = question_word(q, 2);
        write_text(q->w, "-ERR Unrecognized option '%.*s'\r\n",
                   (int)(s.len < 128 && identity_valid(s) ? s.len : 0), s.ptr);
    }
}

static void get_name(struct question *q)
{
    struct span name = identity_get(q->ses, IDENTITY_NAME);
    if (name.len == 0)
        write_null(q->w);
    else
        write_bulk(q->w, name);
}

/* The line that redis shows of a client; what the proxy does not count is 0. */
static void show_client(struct question *q)
{
    const struct proto_facts *f = q->facts;
    struct buf text = {0};
    struct writer w = {.out = &text};
    struct span name = identity_get(q->ses, IDENTITY_NAME);
    struct span lib = identity_get(q->ses, IDENTITY_LIB);
    struct span version = identity_get(q->ses, IDENTITY_LIB_VERSION);
    struct span command = question_is(q, 1, SPAN("list")) ? SPAN("list") : SPAN("info");
    struct span user = login_now(q->ses).user;
    user = user.len > 0 ? user : SPAN("default");
    write_text(&w, "id=%llu addr=%.*s laddr=%.*s fd=%d name=", (unsigned long long)f->client_id,
               (int)f->client.len, f->client.ptr, (int)f->here.len, f->here.ptr, f->client_fd);
    write_raw(&w, name);
    write_text(&w,
               " age=%llu idle=0 flags=%c db=%u sub=%u psub=%u ssub=%u multi=-1 watch=0 qbuf=0 "
               "qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 "
               "events=r cmd=client|%.*s user=%.*s redir=-1 resp=%u lib-name=",
               (unsigned long long)f->client_age, q->ses->hears ? 'P' : 'N', login_now(q->ses).db,
               f->subscribed[TOPIC_CHANNEL], f->subscribed[TOPIC_PATTERN],
               f->subscribed[TOPIC_SHARD], (int)command.len, command.ptr, (int)user.len, user.ptr,
               (unsigned)q->w->resp);
    write_raw(&w, lib);
    write_raw(&w, SPAN(" lib-ver="));
    write_raw(&w, version);
    write_raw(&w, SPAN("\n"));
    write_verbatim(q->w, buf_span(&text));
    q->w->failed = q->w->failed || w.failed;
    buf_free(&text);
}

/* What a server calls the kinds of clients; `shown` is the kind of all of ours. */
static bool list_kind(struct question *q, bool *shown)
{
    static const struct span others[] = {
        {"pubsub", 6}, {"master", 6}, {"primary", 7}, {"replica", 7}, {"slave", 5}};
    struct span kind = question_word(q, 3);
    *shown = question_is(q, 3, SPAN("normal"));
    bool known = *shown;
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        known = known || question_is(q, 3, others[i]);
    if (!known)
        write_text(q->w, "-ERR Unknown client type '%.*s'\r\n",
                   (int)(kind.len < 128 && identity_valid(kind) ? kind.len : 0), kind.ptr);
    return known;
}

static bool list_ids(struct question *q, bool *shown)
{
    *shown = false;
    for (uint32_t i = 3; i < q->v->args->count; i++) {
        int64_t id;
        if (!number_read(question_word(q, i), &id)) {
            write_raw(q->w, SPAN("-ERR Invalid client ID\r\n"));
            return false;
        }
        *shown = *shown || (uint64_t)id == q->facts->client_id;
    }
    return true;
}

/* CLIENT LIST shows the client that asks, if it is among those that are asked for. */
static void list_clients(struct question *q)
{
    uint32_t count = q->v->args->count;
    bool shown = true;
    bool good = count == 2;
    if (count == 4 && question_is(q, 2, SPAN("type")))
        good = list_kind(q, &shown);
    else if (count > 3 && question_is(q, 2, SPAN("id")))
        good = list_ids(q, &shown);
    else if (!good)
        write_raw(q->w, SPAN("-ERR syntax error\r\n"));
    if (good && shown)
        show_client(q);
    else if (good)
        write_verbatim(q->w, SPAN(""));
}

/* What is OFF anyway, and can't be ON. */
static void only_off(struct question *q)
{
    if (question_is(q, 2, SPAN("off")))
        ok(q);
    else if (question_is(q, 2, SPAN("on")))
        write_raw(q->w, SPAN("-ERR this is not supported by this proxy: clients share the "
                             "connections to the servers\r\n"));
    else
        write_raw(q->w, SPAN("-ERR syntax error\r\n"));
}

static void no_evict(struct question *q)
{
    if (question_is(q, 2, SPAN("on")) || question_is(q, 2, SPAN("off")))
        ok(q);
    else
        write_raw(q->w, SPAN("-ERR syntax error\r\n"));
}

/* Nothing is said where replies are not wanted. */
static void reply(struct question *q)
{
    struct proto_session *ses = q->ses;
    if (question_is(q, 2, SPAN("on")))
        ses->mute = MUTE_NONE;
    else if (question_is(q, 2, SPAN("off")))
        ses->mute = MUTE_ALL;
    else if (question_is(q, 2, SPAN("skip")))
        ses->mute = ses->mute == MUTE_ALL ? MUTE_ALL : MUTE_SKIP;
    else
        write_raw(q->w, SPAN("-ERR syntax error\r\n"));
    if (question_is(q, 2, SPAN("on")))
        ok(q);
}

static void unblock(struct question *q)
{
    int64_t id = 0;
    bool reason = q->v->args->count == 3 || question_is(q, 3, SPAN("timeout")) ||
                  question_is(q, 3, SPAN("error"));
    if (!reason || q->v->args->count > 4)
        write_raw(q->w, SPAN("-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n"));
    else if (!number_read(question_word(q, 2), &id))
        write_raw(q->w, SPAN("-ERR value is not an integer or out of range\r\n"));
    else
        write_integer(q->w, 0);
}

static void tracking_info(struct question *q)
{
    write_map(q->w, 3);
    write_bulk(q->w, SPAN("flags"));
    write_set(q->w, 1);
    write_bulk(q->w, SPAN("off"));
    write_bulk(q->w, SPAN("redirect"));
    write_integer(q->w, -1);
    write_bulk(q->w, SPAN("prefixes"));
    write_array(q->w, 0);
}

static void caching(struct question *q)
{
    write_raw(q->w,
              SPAN("-ERR CLIENT CACHING can be called only when the client is in tracking mode "
                   "with OPTIN or OPTOUT mode enabled\r\n"));
}

static void ask_id(struct question *q)
{
    write_integer(q->w, (int64_t)q->facts->client_id);
}

void tell_client(struct question *q, enum command_class class)
{
    switch (class) {
    case CLASS_CLIENT_ID:
        ask_id(q);
        break;
    case CLASS_CLIENT_GETNAME:
        get_name(q);
        break;
    case CLASS_CLIENT_SETNAME:
        set_name(q, IDENTITY_NAME, question_word(q, 2), "Client names");
        break;
    case CLASS_CLIENT_SETINFO:
        set_info(q);
        break;
    case CLASS_CLIENT_INFO:
        show_client(q);
        break;
    case CLASS_CLIENT_LIST:
        list_clients(q);
        break;
    case CLASS_CLIENT_NO_EVICT:
        no_evict(q);
        break;
    case CLASS_CLIENT_NO_TOUCH:
    case CLASS_CLIENT_TRACKING:
        only_off(q);
        break;
    case CLASS_CLIENT_REPLY:
        reply(q);
        break;
    case CLASS_CLIENT_UNBLOCK:
        unblock(q);
        break;
    case CLASS_CLIENT_CACHING:
        caching(q);
        break;
    case CLASS_CLIENT_GETREDIR:
        write_integer(q->w, -1);
        break;
    case CLASS_CLIENT_TRACKINGINFO:
        tracking_info(q);
        break;
    case CLASS_CLIENT_CAPA:
    case CLASS_CLIENT_UNPAUSE:
        ok(q);
        break;
    default:
        never("a command that tell() does not know");
    }
}
