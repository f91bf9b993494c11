/* SPDX-License-Identifier: BSD-3-Clause */
#include "payload.h"

#include <stdlib.h>
#include <string.h>

/* Places in the random bytes where values may begin: a prime, so that neighbours differ. */
enum { PLACES = 4093 };

/* xorshift64*: S. Vigna, "An experimental exploration of Marsaglia's xorshift generators". */
uint64_t payload_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545f4914f6cdd1dU;
}

void payload_init(struct payload *p, uint32_t keys, size_t size)
{
    must(keys > 0 && keys <= PAYLOAD_KEYS_MAX);
    *p = (struct payload){.keys = keys, .size = size, .random = malloc(size + PLACES)};
    must(p->random != NULL);
    uint64_t state = 88172645463325252U;
    for (size_t i = 0; i < size + PLACES; i++)
        p->random[i] = (char)(payload_random(&state) >> 56);
}

void payload_free(struct payload *p)
{
    free(p->random);
    *p = (struct payload){0};
}

static void key_name(uint32_t key, char name[PAYLOAD_KEY])
{
    memcpy(name, "key:", 4);
    for (int i = PAYLOAD_KEY - 1; i >= 4; i--) {
        name[i] = (char)('0' + key % 10);
        key /= 10;
    }
}

void payload_key(struct buf *out, uint32_t key)
{
    char name[PAYLOAD_KEY];
    key_name(key, name);
    must(buf_append(out, span_of(name, sizeof(name))));
}

bool payload_number(struct span name, uint32_t *key)
{
    uint64_t number = 0;
    if (name.len != PAYLOAD_KEY || memcmp(name.ptr, "key:", 4) != 0 ||
        !span_u64(span_from(name, 4), PAYLOAD_KEYS_MAX, &number))
        return false;
    *key = (uint32_t)number;
    return true;
}

static const char *place(const struct payload *p, uint32_t key)
{
    return p->random + key * UINT64_C(2654435761) % PLACES;
}

void payload_value(const struct payload *p, struct buf *out, uint32_t key)
{
    char name[PAYLOAD_KEY];
    key_name(key, name);
    size_t head = p->size < sizeof(name) ? p->size : sizeof(name);
    must(buf_append(out, span_of(name, head)));
    must(buf_append(out, span_of(place(p, key) + head, p->size - head)));
}

bool payload_matches(const struct payload *p, uint32_t key, size_t from, struct span part)
{
    if (from > p->size || part.len > p->size - from)
        return false;
    if (from < PAYLOAD_KEY) {
        char name[PAYLOAD_KEY];
        key_name(key, name);
        size_t n = part.len < PAYLOAD_KEY - from ? part.len : PAYLOAD_KEY - from;
        if (memcmp(name + from, part.ptr, n) != 0)
            return false;
        part = span_from(part, n);
        from += n;
    }
    return memcmp(place(p, key) + from, part.ptr, part.len) == 0;
}
