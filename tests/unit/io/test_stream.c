/* SPDX-License-Identifier: BSD-3-Clause */
/* What a stream promises, on every backend. */
#include "rig.h"

#include "io/stream.h"

struct bench;

/* An owner of a stream that eats whole messages: each ends with a newline. */
struct owner {
    struct stream stream;
    struct bench *bench;
    struct far far;
    int near_fd;
    bool used;
    struct buf got;
    int datas;
    int connected;
    int connect_err;
    int ended;
    int end_err;
    int drained;
    int broken;
    int broken_err;
    int closed;
    size_t kept;     /* bytes that were not consumed by the last data */
    int pause_after; /* so many messages, if not 0 */
    size_t take;     /* once that much is there, take it */
    struct buf taken;
    int takes;
    void (*in_data)(struct owner *o);
    void (*in_broken)(struct owner *o);
};

struct bench {
    struct rig rig;
    struct owner owners[2];
};

static bool inside;

#define CALL(what)                                                                                 \
    do {                                                                                           \
        bool call_before = inside;                                                                 \
        inside = true;                                                                             \
        what;                                                                                      \
        inside = call_before;                                                                      \
    } while (0)

static struct owner *owner_of(struct stream *s)
{
    struct owner *o = container_of(s, struct owner, stream);
    assert_false(inside);
    assert_int_equal(o->closed, 0);
    return o;
}

static void on_connected(struct stream *s, int err)
{
    struct owner *o = owner_of(s);
    o->connected++;
    o->connect_err = err;
}

static size_t eat_lines(struct owner *o, struct span in)
{
    size_t used = 0;
    for (size_t i = 0; i < in.len; i++) {
        if (in.ptr[i] != '\n')
            continue;
        assert_true(buf_append(&o->got, span_of(in.ptr + used, i + 1 - used)));
        used = i + 1;
        if (o->pause_after > 0 && --o->pause_after == 0) {
            CALL(stream_pause(&o->stream));
            break;
        }
    }
    return used;
}

static size_t on_data(struct stream *s, struct span in)
{
    struct owner *o = owner_of(s);
    assert_int_equal(o->ended, 0);
    o->datas++;
    if (o->in_data != NULL)
        o->in_data(o);
    if (o->take > 0 && in.len >= o->take && stream_take(s, in, o->take, &o->taken)) {
        o->take = 0;
        o->takes++;
        return 0;
    }
    size_t used = o->take > 0 ? 0 : eat_lines(o, in);
    o->kept = in.len - used;
    return used;
}

static void on_ended(struct stream *s, int err)
{
    struct owner *o = owner_of(s);
    o->ended++;
    o->end_err = err;
    if (err != 0 && o->in_broken != NULL)
        o->in_broken(o);
}

static void on_drained(struct stream *s)
{
    struct owner *o = owner_of(s);
    assert_int_equal(stream_pending(s), 0);
    o->drained++;
}

static void on_broken(struct stream *s, int err)
{
    struct owner *o = owner_of(s);
    o->broken++;
    o->broken_err = err;
    if (o->in_broken != NULL)
        o->in_broken(o);
}

static void on_closed(struct stream *s)
{
    owner_of(s)->closed++;
}

static const struct stream_events events = {
    .connected = on_connected,
    .data = on_data,
    .ended = on_ended,
    .drained = on_drained,
    .broken = on_broken,
    .closed = on_closed,
};

static void owner_close(struct owner *o)
{
    CALL(stream_close(&o->stream));
    o->used = false;
}

static struct owner *adopted(struct bench *b, size_t i)
{
    struct owner *o = &b->owners[i];
    *o = (struct owner){.bench = b};
    far_pair(&b->rig, &o->far, &o->near_fd);
    CALL(assert_int_equal(stream_adopt(&o->stream, b->rig.l, o->near_fd, &events), 0));
    o->used = true;
    return o;
}

static int setup(void **state)
{
    const struct variant *v = *state;
    struct bench *b = calloc(1, sizeof(*b));
    inside = false;
    if (b == NULL || rig_open(&b->rig, v) != 0)
        return -1;
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    inside = false;
    for (size_t i = 0; i < ARRAY_LEN(b->owners); i++)
        if (b->owners[i].used)
            owner_close(&b->owners[i]);
    UNTIL(&b->rig, b->rig.l->socks == 0);
    loop_free(b->rig.l);
    for (size_t i = 0; i < ARRAY_LEN(b->owners); i++) {
        buf_free(&b->owners[i].got);
        buf_free(&b->owners[i].taken);
        if (b->owners[i].far.rig != NULL)
            far_free(&b->owners[i].far);
    }
    free(b);
    return 0;
}

static void write_span(struct owner *o, struct span s)
{
    CALL(assert_true(stream_write(&o->stream, s)));
}

static void assert_span(struct span got, struct span want)
{
    assert_int_equal(got.len, want.len);
    assert_true(span_eq(got, want));
}

/* ---- input ---- */

static void leaves_and_gets_again(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    far_send(&o->far, SPAN("one\ntw"));
    UNTIL(&b->rig, o->kept == 2);
    assert_non_null(o->stream.in.data);
    far_send(&o->far, SPAN("o\nthree\n"));
    UNTIL(&b->rig, buf_len(&o->got) == 14);
    assert_span(buf_span(&o->got), SPAN("one\ntwo\nthree\n"));
    assert_null(o->stream.in.data); /* an idle stream holds no buffer */
    assert_null(o->stream.out.first);
}

/* However the bytes are cut, the messages are the same. */
static void any_cut(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    const struct span all = SPAN("one\ntwo\n\nthree\nfour\n");
    for (size_t i = 0; i < all.len; i++) {
        far_send(&o->far, span_of(all.ptr + i, 1));
        rig_turn(&b->rig);
    }
    UNTIL(&b->rig, buf_len(&o->got) == all.len);
    assert_span(buf_span(&o->got), all);
}

static void pauses_with_messages_left(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    o->pause_after = 1;
    far_send(&o->far, SPAN("one\ntwo\nthree\n"));
    UNTIL(&b->rig, o->datas == 1);
    assert_true(stream_paused(&o->stream));
    far_send(&o->far, SPAN("four\n"));
    far_half_close(&o->far);
    rig_idle(&b->rig);
    assert_int_equal(o->datas, 1);
    assert_int_equal(o->ended, 0);
    o->pause_after = 1;
    CALL(stream_resume(&o->stream));
    UNTIL(&b->rig, o->datas == 2);
    rig_idle(&b->rig);
    assert_span(buf_span(&o->got), SPAN("one\ntwo\n"));
    assert_int_equal(o->ended, 0);
    CALL(stream_resume(&o->stream));
    UNTIL(&b->rig, o->ended == 1);
    assert_int_equal(o->end_err, 0);
    assert_span(buf_span(&o->got), SPAN("one\ntwo\nthree\nfour\n"));
}

/* The bytes and the end come together, and the owner pauses on the first message. */
static void end_is_held_back(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    o->pause_after = 1;
    far_send(&o->far, SPAN("one\ntwo\n"));
    far_close(&o->far);
    UNTIL(&b->rig, o->datas == 1);
    rig_idle(&b->rig);
    assert_int_equal(o->ended, 0);
    CALL(stream_resume(&o->stream));
    CALL(stream_pause(&o->stream));
    rig_idle(&b->rig);
    assert_int_equal(o->ended, 0);
    CALL(stream_resume(&o->stream));
    UNTIL(&b->rig, o->ended == 1);
    assert_span(buf_span(&o->got), SPAN("one\ntwo\n"));
}

static void end_with_a_broken_message(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    far_send(&o->far, SPAN("one\ntw"));
    far_close(&o->far);
    UNTIL(&b->rig, o->ended == 1);
    assert_int_equal(o->end_err, 0);
    assert_int_equal(buf_len(&o->stream.in), 2);
    rig_idle(&b->rig);
    assert_int_equal(o->ended, 1);
}

static void takes(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    struct span big = rig_pattern(3 * LOOP_BYTES_PER_TURN + 1000);
    o->take = big.len;
    far_send(&o->far, big);
    far_send(&o->far, SPAN("\none\n"));
    UNTIL(&b->rig, buf_len(&o->got) == 5);
    assert_int_equal(o->takes, 1);
    assert_span(buf_span(&o->taken), big);
    assert_span(buf_span(&o->got), SPAN("\none\n"));
    assert_null(o->stream.in.data);
    /* And on to somebody else, without a copy. */
    CALL(assert_true(stream_write_buf(&o->stream, &o->taken)));
    assert_int_equal(buf_len(&o->taken), 0);
    UNTIL(&b->rig, far_got(&o->far).len == big.len);
    assert_span(far_got(&o->far), big);
    free((void *)(uintptr_t)big.ptr);
}

static void closes_in_data(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    o->in_data = owner_close;
    far_send(&o->far, SPAN("one\ntw"));
    UNTIL(&b->rig, o->closed == 1);
    assert_int_equal(o->datas, 1);
}

/* As above, but what `data` was given is the stream's own memory: it must outlive the close. */
static void closes_in_data_of_kept_input(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    far_send(&o->far, SPAN("tw"));
    UNTIL(&b->rig, o->kept == 2);
    o->in_data = owner_close;
    far_send(&o->far, SPAN("o\nthree"));
    UNTIL(&b->rig, o->closed == 1);
    assert_span(buf_span(&o->got), SPAN("two\n"));
}

/* ---- output ---- */

static void writes_once_a_turn(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    for (int i = 0; i < 100; i++)
        write_span(o, SPAN("0123456789"));
    assert_int_equal(stream_pending(&o->stream), 1000);
    assert_int_equal(o->stream.sent, 0);
    assert_int_equal(stream_queued(&o->stream), 1000);
    loop_turn(b->rig.l, true); /* does not wait: there is work */
    assert_int_equal(o->stream.sent, 1000);
    assert_int_equal(stream_queued(&o->stream), 1000);
    UNTIL(&b->rig, far_got(&o->far).len == 1000);
    assert_int_equal(o->drained, 0);
}

static void big_writes_go_at_once(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    struct span big = rig_pattern(30000);
    write_span(o, big);
    assert_true(o->stream.sent > 0);
    UNTIL(&b->rig, far_got(&o->far).len == big.len);
    assert_span(far_got(&o->far), big);
    free((void *)(uintptr_t)big.ptr);
}

static void much_pending_goes_at_once(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    struct span piece = rig_pattern(10000);
    for (int i = 0; i < 6; i++)
        write_span(o, piece);
    assert_int_equal(o->stream.sent, 0);
    write_span(o, piece);
    assert_true(o->stream.sent > 0);
    UNTIL(&b->rig, far_got(&o->far).len == 7 * piece.len);
    free((void *)(uintptr_t)piece.ptr);
}

static void short_sends_and_drained(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    struct span all = rig_pattern(3000000);
    far_tighten(&o->far, o->near_fd);
    size_t at = 0;
    for (size_t n = 1; at < all.len; n = n * 3 + 1) {
        size_t now = n < all.len - at ? n : all.len - at;
        write_span(o, span_of(all.ptr + at, now));
        at += now;
    }
    rig_idle(&b->rig);
    assert_true(stream_pending(&o->stream) > 0);
    assert_int_equal(o->drained, 0);
    assert_int_equal(stream_queued(&o->stream), all.len);
    UNTIL(&b->rig, far_drain(&o->far) == all.len);
    UNTIL(&b->rig, o->drained == 1);
    assert_span(far_got(&o->far), all);
    rig_idle(&b->rig);
    assert_int_equal(o->drained, 1);
    free((void *)(uintptr_t)all.ptr);
}

static void writes_chains(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    struct chain c = {0};
    struct buf empty = {0};
    struct span all = rig_pattern(50000);
    write_span(o, span_of(all.ptr, 10));
    assert_true(chain_append(&c, &b->rig.l->pool, span_of(all.ptr + 10, 39990)));
    CALL(stream_write_chain(&o->stream, &c));
    assert_true(chain_empty(&c));
    CALL(stream_write_chain(&o->stream, &c));
    CALL(assert_true(stream_write_buf(&o->stream, &empty)));
    write_span(o, span_of(all.ptr + 40000, 10000));
    UNTIL(&b->rig, far_got(&o->far).len == all.len);
    assert_span(far_got(&o->far), all);
    free((void *)(uintptr_t)all.ptr);
}

static void make_broken(struct owner *o)
{
    if (o->far.peer != NULL)
        sim_fail(o->bench->rig.l, SIM_SEND, 0, 1, -EPIPE);
    else
        far_close(&o->far);
}

static void breaks_later(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    struct span big = rig_pattern(100000);
    CALL(stream_pause(&o->stream)); /* so that the end does not show itself first */
    make_broken(o);
    for (int i = 0; i < 50 && o->broken + o->ended == 0; i++) {
        write_span(o, big);
        rig_turn(&b->rig);
    }
    /* Over TCP the reset may show itself before the next send does. */
    assert_int_equal(o->broken + o->ended, 1);
    int err = o->broken ? o->broken_err : o->end_err;
    assert_true(err == -EPIPE || err == -ECONNRESET);
    struct chain c = {0};
    assert_true(chain_append(&c, &b->rig.l->pool, big));
    uint64_t sent = o->stream.sent;
    write_span(o, big);
    CALL(stream_write_chain(&o->stream, &c));
    rig_idle(&b->rig);
    assert_int_equal(o->broken + o->ended, 1);
    assert_int_equal(o->stream.sent, sent);
    assert_true(list_empty(&b->rig.l->dirty));
    free((void *)(uintptr_t)big.ptr);
}

static void closes_in_broken(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    o->in_broken = owner_close;
    CALL(stream_pause(&o->stream));
    make_broken(o);
    for (int i = 0; i < 50 && o->used; i++) {
        write_span(o, SPAN("hello"));
        rig_turn(&b->rig);
    }
    UNTIL(&b->rig, o->closed == 1);
    assert_int_equal(o->broken + o->ended, 1);
}

static void closing_drops_output(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    write_span(o, SPAN("never seen"));
    owner_close(o);
    UNTIL(&b->rig, o->closed == 1);
    UNTIL(&b->rig, far_ended(&o->far));
    assert_int_equal(far_got(&o->far).len, 0);
}

/* ---- finishing ---- */

static void finishes(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    far_send(&o->far, SPAN("on"));
    UNTIL(&b->rig, o->kept == 2);
    struct span big = rig_pattern(300000);
    far_tighten(&o->far, o->near_fd);
    write_span(o, big);
    CALL(stream_finish(&o->stream));
    o->used = false;
    int datas = o->datas;
    far_send(&o->far, SPAN("e\ntwo\n"));
    write_span(o, SPAN("too late"));
    rig_idle(&b->rig);
    UNTIL(&b->rig, far_drain(&o->far) == big.len);
    UNTIL(&b->rig, far_ended(&o->far));
    assert_span(far_got(&o->far), big);
    assert_int_equal(o->closed, 0);
    far_close(&o->far);
    UNTIL(&b->rig, o->closed == 1);
    assert_int_equal(o->datas, datas);
    assert_int_equal(o->ended + o->broken + o->drained, 0);
    free((void *)(uintptr_t)big.ptr);
}

static void finish_while_paused_in_data(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    o->pause_after = 1;
    far_send(&o->far, SPAN("one\ntwo\n"));
    UNTIL(&b->rig, o->datas == 1);
    write_span(o, SPAN("bye"));
    CALL(stream_finish(&o->stream));
    o->used = false;
    UNTIL(&b->rig, far_ended(&o->far));
    assert_span(far_got(&o->far), SPAN("bye"));
    far_close(&o->far);
    UNTIL(&b->rig, o->closed == 1);
    assert_int_equal(o->datas, 1);
}

static void finishes_after_the_peers_end(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    far_half_close(&o->far);
    UNTIL(&b->rig, o->ended == 1);
    write_span(o, SPAN("bye"));
    CALL(stream_finish(&o->stream));
    o->used = false;
    UNTIL(&b->rig, o->closed == 1);
    UNTIL(&b->rig, far_ended(&o->far));
    assert_span(far_got(&o->far), SPAN("bye"));
}

static void finish_of_a_dead_one(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    rig_idle(&b->rig);
    if (o->far.fd >= 0)
        assert_int_equal(send(o->near_fd, "x", 1, 0), 1);
    far_reset(&o->far);
    UNTIL(&b->rig, o->ended == 1);
    assert_true(o->end_err < 0);
    write_span(o, SPAN("to nobody"));
    CALL(stream_finish(&o->stream));
    o->used = false;
    UNTIL(&b->rig, o->closed == 1);
    assert_int_equal(o->broken, 0);
}

static void finish_cut_short(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    write_span(o, SPAN("bye"));
    CALL(stream_finish(&o->stream));
    rig_idle(&b->rig);
    assert_int_equal(o->closed, 0);
    owner_close(o);
    UNTIL(&b->rig, o->closed == 1);
}

static void finish_does_not_wait_for_ever(void **state)
{
    struct bench *b = *state;
    struct owner *o = adopted(b, 0);
    if (!b->rig.sim)
        return; /* its seconds are real ones */
    struct owner *p = adopted(b, 1);
    far_tighten(&p->far, -1);
    struct span big = rig_pattern(100000);
    write_span(p, big);
    CALL(stream_finish(&o->stream));
    CALL(stream_finish(&p->stream));
    o->used = p->used = false;
    for (int i = 0; i < 4; i++) {
        sim_advance(b->rig.l, 1000);
        far_send(&o->far, SPAN("still talking"));
        far_drain(&p->far);
    }
    sim_advance(b->rig.l, STREAM_FINISH_MS - 4000 - 1);
    assert_int_equal(o->closed, 0);
    sim_advance(b->rig.l, 1);
    assert_int_equal(o->closed, 1);
    assert_int_equal(p->closed, 0); /* its output moved */
    sim_advance(b->rig.l, STREAM_FINISH_MS);
    assert_int_equal(p->closed, 1);
    free((void *)(uintptr_t)big.ptr);
}

/* ---- connecting ---- */

static void queues_before_connected(void **state)
{
    struct bench *b = *state;
    struct owner *o = &b->owners[0];
    struct addr at;
    struct sim_listener *server = NULL;
    int lfd = -1;
    if (b->rig.sim) {
        assert_true(addr_literal(&at, "10.0.0.1", 1));
        server = sim_listen(b->rig.l, &at, NULL, NULL);
        assert_non_null(server);
        sim_listener_set(server, 0, 7);
    } else {
        lfd = rig_listen(true, NULL, &at, NULL);
    }
    *o = (struct owner){.bench = b};
    CALL(assert_int_equal(stream_connect(&o->stream, b->rig.l, &at, &events), 0));
    o->used = true;
    struct span big = rig_pattern(100000);
    write_span(o, SPAN("first "));
    write_span(o, big);
    assert_int_equal(o->stream.sent, 0);
    UNTIL(&b->rig, o->connected == 1);
    assert_int_equal(o->connect_err, 0);
    o->far = (struct far){.rig = &b->rig, .fd = -1};
    if (b->rig.sim)
        o->far.peer = sim_listener_peer(server, 0);
    else
        o->far.fd = accept4(lfd, NULL, NULL, SOCK_NONBLOCK);
    UNTIL(&b->rig, far_got(&o->far).len == big.len + 6);
    assert_span(span_from(far_got(&o->far), 6), big);
    if (lfd >= 0)
        close(lfd);
    free((void *)(uintptr_t)big.ptr);
}

static void refused(void **state)
{
    struct bench *b = *state;
    struct owner *o = &b->owners[0];
    struct addr at;
    close(rig_listen(true, NULL, &at, NULL));
    *o = (struct owner){.bench = b};
    CALL(assert_int_equal(stream_connect(&o->stream, b->rig.l, &at, &events), 0));
    o->used = true;
    write_span(o, SPAN("to nobody"));
    UNTIL(&b->rig, o->connected == 1);
    assert_int_equal(o->connect_err, -ECONNREFUSED);
    rig_idle(&b->rig);
    assert_int_equal(o->ended + o->broken, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaves_and_gets_again),
        cmocka_unit_test(any_cut),
        cmocka_unit_test(pauses_with_messages_left),
        cmocka_unit_test(end_is_held_back),
        cmocka_unit_test(end_with_a_broken_message),
        cmocka_unit_test(takes),
        cmocka_unit_test(closes_in_data),
        cmocka_unit_test(closes_in_data_of_kept_input),
        cmocka_unit_test(writes_once_a_turn),
        cmocka_unit_test(big_writes_go_at_once),
        cmocka_unit_test(much_pending_goes_at_once),
        cmocka_unit_test(short_sends_and_drained),
        cmocka_unit_test(writes_chains),
        cmocka_unit_test(breaks_later),
        cmocka_unit_test(closes_in_broken),
        cmocka_unit_test(closing_drops_output),
        cmocka_unit_test(finishes),
        cmocka_unit_test(finish_while_paused_in_data),
        cmocka_unit_test(finishes_after_the_peers_end),
        cmocka_unit_test(finish_of_a_dead_one),
        cmocka_unit_test(finish_cut_short),
        cmocka_unit_test(finish_does_not_wait_for_ever),
        cmocka_unit_test(queues_before_connected),
        cmocka_unit_test(refused),
    };
    return rig_run(tests, ARRAY_LEN(tests), setup, teardown);
}
