/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka needs those above */
#include <cmocka.h>

#include "base/dict.h"

enum { MANY = 5000 };

struct element {
    struct dict_node node;
    char name[16];
    unsigned seen;
};

/* The vectors of the reference: key 00 01 .. 0f, messages of so many bytes 00 01 .. */
static void hashes_as_the_reference(void **state)
{
    (void)state;
    struct dict d;
    const uint64_t key[2] = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
    char bytes[16];
    for (int i = 0; i < 16; i++)
        bytes[i] = (char)i;
    dict_init(&d, key);
    assert_int_equal(dict_hash(&d, span_of(bytes, 0)), 0xabac0158050fc4dcu);
    assert_int_equal(dict_hash(&d, span_of(bytes, 1)), 0xc9f49bf37d57ca93u);
    assert_int_equal(dict_hash(&d, span_of(bytes, 8)), dict_hash(&d, span_of(bytes, 8)));
    assert_int_not_equal(dict_hash(&d, span_of(bytes, 8)), dict_hash(&d, span_of(bytes, 9)));
}

static struct element *find(const struct dict *d, const char *name)
{
    struct dict_node *n = dict_first(d, dict_hash(d, span_str(name)));
    while (n != NULL && strcmp(container_of(n, struct element, node)->name, name) != 0)
        n = dict_next(n);
    return n == NULL ? NULL : container_of(n, struct element, node);
}

static void see(struct dict_node *n, void *arg)
{
    container_of(n, struct element, node)->seen++;
    ++*(size_t *)arg;
}

static void keeps_what_is_in_it(void **state)
{
    (void)state;
    struct dict d;
    const uint64_t key[2] = {1, 2};
    struct element *all = calloc(MANY, sizeof(*all));
    assert_non_null(all);
    dict_init(&d, key);
    assert_null(find(&d, "n1"));
    for (int i = 0; i < MANY; i++) {
        snprintf(all[i].name, sizeof(all[i].name), "n%d", i);
        assert_true(dict_add(&d, &all[i].node, dict_hash(&d, span_str(all[i].name))));
    }
    size_t grown = dict_memory(&d);
    for (int i = 0; i < MANY; i++)
        assert_ptr_equal(find(&d, all[i].name), &all[i]);
    size_t count = 0;
    dict_each(&d, see, &count);
    assert_int_equal(count, MANY);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(all[i].seen, 1);
    for (int i = 0; i < MANY; i += 2)
        dict_remove(&d, &all[i].node);
    for (int i = 0; i < MANY; i++)
        assert_ptr_equal(find(&d, all[i].name), i % 2 == 0 ? NULL : &all[i]);
    for (int i = 1; i < MANY; i += 2)
        dict_remove(&d, &all[i].node);
    assert_int_equal(d.count, 0);
    assert_true(dict_memory(&d) < grown / 8);
    dict_free(&d);
    free(all);
}

static void tells_nodes_of_one_hash_apart(void **state)
{
    (void)state;
    struct dict d;
    const uint64_t key[2] = {3, 4};
    struct element a = {.name = "a"};
    struct element b = {.name = "b"};
    struct element c = {.name = "c"};
    dict_init(&d, key);
    assert_true(dict_add(&d, &a.node, 7));
    assert_true(dict_add(&d, &b.node, 7));
    assert_true(dict_add(&d, &c.node, 7 + 64)); /* the same slot */
    struct dict_node *first = dict_first(&d, 7);
    struct dict_node *second = dict_next(first);
    assert_true(first != NULL && second != NULL && first != second);
    assert_null(dict_next(second));
    assert_ptr_equal(dict_first(&d, 7 + 64), &c.node);
    dict_remove(&d, &a.node);
    assert_ptr_equal(dict_first(&d, 7), &b.node);
    dict_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_as_the_reference),
        cmocka_unit_test(keeps_what_is_in_it),
        cmocka_unit_test(tells_nodes_of_one_hash_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
