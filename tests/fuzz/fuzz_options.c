/* SPDX-License-Identifier: BSD-3-Clause */
/* Any words, one a line, as a command line. It is refused with a reason and the usage, or taken without a word; and each
 * time the same. */
#include <stdlib.h>
#include <string.h>

#include "conf/key.h"
#include "conf/options.h"
#include "said.h"
#include "target.h"

enum { WORDS_MAX = 64 };

/* Cuts `text` at its line ends. getopt changes the order, so that every reading needs words of its own. */
static int words_of(char *text, char *argv[WORDS_MAX + 1])
{
    int argc = 0;
    char *rest = text;
    while (argc < WORDS_MAX && rest != NULL)
        argv[argc++] = strsep(&rest, "\n");
    argv[argc] = NULL;
    return argc;
}

static void check_numbers(const struct conf_global *g)
{
    for (size_t i = 0; i < global_keys.count; i++) {
        int64_t n;
        if (global_keys.keys[i].type != KEY_NUMBER)
            continue;
        memcpy(&n, (const char *)g + global_keys.keys[i].offset, sizeof(n));
        must(n >= global_keys.keys[i].min && n <= global_keys.keys[i].max);
    }
}

static bool read_once(const char *line, struct said *said)
{
    struct options o;
    char *argv[WORDS_MAX + 1];
    char *text = strdup(line);
    must(text != NULL);
    said_open(said);
    bool ok = options_read(&o, words_of(text, argv), argv, said->file);
    struct span what = said_span(said);
    must(ok ? what.len == 0 : what.len > 0);
    must(ok || memmem(what.ptr, what.len, "Usage: ", 7) != NULL);
    if (ok)
        check_numbers(&o.set);
    options_free(&o);
    free(text);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct said first;
    struct said again;
    char *line = calloc(1, size + 1);
    must(line != NULL);
    memcpy(line, data, size);
    must(read_once(line, &first) == read_once(line, &again));
    must(span_eq(said_span(&first), said_span(&again)));
    said_close(&first);
    said_close(&again);
    free(line);
    return 0;
}
