/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit table lays out rows of text in columns, with a bar behind each row. */
#ifndef TOOL_TABLE_H
#define TOOL_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/must.h"
#include "tool/screen.h"

enum { TABLE_COLUMNS = 6 };

struct table_column {
    const char *head; /* NULL behind the last */
    bool right;       /* numbers; else text, which gives way where a terminal is narrow */
};

struct table {
    const struct table_column *columns;
    unsigned count; /* of columns */
    char **cells;   /* row by row */
    double *bars;   /* of each row, 0 to 1; of all of the room for it */
    size_t rows;
    size_t room;
};

/** An empty table of these columns, at most TABLE_COLUMNS, which must outlive it. */
void table_init(struct table *t, const struct table_column *columns);

/** Adds a row of copies of the cells, with a bar. False if memory is out: it was not added. */
must_check bool table_row(struct table *t, const char *const *cells, double bar);

/** Writes the table. Bars are drawn to scale: the longest has all the room there is. */
void table_write(const struct table *t, const struct screen *s);

void table_free(struct table *t);

#endif
