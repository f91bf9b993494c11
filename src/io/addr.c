/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/addr.h"

#include <netdb.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/span.h"

bool addr_unix(struct addr *a, const char *path)
{
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof(a->u.un.sun_path))
        return false;
    *a = (struct addr){0};
    a->u.un.sun_family = AF_UNIX;
    memcpy(a->u.un.sun_path, path, len + 1);
    a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    return true;
}

bool addr_literal(struct addr *a, const char *host, uint16_t port)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM};
    char name[NI_MAXHOST];
    char service[8];
    size_t len = strlen(host);
    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
        hints.ai_family = AF_INET6;
    }
    /* The system's reader stops at white space and does not mind what follows, and takes "*" for no
     * name at all. */
    if (len == 0 || len >= sizeof(name) || strpbrk(host, " \t\n\v\f\r*") != NULL)
        return false;
    memcpy(name, host, len);
    name[len] = '\0';
    snprintf(service, sizeof(service), "%u", (unsigned)port);
    /* The system's own reader knows scopes (fe80::1%eth0) as well; with these flags it asks nobody.
     */
    struct addrinfo *found = NULL;
    if (getaddrinfo(name, service, &hints, &found) != 0)
        return false;
    *a = (struct addr){.len = found->ai_addrlen};
    memcpy(&a->u, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return true;
}

static void unix_text(const struct addr *a, char text[ADDR_TEXT])
{
    /* A socket without a name has no path at all, and a path need not end with a NUL. */
    size_t start = offsetof(struct sockaddr_un, sun_path);
    size_t len = a->len > start ? a->len - start : 0;
    len = strnlen(a->u.un.sun_path, len < ADDR_TEXT ? len : ADDR_TEXT - 1);
    memcpy(text, a->u.un.sun_path, len);
    text[len] = '\0';
    if (len == 0)
        snprintf(text, ADDR_TEXT, "(unix)");
}

const char *addr_text(const struct addr *a, char text[ADDR_TEXT])
{
    char host[96];
    char service[8];
    if (addr_is_unix(a)) {
        unix_text(a, text);
        return text;
    }
    if (getnameinfo(&a->u.any, a->len, host, sizeof(host), service, sizeof(service),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        snprintf(text, ADDR_TEXT, "(unknown)");
    else if (a->u.any.sa_family == AF_INET6)
        snprintf(text, ADDR_TEXT, "[%s]:%s", host, service);
    else
        snprintf(text, ADDR_TEXT, "%s:%s", host, service);
    return text;
}

bool addr_is_unix(const struct addr *a)
{
    return a->u.any.sa_family == AF_UNIX;
}

bool addr_of_peer(struct addr *a, int fd)
{
    a->len = sizeof(a->u.storage);
    return getpeername(fd, &a->u.any, &a->len) == 0;
}

bool addr_of_here(struct addr *a, int fd)
{
    a->len = sizeof(a->u.storage);
    return getsockname(fd, &a->u.any, &a->len) == 0;
}
