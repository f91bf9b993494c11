/* SPDX-License-Identifier: BSD-3-Clause */
#include "proto/redis/login.h"

#include "proto/redis/answer.h"
#include "proto/redis/classify.h"
#include "proto/redis/command.h"
#include "proto/redis/identity.h"
#include "proto/redis/number.h"
#include "proto/redis/reply.h"
#include "proto/redis/words.h"

static struct proto_login pool_login(const struct proto_session *ses)
{
    return (struct proto_login){
        .password = ses->settings->password, .db = ses->settings->db, .resp = 2};
}

struct proto_login login_now(const struct proto_session *ses)
{
    return ses->login == NULL ? pool_login(ses) : *ses->login;
}

/* The servers say whether that login is good, in their reply to `wire`. With no `wire` it is known to be
 * good, and `reply` is the answer. */
static void ask(struct request_view *v, const struct proto_login *login, struct span wire,
                struct span reply)
{
    v->kind = REQUEST_LOGIN;
    v->login = *login;
    v->name = span_of(NULL, 0);
    v->resets = false;
    v->wire = wire;
    v->reply = reply;
    v->expect = login->resp == 3 ? REPLY_RESP3 : REPLY_RESP2;
}

enum verdict {
    GOOD,  /* it is the pool's password */
    WRONG, /* it should be, and is not */
    ASK,   /* the servers know */
};

/* Whose word a user's name and password are, and what they make of `login`. */
static enum verdict judge(const struct proto_session *ses, struct span user, struct span password,
                          struct proto_login *login)
{
    struct span own = ses->settings->password;
    if (own.len == 0 || !span_eq(user, SPAN("default"))) {
        login->user = user;
        login->password = password;
        return ASK;
    }
    if (!span_eq_secret(password, own))
        return WRONG;
    login->user = SPAN("");
    login->password = own;
    return GOOD;
}

/* The pool's password was given: its connections serve, unless the session has others. */
static void admit(struct proto_session *ses, struct request_view *v,
                  const struct proto_login *login)
{
    if (ses->login != NULL && ses->login->user.len > 0) {
        ask(v, login, SPAN(""), SPAN("+OK\r\n"));
        return;
    }
    ses->authed = true;
    answer_static(v, SPAN("+OK\r\n"));
}

/* The form with one word, which is the older one and twemproxy's: who gives a wrong one must give the right
 * one again. */
static void auth_password(struct proto_session *ses, struct request_view *v)
{
    struct proto_login login = login_now(ses);
    if (ses->settings->password.len == 0) {
        answer_static(v, SPAN("-ERR Client sent AUTH, but no password is set\r\n"));
    } else if (judge(ses, SPAN("default"), word(v, 1), &login) == WRONG) {
        ses->authed = false;
        answer_static(v, SPAN("-ERR invalid password\r\n"));
    } else {
        admit(ses, v, &login);
    }
}

#define WRONGPASS SPAN("-WRONGPASS invalid username-password pair or user is disabled.\r\n")

void login_auth(struct proto_session *ses, struct request_view *v)
{
    struct proto_login login = login_now(ses);
    if (v->args->count > 3) {
        answer_static(v, SPAN("-ERR syntax error\r\n"));
        return;
    }
    if (v->args->count == 2) {
        auth_password(ses, v);
        return;
    }
    switch (judge(ses, word(v, 1), word(v, 2), &login)) {
    case WRONG:
        answer_static(v, WRONGPASS);
        return;
    case GOOD:
        admit(ses, v, &login);
        return;
    case ASK:
        ask(v, &login, v->wire, SPAN(""));
        return;
    }
}

void login_select(const struct proto_session *ses, struct request_view *v)
{
    int64_t db = 0;
    struct proto_login login = login_now(ses);
    if (!number_read(word(v, 1), &db) || db < INT32_MIN || db > INT32_MAX) {
        answer_static(v, SPAN("-ERR value is not an integer or out of range\r\n"));
    } else if (db < 0) {
        answer_static(v, SPAN("-ERR DB index is out of range\r\n"));
    } else if (db == login.db) {
        answer_static(v, SPAN("+OK\r\n"));
    } else {
        login.db = (uint32_t)db;
        ask(v, &login, v->wire, SPAN(""));
    }
}

/* What HELLO says behind the version. */
struct hello {
    bool auth;
    struct span user;
    struct span password;
    uint32_t name; /* the word that is the client's name; 0: none */
    uint32_t bad;  /* the word that makes no sense; 0: none */
};

static struct hello read_options(const struct request_view *v)
{
    struct hello h = {.auth = false};
    uint32_t count = v->args->count;
    for (uint32_t i = 2; i < count && h.bad == 0; i++) {
        if (span_ieq(word(v, i), SPAN("auth")) && i + 2 < count) {
            h.auth = true;
            h.user = word(v, i + 1);
            h.password = word(v, i + 2);
            i += 2;
        } else if (span_ieq(word(v, i), SPAN("setname")) && i + 1 < count) {
            h.name = i + 1;
            i++;
        } else {
            h.bad = i;
        }
    }
    return h;
}

static bool hello_option(struct request_view *v, uint32_t i, struct buf *scratch)
{
    enum { SHOWN = 128 };
    struct span shown = word(v, i);
    size_t before = buf_len(scratch);
    shown.len = shown.len < SHOWN ? shown.len : SHOWN;
    if (!buf_append(scratch, SPAN("-ERR Syntax error in HELLO option '")) ||
        !buf_append(scratch, shown))
        return false;
    for (size_t at = before; at < buf_len(scratch); at++) {
        char *c = scratch->data + scratch->head + at;
        *c = (*c == '\r' || *c == '\n') ? ' ' : *c;
    }
    if (!buf_append(scratch, SPAN("'\r\n")))
        return false;
    answer_static(v, span_from(buf_span(scratch), before));
    return true;
}

static bool read_version(struct request_view *v, uint8_t *resp)
{
    int64_t version = 0;
    if (v->args->count < 2)
        return true;
    if (!number_read(word(v, 1), &version)) {
        answer_static(v, SPAN("-ERR Protocol version is not an integer or out of range\r\n"));
        return false;
    }
    if (version != 2 && version != 3) {
        answer_static(v, SPAN("-NOPROTO unsupported protocol version\r\n"));
        return false;
    }
    *resp = (uint8_t)version;
    return true;
}

/* The request without what is between client and proxy alone. */
static struct span hello_wire(const struct request_view *v, uint8_t resp)
{
    if (v->args->count < 2)
        return SPAN("*1\r\n$5\r\nHELLO\r\n");
    return resp == 3 ? SPAN("*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n")
                     : SPAN("*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n");
}

/* Says HELLO to a server. The name is the client's own, and servers are not told. If only the version of the protocol
 * is new, a server need not agree (`judged`): then clients can come while servers are away, as they can without a
 * HELLO. */
static void greet(struct request_view *v, const struct proto_login *login, uint32_t name,
                  bool judged)
{
    if (name > 0 && !identity_valid(word(v, name))) {
        answer_static(v, IDENTITY_INVALID);
        return;
    }
    ask(v, login, hello_wire(v, login->resp), SPAN(""));
    v->join = judged ? CLASS_HELLO : 0;
    if (name > 0)
        v->name = word(v, name);
}

bool login_hello(struct proto_session *ses, struct request_view *v, struct buf *scratch)
{
    struct proto_login login = login_now(ses);
    if (!read_version(v, &login.resp))
        return true;
    struct hello h = read_options(v);
    if (h.bad != 0)
        return hello_option(v, h.bad, scratch);
    enum verdict verdict = h.auth ? judge(ses, h.user, h.password, &login) : ASK;
    if (verdict == WRONG)
        answer_static(v, WRONGPASS);
    else if (session_is_guest(ses) && !h.auth)
        answer_static(v, SPAN("-NOAUTH HELLO must be called with the client already authenticated, "
                              "otherwise the HELLO <proto> AUTH <user> <pass> option can be used "
                              "to authenticate the client and select the RESP protocol version at "
                              "the same time\r\n"));
    else
        greet(v, &login, h.name, !h.auth || verdict == GOOD);
    return true;
}

/* Connections of servers are reset by nobody: the session goes back to those of the pool. */
void login_reset(const struct proto_session *ses, struct request_view *v)
{
    struct proto_login login = pool_login(ses);
    ask(v, &login, SPAN(""), SPAN("+RESET\r\n"));
    v->resets = true;
}

bool login_note(struct proto_session *ses, const struct request_view *v)
{
    ses->resets = v->resets;
    return v->name.ptr == NULL || identity_want(ses, IDENTITY_NAME, v->name);
}

void login_over(struct proto_session *ses, bool good)
{
    identity_decide(ses, good);
    if (good)
        ses->authed = !ses->resets;
    if (good && ses->resets) {
        ses->mute = MUTE_NONE;
        identity_free(ses);
    }
    ses->resets = false;
}
