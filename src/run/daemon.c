/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

/* To the process that waits for us; -1 in the foreground. A process becomes a daemon once, so there
 * is one. */
static int ready_fd = -1;

/* A pid in decimal. */
enum { PID_TEXT = 16 };

/* The exit code of a child that has ended or will soon, as a shell would say it. */
static int exit_code_of(pid_t child)
{
    int status;

    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static ssize_t read_byte(int fd)
{
    char byte;
    ssize_t got;

    do {
        got = read(fd, &byte, 1);
    } while (got < 0 && errno == EINTR);
    return got;
}

/* The process between the caller and the daemon: it leads the session, so that the daemon doesn't
 * and can never get a terminal, and as the daemon's parent it learns its exit code. */
static _Noreturn void wait_for_daemon(pid_t daemon, int fd)
{
    _exit(read_byte(fd) == 1 ? 0 : exit_code_of(daemon));
}

/* In the first child: makes the daemon. Returns in the daemon only, with the descriptor that says
 * it is ready. */
static int become_daemon(void)
{
    int fds[2];
    pid_t child;

    if (setsid() < 0 || pipe2(fds, O_CLOEXEC) < 0) {
        perror("daemonize");
        _exit(1);
    }
    child = fork();
    if (child < 0) {
        perror("fork");
        _exit(1);
    }
    if (child > 0) {
        close(fds[1]);
        wait_for_daemon(child, fds[0]);
    }
    close(fds[0]);
    return fds[1];
}

int daemon_start(void)
{
    pid_t child;

    /* What is still in a buffer must not be written twice. */
    fflush(NULL);
    child = fork();
    if (child < 0)
        return -errno;
    if (child > 0)
        _exit(exit_code_of(child));
    ready_fd = become_daemon();
    umask(0);
    return 0;
}

void daemon_ready(void)
{
    int null;

    if (ready_fd < 0)
        return;
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
        (void)dup2(null, fd);
    if (null > STDERR_FILENO)
        close(null);
    /* If nobody waits any more, that is no reason not to serve. */
    while (write(ready_fd, "", 1) < 0 && errno == EINTR)
        ;
    close(ready_fd);
    ready_fd = -1;
}

int pid_file_write(const char *path)
{
    char text[PID_TEXT];
    size_t len = (size_t)snprintf(text, sizeof(text), "%d", (int)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ssize_t wrote;
    int err;

    if (fd < 0)
        return -errno;
    wrote = write(fd, text, len);
    err = wrote < 0 ? -errno : 0;
    close(fd);
    if (err == 0 && (size_t)wrote != len)
        return -ENOSPC;
    return err;
}

/* A process that became another user may not be allowed to any more. */
static void remove_file(const char *path)
{
    if (unlink(path) != 0 && errno != ENOENT)
        log_warn("can't remove pid file '%s': %s", path, strerror(errno));
}

void pid_file_remove(const char *path)
{
    char text[PID_TEXT] = "";
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return;
    if (fgets(text, sizeof(text), file) == NULL)
        text[0] = '\0';
    fclose(file);
    if (strtol(text, NULL, 10) == (long)getpid())
        remove_file(path);
}
