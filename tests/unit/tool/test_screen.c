/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/screen.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tool/table.h"

/* A screen that writes into memory. */
struct page {
    struct screen screen;
    char *text;
    size_t len;
};

static struct page page_of(bool utf8)
{
    return (struct page){.screen = {.columns = 40, .utf8 = utf8}};
}

static void page_open(struct page *p)
{
    p->screen.out = open_memstream(&p->text, &p->len);
    assert_non_null(p->screen.out);
}

static void page_is(struct page *p, const char *wanted)
{
    fclose(p->screen.out);
    assert_string_equal(p->text, wanted);
    free(p->text);
    page_open(p);
}

static void page_gone(struct page *p)
{
    fclose(p->screen.out);
    free(p->text);
}

static bool has_utf8(void)
{
    return setlocale(LC_CTYPE, "C.UTF-8") != NULL;
}

static void test_cells(void **state)
{
    struct page p = page_of(has_utf8());
    (void)state;
    page_open(&p);
    screen_cell(&p.screen, SPAN("ab"), 4, false);
    screen_cell(&p.screen, SPAN("ab"), 4, true);
    page_is(&p, "ab    ab");
    screen_cell(&p.screen, SPAN("abcdef"), 4, false);
    page_is(&p, "abc~");
    if (p.screen.utf8) {
        screen_cell(&p.screen, SPAN("猫猫猫"), 4, false);
        page_is(&p, "猫~~");
        screen_cell(&p.screen, SPAN("ü"), 3, false);
        page_is(&p, "ü  ");
    }
    page_gone(&p);
}

static void test_bytes(void **state)
{
    struct page p = page_of(has_utf8());
    (void)state;
    page_open(&p);
    screen_bytes(&p.screen, SPAN("a\\b\x1b[2J\xff\xc2\x9b"));
    page_is(&p, "a\\\\b\\x1b[2J\\xff\\xc2\\x9b");
    p.screen.utf8 = false;
    screen_bytes(&p.screen, SPAN("ü"));
    page_is(&p, "\\xc3\\xbc");
    page_gone(&p);
}

static void test_bars(void **state)
{
    struct page p = page_of(true);
    (void)state;
    page_open(&p);
    screen_bar(&p.screen, 0.5, 4);
    page_is(&p, "██");
    screen_bar(&p.screen, 0.125, 1);
    page_is(&p, "▏");
    p.screen.utf8 = false;
    screen_bar(&p.screen, 1, 3);
    page_is(&p, "###");
    page_gone(&p);
}

static void test_paragraphs(void **state)
{
    struct page p = page_of(false);
    (void)state;
    p.screen.columns = 12;
    page_open(&p);
    screen_paragraph(&p.screen, "one two three averylongword x", 0, 2);
    page_is(&p, "one two\n  three\n  averylongword\n  x\n");
    page_gone(&p);
}

static void write_names(struct page *p)
{
    static const struct table_column columns[] = {{"name", false}, {"n", true}, {NULL, false}};
    struct table t;
    table_init(&t, columns);
    assert_true(table_row(&t, (const char *const[]){"averylongname", "1"}, 0.5));
    assert_true(table_row(&t, (const char *const[]){"b", "12"}, 0.25));
    table_write(&t, &p->screen);
    table_free(&t);
}

static void test_tables(void **state)
{
    struct page p = page_of(false);
    (void)state;
    page_open(&p);
    p.screen.columns = 29;
    write_names(&p);
    page_is(&p, "name            n\naverylongname   1  ##########\nb              12  #####\n");
    /* Too narrow for bars; a file is not cut, a terminal's line is. */
    p.screen.columns = 12;
    write_names(&p);
    page_is(&p, "name            n\naverylongname   1\nb              12\n");
    p.screen.terminal = true;
    write_names(&p);
    page_is(&p, "name       n\naverylo~   1\nb         12\n");
    page_gone(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cells),  cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_bars),   cmocka_unit_test(test_paragraphs),
        cmocka_unit_test(test_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
