/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MILLISECOND = 1000000 };

static const struct option long_options[] = {
    {"help", no_argument, NULL, 'h'},           {"protocol", required_argument, NULL, 'p'},
    {"target", required_argument, NULL, 't'},   {"watch", required_argument, NULL, 'w'},
    {"clients", required_argument, NULL, 'c'},  {"in-flight", required_argument, NULL, 'i'},
    {"pipeline", required_argument, NULL, 'P'}, {"gets", required_argument, NULL, 'g'},
    {"sets", required_argument, NULL, 's'},     {"count", required_argument, NULL, 'n'},
    {"keys", required_argument, NULL, 'k'},     {"size", required_argument, NULL, 'd'},
    {"rate", required_argument, NULL, 'r'},     {"warm-up", required_argument, NULL, 'u'},
    {"measure", required_argument, NULL, 'm'},  {"fill", no_argument, NULL, 'f'},
    {"idle", no_argument, NULL, 'I'},           {0},
};

static const char help[] =
    "usage: load --target IPV4:PORT [OPTION...]\n"
    "Asks a redis or memcached, or a proxy before them, and checks every reply; prints JSON.\n"
    "  --protocol NAME   redis (default) or memcache\n"
    "  --target ADDRESS  where to connect; if given again, connections take them in turn\n"
    "  --watch PID       report what this process uses; may be given again\n"
    "  --clients N       connections (50)\n"
    "  --in-flight N     connections that are being made at a time (64)\n"
    "  --pipeline N      requests that a client sends before it waits for all replies (1)\n"
    "  --gets N, --sets N  how often each is asked, by chance (1, 1)\n"
    "  --count N         keys of a get (1)\n"
    "  --keys N          keys that there are (10000)\n"
    "  --size BYTES      of a value (64)\n"
    "  --rate N          requests a second, whether replies come or not (0: as they come)\n"
    "  --warm-up MS, --measure MS  (300, 1000)\n"
    "  --fill            set all keys on each target, and end\n"
    "  --idle            make the connections, one get each, then leave them idle\n";

static _Noreturn void wrong(const char *what, const char *value)
{
    (void)fprintf(stderr, "load: %s: '%s'\n%s", what, value, help);
    exit(2);
}

static uint32_t number(const char *value, uint32_t min, uint32_t max)
{
    uint64_t n = 0;
    if (!span_u64(span_str(value), max, &n) || n < min)
        wrong("not a number that is possible here", value);
    return (uint32_t)n;
}

static void add_target(struct options *o, const char *value)
{
    char host[INET_ADDRSTRLEN];
    const char *colon = strrchr(value, ':');
    if (colon == NULL || (size_t)(colon - value) >= sizeof(host) ||
        o->target_count == OPTIONS_TARGETS)
        wrong("not a target", value);
    memcpy(host, value, (size_t)(colon - value));
    host[colon - value] = '\0';
    struct sockaddr_in *to = &o->targets[o->target_count++];
    to->sin_family = AF_INET;
    to->sin_port = htons((uint16_t)number(colon + 1, 1, UINT16_MAX));
    if (inet_pton(AF_INET, host, &to->sin_addr) != 1)
        wrong("not an IPv4 address", value);
}

static void add_watched(struct options *o, const char *value)
{
    if (o->watched_count == OPTIONS_WATCHED)
        wrong("too many processes to watch", value);
    o->watched[o->watched_count++] = (pid_t)number(value, 1, INT32_MAX);
}

static void set_protocol(struct options *o, const char *value)
{
    if (strcmp(value, dialect_redis.name) == 0)
        o->dialect = &dialect_redis;
    else if (strcmp(value, dialect_memcache.name) == 0)
        o->dialect = &dialect_memcache;
    else
        wrong("not a protocol", value);
}

/* The options that say what is asked. */
static bool set_question(struct options *o, int letter, const char *value)
{
    switch (letter) {
    case 'p':
        set_protocol(o, value);
        return true;
    case 'P':
        o->pipeline = number(value, 1, 100000);
        return true;
    case 'g':
        o->gets = number(value, 0, 1000000);
        return true;
    case 's':
        o->sets = number(value, 0, 1000000);
        return true;
    case 'n':
        o->count = number(value, 1, ASK_KEYS_MAX);
        return true;
    case 'k':
        o->keys = number(value, 1, PAYLOAD_KEYS_MAX);
        return true;
    case 'd':
        o->size = number(value, 0, 1U << 30);
        return true;
    default:
        return false;
    }
}

/* The options that say by whom and when. */
static bool set_run(struct options *o, int letter, const char *value)
{
    switch (letter) {
    case 't':
        add_target(o, value);
        return true;
    case 'w':
        add_watched(o, value);
        return true;
    case 'c':
        o->clients = number(value, 1, 1000000);
        return true;
    case 'i':
        o->in_flight = number(value, 1, 100000);
        return true;
    case 'r':
        o->rate = number(value, 0, 10000000);
        return true;
    case 'u':
        o->warm_up = (uint64_t)number(value, 0, 3600000) * MILLISECOND;
        return true;
    case 'm':
        o->measure = (uint64_t)number(value, 1, 3600000) * MILLISECOND;
        return true;
    case 'f':
        o->fill = true;
        return true;
    case 'I':
        o->idle = true;
        return true;
    default:
        return false;
    }
}

void options_read(struct options *o, int argc, char **argv)
{
    *o = (struct options){.dialect = &dialect_redis,
                          .clients = 50,
                          .in_flight = 64,
                          .pipeline = 1,
                          .gets = 1,
                          .sets = 1,
                          .count = 1,
                          .keys = 10000,
                          .size = 64,
                          .warm_up = (uint64_t)300 * MILLISECOND,
                          .measure = (uint64_t)1000 * MILLISECOND};
    int letter = 0;
    while ((letter = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        if (letter == 'h') {
            (void)fputs(help, stdout);
            exit(0);
        }
        if (!set_question(o, letter, optarg) && !set_run(o, letter, optarg))
            exit(2); /* getopt_long() has said why */
    }
    if (optind < argc)
        wrong("not an option", argv[optind]);
    if (o->target_count == 0)
        wrong("no --target", "");
    if (o->gets + o->sets == 0)
        wrong("neither gets nor sets", "");
    if (o->count > o->keys)
        wrong("more keys in a get than there are", "");
}
