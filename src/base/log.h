/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit log writes lines to a file or stderr: one write per line on an O_APPEND descriptor, so that
 * lines of several threads never mix. Any thread may log. The form of a line is twemproxy's:
 * [2026-01-31 12:00:00.123] file.c:42 text Each call site writes at most 20 lines a second up to
 * LEVEL_NOTICE, so that a fault that repeats can't fill a disk; its first line after that says how
 * many were held back. Control characters are shown as \x0a, so that nobody's bytes can look like a
 * line of their own; a line longer than 4096 bytes is cut and ends in "...". */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/must.h"

/* Levels are twemproxy's, 0 to 11. */
enum log_level {
    LEVEL_EMERG = 0,
    LEVEL_ALERT = 1,
    LEVEL_CRIT = 2,
    LEVEL_ERROR = 3,
    LEVEL_WARN = 4,
    LEVEL_NOTICE = 5,
    LEVEL_INFO = 6,
    LEVEL_DEBUG = 7,
    LEVEL_VERB = 8,
    LEVEL_VVERB = 9,
    LEVEL_VVVERB = 10,
    LEVEL_PVERB = 11,
};

/* What a call site remembers: how many lines it wrote in the current second and how many it held
 * back. */
struct log_site {
    _Atomic uint64_t second;
    _Atomic uint32_t written;
    _Atomic uint32_t held;
};

extern _Atomic int log_level_now;

/** Opens `path` (NULL: stderr) for appending, with this level. 0 or a negative errno. */
must_check int log_open(const char *path, int level);

/** Opens the same path again, under the same descriptor number. Keeps the old file and says so if
 * that fails. Like log_open() and log_close() it belongs to the main thread; others may log
 * meanwhile. */
void log_reopen(void);

/** Changes the level by `by`, within 0 to 11; returns the new one. */
int log_level_change(int by);

/** Sets the level; what is out of range becomes the nearest end of it. */
void log_level_set(int level);

/** Back to stderr. */
void log_close(void);

/** The descriptor that lines go to, for a handler of a crash, which can do no more than write(). */
int log_fd(void);

/** Writes a line at a level that is on: what the macros below call. Keeps errno; knows %m. */
void log_write(struct log_site *site, int level, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

static inline bool log_on(int level)
{
    return level <= atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

#define log_at(level, ...)                                                                         \
    do {                                                                                           \
        if (log_on(level)) {                                                                       \
            static struct log_site log_site_here;                                                  \
            log_write(&log_site_here, level, __FILE__, __LINE__, __VA_ARGS__);                     \
        }                                                                                          \
    } while (0)

/* What its operator must see at every level: start, end, signals. */
#define log_always(...) log_at(LEVEL_EMERG, __VA_ARGS__)
#define log_crit(...) log_at(LEVEL_CRIT, __VA_ARGS__)
#define log_error(...) log_at(LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LEVEL_WARN, __VA_ARGS__)
#define log_notice(...) log_at(LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...) log_at(LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LEVEL_DEBUG, __VA_ARGS__)
#define log_verb(...) log_at(LEVEL_VERB, __VA_ARGS__)

#endif
