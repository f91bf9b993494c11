/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf/key.h"

#include <inttypes.h>
#include <stdlib.h>

#include "conf/endpoint.h"

const char key_required[] = "";

static const char *const bool_names[] = {"true", "false"};
static const char *const hash_names[] = {
#define HASH(name, symbol, text) name,
#include "hashes.def"
#undef HASH
};
static const char *const dist_names[] = {
#define DIST(name, symbol, text) name,
#include "dists.def"
#undef DIST
};
static const char *const on_eject_names[] = {
#define ON_EJECT(name, symbol, text) name,
#include "on_ejects.def"
#undef ON_EJECT
};
static const char *const loop_names[] = {
#define LOOP(name, text) name,
#include "loops.def"
#undef LOOP
};

/* Words of the rows. */
#define REQUIRED key_required
#define RESTART "at a restart"

static const struct key pool_rows[] = {
#define KEY(name, type, value, min, max, unit, change, text)                                       \
    {#name, KEY_##type, offsetof(struct conf_pool, name), value, min, max, unit, change, text},
#include "pool_keys.def"
#undef KEY
};
static const struct key global_rows[] = {
#define KEY(name, type, value, min, max, unit, change, text)                                       \
    {#name, KEY_##type, offsetof(struct conf_global, name), value, min, max, unit, change, text},
#include "global_keys.def"
#undef KEY
};
static const char *const pool_names[] = {
#define KEY(name, type, value, min, max, unit, change, text) #name,
#include "pool_keys.def"
#undef KEY
};
static const char *const global_names[] = {
#define KEY(name, type, value, min, max, unit, change, text) #name,
#include "global_keys.def"
#undef KEY
};

const struct key_table pool_keys = {"a key of a pool", pool_rows, pool_names, ARRAY_LEN(pool_rows)};
const struct key_table global_keys = {"a key of 'global'", global_rows, global_names,
                                      ARRAY_LEN(global_rows)};

/* Values that are one of a list of names, and what such a value is called. */
struct choice {
    const char *what;
    const char *const *names;
    size_t count;
};

static struct choice choice_of(enum key_type type)
{
    switch (type) {
    case KEY_BOOL:
        return (struct choice){"true or false", bool_names, ARRAY_LEN(bool_names)};
    case KEY_HASH:
        return (struct choice){"a hash", hash_names, ARRAY_LEN(hash_names)};
    case KEY_DIST:
        return (struct choice){"a distribution", dist_names, ARRAY_LEN(dist_names)};
    case KEY_ON_EJECT:
        return (struct choice){"a value of 'on_eject'", on_eject_names, ARRAY_LEN(on_eject_names)};
    case KEY_LOOP:
        return (struct choice){"a way to talk to the kernel", loop_names, ARRAY_LEN(loop_names)};
    default:
        return (struct choice){NULL, NULL, 0};
    }
}

/* The index of `text` in the list, or -1 with the reason in `why`. */
static int choose(enum key_type type, struct span text, struct why *why)
{
    struct choice c = choice_of(type);

    for (size_t i = 0; i < c.count; i++)
        if (span_eq(text, span_str(c.names[i])))
            return (int)i;
    why_not_one(why, text, c.what, c.names, c.count);
    return -1;
}

const struct key *key_find(const struct key_table *table, struct span name)
{
    for (size_t i = 0; i < table->count; i++)
        if (span_eq(name, span_str(table->keys[i].name)))
            return &table->keys[i];
    return NULL;
}

static bool all_digits(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
    return s.len > 0;
}

/* Takes the letter behind a size off `text`; returns what it multiplies by. */
static uint64_t take_unit(struct span *text)
{
    static const char units[] = "kmg";
    const char *unit = text->len < 2 ? NULL : strchr(units, text->ptr[text->len - 1] | ('a' ^ 'A'));

    if (unit == NULL || *unit == '\0')
        return 1;
    text->len--;
    return 1ULL << (10 * (unit - units + 1));
}

static bool number_read(const struct key *key, struct span text, int64_t *out, struct why *why)
{
    char shown[SHOWN];
    struct span digits = text;
    uint64_t unit = key->type == KEY_SIZE ? take_unit(&digits) : 1;
    const char *wrong = all_digits(digits) ? "out of range" : "not a number";
    uint64_t number;

    if (span_u64(digits, (uint64_t)key->max / unit, &number) &&
        (int64_t)(number * unit) >= key->min) {
        *out = (int64_t)(number * unit);
        return true;
    }
    return why_not(why, "'%s' is %s for '%s' (allowed: %s%" PRId64 " to %" PRId64 "%s%s%s)",
                   why_show(text, shown), wrong, key->name,
                   key->type == KEY_WORKERS ? "auto, or " : "", key->min, key->max,
                   key->unit == NULL ? "" : " ", key->unit == NULL ? "" : key->unit,
                   key->type == KEY_SIZE ? ", with k, m or g for KiB, MiB or GiB" : "");
}

static bool share_read(const struct key *key, struct span text, struct conf_share *out,
                       struct why *why)
{
    char shown[SHOWN];
    struct conf_share share = {.percent = text.ptr[text.len - 1] == '%'};
    struct span digits = span_of(text.ptr, share.percent ? text.len - 1 : text.len);
    uint64_t number;

    if (span_u64(digits, share.percent ? 100 : (uint64_t)key->max, &number)) {
        share.number = (int64_t)number;
        *out = share;
        return true;
    }
    return why_not(why, "'%s' is no number for '%s' (allowed: 0 to %" PRId64 ", or 0%% to 100%%)",
                   why_show(text, shown), key->name, key->max);
}

static bool text_set(struct span text, char **member, struct why *why)
{
    char *copy = strndup(text.ptr, text.len);

    if (copy == NULL)
        return why_not(why, "out of memory");
    free(*member);
    *member = copy;
    return true;
}

static bool index_set(enum key_type type, struct span text, int *member, struct why *why)
{
    int index = choose(type, text, why);

    if (index >= 0)
        *member = index;
    return index >= 0;
}

static bool bool_set(struct span text, bool *member, struct why *why)
{
    int index = choose(KEY_BOOL, text, why);

    if (index >= 0)
        *member = index == 0;
    return index >= 0;
}

static bool tag_set(struct span text, char **member, struct why *why)
{
    char shown[SHOWN];

    if (text.len != 2)
        return why_not(why, "'%s' is not a hash tag (allowed: two characters, such as \"{}\")",
                       why_show(text, shown));
    return text_set(text, member, why);
}

static bool endpoint_set(struct span text, struct conf_endpoint *member, struct why *why)
{
    struct conf_endpoint fresh;

    if (!endpoint_listen(text, &fresh, why))
        return false;
    endpoint_free(member);
    *member = fresh;
    return true;
}

bool key_set(const struct key *key, struct span text, void *object, struct why *why)
{
    void *member = (char *)object + key->offset;

    if (text.len == 0)
        return why_not(why, "'%s' has no value", key->name);
    if (memchr(text.ptr, '\0', text.len) != NULL)
        return why_not(why, "'%s' has a NUL byte", key->name);
    switch (key->type) {
    case KEY_ENDPOINT:
        return endpoint_set(text, member, why);
    case KEY_BOOL:
        return bool_set(text, member, why);
    case KEY_WORKERS:
        if (span_eq(text, SPAN("auto"))) {
            *(int64_t *)member = 0;
            return true;
        }
        return number_read(key, text, member, why);
    case KEY_NUMBER:
    case KEY_SIZE:
        return number_read(key, text, member, why);
    case KEY_TEXT:
        return text_set(text, member, why);
    case KEY_TAG:
        return tag_set(text, member, why);
    case KEY_LOOP:
        return choose(KEY_LOOP, text, why) >= 0 && text_set(text, member, why);
    case KEY_SHARE:
        return share_read(key, text, member, why);
    case KEY_HASH:
    case KEY_DIST:
    case KEY_ON_EJECT:
        return index_set(key->type, text, member, why);
    case KEY_SERVERS:
    case KEY_COMMANDS:
        break;
    }
    never("servers and commands are not one value");
}

bool key_defaults(const struct key_table *table, void *object)
{
    struct why why = {.text = ""};

    for (size_t i = 0; i < table->count; i++) {
        const struct key *key = &table->keys[i];

        if (key->value == NULL || key->value == key_required)
            continue;
        if (!key_set(key, span_str(key->value), object, &why))
            return false;
    }
    return true;
}

static bool is_text(enum key_type type)
{
    return type == KEY_TEXT || type == KEY_TAG || type == KEY_LOOP;
}

void key_free(const struct key_table *table, void *object)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct key *key = &table->keys[i];
        void *member = (char *)object + key->offset;

        if (key->type == KEY_ENDPOINT) {
            endpoint_free(member);
        } else if (is_text(key->type)) {
            free(*(char **)member);
            *(char **)member = NULL;
        }
    }
}

bool key_copy(const struct key *key, void *to, const void *from)
{
    void *target = (char *)to + key->offset;
    const void *source = (const char *)from + key->offset;
    char *const *text = source;
    struct why why = {.text = ""};

    switch (key->type) {
    case KEY_TEXT:
    case KEY_TAG:
    case KEY_LOOP:
        return *text == NULL || text_set(span_str(*text), target, &why);
    case KEY_BOOL:
        memcpy(target, source, sizeof(bool));
        return true;
    case KEY_NUMBER:
    case KEY_SIZE:
    case KEY_WORKERS:
        memcpy(target, source, sizeof(int64_t));
        return true;
    case KEY_SHARE:
        memcpy(target, source, sizeof(struct conf_share));
        return true;
    case KEY_HASH:
    case KEY_DIST:
    case KEY_ON_EJECT:
        memcpy(target, source, sizeof(int));
        return true;
    case KEY_ENDPOINT:
    case KEY_SERVERS:
    case KEY_COMMANDS:
        break;
    }
    never("endpoints, servers and commands are not copied");
}

/* A password never leaves the process. */
static bool is_secret(const struct key *key)
{
    return strstr(key->name, "auth") != NULL || strstr(key->name, "password") != NULL;
}

static void show_text(const struct key *key, const char *value, char *text, size_t size)
{
    if (value != NULL)
        snprintf(text, size, "%s", is_secret(key) ? "(hidden)" : value);
}

static void show_number(const struct key *key, const void *member, char *text, size_t size)
{
    int64_t n = *(const int64_t *)member;
    if (key->type == KEY_WORKERS && n == 0)
        snprintf(text, size, "auto");
    else
        snprintf(text, size, "%" PRId64, n);
}

const char *key_show(const struct key *key, const void *object, char *text, size_t size)
{
    const void *member = (const char *)object + key->offset;

    text[0] = '\0';
    switch (key->type) {
    case KEY_ENDPOINT:
        show_text(key, ((const struct conf_endpoint *)member)->text, text, size);
        break;
    case KEY_SERVERS:
        snprintf(text, size, "%" PRIu32, ((const struct conf_pool *)object)->server_count);
        break;
    case KEY_COMMANDS:
        if (((const struct conf_commands *)member)->verdicts != NULL)
            snprintf(text, size, "given");
        break;
    case KEY_BOOL:
        snprintf(text, size, "%s", *(const bool *)member ? "true" : "false");
        break;
    case KEY_NUMBER:
    case KEY_SIZE:
    case KEY_WORKERS:
        show_number(key, member, text, size);
        break;
    case KEY_TEXT:
    case KEY_TAG:
    case KEY_LOOP:
        show_text(key, *(char *const *)member, text, size);
        break;
    case KEY_SHARE:
        snprintf(text, size, "%" PRId64 "%s", ((const struct conf_share *)member)->number,
                 ((const struct conf_share *)member)->percent ? "%" : "");
        break;
    case KEY_HASH:
    case KEY_DIST:
    case KEY_ON_EJECT:
        snprintf(text, size, "%s", choice_of(key->type).names[*(const int *)member]);
        break;
    }
    return text;
}

void key_write_allowed(const struct key *key, const char *before, FILE *out)
{
    struct choice c = choice_of(key->type);

    if (key->type == KEY_NUMBER || key->type == KEY_SIZE)
        fprintf(out, "%s%" PRId64 " to %" PRId64, before, key->min, key->max);
    if (key->type == KEY_WORKERS)
        fprintf(out, "%sauto, %" PRId64 " to %" PRId64, before, key->min, key->max);
    if (key->type == KEY_SHARE)
        fprintf(out, "%s0 to %" PRId64 ", 0%% to 100%%", before, key->max);
    for (size_t i = 0; i < c.count; i++)
        fprintf(out, "%s%s", i == 0 ? before : ", ", c.names[i]);
}

const char *key_type_name(enum key_type type)
{
    switch (type) {
    case KEY_ENDPOINT:
        return "address";
    case KEY_SERVERS:
        return "list";
    case KEY_COMMANDS:
        return "mapping";
    case KEY_BOOL:
        return "true or false";
    case KEY_NUMBER:
        return "number";
    case KEY_SIZE:
        return "size";
    case KEY_SHARE:
        return "number or percentage";
    case KEY_WORKERS:
        return "number or auto";
    case KEY_TEXT:
        return "text";
    case KEY_TAG:
        return "two characters";
    case KEY_LOOP:
    case KEY_HASH:
    case KEY_DIST:
    case KEY_ON_EJECT:
        return "name";
    }
    never("unknown type of a key");
}
