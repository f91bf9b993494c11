/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit login reads what a client says of itself: AUTH, SELECT and HELLO. What concerns the pool's own
 * password and database is answered here; another user, database or version of the protocol makes the
 * view a REQUEST_LOGIN, and the servers judge it. */
#ifndef PROTO_REDIS_LOGIN_H
#define PROTO_REDIS_LOGIN_H

#include "base/buf.h"
#include "base/must.h"
#include "proto/proto.h"

/** The version of the protocol that a client speaks: 2 or 3. */
static inline uint8_t session_resp(const struct proto_session *ses)
{
    return ses->login == NULL ? 2 : ses->login->resp;
}

/** What a session asks of the servers; one that has none of its own asks what the pool does. */
struct proto_login login_now(const struct proto_session *ses);

/** Serve AUTH, SELECT, RESET and HELLO, their arity being right. False if memory is out. */
void login_auth(struct proto_session *ses, struct request_view *v);
void login_select(const struct proto_session *ses, struct request_view *v);
void login_reset(const struct proto_session *ses, struct request_view *v);
must_check bool login_hello(struct proto_session *ses, struct request_view *v, struct buf *scratch);

/** login_begin and login_end of proto_redis. */
must_check bool login_note(struct proto_session *ses, const struct request_view *v);
void login_over(struct proto_session *ses, bool good);

#endif
