/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct item {
    int number;
    struct list node;
};

static struct item items[5];

static void fill(struct list *head, int count)
{
    list_init(head);
    for (int i = 0; i < count; i++) {
        items[i].number = i;
        list_init(&items[i].node);
        list_append(head, &items[i].node);
    }
}

/* The list holds these numbers, digit by digit, read forwards and backwards. */
static void assert_numbers(const struct list *head, const char *digits)
{
    const struct list *it = head->next;
    size_t n = strlen(digits);
    for (size_t i = 0; i < n; i++, it = it->next)
        assert_int_equal(container_of(it, const struct item, node)->number, digits[i] - '0');
    assert_ptr_equal(it, head);
    for (size_t i = n; i > 0; i--) {
        it = it->prev;
        assert_int_equal(container_of(it, const struct item, node)->number, digits[i - 1] - '0');
    }
    assert_ptr_equal(it->prev, head);
}

static void test_append(void **state)
{
    (void)state;
    struct list head;
    list_init(&head);
    assert_true(list_empty(&head));
    fill(&head, 3);
    assert_false(list_empty(&head));
    assert_numbers(&head, "012");
    assert_int_equal(LIST_FIRST(&head, struct item, node)->number, 0);
}

static void test_unlink(void **state)
{
    (void)state;
    struct list head;
    fill(&head, 4);
    assert_true(list_linked(&items[2].node));
    list_unlink(&items[2].node);
    assert_numbers(&head, "013");
    assert_false(list_linked(&items[2].node));
    list_unlink(&items[2].node); /* twice is harmless */
    assert_numbers(&head, "013");
    list_unlink(&items[0].node);
    list_unlink(&items[3].node);
    assert_numbers(&head, "1");
    list_unlink(&items[1].node);
    assert_true(list_empty(&head));
    list_append(&head, &items[2].node);
    assert_numbers(&head, "2");
}

static void test_move(void **state)
{
    (void)state;
    struct list from, to;
    fill(&from, 3);
    list_move(&to, &from);
    assert_numbers(&to, "012");
    assert_true(list_empty(&from));
    list_append(&from, &items[3].node);
    assert_numbers(&to, "012");
    list_move(&from, &to);
    assert_numbers(&from, "012"); /* what was in the target is forgotten */
    list_move(&from, &to);
    assert_true(list_empty(&from));
    assert_true(list_empty(&to));
}

static void test_move_of_one(void **state)
{
    (void)state;
    struct list from, to;
    fill(&from, 1);
    list_move(&to, &from);
    assert_numbers(&to, "0");
    list_unlink(&items[0].node);
    assert_true(list_empty(&to));
}

static void test_foreach(void **state)
{
    (void)state;
    struct list head;
    int sum = 0;
    fill(&head, 5);
    LIST_FOREACH (it, &head)
        sum = sum * 10 + container_of(it, struct item, node)->number;
    assert_int_equal(sum, 1234);
    LIST_FOREACH_SAFE (it, &head)
        if (container_of(it, struct item, node)->number % 2 == 0)
            list_unlink(it);
    assert_numbers(&head, "13");
    LIST_FOREACH_SAFE (it, &head)
        list_unlink(it);
    assert_true(list_empty(&head));
    LIST_FOREACH (it, &head)
        fail();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append),  cmocka_unit_test(test_unlink),
        cmocka_unit_test(test_move),    cmocka_unit_test(test_move_of_one),
        cmocka_unit_test(test_foreach),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
