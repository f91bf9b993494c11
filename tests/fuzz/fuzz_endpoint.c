/* SPDX-License-Identifier: BSD-3-Clause */
/* Any text as an address of `listen` or `servers`. It is refused with a reason, and nothing is left, or it is read as one
 * kind of address, and the same again from what it shows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/endpoint.h"
#include "target.h"

static void check(const struct conf_endpoint *e)
{
    must((e->host == NULL) != (e->path == NULL));
    must(e->host == NULL || strlen(e->host) > 0);
    must(e->path == NULL || e->path[0] == '/');
}

/* What is shown of a listener is its address; the last word of a path would be its permissions. */
static void same_again(const struct conf_endpoint *e)
{
    struct why why = {.text = ""};
    struct conf_endpoint again;
    char shown[512];
    int len = snprintf(shown, sizeof(shown), "%s%s", e->text, e->path != NULL ? " 0" : "");
    if (len >= (int)sizeof(shown))
        return;
    must(endpoint_listen(span_str(shown), &again, &why));
    must(strcmp(again.text, e->text) == 0 && again.port == e->port);
    endpoint_free(&again);
}

static void listens(struct span text)
{
    struct why why = {.text = ""};
    struct conf_endpoint e;
    if (!endpoint_listen(text, &e, &why)) {
        must(why.text[0] != '\0' && e.text == NULL && e.host == NULL && e.path == NULL);
        return;
    }
    check(&e);
    must(e.mode >= -1 && e.mode <= 0777);
    same_again(&e);
    endpoint_free(&e);
}

static void serves(struct span text)
{
    struct why why = {.text = ""};
    struct conf_server s;
    if (!endpoint_server(text, &s, &why)) {
        must(why.text[0] != '\0' && s.name == NULL && s.at.text == NULL);
        return;
    }
    check(&s.at);
    must(s.weight > 0 && s.name != NULL && s.name[0] != '\0');
    endpoint_server_free(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    must(text != NULL);
    memcpy(text + 1, data, size);
    listens(span_of(text + 1, size));
    serves(span_of(text + 1, size));
    free(text);
    return 0;
}
