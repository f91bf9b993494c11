/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit options is the command line: twemproxy's, and what cashew has beyond it. */
#ifndef CONF_OPTIONS_H
#define CONF_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/must.h"
#include "conf/conf.h"

/** One member for each FLAG and VALUE of options.def; its SETTINGs are in `set`. */
struct options {
    const char *program; /* the name by which it was called, without its folder: of argv[0] */
#define FLAG(letter, name, member, text) bool member;
#define VALUE(letter, name, member, type, value, min, max, arg, needs, text)                       \
    CONF_MEMBER_##type(member)
#define SETTING(letter, name, key, arg, needs, text)
#include "options.def"
#undef FLAG
#undef VALUE
#undef SETTING
    struct conf_global set; /* given: on the command line */
};

/** Reads the command line into `o`, which options_free() frees in any case. False after the error
 * and the usage were written to `errors`. What is no option is ignored, as by twemproxy. */
must_check bool options_read(struct options *o, int argc, char **argv, FILE *errors);

/** Writes how to call the program and what each option means. */
void options_usage(const struct options *o, FILE *out);

void options_free(struct options *o);

#endif
