/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit report collects the errors of a file, so that all are shown at once and in the order of the
 * file. */
#ifndef CONF_REPORT_H
#define CONF_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "conf/place.h"

struct report_error {
    struct place at;
    size_t order; /* of its coming */
    char *text;
};

/* Starts as {0}. */
struct report {
    struct report_error *errors;
    size_t count;
    size_t room;
    size_t dropped; /* errors beyond the limit, or for which there was no memory */
};

/** Adds an error. */
void report_add(struct report *r, struct place at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

bool report_empty(const struct report *r);

/** Writes all errors, sorted by place, equal ones once. */
void report_write(struct report *r, const char *file, FILE *out);

void report_free(struct report *r);

#endif
