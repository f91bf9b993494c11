/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit ring_json shows the answers of `cashew ring` as one JSON document. Text that is not UTF-8, which JSON can't hold,
 * has a member of another name, with its bytes in hexadecimal: "key_hex" in place of "key". */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#include "tool/advice.h"
#include "tool/ring_view.h"
#include "tool/utf8.h"

enum { FLAGS = JSON_INDENT(2) };

/* Writes and frees a document; false for NULL, which is what is left when memory is out. */
static bool put(const struct screen *s, json_t *doc)
{
    bool good = doc != NULL && json_dumpf(doc, s->out, FLAGS) == 0;
    json_decref(doc);
    if (good)
        fputc('\n', s->out);
    return good;
}

/* An array of `count` elements, each made by `make`, which may return NULL when memory is out. */
static json_t *array_of(size_t count, json_t *(*make)(const void *arg, size_t i), const void *arg)
{
    json_t *array = json_array();
    for (size_t i = 0; array != NULL && i < count; i++) {
        if (json_array_append_new(array, make(arg, i)) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *hex_of(struct span bytes)
{
    static const char digits[] = "0123456789abcdef";
    if (bytes.len > SIZE_MAX / 2)
        return NULL;
    char *text = malloc(bytes.len * 2 + 1);
    if (text == NULL)
        return NULL;
    for (size_t i = 0; i < bytes.len; i++) {
        text[2 * i] = digits[(unsigned char)bytes.ptr[i] >> 4];
        text[2 * i + 1] = digits[(unsigned char)bytes.ptr[i] & 15];
    }
    json_t *hex = json_stringn(text, bytes.len * 2);
    free(text);
    return hex;
}

static bool set_bytes(json_t *object, const char *name, const char *name_hex, struct span bytes)
{
    if (utf8_is(bytes))
        return json_object_set_new(object, name, json_stringn(bytes.ptr, bytes.len)) == 0;
    return json_object_set_new(object, name_hex, hex_of(bytes)) == 0;
}

static json_t *advice_at(const void *arg, size_t i)
{
    const struct advice *a = (const struct advice *)arg + i;
    return json_pack("{s:s, s:s}", "kind", a->warning ? "warning" : "note", "text", a->text);
}

static json_t *pool_advice(const struct spread *pool)
{
    struct advice all[ADVICE_MAX] = {{0}};
    return array_of(advice_of_pool(pool, all), advice_at, all);
}

/* ------------------------------------------------------------------ shares */

static json_t *share_at(const void *arg, size_t i)
{
    const struct spread *pool = arg;
    const struct conf_server *server = &pool->conf->servers[i];
    return json_pack("{s:s, s:s, s:I, s:I, s:f, s:f}", "name", server->name, "address",
                     server->at.text, "weight", (json_int_t)server->weight, "points",
                     (json_int_t)pool->points[i], "by_weight", spread_due(pool, (uint32_t)i),
                     "share", pool->shares[i]);
}

static json_t *pool_facts(const struct spread *pool)
{
    const struct conf_pool *conf = pool->conf;
    return json_pack("{s:s, s:s, s:s, s:s?, s:I}", "pool", conf->name, "distribution",
                     ring_dist_name(conf->distribution), "hash", ring_hash_name(conf->hash),
                     "hash_tag", conf->hash_tag, "hash_values", (json_int_t)pool->values);
}

static json_t *pool_at(const void *arg, size_t i)
{
    const struct spread *pool = ((struct spread *const *)arg)[i];
    json_t *object = pool_facts(pool);
    if (object == NULL ||
        json_object_set_new(object, "servers",
                            array_of(pool->conf->server_count, share_at, pool)) ||
        json_object_set_new(object, "advice", pool_advice(pool))) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static bool json_shares(const struct screen *s, struct spread *const *pools, size_t count)
{
    return put(s, json_pack("{s:o}", "pools", array_of(count, pool_at, pools)));
}

/* ------------------------------------------------------------------ keys */

/* The object around the keys is written by hand, so that keys need not be held. */
static bool json_keys_begin(struct ring_keys *k)
{
    FILE *out = k->screen->out;
    json_t *facts = pool_facts(k->pool);
    if (facts == NULL || json_object_set_new(facts, "advice", pool_advice(k->pool)) != 0) {
        json_decref(facts);
        return false;
    }
    fputs("{", out);
    bool good = json_dumpf(facts, out, JSON_EMBED) == 0;
    fputs(", \"keys\": [", out);
    json_decref(facts);
    return good;
}

static bool set(json_t *object, const char *name, json_t *value)
{
    return json_object_set_new(object, name, value) == 0;
}

static bool fill_key(json_t *object, const struct spread *pool, const struct placed *placed)
{
    bool any = placed->server == UINT32_MAX;
    const struct conf_server *server = any ? NULL : &pool->conf->servers[placed->server];
    if (!set_bytes(object, "key", "key_hex", placed->key))
        return false;
    if (placed->hashed.len != placed->key.len &&
        !set_bytes(object, "hashed", "hashed_hex", placed->hashed))
        return false;
    return set(object, "hash", json_integer((json_int_t)placed->hash)) &&
           set(object, "server", any ? json_null() : json_string(server->name)) &&
           set(object, "address", any ? json_null() : json_string(server->at.text));
}

static bool json_key(struct ring_keys *k, const struct placed *placed)
{
    json_t *object = json_object();
    fputs(k->any ? ",\n" : "\n", k->screen->out);
    bool good = object != NULL && fill_key(object, k->pool, placed) &&
                json_dumpf(object, k->screen->out, 0) == 0;
    json_decref(object);
    return good;
}

static void json_keys_end(struct ring_keys *k)
{
    fputs("\n]}\n", k->screen->out);
}

/* ------------------------------------------------------------------ what moves */

static json_t *move_at(const void *arg, size_t i)
{
    const struct ring_change *c = arg;
    const struct move *m = &c->moves.all[i];
    return json_pack("{s:s, s:s, s:f}", "from", c->old->conf->servers[m->from].name, "to",
                     c->new->conf->servers[m->to].name, "part", m->part);
}

/* What a server had and will have; an index of UINT32_MAX: it is not there. */
static json_t *before_after(const struct ring_change *c, uint32_t old, uint32_t new)
{
    bool was = old != UINT32_MAX, is = new != UINT32_MAX;
    const struct conf_server *before = &c->old->conf->servers[was ? old : 0];
    const struct conf_server *after = &c->new->conf->servers[is ? new : 0];
    return json_pack("{s:s, s:s?, s:s?, s:o, s:o}", "name", was ? before->name : after->name,
                     "address_before", was ? before->at.text : NULL, "address_after",
                     is ? after->at.text : NULL, "share_before",
                     was ? json_real(c->old->shares[old]) : json_null(), "share_after",
                     is ? json_real(c->new->shares[new]) : json_null());
}

static json_t *servers_of(const struct ring_change *c)
{
    const struct conf_pool *old = c->old->conf, *new = c->new->conf;
    json_t *array = json_array();
    int bad = array == NULL;
    for (uint32_t i = 0; !bad && i < old->server_count; i++) {
        uint32_t k = moves_server_named(new, old->servers[i].name);
        bad = json_array_append_new(array, before_after(c, i, k));
    }
    for (uint32_t i = 0; !bad && i < new->server_count; i++)
        if (moves_server_named(old, new->servers[i].name) == UINT32_MAX)
            bad = json_array_append_new(array, before_after(c, UINT32_MAX, i));
    if (!bad)
        return array;
    json_decref(array);
    return NULL;
}

static json_t *change_advice(const struct ring_change *c)
{
    struct advice all[2 * ADVICE_MAX] = {{0}};
    size_t count = advice_of_change(c->old, c->new, all);
    count += advice_of_pool(c->new, all + count);
    return array_of(count, advice_at, all);
}

static json_t *change_at(const void *arg, size_t i)
{
    static const char *const methods[] = {
        [MOVES_EXACT] = "exact", [MOVES_EXPECTED] = "expected", [MOVES_NONE] = "none"};
    const struct ring_change *c = (const struct ring_change *)arg + i;
    bool none = c->moves.method == MOVES_NONE;
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "pool", c->old->conf->name,
                     "method", methods[c->moves.method], "moved",
                     none ? json_null() : json_real(c->moves.moved), "before", pool_facts(c->old),
                     "after", pool_facts(c->new), "moves", array_of(c->moves.count, move_at, c),
                     "servers", servers_of(c), "advice", change_advice(c));
}

static json_t *missing(const struct conf *has, const struct conf *other)
{
    json_t *array = json_array();
    for (uint32_t i = 0; array != NULL && i < has->pool_count; i++)
        if (ring_pool_missing(other, has->pools[i].name) &&
            json_array_append_new(array, json_string(has->pools[i].name)) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static bool json_diff(const struct screen *s, const struct ring_diff *diff)
{
    json_t *doc = json_pack("{s:o}", "pools", array_of(diff->count, change_at, diff->changes));
    if (doc != NULL && diff->all &&
        (json_object_set_new(doc, "only_before", missing(diff->old, diff->new)) != 0 ||
         json_object_set_new(doc, "only_after", missing(diff->new, diff->old)) != 0)) {
        json_decref(doc);
        return false;
    }
    return put(s, doc);
}

const struct ring_view ring_json = {json_shares, json_keys_begin, json_key, json_keys_end,
                                    json_diff};
