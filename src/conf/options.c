/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf/options.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "conf/key.h"
#include "conf/why.h"

/* What getopt_long() returns for a row without a letter: this and the row's index. */
enum { LONG_ONLY = 256 };

struct row {
    char letter; /* or 0 */
    const char *name;
    const char *arg;   /* NULL: takes none */
    const char *needs; /* what is said to be missing */
    const char *text;
    int setting;    /* enum conf_global_key, or -1 */
    struct key own; /* of struct options, if it is no setting */
};

/* clang-format off */
#define OWN_KEY(member, type, value, min, max) \
    {#member, KEY_##type, offsetof(struct options, member), value, min, max, NULL, NULL, NULL}
/* clang-format on */

static const struct row rows[] = {
#define FLAG(letter, name, member, text)                                                           \
    {letter, name, NULL, NULL, text, -1, OWN_KEY(member, BOOL, NULL, 0, 0)},
#define VALUE(letter, name, member, type, value, min, max, arg, needs, text)                       \
    {letter, name, arg, needs, text, -1, OWN_KEY(member, type, value, min, max)},
#define SETTING(letter, name, key, arg, needs, text)                                               \
    {letter, name, arg, needs, text, GLOBAL_##key, {0}},
#include "options.def"
#undef FLAG
#undef VALUE
#undef SETTING
};

enum { ROWS = ARRAY_LEN(rows) };

static const struct key *row_key(const struct row *row)
{
    return row->setting >= 0 ? &global_keys.keys[row->setting] : &row->own;
}

static bool row_set(const struct row *row, struct options *o, const char *text, struct why *why)
{
    if (row->setting < 0)
        return key_set(&row->own, span_str(text), o, why);
    if (!key_set(row_key(row), span_str(text), &o->set, why))
        return false;
    o->set.given |= 1u << row->setting;
    return true;
}

static bool refuse(const struct options *o, FILE *errors)
{
    options_usage(o, errors);
    return false;
}

static bool refuse_missing(const struct options *o, const struct row *row, FILE *errors)
{
    if (row->letter == 0)
        fprintf(errors, "%s: option --%s requires a %s\n", o->program, row->name, row->needs);
    else
        fprintf(errors, "%s: option -%c requires a %s\n", o->program, row->letter, row->needs);
    return refuse(o, errors);
}

static bool is_number(const char *text)
{
    return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

/* Scripts read these lines, so that they are twemproxy's, each as irregular as there. */
static bool refuse_value(const struct options *o, const struct row *row, const char *text,
                         const struct why *why, FILE *errors)
{
    const char *name = o->program;

    if (row->letter == 's' && is_number(text))
        fprintf(errors, "%s: option -s value %s is not a valid port\n", name, text);
    else if (row->letter == 'm' && (!is_number(text) || strspn(text, "0") == strlen(text)))
        fprintf(errors, "%s: option -m requires a non-zero number\n", name);
    else if (row->letter == 'm')
        fprintf(errors, "%s: mbuf chunk size must be between %" PRId64 " and %" PRId64 " bytes\n",
                name, row->own.min, row->own.max);
    else if (row->letter == 0)
        fprintf(errors, "%s: option --%s: %s\n", name, row->name, why->text);
    else
        return refuse_missing(o, row, errors);
    return refuse(o, errors);
}

/* twemproxy takes every number for these two, so the largest stands for what is beyond it. */
static bool is_clamped(const struct row *row, const char *text)
{
    return (row->setting == GLOBAL_verbosity || row->setting == GLOBAL_stats_interval) &&
           is_number(text);
}

static bool take(struct options *o, const struct row *row, const char *text, FILE *errors)
{
    char largest[24];
    struct why why = {.text = ""};

    if (row_set(row, o, row->arg == NULL ? "true" : text, &why))
        return true;
    if (!is_clamped(row, text))
        return refuse_value(o, row, text, &why, errors);
    snprintf(largest, sizeof(largest), "%" PRId64, row_key(row)->max);
    return row_set(row, o, largest, &why);
}

static const struct row *row_of(int value)
{
    for (int i = 0; i < ROWS; i++)
        if (value == (rows[i].letter == 0 ? LONG_ONLY + i : rows[i].letter))
            return &rows[i];
    return NULL;
}

static bool refuse_unknown(const struct options *o, const char *word, FILE *errors)
{
    const char *names[ROWS];
    const char *near;
    char shown[SHOWN];

    if (strncmp(word, "--", 2) != 0) {
        fprintf(errors, "%s: invalid option -- '%c'\n", o->program, optopt);
        return refuse(o, errors);
    }
    for (int i = 0; i < ROWS; i++)
        names[i] = rows[i].name;
    word += 2;
    near = why_near(span_of(word, strcspn(word, "=")), names, ROWS);
    fprintf(errors, "%s: invalid option -- '--%s'", o->program, why_show(span_str(word), shown));
    if (near != NULL)
        fprintf(errors, " (did you mean '--%s'?)", near);
    fputc('\n', errors);
    return refuse(o, errors);
}

/* The two tables that getopt_long() wants. */
struct getopt_tables {
    char letters[2 * ROWS + 2];
    struct option names[ROWS + 1];
};

static void tables_fill(struct getopt_tables *t)
{
    size_t at = 0;

    memset(t, 0, sizeof(*t));
    /* A colon at first: a missing value is told from an unknown option. */
    t->letters[at++] = ':';
    for (int i = 0; i < ROWS; i++) {
        bool has_arg = rows[i].arg != NULL;

        t->names[i] = (struct option){rows[i].name, has_arg ? required_argument : no_argument, NULL,
                                      rows[i].letter == 0 ? LONG_ONLY + i : rows[i].letter};
        if (rows[i].letter == 0)
            continue;
        t->letters[at++] = rows[i].letter;
        if (has_arg)
            t->letters[at++] = ':';
    }
}

static bool read_all(struct options *o, int argc, char **argv, FILE *errors)
{
    struct getopt_tables tables;
    const struct row *row;
    int value;

    tables_fill(&tables);
    opterr = 0;
    optind = 0; /* start anew, also in a program that has read another command line */
    while ((value = getopt_long(argc, argv, tables.letters, tables.names, NULL)) != -1) {
        row = row_of(value == ':' ? optopt : value);
        if (row == NULL)
            return refuse_unknown(o, argv[optind - 1], errors);
        if (value == ':')
            return refuse_missing(o, row, errors);
        if (!take(o, row, optarg, errors))
            return false;
    }
    return true;
}

/* Members of struct options that have a default; the others are zero. */
static bool set_defaults(struct options *o)
{
    struct why why = {.text = ""};

    for (int i = 0; i < ROWS; i++)
        if (rows[i].setting < 0 && rows[i].own.value != NULL &&
            !key_set(&rows[i].own, span_str(rows[i].own.value), o, &why))
            return false;
    return conf_global_init(&o->set);
}

bool options_read(struct options *o, int argc, char **argv, FILE *errors)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;

    *o = (struct options){0};
    o->program = argc == 0 ? "cashew" : slash == NULL ? argv[0] : slash + 1;
    if (!set_defaults(o)) {
        fprintf(errors, "%s: out of memory\n", o->program);
        return false;
    }
    return read_all(o, argc, argv, errors);
}

static void usage_row(const struct row *row, FILE *out)
{
    const char *value = row_key(row)->value;
    char name[40];

    snprintf(name, sizeof(name), "--%s%s%s", row->name, row->arg == NULL ? "" : "=",
             row->arg == NULL ? "" : row->arg);
    if (row->letter == 0)
        fprintf(out, "      %-21s: %s", name, row->text);
    else
        fprintf(out, "  -%c, %-21s: %s", row->letter, name, row->text);
    if (row->arg != NULL && value != NULL)
        fprintf(out, " (default: %s)", value);
    fputc('\n', out);
}

void options_usage(const struct options *o, FILE *out)
{
    fprintf(out, "Usage: %s [-", o->program);
    for (int i = 0; i < ROWS; i++)
        if (rows[i].letter != 0 && rows[i].arg == NULL)
            fputc(rows[i].letter, out);
    fprintf(out,
            "] [options with values]\n"
            "       %s ring [...]: where keys go; `%s ring --help` says more\n\nOptions:\n",
            o->program, o->program);
    for (int i = 0; i < ROWS; i++)
        usage_row(&rows[i], out);
    fputc('\n', out);
}

void options_free(struct options *o)
{
    for (int i = 0; i < ROWS; i++) {
        if (rows[i].setting < 0 && rows[i].own.type == KEY_TEXT) {
            char **member = (char **)(void *)((char *)o + rows[i].own.offset);

            free(*member);
            *member = NULL;
        }
    }
    conf_global_free(&o->set);
}
