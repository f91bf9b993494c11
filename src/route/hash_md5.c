/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit hash_md5 holds the hash that is the begin of a key's MD5 digest. */
#include <md5.h>

#include "route/bytes.h"
#include "route/hashes.h"

uint32_t hash_md5(struct span key)
{
    MD5_CTX md5;
    uint8_t digest[MD5_DIGEST_LENGTH];
    MD5Init(&md5);
    MD5Update(&md5, (const uint8_t *)key.ptr, key.len);
    MD5Final(digest, &md5);
    return le32((const char *)digest);
}
