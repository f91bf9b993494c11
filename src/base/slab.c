/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/slab.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdlib.h>

enum { PAGE_BYTES = 16384 };

struct free_object {
    struct free_object *next;
};

struct page {
    struct page *next;
    alignas(max_align_t) char bytes[];
};

void slab_init(struct slab *s, size_t size)
{
    size_t align = alignof(max_align_t);
    must(size > 0 && size < PAGE_BYTES / 4);
    *s = (struct slab){.size = (size + align - 1) / align * align};
}

static bool slab_grow(struct slab *s)
{
    struct page *page = malloc(PAGE_BYTES);
    if (page == NULL)
        return false;
    page->next = s->pages;
    s->pages = page;
    size_t count = (PAGE_BYTES - sizeof(struct page)) / s->size;
    /* The last object is linked first, so that objects are handed out in the order of their
     * addresses. */
    for (size_t i = count; i > 0; i--) {
        struct free_object *object =
            (struct free_object *)(void *)(page->bytes + (i - 1) * s->size);
        object->next = s->free;
        s->free = object;
    }
    return s->free != NULL;
}

void *slab_borrow(struct slab *s)
{
    if (s->free == NULL && !slab_grow(s))
        return NULL;
    struct free_object *object = s->free;
    s->free = object->next;
    s->live++;
    return object;
}

void slab_return(struct slab *s, void *object)
{
    must(s->live > 0);
    struct free_object *head = object;
    head->next = s->free;
    s->free = head;
    s->live--;
}

void slab_free(struct slab *s)
{
    must(s->live == 0);
    for (struct page *page = s->pages, *next = NULL; page != NULL; page = next) {
        next = page->next;
        free(page);
    }
    s->pages = NULL;
    s->free = NULL;
}
