/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit script is what redis says of scripts that are called by their names. */
#ifndef PROTO_REDIS_SCRIPT_H
#define PROTO_REDIS_SCRIPT_H

#include "proto/proto.h"
#include "proto/redis/command.h"

extern const struct proto_scripts redis_scripts;

/** Makes it a REQUEST_SCRIPT: EVALSHA, SCRIPT LOAD and SCRIPT FLUSH, their arity being right. */
void script_view(const struct command *c, struct request_view *v);

#endif
