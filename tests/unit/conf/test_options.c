/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit test_options reads command lines. */
#include "conf/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WORDS = 16 };

/* Reads a line of words, parted by spaces; ~ stands for an empty word. What is written is in
 * `*errors`, to be freed. */
static bool read_line(struct options *o, char *line, char **errors)
{
    char *argv[WORDS + 1];
    char *rest;
    int argc = 0;
    size_t size;
    FILE *out = open_memstream(errors, &size);
    bool ok;

    assert_non_null(out);
    for (char *word = strtok_r(line, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        assert_true(argc < WORDS);
        argv[argc++] = strcmp(word, "~") == 0 ? word + 1 : word;
    }
    argv[argc] = NULL;
    ok = options_read(o, argc, argv, out);
    fclose(out);
    return ok;
}

static void good(struct options *o, const char *text)
{
    static char line[256]; /* options point into the words of the command line */
    char *errors;

    snprintf(line, sizeof(line), "%s", text);
    if (!read_line(o, line, &errors))
        fail_msg("%s: %s", text, errors);
    assert_string_equal(errors, "");
    free(errors);
}

static void test_defaults(void **state)
{
    struct options o;

    (void)state;
    good(&o, "cashew");
    assert_string_equal(o.program, "cashew");
    assert_string_equal(o.conf_file, "conf/nutcracker.yml");
    assert_int_equal(o.mbuf_size, 16384);
    assert_false(o.help || o.version || o.test_conf || o.describe_stats || o.describe_config);
    assert_int_equal(o.set.given, 0);
    assert_int_equal(o.set.stats_port, 22222);
    options_free(&o);
}

static void check_all(const struct options *o)
{
    assert_true(o->help && o->version && o->test_conf && o->describe_stats);
    assert_true(o->describe_config);
    assert_true(o->set.daemonize);
    assert_int_equal(o->set.verbosity, 7);
    assert_string_equal(o->set.output, "/o");
    assert_string_equal(o->conf_file, "/c");
    assert_int_equal(o->set.stats_port, 1);
    assert_string_equal(o->set.stats_addr, "::1");
    assert_int_equal(o->set.stats_interval, 0);
    assert_string_equal(o->set.pid_file, "/p");
    assert_int_equal(o->mbuf_size, 512);
    assert_int_equal(o->set.workers, 0);
    assert_string_equal(o->set.io, "uring");
    uint32_t settings = 0;
#define FLAG(letter, name, member, text)
#define VALUE(letter, name, member, type, value, min, max, arg, needs, text)
#define SETTING(letter, name, key, arg, needs, text) settings |= 1u << GLOBAL_##key;
#include "options.def"
#undef FLAG
#undef VALUE
#undef SETTING
    assert_int_equal(o->set.given, settings);
}

static void test_every_option(void **state)
{
    struct options o;

    (void)state;
    good(&o, "/usr/sbin/nutcracker -hVtdD -v 7 -o /o -c /c");
    assert_string_equal(o.program, "nutcracker");
    options_free(&o);
    good(&o, "c -hVtdDv7 -o/o -c/c -s1 -a::1 -i0 -p/p -m512 --workers=auto --io=uring "
             "--describe-config");
    check_all(&o);
    options_free(&o);
    good(&o, "c --help --version --test-conf --daemonize --describe-stats --describe-config "
             "--verbose=7 --output=/o --conf-file=/c --stats-port=1 --stats-addr=::1 "
             "--stats-interval=0 --pid-file=/p --mbuf-size=512 --workers=auto");
    options_free(&o);
    good(&o, "c --help --version --test-conf --daemonize --describe-stats --describe-config");
    options_free(&o);
}

static void test_long_forms(void **state)
{
    struct options o;

    (void)state;
    good(&o, "c --verbose 7 --output /o --conf-file /c --stats-port 1 --stats-addr ::1");
    assert_int_equal(o.set.verbosity, 7);
    assert_string_equal(o.set.output, "/o");
    assert_string_equal(o.conf_file, "/c");
    assert_int_equal(o.set.stats_port, 1);
    assert_string_equal(o.set.stats_addr, "::1");
    options_free(&o);
    good(&o,
         "c --stats-interval=5 --pid-file=/p --mbuf-size=16777216 --workers=3 --io=auto --verb=3");
    assert_int_equal(o.set.stats_interval, 5);
    assert_string_equal(o.set.pid_file, "/p");
    assert_int_equal(o.mbuf_size, 16777216);
    assert_int_equal(o.set.workers, 3);
    assert_string_equal(o.set.io, "auto");
    assert_int_equal(o.set.verbosity, 3);
    options_free(&o);
}

static void test_leniency(void **state)
{
    struct options o;

    (void)state;
    /* The largest stands for what is beyond it; words that are no option are ignored; the last of
     * two is taken. */
    good(&o, "c -v 100 word -i 99999999999999999999999 -- -x");
    assert_int_equal(o.set.verbosity, 11);
    assert_int_equal(o.set.stats_interval, 2147483647);
    options_free(&o);
    good(&o, "c -v 99999999999999999999999 -c a -c b -o x -o y");
    assert_int_equal(o.set.verbosity, 11);
    assert_string_equal(o.conf_file, "b");
    assert_string_equal(o.set.output, "y");
    options_free(&o);
}

static const struct {
    const char *line;
    const char *error;
} bad_cases[] = {
    {"nutcracker -x", "nutcracker: invalid option -- 'x'\n"},
    {"/a/b/cashew -tx", "cashew: invalid option -- 'x'\n"},
    {"c -?", "c: invalid option -- '?'\n"},
    {"c --foobar", "c: invalid option -- '--foobar'\n"},
    {"c --stats-prot=3", "c: invalid option -- '--stats-prot=3' (did you mean '--stats-port'?)\n"},
    {"c --stats=1", "c: invalid option -- '--stats=1'"},
    {"c --help=3", "c: invalid option -- '--help=3'"},
    {"c -v", "c: option -v requires a number\n"},
    {"c -v x", "c: option -v requires a number\n"},
    {"c -v -1", "c: option -v requires a number\n"},
    {"c -v ~", "c: option -v requires a number\n"},
    {"c --verbose", "c: option -v requires a number\n"},
    {"c --verbose=x", "c: option -v requires a number\n"},
    {"c -s", "c: option -s requires a number\n"},
    {"c -s 22a", "c: option -s requires a number\n"},
    {"c -s 0", "c: option -s value 0 is not a valid port\n"},
    {"c -s 70000", "c: option -s value 70000 is not a valid port\n"},
    {"c -s 4294967297", "c: option -s value 4294967297 is not a valid port\n"},
    {"c -i", "c: option -i requires a number\n"},
    {"c -i -5", "c: option -i requires a number\n"},
    {"c -m", "c: option -m requires a number\n"},
    {"c -m x", "c: option -m requires a non-zero number\n"},
    {"c -m 0", "c: option -m requires a non-zero number\n"},
    {"c -m 511", "c: mbuf chunk size must be between 512 and 16777216 bytes\n"},
    {"c -m 16777217", "c: mbuf chunk size must be between 512 and 16777216 bytes\n"},
    {"c -m 99999999999999999999", "c: mbuf chunk size must be between 512 and 16777216 bytes\n"},
    {"c -c", "c: option -c requires a file name\n"},
    {"c -c ~", "c: option -c requires a file name\n"},
    {"c -o", "c: option -o requires a file name\n"},
    {"c --pid-file", "c: option -p requires a file name\n"},
    {"c -a", "c: option -a requires a string\n"},
    {"c --workers", "c: option --workers requires a number or auto\n"},
    {"c --workers=0", "c: option --workers: '0' is out of range for 'workers' (allowed: auto, or "
                      "1 to 1024 threads)\n"},
    {"c --io", "c: option --io requires a name\n"},
    {"c --io=urin", "c: option --io: 'urin' is not a way to talk to the kernel (did you mean "
                    "'uring'? allowed: epoll, uring, auto)\n"},
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad_cases); i++) {
        struct options o;
        char line[128];
        char *errors;

        snprintf(line, sizeof(line), "%s", bad_cases[i].line);
        if (read_line(&o, line, &errors))
            fail_msg("accepted: %s", bad_cases[i].line);
        if (strncmp(errors, bad_cases[i].error, strlen(bad_cases[i].error)) != 0)
            fail_msg("%s\nexpected: %s\ngot: %s", bad_cases[i].line, bad_cases[i].error, errors);
        assert_non_null(strstr(errors, "\nUsage: "));
        free(errors);
        options_free(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),   cmocka_unit_test(test_every_option),
        cmocka_unit_test(test_long_forms), cmocka_unit_test(test_leniency),
        cmocka_unit_test(test_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
