/* SPDX-License-Identifier: BSD-3-Clause */
/* Any bytes of a memcache client: see requests.h. */
#include "requests.h"

/* The order of blocks is that of the keys if every key has one. */
static bool joins_exactly(const struct reading_request *r)
{
    for (size_t i = 1; i < r->count; i++)
        if (begins(r->words[i], "miss"))
            return false;
    return !r->meta;
}

static enum reading one_line(struct span in, size_t *len)
{
    return read_memcache_reply(in, true, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct wire memcache = {&proto_memcache, read_memcache_request, one_line,
                                         answer_memcache, joins_exactly};
    requests_play(&memcache, (struct input){data, size});
    return 0;
}
