/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit slab hands out objects of one size from pages, so that a request costs no malloc. A slab
 * belongs to one thread. */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include <stdbool.h>
#include <stddef.h>

#include "base/hint.h"
#include "base/meter.h"
#include "base/must.h"

struct free_object {
    struct free_object *next;
};

struct slab {
    size_t size;              /* of one object, rounded up to the alignment of any type */
    struct free_object *free; /* objects to hand out next, last returned first */
    void *pages;              /* every page */
    size_t page_count;        /* of them */
    size_t live;              /* objects borrowed and not returned */
    size_t spare_before;      /* bytes that slab_shed() could not free */
    struct meter *meter;      /* counts the pages; or NULL */
    bool grew;                /* since slab_shed() */
};

/** A slab of objects of `size` bytes. Allocates nothing yet. */
void slab_init(struct slab *s, size_t size);

/** Counts its pages, of which there must be none yet. */
void slab_meter(struct slab *s, struct meter *meter);

/** Is there enough to be had from slab_shed()? Cheap. */
bool slab_can_shed(struct slab *s);

/** Frees the pages of which no object is borrowed, but for a few, unless all were needed since the
 * last call. Looks at every object that is not borrowed. Returns the bytes freed. */
size_t slab_shed(struct slab *s);

/** Slow path of slab_borrow(): makes objects. False if memory is out. */
must_check bool slab_grow(struct slab *s);

/* Bytes of the next object that are fetched ahead. */
enum { SLAB_HINTED = 128 };

/** Borrows one object, its bytes undefined; NULL if memory is out. */
must_check static inline void *slab_borrow(struct slab *s)
{
    if (unlikely(s->free == NULL) && !slab_grow(s))
        return NULL;
    struct free_object *object = s->free;
    s->free = object->next;
    s->live++;
    /* The next one will be wanted soon, and nobody has looked at it for long. */
    hint_soon(s->free, SLAB_HINTED);
    return object;
}

/** Gives an object back. */
static inline void slab_return(struct slab *s, void *object)
{
    must(s->live > 0);
    struct free_object *head = object;
    head->next = s->free;
    s->free = head;
    s->live--;
}

/** Frees all pages. Every object must have been returned. */
void slab_free(struct slab *s);

#endif
