/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit slab hands out objects of one size from pages, so that a request costs no malloc. A slab
 * belongs to one thread. */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include <stddef.h>

#include "base/must.h"

struct slab {
    size_t size; /* of one object, rounded up to the alignment of any type */
    void *free;  /* objects to hand out next, last returned first */
    void *pages; /* every page, to be freed with the slab */
    size_t live; /* objects borrowed and not returned */
};

/** A slab of objects of `size` bytes. Allocates nothing yet. */
void slab_init(struct slab *s, size_t size);

/** Borrows one object, its bytes undefined; NULL if memory is out. */
must_check void *slab_borrow(struct slab *s);

/** Gives an object back. */
void slab_return(struct slab *s, void *object);

/** Frees all pages. Every object must have been returned. */
void slab_free(struct slab *s);

#endif
