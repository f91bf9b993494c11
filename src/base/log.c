/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE_BYTES_MAX = 4096, /* with its newline */
    LINES_PER_SECOND = 20, /* of one call site */
    FIRST_FREE_FD = 3,     /* lower ones are replaced when the process becomes a daemon */
};

#define CUT_MARK "..." /* at the end of a line that was longer; its room is always kept free */

_Atomic int log_level_now = LEVEL_NOTICE;

/* Where the lines go. A log is the process's by nature, so this is the one state that is not handed
 * around. The number of the descriptor is written before threads start; reopening replaces the file
 * behind it and keeps the number. */
static struct {
    _Atomic int fd;
    char *path; /* NULL: stderr */
} dest = {.fd = STDERR_FILENO};

/* A line under construction; `cut` once it had no room for more. */
struct line {
    char text[LINE_BYTES_MAX];
    size_t len;
    bool cut;
};

static int open_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);
    if (fd < 0)
        return -errno;
    if (fd >= FIRST_FREE_FD)
        return fd;
    int higher = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    int err = errno;
    close(fd);
    return higher < 0 ? -err : higher;
}

int log_open(const char *path, int level)
{
    char *copy = NULL;
    int fd = STDERR_FILENO;
    if (path != NULL) {
        copy = strdup(path);
        if (copy == NULL)
            return -ENOMEM;
        fd = open_file(path);
        if (fd < 0) {
            free(copy);
            return fd;
        }
    }
    log_close();
    tzset();
    dest.path = copy;
    atomic_store(&dest.fd, fd);
    log_level_set(level);
    return 0;
}

void log_close(void)
{
    if (dest.path == NULL)
        return;
    close(atomic_exchange(&dest.fd, STDERR_FILENO));
    free(dest.path);
    dest.path = NULL;
}

void log_reopen(void)
{
    if (dest.path == NULL)
        return;
    int fd = open_file(dest.path);
    if (fd < 0) {
        log_error("reopening log file '%s' failed, writing on to the old one: %s", dest.path,
                  strerror(-fd));
        return;
    }
    /* Replacing the file behind the number needs no lock: a thread that writes just now writes to
     * the old or to the new file, and never to a closed one. */
    int err = dup3(fd, log_fd(), O_CLOEXEC) < 0 ? errno : 0;
    close(fd);
    if (err == 0)
        log_always("log file '%s' reopened", dest.path);
    else
        log_error("reopening log file '%s' failed, writing on to the old one: %s", dest.path,
                  strerror(err));
}

int log_fd(void)
{
    return atomic_load_explicit(&dest.fd, memory_order_relaxed);
}

void log_level_set(int level)
{
    int within = level < LEVEL_EMERG ? LEVEL_EMERG : level > LEVEL_PVERB ? LEVEL_PVERB : level;
    atomic_store_explicit(&log_level_now, within, memory_order_relaxed);
}

int log_level_change(int by)
{
    log_level_set(atomic_load_explicit(&log_level_now, memory_order_relaxed) + by);
    return atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

/* May the site write one more line in this second? `*held` is how many it held back before. Two
 * threads that meet at the turn of a second may let a few lines more through, which does no harm.
 */
static bool site_may_write(struct log_site *site, uint32_t *held)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    uint64_t second = (uint64_t)now.tv_sec;
    uint64_t last = atomic_load_explicit(&site->second, memory_order_relaxed);
    *held = 0;
    if (second > last && atomic_compare_exchange_strong(&site->second, &last, second)) {
        atomic_store(&site->written, 0);
        *held = atomic_exchange(&site->held, 0);
    }
    if (atomic_fetch_add(&site->written, 1) < LINES_PER_SECOND)
        return true;
    atomic_fetch_add(&site->held, 1);
    return false;
}

static void line_put(struct line *l, const char *bytes, size_t len)
{
    size_t room = sizeof(l->text) - sizeof(CUT_MARK "\n") - l->len;
    if (l->cut || len > room) {
        l->cut = true;
        return;
    }
    memcpy(l->text + l->len, bytes, len);
    l->len += len;
}

/* Local time to the second is made once a second and thread, since localtime_r() takes a lock of
 * the C library. */
static void line_put_time(struct line *l)
{
    static _Thread_local time_t made_for = -1;
    static _Thread_local char made[32];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != made_for) {
        struct tm tm;
        if (localtime_r(&now.tv_sec, &tm) == NULL)
            memset(&tm, 0, sizeof(tm));
        (void)strftime(made, sizeof(made), "[%Y-%m-%d %H:%M:%S", &tm);
        made_for = now.tv_sec;
    }
    char millis[16];
    int len = snprintf(millis, sizeof(millis), ".%03d] ", (int)(now.tv_nsec / 1000000));
    line_put(l, made, strlen(made));
    line_put(l, millis, (size_t)len);
}

/* What clients send stands in log lines: without control characters they can't forge a line nor
 * move a terminal. */
static void line_put_clean(struct line *l, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    for (; *text != '\0' && !l->cut; text++) {
        unsigned char c = (unsigned char)*text;
        char escape[4] = {'\\', 'x', hex[c >> 4], hex[c & 15]};
        if (c < 0x20 || c == 0x7f)
            line_put(l, escape, sizeof(escape));
        else
            line_put(l, text, 1);
    }
}

static void line_put_number(struct line *l, const char *before, unsigned n, const char *after)
{
    char text[64];
    int len = snprintf(text, sizeof(text), "%s%u%s", before, n, after);
    line_put(l, text, (size_t)len);
}

static void line_write(struct line *l)
{
    if (l->cut) {
        memcpy(l->text + l->len, CUT_MARK, strlen(CUT_MARK));
        l->len += strlen(CUT_MARK);
    }
    l->text[l->len++] = '\n';
    ssize_t n;
    do {
        n = write(log_fd(), l->text, l->len);
    } while (n < 0 && errno == EINTR);
}

void log_write(struct log_site *site, int level, const char *file, int line, const char *fmt, ...)
{
    int err = errno;
    uint32_t held = 0;
    /* Who raises the level above the default asked for every line. */
    if (level <= LEVEL_NOTICE && !site_may_write(site, &held)) {
        errno = err;
        return;
    }
    struct line l;
    l.len = 0;
    l.cut = false;
    const char *slash = strrchr(file, '/');
    line_put_time(&l);
    line_put_clean(&l, slash == NULL ? file : slash + 1);
    line_put_number(&l, ":", (unsigned)line, " ");
    if (held > 0)
        line_put_number(&l, "(", held, " such lines held back) ");

    char text[LINE_BYTES_MAX];
    va_list args;
    va_start(args, fmt);
    errno = err; /* for %m */
    int len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (len >= 0)
        line_put_clean(&l, text);
    if (len >= (int)sizeof(text))
        l.cut = true;
    line_write(&l);
    errno = err;
}
