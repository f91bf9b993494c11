/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/span.h"

static char lower(char c)
{
    return (c >= 'A' && c <= 'Z') ? (char)(c + ('a' - 'A')) : c;
}

bool span_eq_secret(struct span given, struct span secret)
{
    unsigned char differ = given.len != secret.len;
    for (size_t i = 0; i < given.len && secret.len > 0; i++)
        differ |= (unsigned char)(given.ptr[i] ^ secret.ptr[i % secret.len]);
    return differ == 0;
}

bool span_ieq(struct span a, struct span b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.ptr[i]) != lower(b.ptr[i]))
            return false;
    return true;
}

bool span_u64(struct span s, uint64_t max, uint64_t *out)
{
    if (s.len == 0)
        return false;
    uint64_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.ptr[i] - '0');
        if (n > (UINT64_MAX - digit) / 10)
            return false;
        n = n * 10 + digit;
        if (n > max)
            return false;
    }
    *out = n;
    return true;
}
