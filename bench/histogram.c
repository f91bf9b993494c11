/* SPDX-License-Identifier: BSD-3-Clause */
#include "histogram.h"

/* The bits of a value below its topmost 1 + HISTOGRAM_BITS are dropped. */
static unsigned dropped_bits(uint64_t value)
{
    unsigned top = 63U - (unsigned)__builtin_clzll(value | 1);
    return top > HISTOGRAM_BITS ? top - HISTOGRAM_BITS : 0;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    unsigned drop = dropped_bits(ns);
    h->counts[((uint64_t)drop << HISTOGRAM_BITS) + (ns >> drop)]++;
    h->total++;
    if (ns > h->max)
        h->max = ns;
}

/* The largest value that falls into a bucket. */
static uint64_t bucket_end(uint64_t bucket)
{
    uint64_t drop = bucket >> HISTOGRAM_BITS;
    if (drop <= 1)
        return bucket;
    drop--;
    return ((bucket - (drop << HISTOGRAM_BITS) + 1) << drop) - 1;
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
    uint64_t wanted = (uint64_t)(q * (double)h->total);
    if (wanted < 1)
        wanted = 1;
    uint64_t seen = 0;
    for (uint64_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen >= wanted && h->counts[i] > 0)
            return bucket_end(i) < h->max ? bucket_end(i) : h->max;
    }
    return h->max;
}
