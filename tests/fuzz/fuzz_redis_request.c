/* SPDX-License-Identifier: BSD-3-Clause */
/* Any bytes of a redis client: see requests.h. */
#include "requests.h"

static bool joins_exactly(const struct reading_request *r)
{
    static const char *const known[] = {"MGET", "MSET", "DEL", "UNLINK", "TOUCH", "EXISTS"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (span_ieq(r->words[0], span_str(known[i])))
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct wire redis = {&proto_redis, read_redis_request, read_redis_reply,
                                      answer_redis, joins_exactly};
    requests_play(&redis, (struct input){data, size});
    return 0;
}
