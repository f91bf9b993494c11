/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/slab.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { PAGE_BYTES = 16384 };
/* Pages without a borrowed object that are kept, and how much more memory must be spare than could not
 * be freed before until it is looked at again. */
enum { PAGES_KEPT = 4, SPARE_BYTES = 4 * PAGE_BYTES };

struct page {
    struct page *next;
};

/* Objects begin where a line of the processor's cache does, so that one whose size is a multiple of it
 * touches no more lines than it must. */
static char *page_bytes(struct page *page)
{
    uintptr_t behind = (uintptr_t)(page + 1);
    return (char *)(page + 1) + (CACHE_LINE - behind % CACHE_LINE) % CACHE_LINE;
}

void slab_init(struct slab *s, size_t size)
{
    size_t align = alignof(max_align_t);
    must(size > 0 && size < PAGE_BYTES / 4);
    *s = (struct slab){.size = (size + align - 1) / align * align};
}

void slab_meter(struct slab *s, struct meter *meter)
{
    must(s->pages == NULL);
    s->meter = meter;
}

/* Objects of a page. */
static size_t per_page(const struct slab *s)
{
    return (PAGE_BYTES - sizeof(struct page) - CACHE_LINE) / s->size;
}

bool slab_grow(struct slab *s)
{
    struct page *page = malloc(PAGE_BYTES);
    if (page == NULL)
        return false;
    page->next = s->pages;
    s->pages = page;
    s->page_count++;
    s->grew = true;
    if (s->meter != NULL)
        meter_add(s->meter, PAGE_BYTES);
    size_t count = per_page(s);
    char *bytes = page_bytes(page);
    /* The last object is linked first, so that objects are handed out in the order of their
     * addresses. */
    for (size_t i = count; i > 0; i--) {
        struct free_object *object = (struct free_object *)(void *)(bytes + (i - 1) * s->size);
        object->next = s->free;
        s->free = object;
    }
    return s->free != NULL;
}

/* Bytes that are not borrowed. */
static size_t spare(const struct slab *s)
{
    return (s->page_count * per_page(s) - s->live) * s->size;
}

bool slab_can_shed(struct slab *s)
{
    size_t now = spare(s);
    if (now < s->spare_before)
        s->spare_before = now;
    return now >= s->spare_before + (size_t)2 * SPARE_BYTES;
}

static void page_free(struct slab *s, struct page *page)
{
    s->page_count--;
    if (s->meter != NULL)
        meter_sub(s->meter, PAGE_BYTES);
    free(page);
}

/* A page while it is counted how many of its objects are free. */
struct census {
    struct page *page;
    size_t free;
};

static int by_address(const void *a, const void *b)
{
    const struct census *x = a;
    const struct census *y = b;
    return (x->page > y->page) - (x->page < y->page);
}

/* The page that an object lies in; `last` is that of the object before it, which is often the same. */
static struct census *page_of(struct census *pages, size_t count, struct census *last,
                              const void *object)
{
    const char *at = object;
    const char *begin = (const char *)last->page;
    if (at >= begin && at < begin + PAGE_BYTES)
        return last;
    size_t low = 0;
    while (count - low > 1) {
        size_t middle = low + (count - low) / 2;
        if ((const char *)pages[middle].page <= at)
            low = middle;
        else
            count = middle;
    }
    return &pages[low];
}

static void take_census(const struct slab *s, struct census *pages)
{
    size_t n = 0;
    for (struct page *page = s->pages; page != NULL; page = page->next)
        pages[n++] = (struct census){.page = page};
    qsort(pages, n, sizeof(*pages), by_address);
    struct census *last = pages;
    for (struct free_object *o = s->free; o != NULL; o = o->next) {
        last = page_of(pages, n, last, o);
        last->free++;
    }
}

/* Takes the objects of pages that are to go (those without a page in the census) off the free list. */
static void keep_objects(struct slab *s, struct census *pages, size_t count)
{
    struct free_object **link = &s->free;
    struct census *last = pages;
    while (*link != NULL) {
        last = page_of(pages, count, last, *link);
        if (last->free == per_page(s))
            *link = (*link)->next;
        else
            link = &(*link)->next;
    }
}

size_t slab_shed(struct slab *s)
{
    size_t count = s->page_count;
    bool grew = s->grew;
    s->grew = false;
    if (grew || count <= PAGES_KEPT)
        return 0;
    struct census *pages = malloc(count * sizeof(*pages));
    if (pages == NULL)
        return 0;
    take_census(s, pages);
    for (size_t i = 0, kept = 0; i < count && kept < PAGES_KEPT; i++) {
        if (pages[i].free < per_page(s))
            continue;
        pages[i].free = 0; /* a lie, for what follows */
        kept++;
    }
    keep_objects(s, pages, count);
    s->pages = NULL;
    for (size_t i = count; i > 0; i--) {
        struct page *page = pages[i - 1].page;
        if (pages[i - 1].free == per_page(s)) {
            page_free(s, page);
            continue;
        }
        page->next = s->pages;
        s->pages = page;
    }
    free(pages);
    s->spare_before = spare(s);
    return (count - s->page_count) * PAGE_BYTES;
}

void slab_free(struct slab *s)
{
    must(s->live == 0);
    for (struct page *page = s->pages, *next = NULL; page != NULL; page = next) {
        next = page->next;
        page_free(s, page);
    }
    s->pages = NULL;
    s->free = NULL;
    s->spare_before = 0;
}
