/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/number.h"

bool number_read(struct span s, int64_t *out)
{
    bool negative = s.len > 0 && s.ptr[0] == '-';
    struct span digits = span_from(s, negative ? 1 : 0);
    uint64_t n = 0;
    if (digits.len == 0)
        return false;
    if (digits.ptr[0] == '0' && (negative || digits.len > 1))
        return false;
    if (!span_u64(digits, negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX, &n))
        return false;
    *out = negative ? -(int64_t)(n - 1) - 1 : (int64_t)n;
    return true;
}

size_t number_write(char *out, uint64_t n)
{
    size_t digits = number_digits(n);
    for (size_t i = digits; i > 0; i--) {
        out[i - 1] = (char)('0' + n % 10);
        n /= 10;
    }
    return digits;
}
