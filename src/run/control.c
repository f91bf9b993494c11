/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/control.h"

#include <errno.h>
#include <execinfo.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

enum { BACKTRACE_MAX = 64 };

static const int served[] = {SIGHUP, SIGINT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};
static const int crashes[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};

/* How far the end has come. */
struct ending {
    bool begun;
    uint64_t due; /* ms; UINT64_MAX: no bound */
};

/* Runs in a thread whose memory may be broken: only what is safe in a signal handler is used. The
 * handler was reset when it was called, so that the signal raised here, which is delivered after
 * return, ends the process as it would have without us. */
static void on_crash(int sig)
{
    char line[128];
    void *frames[BACKTRACE_MAX];
    const char *name = sigabbrev_np(sig);
    char *end = stpcpy(line, "[.......................] ended by SIG");
    end = stpcpy(end, name == NULL ? "?" : name);
    end = stpcpy(end, ", called from:\n");
    (void)!write(log_fd(), line, (size_t)(end - line));
    backtrace_symbols_fd(frames, backtrace(frames, BACKTRACE_MAX), log_fd());
    raise(sig);
}

static void watch_for_crashes(void)
{
    /* The first call loads a library, which a handler must not do. */
    void *frame;
    (void)backtrace(&frame, 1);
    for (size_t i = 0; i < ARRAY_LEN(crashes); i++) {
        struct sigaction before, ours = {.sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND};
        sigemptyset(&ours.sa_mask);
        /* A sanitizer that has a handler knows more than we. */
        if (sigaction(crashes[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
            sigaction(crashes[i], &ours, NULL);
    }
}

int control_open(struct control *c)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(served); i++) {
        sigaddset(&set, served[i]);
        /* An ignored signal would be dropped, blocked or not: so nohup and a shell's & leave them.
         */
        signal(served[i], SIG_DFL);
    }
    signal(SIGPIPE, SIG_IGN);
    watch_for_crashes();
    int err = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (err != 0)
        return -err;
    c->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (c->signal_fd < 0)
        return -errno;
    c->finished_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->finished_fd < 0) {
        err = errno;
        close(c->signal_fd);
        return -err;
    }
    return 0;
}

void control_close(struct control *c)
{
    close(c->signal_fd);
    close(c->finished_fd);
}

void control_finished(struct control *c)
{
    uint64_t one = 1;
    must(write(c->finished_fd, &one, sizeof(one)) == sizeof(one));
}

static void begin_to_end(const struct control_ops *ops, struct ending *ending)
{
    ending->begun = true;
    ending->due =
        ops->shutdown_timeout_ms < 0 ? UINT64_MAX : clock_ms() + (uint64_t)ops->shutdown_timeout_ms;
    ops->stop(ops->arg);
}

/* Does what a signal asks for; false if the process is to end at once. */
static bool serve(int sig, const struct control_ops *ops, struct ending *ending)
{
    const char *name = sigabbrev_np(sig);
    switch (sig) {
    case SIGHUP:
        log_always("signal %d (SIG%s), reopening the log file", sig, name);
        log_reopen();
        break;
    case SIGTTIN:
    case SIGTTOU:
        log_always("signal %d (SIG%s), log level is %d now", sig, name,
                   log_level_change(sig == SIGTTIN ? 1 : -1));
        break;
    case SIGINT:
    case SIGTERM:
        if (ending->begun) {
            log_always("signal %d (SIG%s) again, ending at once", sig, name);
            return false;
        }
        log_always("signal %d (SIG%s), exiting", sig, name);
        begin_to_end(ops, ending);
        break;
    default:
        log_always("signal %d (SIG%s), nothing to do", sig, name);
        break;
    }
    return true;
}

static bool serve_signals(struct control *c, const struct control_ops *ops, struct ending *ending)
{
    struct signalfd_siginfo info;
    while (read(c->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (!serve((int)info.ssi_signo, ops, ending))
            return false;
    }
    return true;
}

static int ms_left(const struct ending *ending)
{
    uint64_t now = clock_ms();
    if (!ending->begun || ending->due == UINT64_MAX)
        return -1;
    return now >= ending->due ? 0 : (int)(ending->due - now);
}

/* Reading it, not polling alone, orders what the last thread did before what comes after. */
static bool is_finished(const struct control *c)
{
    uint64_t count;
    return read(c->finished_fd, &count, sizeof(count)) == sizeof(count);
}

int control_run(struct control *c, const struct control_ops *ops)
{
    struct ending ending = {.begun = false};
    struct pollfd polls[] = {{.fd = c->signal_fd, .events = POLLIN},
                             {.fd = c->finished_fd, .events = POLLIN}};
    for (;;) {
        int left = ms_left(&ending);
        int n = poll(polls, ARRAY_LEN(polls), left);
        if (n > 0 && is_finished(c))
            return 0;
        if (n > 0 && !serve_signals(c, ops, &ending))
            return 1;
        if (n == 0 && left == 0) {
            log_always("not all was answered within %d ms, ending at once",
                       ops->shutdown_timeout_ms);
            return 1;
        }
    }
}
