/* SPDX-License-Identifier: BSD-3-Clause */
#include "session/hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "upstream/profile.h"

/* How often the time is looked at, ms: while something is asked for, and else. */
enum { TICK_BUSY = 20, TICK_CALM = 100 };
/* How long a hub that nobody needs stays, ms. */
enum { LINGER_MS = 1000 };
/* Memory of work space that is kept between messages, bytes. */
enum { PUSH_KEEP = 65536 };

static stat *gauge_of(const struct hub *h, enum topic_kind kind)
{
    struct pool_stats *stats = h->front->up->stats;
    stat *const all[TOPIC_KINDS] = {&stats->pubsub_channels, &stats->pubsub_patterns,
                                    &stats->pubsub_shard_channels};
    return all[kind];
}

/* ---- topics ---- */

static uint64_t topic_hash(const struct hub *h, enum topic_kind kind, struct span name)
{
    return dict_hash(&h->topics, name) + kind;
}

static struct topic *topic_find(const struct hub *h, enum topic_kind kind, struct span name)
{
    struct dict_node *n = dict_first(&h->topics, topic_hash(h, kind, name));
    for (; n != NULL; n = dict_next(n)) {
        struct topic *t = container_of(n, struct topic, node);
        if (t->kind == kind && span_eq(topic_name(t), name))
            return t;
    }
    return NULL;
}

/* Tables and topics are counted. */
static bool table_add(struct hub *h, struct dict *d, struct dict_node *n, uint64_t hash)
{
    size_t before = dict_memory(d);
    bool good = dict_add(d, n, hash);
    meter_move(hub_meter(h), before, dict_memory(d));
    return good;
}

static void table_remove(struct hub *h, struct dict *d, struct dict_node *n)
{
    size_t before = dict_memory(d);
    dict_remove(d, n);
    meter_move(hub_meter(h), before, dict_memory(d));
}

static size_t topic_bytes(const struct topic *t)
{
    return sizeof(*t) + t->name_len;
}

static struct topic *topic_new(struct hub *h, enum topic_kind kind, struct span name)
{
    struct topic *t = name.len < UINT32_MAX ? malloc(sizeof(*t) + name.len) : NULL;
    if (t == NULL)
        return NULL;
    *t = (struct topic){.hub = h, .kind = kind, .name_len = (uint32_t)name.len};
    memcpy(t->name, name.ptr, name.len);
    list_init(&t->told);
    list_init(&t->untold);
    if (!table_add(h, &h->topics, &t->node, topic_hash(h, kind, name))) {
        free(t);
        return NULL;
    }
    meter_add(hub_meter(h), topic_bytes(t));
    return t;
}

static void topic_review(struct topic *t)
{
    struct hub *h = t->hub;
    if (t->held > 0 || t->sub_count > 0 || t->legs != NULL)
        return;
    table_remove(h, &h->topics, &t->node);
    meter_sub(hub_meter(h), topic_bytes(t));
    free(t);
}

/* Does every server on which it must be know of it? */
static bool is_settled(const struct topic *t)
{
    bool any = false;
    for (const struct leg *l = t->legs; l != NULL; l = l->next) {
        if (l->wanted && l->state != LEG_ON)
            return false;
        any = any || l->wanted;
    }
    return any;
}

/* ---- legs ---- */

static struct leg *leg_find(const struct topic *t, const struct line *line)
{
    struct leg *l = t->legs;
    while (l != NULL && l->line != line)
        l = l->next;
    return l;
}

static bool leg_add(struct topic *t, struct line *line)
{
    struct leg *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return false;
    meter_add(hub_meter(t->hub), sizeof(*l));
    l->topic = t;
    l->line = line;
    l->next = t->legs;
    t->legs = l;
    list_init(&l->query.link);
    list_append(&line->legs, &l->link);
    return true;
}

void leg_free(struct leg *l)
{
    struct topic *t = l->topic;
    struct leg **at = &t->legs;
    must(!list_linked(&l->query.link));
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    list_unlink(&l->link);
    if (list_empty(&l->line->legs))
        l->line->unused = hub_now(t->hub);
    meter_sub(hub_meter(t->hub), sizeof(*l));
    free(l);
    topic_review(t);
}

/* ---- where topics are ---- */

static bool is_everywhere(const struct topic *t)
{
    const struct upstream *up = t->hub->front->up;
    return t->kind == TOPIC_PATTERN ||
           (t->kind == TOPIC_CHANNEL && words_of_hub(t->hub)->everywhere(topic_name(t))) ||
           (up->pool->server_count > 1 && !upstream_sharded(up));
}

/* The server to which what is published in the channel goes. */
static uint32_t server_of(const struct topic *t)
{
    return upstream_route(t->hub->front->up, topic_name(t), INTENT_WRITE);
}

/* Makes it wanted on the servers where it must be by the ring in force, and nowhere else. False if
 * memory is out. */
static bool topic_place(struct topic *t)
{
    struct hub *h = t->hub;
    const struct ring_version *ring = h->front->up->ring;
    bool everywhere = is_everywhere(t);
    uint32_t server = everywhere ? SERVER_NONE : server_of(t);
    bool good = true;
    for (uint32_t i = 0; i < h->line_count; i++) {
        bool wanted = everywhere ? !ring->ejected[i] : i == server;
        struct leg *l = leg_find(t, &h->lines[i]);
        if (l == NULL && wanted && leg_add(t, &h->lines[i]))
            l = t->legs;
        good = good && (l != NULL || !wanted);
        if (l != NULL)
            l->wanted = wanted;
    }
    return good;
}

/* Lets every leg become what is wanted of it. The topic may be gone. */
static void topic_move(struct topic *t)
{
    t->held++;
    for (struct leg *l = t->legs, *next; l != NULL; l = next) {
        next = l->next;
        line_review(l);
    }
    t->held--;
    topic_review(t);
}

/* Those that are not told yet of the topic, which could not be had. */
static void fail_waiting(struct topic *t, struct span reason, bool line)
{
    LIST_FOREACH (node, &t->untold) {
        asking_fail(container_of(node, struct sub, in_topic)->who->asking, reason, line);
    }
}

/* Opens the lines that it needs. */
static void topic_open(struct topic *t)
{
    for (struct leg *l = t->legs; l != NULL; l = l->next)
        if (l->wanted && !line_open(l->line))
            fail_waiting(t, span_str(l->line->reason), l->line->own);
}

/* Who is not told yet waits if, and only if, it is not settled. */
static void topic_tell(struct topic *t)
{
    bool settled = is_settled(t);
    LIST_FOREACH (node, &t->untold) {
        struct sub *s = container_of(node, struct sub, in_topic);
        if (s->waits == !settled)
            continue;
        s->waits = !settled;
        if (settled)
            asking_came(s->who->asking);
        else
            s->who->asking->left++;
    }
}

static void place_again(struct dict_node *n, void *arg)
{
    struct topic *t = container_of(n, struct topic, node);
    bool *good = arg;
    if (t->sub_count == 0)
        return;
    if (!topic_place(t)) {
        *good = false;
        fail_waiting(t, SPAN("Cannot allocate memory"), false);
    }
    topic_open(t);
    topic_move(t);
    topic_tell(t);
}

/* The ring has changed: topics go where now is published. A topic with subscribers does not go. */
static void follow_ring(struct hub *h)
{
    struct upstream *up = h->front->up;
    bool good = true;
    upstream_begin(up);
    if (h->ring == up->ring->number)
        return;
    dict_each(&h->topics, place_again, &good);
    /* What there was no memory for is tried again. */
    if (good)
        h->ring = up->ring->number;
    hub_settle(h);
}

/* ---- subscriptions ---- */

static uint64_t sub_hash(const struct hub *h, const struct topic *t, const struct subscriber *who)
{
    const void *pair[2] = {t, who};
    return dict_hash(&h->subs, span_of((const char *)pair, sizeof(pair)));
}

static struct sub *sub_find(const struct hub *h, const struct topic *t,
                            const struct subscriber *who)
{
    struct dict_node *n = dict_first(&h->subs, sub_hash(h, t, who));
    for (; n != NULL; n = dict_next(n)) {
        struct sub *s = container_of(n, struct sub, node);
        if (s->topic == t && s->who == who)
            return s;
    }
    return NULL;
}

struct sub *hub_find(const struct hub *h, const struct subscriber *who, enum topic_kind kind,
                     struct span name)
{
    const struct topic *t = topic_find(h, kind, name);
    return t == NULL ? NULL : sub_find(h, t, who);
}

static struct sub *sub_new(struct topic *t, struct subscriber *who)
{
    struct hub *h = t->hub;
    struct sub *s = calloc(1, sizeof(*s));
    if (s == NULL || !table_add(h, &h->subs, &s->node, sub_hash(h, t, who))) {
        free(s);
        return NULL;
    }
    s->topic = t;
    s->who = who;
    list_init(&s->in_topic);
    list_append(&t->untold, &s->in_topic);
    list_append(&who->subs[t->kind], &s->in_who);
    if (t->sub_count++ == 0)
        stat_add(gauge_of(h, t->kind), 1);
    who->count++;
    meter_add(hub_meter(h), sizeof(*s));
    stat_add(&h->front->up->stats->subscriptions, 1);
    return s;
}

struct sub *hub_add(struct hub *h, struct subscriber *who, enum topic_kind kind, struct span name)
{
    struct topic *t = topic_find(h, kind, name);
    struct sub *s = t == NULL ? NULL : sub_find(h, t, who);
    if (s != NULL)
        return s;
    if (t == NULL)
        t = topic_new(h, kind, name);
    if (t == NULL)
        return NULL;
    s = sub_new(t, who);
    if (s == NULL) {
        topic_review(t);
        return NULL;
    }
    if (t->sub_count == 1 && !topic_place(t)) {
        hub_drop(s);
        return NULL;
    }
    return s;
}

void hub_tell(struct sub *s)
{
    struct topic *t = s->topic;
    s->told = true;
    s->waits = false;
    s->who->told[t->kind]++;
    list_unlink(&s->in_topic);
    list_append(&t->told, &s->in_topic);
}

void hub_drop(struct sub *s)
{
    struct topic *t = s->topic;
    struct hub *h = t->hub;
    table_remove(h, &h->subs, &s->node);
    list_unlink(&s->in_topic);
    list_unlink(&s->in_who);
    s->who->count--;
    if (s->told)
        s->who->told[t->kind]--;
    meter_sub(hub_meter(h), sizeof(*s));
    stat_sub(&h->front->up->stats->subscriptions, 1);
    free(s);
    if (--t->sub_count > 0)
        return;
    stat_sub(gauge_of(h, t->kind), 1);
    for (struct leg *l = t->legs; l != NULL; l = l->next)
        l->wanted = false;
    topic_move(t);
}

void hub_need(struct sub *s)
{
    struct topic *t = s->topic;
    bool anywhere = false;
    for (const struct leg *l = t->legs; l != NULL; l = l->next)
        anywhere = anywhere || l->wanted;
    if (!anywhere) {
        struct upstream *up = t->hub->front->up;
        upstream_no_server(up);
        asking_fail(s->who->asking, span_str(up->reason), false);
    }
    topic_open(t);
    topic_move(t);
    topic_tell(t);
}

/* ---- what lines report ---- */

void hub_leg_on(struct leg *l)
{
    topic_tell(l->topic);
}

/* The first of those that heard a topic, which goes back among them: any of them may leave when it is its turn. */
static struct sub *take_turn(struct topic *t, struct list *todo)
{
    struct sub *s = LIST_FIRST(todo, struct sub, in_topic);
    list_unlink(&s->in_topic);
    list_append(&t->told, &s->in_topic);
    return s;
}

/* Who hears it already would not know that it hears nothing any more: as a server does that takes the
 * permission away, it is closed. */
void hub_leg_refused(struct leg *l, struct span line)
{
    struct topic *t = l->topic;
    struct list todo;
    fail_waiting(t, line, true);
    l->wanted = false;
    t->held++;
    list_move(&todo, &t->told);
    while (!list_empty(&todo))
        client_fail(take_turn(t, &todo)->who->client, "the server does not let it subscribe again");
    t->held--;
    topic_move(t);
}

void hub_leg_lost(struct leg *l, struct span reason, bool line)
{
    if (l->wanted)
        fail_waiting(l->topic, reason, line);
    else
        leg_free(l);
}

static void deliver(struct topic *t, struct span bytes)
{
    struct hub *h = t->hub;
    struct span pushed = SPAN("");
    struct list todo;
    uint64_t count = 0;
    t->held++;
    list_move(&todo, &t->told);
    while (!list_empty(&todo)) {
        struct client *c = take_turn(t, &todo)->who->client;
        count++;
        uint8_t resp = c->session.login->resp;
        if (resp == 3 && pushed.len == 0)
            pushed = words_of_hub(h)->message(bytes, resp, &h->push);
        client_push(c, resp == 3 ? pushed : bytes);
    }
    t->held--;
    if (h->push.cap > PUSH_KEEP)
        buf_free(&h->push);
    buf_clear(&h->push);
    stat_add(&h->front->up->stats->messages, count);
    topic_review(t);
}

bool hub_message(struct line *line, const struct news *n, struct span bytes)
{
    struct topic *t = topic_find(line->hub, n->topic, n->name);
    const struct leg *l = t == NULL ? NULL : leg_find(t, line);
    if (l == NULL || l->state == LEG_OFF || l->state == LEG_ASKED)
        return false;
    if (l->wanted)
        deliver(t, bytes);
    return true;
}

/* ---- askings ---- */

static void make_ready(struct asking *a)
{
    a->ready = true;
    list_unlink(&a->link);
    list_append(&a->who->hub->ready, &a->link);
}

void asking_fail(struct asking *a, struct span reason, bool line)
{
    size_t len = reason.len < sizeof(a->reason) ? reason.len : sizeof(a->reason) - 1;
    if (a->failed)
        return;
    a->failed = true;
    a->line = line && len == reason.len;
    memcpy(a->reason, reason.ptr, len);
    a->reason[len] = '\0';
    make_ready(a);
}

void asking_came(struct asking *a)
{
    must(a->left > 0);
    a->left--;
    if (a->left == 0 && !a->ready)
        make_ready(a);
}

void hub_settle(struct hub *h)
{
    if (h->settling)
        return;
    h->settling = true;
    while (!list_empty(&h->ready)) {
        struct asking *a = LIST_FIRST(&h->ready, struct asking, link);
        list_unlink(&a->link);
        asking_answer(a);
    }
    h->settling = false;
}

static void expire_askings(struct hub *h)
{
    const struct conf_pool *conf = h->front->up->pool->conf;
    char reason[REASON_TEXT];
    snprintf(reason, sizeof(reason), "Connection timed out (subscription, %lld ms)",
             (long long)conf->timeout);
    while (conf->timeout > 0 && !list_empty(&h->askings)) {
        struct asking *a = LIST_FIRST(&h->askings, struct asking, link);
        if (hub_now(h) - a->since < (uint64_t)conf->timeout)
            break;
        asking_fail(a, span_str(reason), false);
    }
    hub_settle(h);
}

/* ---- hubs ---- */

static void hub_free(struct hub *h)
{
    struct hub **at = &h->front->hubs;
    must(h->subscribers == 0);
    timer_stop(h->front->px->loop, &h->tick);
    for (uint32_t i = 0; i < h->line_count; i++) {
        struct line *line = &h->lines[i];
        line_close(line);
        LIST_FOREACH_SAFE (node, &line->legs) {
            leg_free(container_of(node, struct leg, link));
        }
    }
    while (*at != h)
        at = &(*at)->next;
    *at = h->next;
    meter_sub(hub_meter(h), dict_memory(&h->topics) + dict_memory(&h->subs));
    dict_free(&h->topics);
    dict_free(&h->subs);
    buf_free(&h->work);
    buf_free(&h->push);
    profile_leave(h->profile);
    free(h);
}

void hubs_end(struct front *front)
{
    while (front->hubs != NULL)
        hub_free(front->hubs);
}

static void on_tick(struct timer *t)
{
    struct hub *h = container_of(t, struct hub, tick);
    if (h->subscribers == 0 && hub_now(h) - h->unused >= LINGER_MS) {
        hub_free(h);
        return;
    }
    follow_ring(h);
    for (uint32_t i = 0; i < h->line_count; i++)
        line_tick(&h->lines[i]);
    expire_askings(h);
    timer_start(h->front->px->loop, t, list_empty(&h->askings) ? TICK_CALM : TICK_BUSY);
}

/* The database is the pool's, whatever the client's is: topics belong to none. */
static struct profile *hold_profile(struct front *front, const struct proto_login *login)
{
    struct proto_login own = {.user = login->user,
                              .password = login->password,
                              .db = front->up->pool->settings.db,
                              .resp = 2};
    return profile_hold(front->up, &own);
}

static struct hub *hub_new(struct front *front, const struct proto_login *login)
{
    uint32_t count = front->up->pool->server_count;
    struct hub *h = calloc(1, sizeof(*h) + count * sizeof(h->lines[0]));
    uint64_t keys[4];
    if (h == NULL || getrandom(keys, sizeof(keys), 0) != (ssize_t)sizeof(keys)) {
        snprintf(front->up->reason, sizeof(front->up->reason), "Cannot allocate memory");
        free(h);
        return NULL;
    }
    h->front = front;
    h->profile = hold_profile(front, login);
    if (h->profile == NULL) {
        free(h);
        return NULL;
    }
    dict_init(&h->topics, keys);
    dict_init(&h->subs, keys + 2);
    list_init(&h->askings);
    list_init(&h->ready);
    timer_init(&h->tick, on_tick);
    h->line_count = count;
    for (uint32_t i = 0; i < count; i++)
        line_init(&h->lines[i], h, &front->up->slots[i]);
    h->ring = front->up->ring->number;
    h->unused = hub_now(h);
    h->next = front->hubs;
    front->hubs = h;
    return h;
}

bool hub_is_for(const struct hub *h, const struct proto_login *login)
{
    const struct proto_login *own = &h->profile->login;
    return span_eq(own->user, login->user) && span_eq_secret(login->password, own->password);
}

struct hub *hub_for(struct front *front, const struct proto_login *login)
{
    struct hub *h = front->hubs;
    while (h != NULL && !hub_is_for(h, login))
        h = h->next;
    if (h == NULL)
        h = hub_new(front, login);
    if (h == NULL)
        return NULL;
    /* Where the topics go that are asked for now is by the ring that is in force now. */
    follow_ring(h);
    if (!timer_running(&h->tick) || h->tick.due > hub_now(h) + TICK_BUSY)
        timer_start(front->px->loop, &h->tick, TICK_BUSY);
    return h;
}
