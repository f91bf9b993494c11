/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit addr is a socket address: IPv4, IPv6 or a unix path. */
#ifndef IO_ADDR_H
#define IO_ADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/must.h"

struct addr {
    socklen_t len;
    union {
        struct sockaddr any;
        struct sockaddr_storage storage;
        struct sockaddr_un un;
    } u;
};

enum { ADDR_TEXT = 128 };

/** A unix socket at `path`. False if the path is too long. */
must_check bool addr_unix(struct addr *a, const char *path);

/** A literal IPv4 or IPv6 address (IPv6 with or without brackets). False if `host` is not one. */
must_check bool addr_literal(struct addr *a, const char *host, uint16_t port);

/** "1.2.3.4:80", "[::1]:80" or the path, cut to fit; returns `text`. */
const char *addr_text(const struct addr *a, char text[ADDR_TEXT]);

/** The two ends of the connection `fd`: its peer's, and ours. False: it has none any more. */
must_check bool addr_of_peer(struct addr *a, int fd);
must_check bool addr_of_here(struct addr *a, int fd);

bool addr_is_unix(const struct addr *a);

#endif
