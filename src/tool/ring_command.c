/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/ring_command.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/why.h"
#include "tool/ring_view.h"

enum { DONE = 0, NO_ANSWER = 1, WRONG_USE = 2 };

#define SAYS "cashew ring: "

struct row {
    char letter;
    const char *name;
    const char *arg; /* NULL: takes none */
    const char *text;
};

static const struct row rows[] = {
#define OPTION(letter, name, arg, text) {letter, name, arg, text},
#include "ring_options.def"
#undef OPTION
};

enum { ROWS = ARRAY_LEN(rows) };

/* What is asked. */
struct ask {
    const char *file; /* of -c, or NULL */
    bool help;
    bool diff;
    bool null;
    const struct ring_view *view;
    struct screen screen;
    char **words; /* what is no option */
    int count;
};

static void usage(FILE *out)
{
    fputs(
        "Usage: cashew ring [-c FILE] [POOL]            the servers' shares of the keys\n"
        "       cashew ring [-c FILE] POOL KEY...       the server of each key; '-': of those on\n"
        "                                               the standard input, one a line\n"
        "       cashew ring -0 [-c FILE] POOL           the same, of keys that end with a NUL\n"
        "       cashew ring --diff OLD NEW [POOL]       what moves from one FILE to another\n"
        "\n"
        "Answers are those of a proxy with that configuration while all servers are live.\n"
        "\nOptions:\n",
        out);
    for (int i = 0; i < ROWS; i++) {
        char name[40];
        snprintf(name, sizeof(name), "--%s%s%s", rows[i].name, rows[i].arg == NULL ? "" : "=",
                 rows[i].arg == NULL ? "" : rows[i].arg);
        fprintf(out, "  -%c, %-17s: %s\n", rows[i].letter, name, rows[i].text);
    }
}

static int no_memory(void)
{
    fputs(SAYS "out of memory\n", stderr);
    return NO_ANSWER;
}

/* ------------------------------------------------------------------ the command line */

struct getopt_tables {
    char letters[2 * ROWS + 2];
    struct option names[ROWS + 1];
};

static void tables_fill(struct getopt_tables *t)
{
    size_t at = 0;
    memset(t, 0, sizeof(*t));
    for (int i = 0; i < ROWS; i++) {
        int arg = rows[i].arg == NULL ? no_argument : required_argument;
        t->names[i] = (struct option){rows[i].name, arg, NULL, rows[i].letter};
        t->letters[at++] = rows[i].letter;
        if (rows[i].arg != NULL)
            t->letters[at++] = ':';
    }
}

/* False for a letter that is none of the rows'. */
static bool take(struct ask *ask, int letter, const char *value)
{
    switch (letter) {
    case 'h':
        return ask->help = true;
    case 'c':
        ask->file = value;
        return true;
    case 'd':
        return ask->diff = true;
    case 'j':
        ask->view = &ring_json;
        return true;
    case '0':
        return ask->null = true;
    default:
        return false;
    }
}

static int wrong(const char *what)
{
    fprintf(stderr, SAYS "%s; see 'cashew ring --help'\n", what);
    return WRONG_USE;
}

/* DONE, or that the use is wrong; getopt_long() says of an option what is wrong with it. */
static int read_options(struct ask *ask, int argc, char **argv)
{
    static char name[] = "cashew ring";
    struct getopt_tables tables;
    int letter;
    tables_fill(&tables);
    argv[0] = name;
    opterr = 1;
    optind = 0;
    while ((letter = getopt_long(argc, argv, tables.letters, tables.names, NULL)) != -1)
        if (!take(ask, letter, optarg))
            return wrong("a wrong option");
    ask->words = argv + optind;
    ask->count = argc - optind;
    return DONE;
}

static int check_use(const struct ask *ask)
{
    if (ask->help)
        return DONE;
    if (ask->diff && (ask->file != NULL || ask->null))
        return wrong("--diff takes its files without -c, and no keys");
    if (ask->diff && (ask->count < 2 || ask->count > 3))
        return wrong("--diff takes two configurations, and a pool if not all are meant");
    if (ask->null && ask->count == 0)
        return wrong("-0 takes a pool");
    return DONE;
}

/* ------------------------------------------------------------------ configurations and pools */

/* NULL after the errors were told. */
static struct conf *load(const char *file)
{
    bool was_read;
    struct conf *conf = conf_load(file, stderr, &was_read);
    if (conf == NULL && was_read)
        fprintf(stderr, SAYS "configuration file '%s' syntax is invalid\n", file);
    return conf;
}

static void no_such_pool(const struct conf *conf, const char *name)
{
    struct why why = {.text = ""};
    char what[128];
    must(conf->pool_count > 0);
    const char **names = calloc(conf->pool_count, sizeof(*names));
    snprintf(what, sizeof(what), "a pool of %s", conf->file);
    for (uint32_t i = 0; names != NULL && i < conf->pool_count; i++)
        names[i] = conf->pools[i].name;
    why_not_one(&why, span_str(name), what, names, names == NULL ? 0 : conf->pool_count);
    fprintf(stderr, SAYS "%s\n", why.text);
    free(names);
}

/* The pool of that name; NULL, after it was said, if there is none. */
static const struct conf_pool *find_pool(const struct conf *conf, const char *name)
{
    for (uint32_t i = 0; i < conf->pool_count; i++)
        if (strcmp(conf->pools[i].name, name) == 0)
            return &conf->pools[i];
    no_such_pool(conf, name);
    return NULL;
}

/* ------------------------------------------------------------------ shares */

static int show_shares(const struct ask *ask, const struct conf_pool *pools, uint32_t count)
{
    must(count > 0);
    struct spread **all = calloc(count, sizeof(struct spread *));
    bool good = all != NULL;
    for (uint32_t i = 0; good && i < count; i++)
        good = (all[i] = spread_new(&pools[i])) != NULL;
    good = good && ask->view->shares(&ask->screen, all, count);
    for (uint32_t i = 0; all != NULL && i < count; i++)
        spread_free(all[i]);
    free(all);
    return good ? DONE : no_memory();
}

/* ------------------------------------------------------------------ keys */

struct keys {
    const struct ask *ask;
    struct ring_keys shown;
};

static bool show_key(struct keys *k, struct span key)
{
    const struct spread *pool = k->shown.pool;
    struct placed placed = {.key = key, .hashed = hash_tagged(key, pool->pool->tag)};
    placed.hash = spread_hash(pool, key);
    placed.server = pool->random ? UINT32_MAX : spread_server(pool, placed.hash);
    bool good = k->ask->view->key(&k->shown, &placed);
    k->shown.any = true;
    return good;
}

static int show_input(struct keys *k)
{
    int end = k->ask->null ? '\0' : '\n';
    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    bool good = true;
    while (good && (len = getdelim(&line, &room, end, stdin)) >= 0)
        good = show_key(k, span_of(line, (size_t)len - (size_t)(line[len - 1] == end)));
    int err = errno;
    free(line);
    if (!good)
        return no_memory();
    if (!feof(stdin)) {
        fprintf(stderr, SAYS "can't read the standard input: %s\n", strerror(err));
        return NO_ANSWER;
    }
    return DONE;
}

static int show_words(struct keys *k, char **words, int count)
{
    for (int i = 0; i < count; i++) {
        bool input = strcmp(words[i], "-") == 0;
        int code = input ? show_input(k) : show_key(k, span_str(words[i])) ? DONE : no_memory();
        if (code != DONE)
            return code;
    }
    return DONE;
}

static int show_keys_of(const struct ask *ask, const struct spread *pool)
{
    struct keys k = {.ask = ask, .shown = {.screen = &ask->screen, .pool = pool}};
    if (!ask->view->keys_begin(&k.shown))
        return no_memory();
    int code = ask->count == 1 ? show_input(&k) : show_words(&k, ask->words + 1, ask->count - 1);
    if (code == DONE)
        ask->view->keys_end(&k.shown);
    return code;
}

static int show_keys(const struct ask *ask, const struct conf_pool *conf)
{
    struct spread *pool = spread_new(conf);
    int code = pool == NULL ? no_memory() : show_keys_of(ask, pool);
    spread_free(pool);
    return code;
}

static int answer(const struct ask *ask, const struct conf *conf)
{
    if (ask->count == 0)
        return show_shares(ask, conf->pools, conf->pool_count);
    const struct conf_pool *pool = find_pool(conf, ask->words[0]);
    if (pool == NULL)
        return NO_ANSWER;
    if (ask->count == 1 && !ask->null)
        return show_shares(ask, pool, 1);
    return show_keys(ask, pool);
}

static int answer_one(const struct ask *ask)
{
    struct conf *conf = load(ask->file == NULL ? "conf/nutcracker.yml" : ask->file);
    if (conf == NULL && ask->file == NULL)
        fputs(SAYS "name the configuration file with -c FILE\n", stderr);
    int code = conf == NULL ? NO_ANSWER : answer(ask, conf);
    conf_free(conf);
    return code;
}

/* ------------------------------------------------------------------ what moves */

static bool compare(struct ring_diff *d, const struct conf_pool *old, const struct conf_pool *new)
{
    struct ring_change *c = &d->changes[d->count++];
    c->old = spread_new(old);
    c->new = spread_new(new);
    return c->old != NULL && c->new != NULL &&moves_find(&c->moves, c->old, c->new);
}

static bool compare_all(struct ring_diff *d)
{
    for (uint32_t i = 0; i < d->old->pool_count; i++)
        for (uint32_t k = 0; k < d->new->pool_count; k++)
            if (strcmp(d->old->pools[i].name, d->new->pools[k].name) == 0 &&
                !compare(d, &d->old->pools[i], &d->new->pools[k]))
                return false;
    return true;
}

static int fill_diff(struct ring_diff *d, const char *name)
{
    d->all = name == NULL;
    d->changes = calloc(d->old->pool_count, sizeof(*d->changes));
    if (d->changes == NULL)
        return no_memory();
    if (name == NULL)
        return compare_all(d) ? DONE : no_memory();
    const struct conf_pool *old = find_pool(d->old, name);
    const struct conf_pool *new = find_pool(d->new, name);
    if (old == NULL || new == NULL)
        return NO_ANSWER;
    return compare(d, old, new) ? DONE : no_memory();
}

static int answer_diff(const struct ask *ask)
{
    struct conf *old = load(ask->words[0]);
    struct conf *new = load(ask->words[1]);
    struct ring_diff d = {.old = old, .new = new};
    int code = NO_ANSWER;
    if (old != NULL && new != NULL)
        code = fill_diff(&d, ask->count == 3 ? ask->words[2] : NULL);
    if (code == DONE && !ask->view->diff(&ask->screen, &d))
        code = no_memory();
    for (size_t i = 0; i < d.count; i++) {
        spread_free(d.changes[i].old);
        spread_free(d.changes[i].new);
        moves_free(&d.changes[i].moves);
    }
    free(d.changes);
    conf_free(old);
    conf_free(new);
    return code;
}

/* A full disk, for example, must not look like an answer. */
static int finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    fprintf(stderr, SAYS "can't write: %s\n", strerror(errno));
    return NO_ANSWER;
}

int ring_command(int argc, char **argv)
{
    struct ask ask = {.view = &ring_text};
    /* For the characters of the terminal only: numbers keep their form. */
    setlocale(LC_CTYPE, "");
    ask.screen = screen_of(stdout);
    int code = read_options(&ask, argc, argv);
    if (code == DONE)
        code = check_use(&ask);
    if (code != DONE)
        return code;
    if (ask.help)
        usage(stdout);
    else
        code = ask.diff ? answer_diff(&ask) : answer_one(&ask);
    return finish(code);
}
