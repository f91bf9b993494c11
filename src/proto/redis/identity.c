/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/identity.h"

#include <stdlib.h>
#include <string.h>

/* One block for all three, in the order of their kinds. */
struct identity {
    struct identity
        *wanted; /* takes its place if the login under way is good; NULL: nothing does */
    uint16_t len[IDENTITY_KINDS];
    char text[];
};

struct span identity_get(const struct proto_session *ses, enum identity_kind kind)
{
    const struct identity *n = ses->own;
    if (n == NULL)
        return SPAN("");
    size_t at = 0;
    for (int k = 0; k < (int)kind; k++)
        at += n->len[k];
    return span_of(n->text + at, n->len[kind]);
}

/* A copy of all of them with that one set. NULL if memory is out. */
static struct identity *with(const struct proto_session *ses, enum identity_kind kind,
                             struct span name)
{
    struct span all[IDENTITY_KINDS];
    size_t size = 0;
    must(name.len <= IDENTITY_MAX);
    for (int k = 0; k < IDENTITY_KINDS; k++) {
        all[k] = k == (int)kind ? name : identity_get(ses, (enum identity_kind)k);
        size += all[k].len;
    }
    struct identity *fresh = malloc(sizeof(*fresh) + size);
    if (fresh == NULL)
        return NULL;
    size_t at = 0;
    fresh->wanted = NULL;
    for (int k = 0; k < IDENTITY_KINDS; k++) {
        memcpy(fresh->text + at, all[k].ptr, all[k].len);
        fresh->len[k] = (uint16_t)all[k].len;
        at += all[k].len;
    }
    return fresh;
}

bool identity_set(struct proto_session *ses, enum identity_kind kind, struct span name)
{
    struct identity *fresh = with(ses, kind, name);
    if (fresh == NULL)
        return false;
    identity_free(ses);
    ses->own = fresh;
    return true;
}

bool identity_want(struct proto_session *ses, enum identity_kind kind, struct span name)
{
    /* It is kept with those that there are. */
    if (ses->own == NULL && !identity_set(ses, kind, SPAN("")))
        return false;
    struct identity *now = ses->own;
    free(now->wanted);
    now->wanted = with(ses, kind, name);
    return now->wanted != NULL;
}

void identity_decide(struct proto_session *ses, bool good)
{
    struct identity *now = ses->own;
    struct identity *wanted = now == NULL ? NULL : now->wanted;
    if (wanted == NULL)
        return;
    now->wanted = NULL;
    free(good ? now : wanted);
    ses->own = good ? wanted : now;
}

bool identity_valid(struct span name)
{
    if (name.len > IDENTITY_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (name.ptr[i] < '!' || name.ptr[i] > '~')
            return false;
    return true;
}

void identity_free(struct proto_session *ses)
{
    identity_decide(ses, false);
    free(ses->own);
    ses->own = NULL;
}
