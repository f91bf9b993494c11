/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The address that NOTIFY_SOCKET stands for; its length, or a negative errno. An abstract name is written with an @
 * where the address has a NUL, and reaches exactly as far as the text does. */
static int address_of(const char *name, struct sockaddr_un *at)
{
    size_t len = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || len < 2)
        return -EINVAL;
    if (len >= sizeof(at->sun_path))
        return -ENAMETOOLONG;
    *at = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(at->sun_path, name, len);
    if (name[0] == '@')
        at->sun_path[0] = '\0';
    return (int)(offsetof(struct sockaddr_un, sun_path) + len);
}

static int tell(const char *state)
{
    const char *name = getenv("NOTIFY_SOCKET");
    if (name == NULL || name[0] == '\0')
        return 0;
    struct sockaddr_un at;
    int len = address_of(name, &at);
    if (len < 0)
        return len;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    ssize_t sent;
    do {
        sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&at,
                      (socklen_t)len);
    } while (sent < 0 && errno == EINTR);
    int err = sent < 0 ? -errno : 0;
    close(fd);
    return err;
}

int notify_ready(void)
{
    /* Our pid goes along for the case that we became a daemon, where it is not the one that was started. */
    char state[64];
    snprintf(state, sizeof(state), "READY=1\nMAINPID=%d\n", (int)getpid());
    return tell(state);
}

int notify_stopping(void)
{
    return tell("STOPPING=1\n");
}
