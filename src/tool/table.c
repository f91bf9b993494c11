/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/table.h"

#include <stdlib.h>
#include <string.h>

enum { GAP = 2, TEXT_LEAST = 6, BAR_LEAST = 8, BAR_MOST = 60 };

void table_init(struct table *t, const struct table_column *columns)
{
    *t = (struct table){.columns = columns};
    while (t->count < TABLE_COLUMNS && columns[t->count].head != NULL)
        t->count++;
}

static bool make_room(struct table *t)
{
    size_t room = t->room == 0 ? 64 : t->room * 2;
    char **cells = reallocarray(t->cells, room * TABLE_COLUMNS, sizeof(*cells));
    if (cells != NULL)
        t->cells = cells;
    double *bars = reallocarray(t->bars, room, sizeof(*bars));
    if (bars != NULL)
        t->bars = bars;
    if (cells == NULL || bars == NULL)
        return false;
    t->room = room;
    return true;
}

bool table_row(struct table *t, const char *const *cells, double bar)
{
    if (t->rows == t->room && !make_room(t))
        return false;
    char **row = t->cells + t->rows * t->count;
    for (unsigned i = 0; i < t->count; i++) {
        row[i] = strdup(cells[i]);
        if (row[i] != NULL)
            continue;
        while (i > 0)
            free(row[--i]);
        return false;
    }
    t->bars[t->rows++] = bar;
    return true;
}

static unsigned width_of(const struct table *t, const struct screen *s, unsigned column)
{
    unsigned most = screen_width(s, span_str(t->columns[column].head));
    for (size_t i = 0; i < t->rows; i++) {
        unsigned width = screen_width(s, span_str(t->cells[i * t->count + column]));
        if (width > most)
            most = width;
    }
    return most;
}

/* The widest column of text that can still give way, or TABLE_COLUMNS. */
static unsigned widest_text(const struct table *t, const unsigned *widths)
{
    unsigned best = TABLE_COLUMNS;
    for (unsigned i = 0; i < t->count; i++)
        if (!t->columns[i].right && widths[i] > TEXT_LEAST &&
            (best == TABLE_COLUMNS || widths[i] > widths[best]))
            best = i;
    return best;
}

/* Fills `widths`; returns the sum, gaps included. In a file nothing is cut. */
static unsigned lay_out(const struct table *t, const struct screen *s, unsigned *widths)
{
    unsigned sum = GAP * (t->count - 1);
    for (unsigned i = 0; i < t->count; i++)
        sum += widths[i] = width_of(t, s, i);
    while (s->terminal && sum > s->columns) {
        unsigned column = widest_text(t, widths);
        if (column == TABLE_COLUMNS)
            break;
        widths[column]--;
        sum--;
    }
    return sum;
}

static unsigned bar_room(const struct screen *s, unsigned used)
{
    if (used + GAP + BAR_LEAST > s->columns)
        return 0;
    unsigned room = s->columns - used - GAP;
    return room < BAR_MOST ? room : BAR_MOST;
}

static double longest(const struct table *t)
{
    double most = 0;
    for (size_t i = 0; i < t->rows; i++)
        if (t->bars[i] > most)
            most = t->bars[i];
    return most;
}

static const char *cell(const struct table *t, size_t row, unsigned column)
{
    return t->cells[row * t->count + column];
}

static void write_head(const struct table *t, const struct screen *s, const unsigned *widths)
{
    screen_ink(s, INK_HEAD);
    for (unsigned i = 0; i < t->count; i++) {
        fprintf(s->out, "%*s", i == 0 ? 0 : GAP, "");
        screen_cell(s, span_str(t->columns[i].head), widths[i], t->columns[i].right);
    }
    screen_ink(s, INK_PLAIN);
    fputc('\n', s->out);
}

void table_write(const struct table *t, const struct screen *s)
{
    unsigned widths[TABLE_COLUMNS];
    unsigned room = bar_room(s, lay_out(t, s, widths));
    double most = longest(t);
    write_head(t, s, widths);
    for (size_t row = 0; row < t->rows; row++) {
        for (unsigned i = 0; i < t->count; i++) {
            fprintf(s->out, "%*s", i == 0 ? 0 : GAP, "");
            screen_cell(s, span_str(cell(t, row, i)), widths[i], t->columns[i].right);
        }
        if (room > 0 && t->bars[row] > 0) {
            fprintf(s->out, "%*s", GAP, "");
            screen_bar(s, t->bars[row] / most, room);
        }
        fputc('\n', s->out);
    }
}

void table_free(struct table *t)
{
    for (size_t i = 0; i < t->rows * t->count; i++)
        free(t->cells[i]);
    free(t->cells);
    free(t->bars);
    *t = (struct table){0};
}
