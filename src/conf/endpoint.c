/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf/endpoint.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#define LISTEN_FORM "write host:port, [IPv6]:port, or /path with octal permissions"
#define SERVER_FORM "write host:port:weight or /path:weight, then, if wanted, a space and a name"

/* A port of which the name is left out: twemproxy's rule, for libmemcached's clients. */
enum { PORT_UNNAMED = 11211 };

enum { PATH_MAX_LEN = sizeof(((struct sockaddr_un *)0)->sun_path) - 1 };

static char *copy(struct span s)
{
    return strndup(s.ptr, s.len);
}

/* Cuts `s` at its last `c`: what stands before stays, what stands behind goes to `*right`. False if
 * it has none. */
static bool cut_last(struct span *s, char c, struct span *right)
{
    const char *at = s->len == 0 ? NULL : memrchr(s->ptr, c, s->len);

    if (at == NULL)
        return false;
    *right = span_from(*s, (size_t)(at - s->ptr) + 1);
    s->len = (size_t)(at - s->ptr);
    return true;
}

static struct span without_spaces_behind(struct span s)
{
    while (s.len > 0 && s.ptr[s.len - 1] == ' ')
        s.len--;
    return s;
}

/* No blanks and no control characters: they would end in logs and in the statistics. */
static bool is_plain(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];

        if (c <= 0x20 || c == 0x7f)
            return false;
    }
    return true;
}

static bool has_control(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];

        if (c < 0x20 || c == 0x7f)
            return true;
    }
    return false;
}

static bool set_path(struct span path, struct conf_endpoint *out, struct why *why)
{
    char shown[SHOWN];

    if (path.len > PATH_MAX_LEN)
        return why_not(why, "path '%s' has %zu bytes, a unix socket's at most %d",
                       why_show(path, shown), path.len, (int)PATH_MAX_LEN);
    if (has_control(path))
        return why_not(why, "path '%s' has a control character", why_show(path, shown));
    out->text = copy(path);
    out->path = copy(path);
    if (out->text == NULL || out->path == NULL)
        return why_not(why, "out of memory");
    return true;
}

/* An IPv6 address without brackets; it may have a scope (fe80::1%eth0). */
static bool is_ipv6(struct span s)
{
    const char *scope = s.len == 0 ? NULL : memchr(s.ptr, '%', s.len);
    size_t len = scope == NULL ? s.len : (size_t)(scope - s.ptr);
    char text[INET6_ADDRSTRLEN];
    struct in6_addr ignored;

    if (len >= sizeof(text))
        return false;
    memcpy(text, s.ptr, len);
    text[len] = '\0';
    return inet_pton(AF_INET6, text, &ignored) == 1;
}

static bool set_host(struct span host, struct conf_endpoint *out, struct why *why)
{
    char shown[SHOWN];
    bool bracket = host.len > 0 && host.ptr[0] == '[';

    if (bracket && (host.len < 3 || host.ptr[host.len - 1] != ']'))
        return why_not(why, "'%s' is not an IPv6 address in brackets", why_show(host, shown));
    if (bracket)
        host = span_of(host.ptr + 1, host.len - 2);
    if (host.len == 0)
        return why_not(why, "the host is missing");
    if (memchr(host.ptr, ':', host.len) != NULL && !is_ipv6(host))
        return why_not(why, "'%s' is not an IPv6 address", why_show(host, shown));
    if (!is_plain(host))
        return why_not(why, "host '%s' has a space or a control character", why_show(host, shown));
    out->host = copy(host);
    if (out->host == NULL)
        return why_not(why, "out of memory");
    return true;
}

static bool set_port(struct span port, struct conf_endpoint *out, struct why *why)
{
    char shown[SHOWN];
    uint64_t number;

    if (!span_u64(port, 65535, &number) || number == 0)
        return why_not(why, "'%s' is not a port (allowed: 1 to 65535)", why_show(port, shown));
    out->port = (uint16_t)number;
    return true;
}

/* "host:port" */
static bool set_tcp(struct span text, const char *form, struct conf_endpoint *out, struct why *why)
{
    char shown[SHOWN];
    struct span host = text;
    struct span port;

    if (!cut_last(&host, ':', &port))
        return why_not(why, "'%s' has no port: %s", why_show(text, shown), form);
    if (!set_port(port, out, why) || !set_host(host, out, why))
        return false;
    out->text = copy(text);
    if (out->text == NULL)
        return why_not(why, "out of memory");
    return true;
}

static bool set_mode(struct span text, struct conf_endpoint *out, struct why *why)
{
    char shown[SHOWN];
    int mode = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '7' || mode > 0777)
            return why_not(why, "'%s' are not permissions (allowed: octal, 0 to 0777)",
                           why_show(text, shown));
        mode = mode * 8 + (text.ptr[i] - '0');
    }
    if (mode > 0777)
        return why_not(why, "'%s' are not permissions (allowed: octal, 0 to 0777)",
                       why_show(text, shown));
    /* A mode of 0 leaves the socket as the umask makes it, as in twemproxy. */
    out->mode = mode == 0 ? -1 : mode;
    return true;
}

static bool listen_unix(struct span text, struct conf_endpoint *out, struct why *why)
{
    struct span path = without_spaces_behind(text);
    struct span mode;

    if (cut_last(&path, ' ', &mode) && !set_mode(mode, out, why))
        return false;
    return set_path(without_spaces_behind(path), out, why);
}

bool endpoint_listen(struct span text, struct conf_endpoint *out, struct why *why)
{
    bool ok;

    *out = (struct conf_endpoint){.mode = -1};
    if (text.len > 0 && text.ptr[0] == '/')
        ok = listen_unix(text, out, why);
    else
        ok = set_tcp(text, LISTEN_FORM, out, why);
    if (!ok)
        endpoint_free(out);
    return ok;
}

static bool set_weight(struct span text, struct conf_server *out, struct why *why)
{
    char shown[SHOWN];
    uint64_t number;

    if (!span_u64(text, INT32_MAX, &number) || number == 0)
        return why_not(why, "'%s' is not a weight (allowed: 1 to %d): %s", why_show(text, shown),
                       INT32_MAX, SERVER_FORM);
    out->weight = (uint32_t)number;
    return true;
}

/* The name of a server that was given none decides where its keys go, so it is twemproxy's to the
 * byte: the host alone on memcached's port, and for a unix socket the path with the colon behind
 * it. */
static bool set_default_name(struct conf_server *out)
{
    struct span text = span_str(out->at.text);
    struct span port;
    int len;

    if (out->at.path != NULL) {
        len = asprintf(&out->name, "%s:", out->at.path);
        if (len < 0)
            out->name = NULL;
        return len >= 0;
    }
    if (out->at.port == PORT_UNNAMED)
        (void)cut_last(&text, ':', &port);
    out->name = copy(text);
    return out->name != NULL;
}

static bool set_name(struct span name, struct conf_server *out, struct why *why)
{
    char shown[SHOWN];

    if (name.len == 0)
        return why_not(why, "the name behind the space is missing: %s", SERVER_FORM);
    if (!is_plain(name))
        return why_not(why, "name '%s' has a control character", why_show(name, shown));
    out->name = copy(name);
    return out->name != NULL || why_not(why, "out of memory");
}

/* Is there but a host? "::1:6379" may be one, but where it can be read as host and port it is. */
static bool has_port(struct span at)
{
    struct span host = at;
    struct span port;

    if (!cut_last(&host, ':', &port))
        return false;
    if (at.ptr[0] == '[')
        return at.ptr[at.len - 1] != ']';
    return memchr(host.ptr, ':', host.len) == NULL || is_ipv6(host) || !is_ipv6(at);
}

static bool server_parse(struct span text, struct conf_server *out, struct why *why)
{
    char shown[SHOWN];
    struct span at = text;
    struct span name = SPAN("");
    struct span weight;
    bool named = cut_last(&at, ' ', &name);

    if (!cut_last(&at, ':', &weight))
        return why_not(why, "'%s' is not a server: %s", why_show(text, shown), SERVER_FORM);
    if (at.len > 0 && at.ptr[0] != '/' && !has_port(at))
        return why_not(why, "'%s:%.*s' has no weight: write '%s:%.*s:1', that is host:port:weight",
                       why_show(at, shown), (int)(weight.len < 16 ? weight.len : 16), weight.ptr,
                       shown, (int)(weight.len < 16 ? weight.len : 16), weight.ptr);
    if (!set_weight(weight, out, why))
        return false;
    if (at.len > 0 && at.ptr[0] == '/') {
        if (!set_path(at, &out->at, why))
            return false;
    } else if (!set_tcp(at, SERVER_FORM, &out->at, why)) {
        return false;
    }
    if (named)
        return set_name(name, out, why);
    return set_default_name(out) || why_not(why, "out of memory");
}

bool endpoint_server(struct span text, struct conf_server *out, struct why *why)
{
    *out = (struct conf_server){.at = {.mode = -1}};
    if (server_parse(text, out, why))
        return true;
    endpoint_server_free(out);
    return false;
}

void endpoint_free(struct conf_endpoint *e)
{
    free(e->text);
    free(e->host);
    free(e->path);
    *e = (struct conf_endpoint){.mode = -1};
}

void endpoint_server_free(struct conf_server *s)
{
    endpoint_free(&s->at);
    free(s->name);
    *s = (struct conf_server){.at = {.mode = -1}};
}
