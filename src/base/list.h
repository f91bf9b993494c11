/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit list is a doubly linked list through a node embedded in the element. A node that is in no
 * list points to itself, so that unlinking twice is harmless and membership can be asked. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/must.h"

struct list {
    struct list *next;
    struct list *prev;
};

/** Makes an empty list head, or a node that is in no list. */
static inline void list_init(struct list *l)
{
    l->next = l;
    l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

/** Is this (initialised) node in a list? */
static inline bool list_linked(const struct list *node)
{
    return node->next != node;
}

static inline void list_append(struct list *head, struct list *node)
{
    node->next = head;
    node->prev = head->prev;
    head->prev->next = node;
    head->prev = node;
}

static inline void list_unlink(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/** Moves all of `from` to the (emptied) head `to`. */
static inline void list_move(struct list *to, struct list *from)
{
    list_init(to);
    if (list_empty(from))
        return;
    *to = *from;
    to->next->prev = to;
    to->prev->next = to;
    list_init(from);
}

#define LIST_FIRST(head, type, member) container_of((head)->next, type, member)
#define LIST_FOREACH(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)
/** As LIST_FOREACH; the loop's body may unlink `it` (and no other node). */
#define LIST_FOREACH_SAFE(it, head)                                                                \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                      \
         it = it##_next, it##_next = it->next)

#endif
