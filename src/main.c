/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit main reads the command line and the configuration, and hands over to run. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/options.h"
#include "conf/why.h"
#include "run/run.h"
#include "stats/stats.h"
#include "tool/ring_command.h"

static void show_version(void)
{
    fputs("This is cashew-" CASHEW_VERSION "\n"
          "drop-in for nutcracker-0.5.0\n\n",
          stderr);
}

/* What was asked for instead of a proxy; false: nothing was. */
static bool show(const struct options *o)
{
    if (o->help || o->version || o->describe_stats)
        show_version();
    if (o->help)
        options_usage(o, stderr);
    if (o->describe_stats)
        stats_describe(stderr);
    if (o->describe_config)
        conf_describe(stdout);
    return o->help || o->version || o->describe_stats || o->describe_config;
}

static int test_or_run(struct options *o, const struct conf *conf)
{
    if (!conf_global_merge(&o->set, &conf->global)) {
        fprintf(stderr, "%s: out of memory\n", o->program);
        return 1;
    }
    if (o->test_conf) {
        bool good = run_has_memory(conf, &o->set);
        fprintf(stderr, "%s: configuration file '%s' %s\n", o->program, o->conf_file,
                good ? "syntax is ok" : "can't be started with");
        return good ? 0 : 1;
    }
    return run(conf, &o->set, o->program);
}

/* The errors of the file have been told. */
static void say_no_conf(const struct options *o, bool was_read)
{
    if (was_read)
        fprintf(stderr, "%s: configuration file '%s' syntax is invalid\n", o->program,
                o->conf_file);
    else
        fprintf(stderr, "%s: name the configuration file with -c FILE; --help lists all options\n",
                o->program);
}

/* A word that is no option is ignored, as twemproxy does, unless it looks like a command of ours that was
 * mistyped: then a proxy is not what was wanted. */
static bool mistyped_command(int argc, char **argv)
{
    static const char *const commands[] = {"ring"};
    if (argc < 2 || argv[1][0] == '-' || why_near(span_str(argv[1]), commands, 1) == NULL)
        return false;
    fprintf(stderr, "cashew: '%s' is not a command (did you mean 'ring'?)\n", argv[1]);
    return true;
}

static int start(struct options *o)
{
    bool was_read;
    struct conf *conf = conf_load(o->conf_file, stderr, &was_read);
    int code;

    if (conf == NULL) {
        say_no_conf(o, was_read);
        return 1;
    }
    code = test_or_run(o, conf);
    conf_free(conf);
    return code;
}

int main(int argc, char **argv)
{
    struct options o;
    int code = 1;

    if (argc > 1 && strcmp(argv[1], "ring") == 0)
        return ring_command(argc - 1, argv + 1);
    if (mistyped_command(argc, argv))
        return 1;
    if (options_read(&o, argc, argv, stderr))
        code = show(&o) ? 0 : start(&o);
    options_free(&o);
    return code;
}
