/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit hash_crc holds the three hashes made of cyclic redundancy checks. */
#include "route/bytes.h"
#include "route/hashes.h"

/* A CRC is linear: the table's entry of a byte is the sum (XOR) of the entries of its bits. So the
 * eight entries of the single bits, lowest first, spell the whole table, and the compiler computes
 * it. */
#define BIT(i, n, entry) ((((i) >> (n)) & 1U) * (entry))
#define CRC16_OF(i)                                                                                \
    (BIT(i, 0, 0x1021U) ^ BIT(i, 1, 0x2042U) ^ BIT(i, 2, 0x4084U) ^ BIT(i, 3, 0x8108U) ^           \
     BIT(i, 4, 0x1231U) ^ BIT(i, 5, 0x2462U) ^ BIT(i, 6, 0x48c4U) ^ BIT(i, 7, 0x9188U))
#define CRC32_OF(i)                                                                                \
    (BIT(i, 0, 0x77073096U) ^ BIT(i, 1, 0xee0e612cU) ^ BIT(i, 2, 0x076dc419U) ^                    \
     BIT(i, 3, 0x0edb8832U) ^ BIT(i, 4, 0x1db71064U) ^ BIT(i, 5, 0x3b6e20c8U) ^                    \
     BIT(i, 6, 0x76dc4190U) ^ BIT(i, 7, 0xedb88320U))

#define FOUR(of, i) of((i) + 0U), of((i) + 1U), of((i) + 2U), of((i) + 3U)
#define SIXTEEN(of, i)                                                                             \
    FOUR(of, (i) + 0U), FOUR(of, (i) + 4U), FOUR(of, (i) + 8U), FOUR(of, (i) + 12U)
#define SIXTY_FOUR(of, i)                                                                          \
    SIXTEEN(of, (i) + 0U), SIXTEEN(of, (i) + 16U), SIXTEEN(of, (i) + 32U), SIXTEEN(of, (i) + 48U)
#define TABLE(of)                                                                                  \
    SIXTY_FOUR(of, 0U), SIXTY_FOUR(of, 64U), SIXTY_FOUR(of, 128U), SIXTY_FOUR(of, 192U)

static const uint16_t crc16_table[256] = {TABLE(CRC16_OF)};
static const uint32_t crc32_table[256] = {TABLE(CRC32_OF)};

/* CRC-16/XMODEM, except that what is shifted out of the lower 16 bits stays in the upper ones: it
 * is part of the hash. */
uint32_t hash_crc16(struct span key)
{
    uint32_t c = 0;
    for (size_t i = 0; i < key.len; i++)
        c = (c << 8) ^ crc16_table[((c >> 8) ^ byte_unsigned(key.ptr + i)) & 0xff];
    return c;
}

/* CRC-32 as in Ethernet and zlib. */
uint32_t hash_crc32a(struct span key)
{
    uint32_t c = 0xffffffffU;
    for (size_t i = 0; i < key.len; i++)
        c = (c >> 8) ^ crc32_table[(c ^ byte_unsigned(key.ptr + i)) & 0xff];
    return ~c;
}

/* libmemcached's cut of it. */
uint32_t hash_crc32(struct span key)
{
    return (hash_crc32a(key) >> 16) & 0x7fff;
}
