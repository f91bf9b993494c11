/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit histogram counts durations in buckets whose width is at most 1/64 of their value, so that
 * every quantile of any number of durations is known to 1.6 % in constant memory. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

/* 64 buckets for each power of two, and as many again for the values below. */
enum { HISTOGRAM_BITS = 6, HISTOGRAM_BUCKETS = (64 - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS };

/** Zeroed: empty. */
struct histogram {
    uint64_t total;
    uint64_t max;
    uint64_t counts[HISTOGRAM_BUCKETS];
};

/** Counts one duration in ns. */
void histogram_add(struct histogram *h, uint64_t ns);

/** The duration in ns that a share `q` (0 to 1) of all does not exceed; 0 when it is empty. */
uint64_t histogram_quantile(const struct histogram *h, double q);

#endif
