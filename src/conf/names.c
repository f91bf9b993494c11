/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf/names.h"

#include <stdlib.h>

#include "conf/why.h"

bool names_add(struct names *n, struct span text, struct place at)
{
    if (n->count == n->room) {
        size_t room = n->room == 0 ? 16 : n->room * 2;
        struct name *all = realloc(n->all, room * sizeof(*all));

        if (all == NULL)
            return false;
        n->all = all;
        n->room = room;
    }
    n->all[n->count++] = (struct name){text, at};
    return true;
}

static int by_text_then_place(const void *left, const void *right)
{
    const struct name *a = left;
    const struct name *b = right;
    int order;

    if (a->text.len != b->text.len)
        return a->text.len < b->text.len ? -1 : 1;
    order = a->text.len == 0 ? 0 : memcmp(a->text.ptr, b->text.ptr, a->text.len);
    if (order != 0)
        return order;
    if (a->at.line != b->at.line)
        return a->at.line < b->at.line ? -1 : 1;
    return a->at.column < b->at.column ? -1 : a->at.column > b->at.column;
}

void names_check(struct names *n, const char *what, struct report *report)
{
    char shown[SHOWN];
    size_t first = 0;

    if (n->count > 1)
        qsort(n->all, n->count, sizeof(*n->all), by_text_then_place);
    for (size_t i = 1; i < n->count; i++) {
        if (!span_eq(n->all[first].text, n->all[i].text)) {
            first = i;
            continue;
        }
        report_add(report, n->all[i].at, "%s '%s' stands twice (first in line %d)", what,
                   why_show(n->all[i].text, shown), n->all[first].at.line);
    }
}

void names_free(struct names *n)
{
    free(n->all);
    *n = (struct names){0};
}
