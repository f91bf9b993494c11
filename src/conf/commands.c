/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf/commands.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "conf/names.h"
#include "conf/why.h"

/* The rows of the table, in its order: a verdict is found by the number of its row. */
#define COMMAND(name, arity, class, intent, keys, more) name,
#define SUBCOMMAND(name, arity, class, intent, keys, more) name,
static const char *const rows[] = {
#include "redis_overrides.def"

#include "redis_commands.def"
};
#undef COMMAND
#undef SUBCOMMAND

enum { ROWS = ARRAY_LEN(rows) };

/* Of each row: is its class one that nothing can open? */
#define COMMAND(name, arity, class, intent, keys, more) #class,
#define SUBCOMMAND(name, arity, class, intent, keys, more) #class,
static const char *const classes[] = {
#include "redis_overrides.def"

#include "redis_commands.def"
};
#undef COMMAND
#undef SUBCOMMAND

static const char *const categories[] = {
#define CATEGORY(name) "@" name,
#define MEMBER(mask)
#include "redis_categories.def"
#undef CATEGORY
#undef MEMBER
};

/* The categories of each row: bit i for categories[i]. */
static const uint64_t members[] = {
#define CATEGORY(name)
#define MEMBER(mask) mask,
#include "redis_categories.def"
#undef CATEGORY
#undef MEMBER
};
_Static_assert(ARRAY_LEN(members) == ROWS, "each command has its categories");

/* What a client needs to begin with, or to leave: no category takes it away. */
static bool is_door(const char *name)
{
    static const char *const doors[] = {"auth", "hello", "quit", "reset"};
    for (size_t i = 0; i < ARRAY_LEN(doors); i++)
        if (strcmp(name, doors[i]) == 0)
            return true;
    return false;
}

static bool is_refused(size_t row)
{
    return strcmp(classes[row], "REFUSED") == 0;
}

static uint64_t category_mask(struct span name, bool *found)
{
    *found = true;
    for (size_t i = 0; i < ARRAY_LEN(categories); i++)
        if (span_ieq(name, span_str(categories[i])))
            return (uint64_t)1 << i;
    *found = span_ieq(name, SPAN("@all"));
    return UINT64_MAX;
}

/* Sets the verdict of all commands of a category. */
static void judge_category(struct conf_commands *c, struct node item, enum conf_verdict verdict,
                           struct report *report)
{
    struct why why = {.text = ""};
    bool found;
    uint64_t mask = category_mask(item.text, &found);
    if (!found) {
        why_not_one(&why, item.text, "a category of commands", categories, ARRAY_LEN(categories));
        report_add(report, item.at, "%s", why.text);
        return;
    }
    for (size_t i = 0; i < ROWS; i++) {
        bool taken = (members[i] & mask) != 0 || mask == UINT64_MAX;
        if (taken && !is_refused(i) && !(verdict == VERDICT_DENY && is_door(rows[i])))
            c->verdicts[i] = (uint8_t)verdict;
    }
}

/* Is `row` the command `name`, or one of its subcommands? */
static bool is_of(const char *row, struct span name)
{
    size_t len = strlen(row);
    if (len < name.len || !span_ieq(span_of(row, name.len), name))
        return false;
    return len == name.len || row[name.len] == '|';
}

static void judge_name(struct conf_commands *c, struct node item, enum conf_verdict verdict,
                       struct report *report)
{
    struct why why = {.text = ""};
    char shown[SHOWN];
    bool found = false;
    for (size_t i = 0; i < ROWS; i++) {
        if (!is_of(rows[i], item.text))
            continue;
        bool exact = strlen(rows[i]) == item.text.len;
        found = true;
        if (!is_refused(i))
            c->verdicts[i] = (uint8_t)verdict;
        else if (exact && verdict == VERDICT_ALLOW)
            report_add(report, item.at, "'%s' is never served by a proxy: it can't be allowed",
                       why_show(item.text, shown));
    }
    if (found)
        return;
    const char *near = why_near(item.text, rows, ROWS);
    why_not(&why, "'%s' is not a command that is known%s%s%s", why_show(item.text, shown),
            near == NULL ? "" : " (did you mean '", near == NULL ? "" : near,
            near == NULL ? "" : "'?)");
    report_add(report, item.at, "%s", why.text);
}

static void read_list(struct node list, const char *name, struct conf_commands *c,
                      enum conf_verdict verdict, struct report *report)
{
    struct node item;
    void *iter = NULL;
    if (list.kind != NODE_SEQUENCE) {
        report_add(report, list.at, "'%s' takes a list of commands and @categories", name);
        return;
    }
    while (node_next_item(list, &iter, &item)) {
        if (item.kind != NODE_SCALAR || item.text.len == 0)
            report_add(report, item.at, "'%s' takes a list of commands and @categories", name);
        else if (item.text.ptr[0] == '@')
            judge_category(c, item, verdict, report);
        else
            judge_name(c, item, verdict, report);
    }
}

/* ---- commands of the user's ---- */

/* The next word of `*rest`, which is cut off there; "" at its end. */
static struct span next_word(struct span *rest)
{
    size_t begin = 0;
    while (begin < rest->len && rest->ptr[begin] == ' ')
        begin++;
    size_t end = begin;
    while (end < rest->len && rest->ptr[end] != ' ')
        end++;
    struct span word = span_of(rest->ptr + begin, end - begin);
    *rest = span_from(*rest, end);
    return word;
}

/* Reads a number up to the next colon, which is taken, too. */
static bool next_number(struct span *s, int64_t least, int64_t most, int64_t *out)
{
    const char *colon = memchr(s->ptr, ':', s->len);
    size_t len = colon == NULL ? s->len : (size_t)(colon - s->ptr);
    struct span digits = span_of(s->ptr, len);
    bool negative = len > 0 && digits.ptr[0] == '-';
    uint64_t n = 0;
    *s = span_from(*s, colon == NULL ? len : len + 1);
    if (!span_u64(negative ? span_from(digits, 1) : digits, INT8_MAX, &n))
        return false;
    *out = negative ? -(int64_t)n : (int64_t)n;
    return *out >= least && *out <= most;
}

/* Where the keys are: `none`, `numkeys:AT`, or FIRST[:LAST[:STEP]] as COMMAND INFO shows it. */
static bool read_keys(struct span s, struct conf_custom *out)
{
    int64_t first = 0;
    int64_t last = 0;
    int64_t step = 1;
    if (span_eq(s, SPAN("none"))) {
        out->keys = CUSTOM_NONE;
        return true;
    }
    bool counted = s.len > 8 && span_eq(span_of(s.ptr, 8), SPAN("numkeys:"));
    s = counted ? span_from(s, 8) : s;
    bool good = next_number(&s, 1, INT8_MAX, &first);
    last = first;
    if (good && !counted && s.len > 0)
        good = next_number(&s, INT8_MIN, INT8_MAX, &last);
    if (good && !counted && s.len > 0)
        good = next_number(&s, 1, INT8_MAX, &step);
    out->keys = counted ? CUSTOM_NUMKEYS : CUSTOM_RANGE;
    out->first = (uint8_t)first;
    out->last = (int8_t)last;
    out->step = (uint8_t)step;
    return good && s.len == 0 && last != 0;
}

static bool read_line(struct span line, struct conf_custom *out, struct span *name)
{
    *name = next_word(&line);
    struct span intent = next_word(&line);
    struct span keys = next_word(&line);
    out->write = span_eq(intent, SPAN("write"));
    return name->len > 0 && name->len < 40 && memchr(name->ptr, '|', name->len) == NULL &&
           (out->write || span_eq(intent, SPAN("read"))) && next_word(&line).len == 0 &&
           read_keys(keys, out);
}

static bool custom_add(struct conf_commands *c, const struct conf_custom *custom)
{
    struct conf_custom *more =
        realloc(c->custom, ((size_t)c->custom_count + 1) * sizeof(*c->custom));
    if (more == NULL)
        return false;
    c->custom = more;
    c->custom[c->custom_count++] = *custom;
    return true;
}

static void read_custom(struct node list, struct conf_commands *c, struct report *report)
{
    struct node item;
    void *iter = NULL;
    if (list.kind != NODE_SEQUENCE) {
        report_add(report, list.at,
                   "'custom' takes a list: one line '- NAME read|write KEYS' for "
                   "each command");
        return;
    }
    while (node_next_item(list, &iter, &item)) {
        struct conf_custom custom = {0};
        struct span name = SPAN("");
        char shown[SHOWN];
        if (item.kind != NODE_SCALAR || !read_line(item.text, &custom, &name)) {
            report_add(report, item.at,
                       "'%s' is not a command: write NAME, then read or write, then where its keys "
                       "are: none, FIRST, FIRST:LAST, FIRST:LAST:STEP, or numkeys:AT",
                       why_show(item.kind == NODE_SCALAR ? item.text : SPAN(""), shown));
            continue;
        }
        custom.name = strndup(name.ptr, name.len);
        if (custom.name == NULL || !custom_add(c, &custom)) {
            free(custom.name);
            report_add(report, (struct place){0}, "out of memory");
        }
    }
}

void commands_read(struct node node, struct conf_commands *out, struct report *report)
{
    static const char *const keys[] = {"allow", "custom", "deny"};
    struct node lists[ARRAY_LEN(keys)] = {{0}};
    struct names names = {0};
    struct node name;
    struct node value;
    void *iter = NULL;
    struct why why = {.text = ""};
    if (node.kind != NODE_MAPPING) {
        report_add(report, node.at, "'commands' takes a mapping with 'deny', 'allow' and 'custom'");
        return;
    }
    out->verdicts = calloc(ROWS, 1);
    if (out->verdicts == NULL) {
        report_add(report, (struct place){0}, "out of memory");
        return;
    }
    while (node_next_pair(node, &iter, &name, &value)) {
        size_t i = 0;
        if (name.kind == NODE_SCALAR && !names_add(&names, name.text, name.at))
            report_add(report, (struct place){0}, "out of memory");
        while (i < ARRAY_LEN(keys) && !span_eq(name.text, span_str(keys[i])))
            i++;
        if (i < ARRAY_LEN(keys)) {
            lists[i] = value;
        } else {
            why_not_one(&why, name.text, "a key of 'commands'", keys, ARRAY_LEN(keys));
            report_add(report, name.at, "%s", why.text);
        }
    }
    names_check(&names, "key", report);
    names_free(&names);
    /* What is allowed is stronger, wherever it stands. */
    if (lists[2].raw != NULL)
        read_list(lists[2], "deny", out, VERDICT_DENY, report);
    if (lists[0].raw != NULL)
        read_list(lists[0], "allow", out, VERDICT_ALLOW, report);
    if (lists[1].raw != NULL)
        read_custom(lists[1], out, report);
}

void commands_free(struct conf_commands *c)
{
    for (uint32_t i = 0; i < c->custom_count; i++)
        free(c->custom[i].name);
    free(c->custom);
    free(c->verdicts);
    *c = (struct conf_commands){0};
}
