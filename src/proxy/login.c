/* SPDX-License-Identifier: BSD-3-Clause */
#include "proxy/login.h"

#include "proxy/session_ops.h"
#include "proxy/tell.h"

static void use(struct client *c, struct profile *p)
{
    c->lane = (struct lane){.profile = p, .keep = c->id};
    c->session.login = &p->login;
}

void login_begin(struct client *c)
{
    use(c, c->front->up->plain);
    c->lane.profile->users++;
}

void login_end(struct client *c)
{
    profile_leave(c->lane.profile);
    if (c->wanted != NULL)
        profile_leave(c->wanted);
    c->wanted = NULL;
}

static void settle(struct client *c, bool good)
{
    struct profile *unused = good ? c->lane.profile : c->wanted;
    if (good)
        use(c, c->wanted);
    c->wanted = NULL;
    c->front->proto->login_end(&c->session, good);
    profile_leave(unused);
}

static struct request *request_of(struct part *p)
{
    return container_of(p, struct request, part);
}

static void on_reply(struct part *p, struct span piece, bool last, bool error)
{
    struct client *c = request_of(p)->client;
    if (last && c != NULL)
        settle(c, !error);
    request_events.reply(p, piece, last, error);
}

/* No server answers: takes the client there all the same, if it may go without their word, and answers in
 * their place. False if not. */
static bool answer_instead(struct request *r)
{
    struct client *c = r->client;
    struct buf *text = &r->px->compose;
    const struct args none = {0};
    if (c->instead == 0 || r->streamed || request_parked(r) > 0)
        return false;
    settle(c, true);
    buf_clear(text);
    if (!tell_text(c, &(struct request_view){.join = c->instead, .args = &none}, text) ||
        (!r->quiet && !request_park(r, buf_span(text))))
        client_fail(c, "no memory for an answer");
    return true;
}

/* The request has no reply, for this reason. */
static void no_reply(struct request *r, struct span reason)
{
    if (r->client != NULL && answer_instead(r)) {
        request_done(r);
        return;
    }
    if (r->client != NULL)
        settle(r->client, false);
    request_fail(r, reason);
}

static void on_failed(struct part *p, struct span reason)
{
    struct request *r = request_of(p);
    request_part_ended(r, p);
    no_reply(r, reason);
}

static const struct part_events events = {.reply = on_reply,
                                          .failed = on_failed,
                                          .drains = request_part_drains,
                                          .stays = request_part_stays};

/* Sends it on a connection of the profile that it asks for. */
static void ask(struct client *c, const struct request_view *v, uint32_t server)
{
    struct upstream *up = c->front->up;
    const struct lane lane = {.profile = c->wanted, .keep = c->id};
    struct request *r = request_new(c, v->quiet);
    if (r == NULL) {
        request_no_memory(c);
        return;
    }
    r->part.on = &events;
    r->part.expect = v->expect;
    if (server == SERVER_NONE)
        upstream_no_server(up);
    else if (upstream_send(up, server, &lane, &r->part, v->wire))
        return;
    no_reply(r, span_str(up->reason));
}

/* It begins: holds the profile that it asks for. False: it can't, and the client was told why. */
static bool want(struct client *c, const struct request_view *v)
{
    struct upstream *up = c->front->up;
    c->wanted = profile_hold(up, &v->login);
    if (c->wanted == NULL) {
        request_refuse(c, v, span_str(up->reason));
        return false;
    }
    if (c->front->proto->login_begin(&c->session, v))
        return true;
    settle(c, false);
    request_no_memory(c);
    return false;
}

/* It is known to be good. */
static enum request_fate use_at_once(struct client *c, const struct request_view *v)
{
    if (!want(c, v))
        return REQUEST_STARTED;
    settle(c, true);
    request_answer(c, v->reply);
    return REQUEST_STARTED;
}

enum request_fate login_start(struct client *c, const struct request_view *v)
{
    struct upstream *up = c->front->up;
    c->alone = true;
    if (c->open > 0)
        return REQUEST_WAITS;
    if (v->resets && c->held != NULL)
        c->front->px->sessions->leave(c);
    const char *bound = c->held == NULL ? NULL : c->front->px->sessions->binds(c, &v->login);
    if (bound != NULL) {
        request_refuse(c, v, span_str(bound));
        return REQUEST_STARTED;
    }
    if (v->wire.len == 0)
        return use_at_once(c, v);
    c->instead = v->join;
    if (want(c, v))
        ask(c, v, request_keyless(up));
    return REQUEST_STARTED;
}
