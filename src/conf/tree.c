/* SPDX-License-Identifier: BSD-3-Clause */
#include "conf/tree.h"

#include <libfyaml.h>
#include <stdlib.h>

struct tree {
    struct fy_diag *diag;
    struct fy_parser *parser;
    struct fy_document *document;
};

/* Without a function of ours the library would print to stderr; what it finds is collected beside.
 */
static void print_nothing(struct fy_diag *diag, void *user, const char *text, size_t len)
{
    (void)diag;
    (void)user;
    (void)text;
    (void)len;
}

static size_t continuation_bytes(const unsigned char *p, size_t len, size_t want)
{
    size_t n = 0;

    while (n < want && n + 1 < len && (p[n + 1] & 0xc0) == 0x80)
        n++;
    return n;
}

/* Bytes of the character at `p`, of which `len` >= 1 bytes are left, or 0 if it is not one that
 * YAML knows: RFC 3629, without control characters. */
static size_t character(const unsigned char *p, size_t len)
{
    size_t want;

    if (p[0] < 0x80)
        return (p[0] >= 0x20 && p[0] != 0x7f) || p[0] == '\t' || p[0] == '\n' || p[0] == '\r';
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    want = p[0] < 0xe0 ? 1 : p[0] < 0xf0 ? 2 : 3;
    if (continuation_bytes(p, len, want) != want)
        return 0;
    /* Longer forms than needed, surrogates, and what is beyond U+10FFFF. */
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return want + 1;
}

/* The library takes some bytes that are no text for the end of the file, without a word: so they
 * are looked for first. */
static bool is_text(const char *text, size_t len, struct report *report)
{
    const unsigned char *p = (const unsigned char *)text;
    struct place at = {1, 1};
    size_t step;

    for (size_t i = 0; i < len; i += step) {
        step = character(p + i, len - i);
        if (step == 0) {
            report_add(report, at,
                       "byte 0x%02x is not text: the file must be UTF-8 without control "
                       "characters",
                       p[i]);
            return false;
        }
        at.column++;
        if (p[i] == '\n')
            at = (struct place){at.line + 1, 1};
    }
    return true;
}

static struct tree *tree_new(void)
{
    struct fy_diag_cfg messages;
    struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_JSON_NONE |
                                        FYPCF_ALLOW_DUPLICATE_KEYS};
    struct tree *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return NULL;
    fy_diag_cfg_default(&messages);
    messages.fp = NULL;
    messages.output_fn = print_nothing;
    messages.colorize = false;
    t->diag = fy_diag_create(&messages);
    if (t->diag == NULL) {
        free(t);
        return NULL;
    }
    fy_diag_set_collect_errors(t->diag, true);
    cfg.diag = t->diag;
    t->parser = fy_parser_create(&cfg);
    if (t->parser == NULL) {
        tree_free(t);
        return NULL;
    }
    return t;
}

/* Adds what the library found wrong. */
static void report_diag(const struct tree *t, struct report *report)
{
    struct fy_diag_error *e;
    void *iter = NULL;
    bool any = false;

    while ((e = fy_diag_errors_iterate(t->diag, &iter)) != NULL) {
        report_add(report, (struct place){e->line, e->column}, "not YAML: %s", e->msg);
        any = true;
    }
    if (!any)
        report_add(report, (struct place){0}, "cannot be read as YAML");
}

static struct place mark_place(const struct fy_mark *mark, struct place fallback)
{
    return mark == NULL ? fallback : (struct place){mark->line + 1, mark->column + 1};
}

static struct place scalar_place(struct fy_node *raw, struct place fallback)
{
    struct fy_token *token = fy_node_get_scalar_token(raw);
    const struct fy_mark *mark = token == NULL ? NULL : fy_token_start_mark(token);
    enum fy_node_style style = fy_node_get_style(raw);
    struct place at = mark_place(mark, fallback);

    /* Some versions of the library give a value that is not there a token, and others none. */
    if (style == FYNS_PLAIN && fy_node_get_scalar_length(raw) == 0)
        return fallback;
    /* The library's mark stands behind the quote. */
    if (mark != NULL && at.column > 1 &&
        (style == FYNS_SINGLE_QUOTED || style == FYNS_DOUBLE_QUOTED))
        at.column--;
    return at;
}

/* Mappings and sequences have no place of their own: theirs is that of what comes first in them.
 * They are nested at most as deep as the library allows, 64. */
static struct place place_of(struct fy_node *raw, struct place fallback)
{
    void *iter = NULL;

    if (raw == NULL)
        return fallback;
    if (fy_node_is_mapping(raw)) {
        struct fy_node_pair *pair = fy_node_mapping_iterate(raw, &iter);

        return pair == NULL ? fallback : place_of(fy_node_pair_key(pair), fallback);
    }
    if (fy_node_is_sequence(raw))
        return place_of(fy_node_sequence_iterate(raw, &iter), fallback);
    return scalar_place(raw, fallback);
}

static struct node node_of(struct fy_node *raw, struct place fallback)
{
    struct node n = {.raw = raw, .kind = NODE_SCALAR, .text = SPAN("")};

    n.at = place_of(raw, fallback);
    if (raw == NULL)
        return n;
    if (fy_node_is_mapping(raw)) {
        n.kind = NODE_MAPPING;
    } else if (fy_node_is_sequence(raw)) {
        n.kind = NODE_SEQUENCE;
    } else {
        n.text.ptr = fy_node_get_scalar(raw, &n.text.len);
        if (n.text.ptr == NULL)
            n.text = SPAN("");
    }
    return n;
}

/* As node_of(), with aliases followed. An alias of an alias can't be written. */
static struct node node_followed(struct fy_node *raw, struct place fallback)
{
    if (raw != NULL && fy_node_is_alias(raw))
        return node_of(fy_node_resolve_alias(raw), node_of(raw, fallback).at);
    return node_of(raw, fallback);
}

/* Aliases must name an anchor: checked for all at once, so that nobody above need care. */
static void check_aliases(struct fy_node *raw, struct report *report)
{
    struct fy_node_pair *pair;
    struct fy_node *item;
    void *iter = NULL;
    char shown[96];

    if (raw == NULL)
        return;
    if (fy_node_is_alias(raw)) {
        struct node n = node_of(raw, (struct place){0});

        snprintf(shown, sizeof(shown), "%.*s", n.text.len > 64 ? 64 : (int)n.text.len, n.text.ptr);
        if (fy_node_resolve_alias(raw) == NULL)
            report_add(report, n.at, "no anchor '&%s' is known for the alias '*%s'", shown, shown);
    } else if (fy_node_is_mapping(raw)) {
        while ((pair = fy_node_mapping_iterate(raw, &iter)) != NULL) {
            check_aliases(fy_node_pair_key(pair), report);
            check_aliases(fy_node_pair_value(pair), report);
        }
    } else if (fy_node_is_sequence(raw)) {
        while ((item = fy_node_sequence_iterate(raw, &iter)) != NULL)
            check_aliases(item, report);
    }
}

/* True if nothing follows the document. */
static bool is_last(const struct tree *t, struct report *report)
{
    struct fy_document *next = fy_parse_load_document(t->parser);
    struct node root;

    if (next != NULL) {
        root = node_of(fy_document_root(next), (struct place){0});
        report_add(report, root.at, "a second YAML document: a configuration is only one");
        fy_parse_document_destroy(t->parser, next);
        return false;
    }
    if (fy_parser_get_stream_error(t->parser)) {
        report_diag(t, report);
        return false;
    }
    return true;
}

static bool tree_parse(struct tree *t, const char *text, size_t len, struct report *report)
{
    if (fy_parser_set_string(t->parser, text, len) != 0) {
        report_add(report, (struct place){0}, "out of memory");
        return false;
    }
    t->document = fy_parse_load_document(t->parser);
    if (t->document == NULL && fy_parser_get_stream_error(t->parser)) {
        report_diag(t, report);
        return false;
    }
    if (t->document == NULL || fy_document_root(t->document) == NULL) {
        report_add(report, (struct place){1, 1}, "the file has no pools");
        return false;
    }
    check_aliases(fy_document_root(t->document), report);
    return is_last(t, report) && report_empty(report);
}

struct tree *tree_read(const char *text, size_t len, struct report *report)
{
    struct tree *t;

    if (!is_text(text, len, report))
        return NULL;
    t = tree_new();
    if (t == NULL) {
        report_add(report, (struct place){0}, "out of memory");
        return NULL;
    }
    if (!tree_parse(t, text, len, report)) {
        tree_free(t);
        return NULL;
    }
    return t;
}

struct node tree_root(const struct tree *t)
{
    return node_of(fy_document_root(t->document), (struct place){1, 1});
}

bool node_next_pair(struct node map, void **iter, struct node *key, struct node *value)
{
    struct fy_node_pair *pair = fy_node_mapping_iterate(map.raw, iter);

    if (pair == NULL)
        return false;
    *key = node_followed(fy_node_pair_key(pair), map.at);
    *value = node_followed(fy_node_pair_value(pair), key->at);
    return true;
}

bool node_next_item(struct node seq, void **iter, struct node *item)
{
    struct fy_node *raw = fy_node_sequence_iterate(seq.raw, iter);

    if (raw == NULL)
        return false;
    *item = node_followed(raw, seq.at);
    return true;
}

void tree_free(struct tree *t)
{
    if (t == NULL)
        return;
    if (t->document != NULL)
        fy_parse_document_destroy(t->parser, t->document);
    if (t->parser != NULL)
        fy_parser_destroy(t->parser);
    fy_diag_destroy(t->diag);
    free(t);
}
