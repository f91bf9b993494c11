/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit tree is a YAML text as a tree of nodes, each with its place. It alone knows the YAML
 * library. */
#ifndef CONF_TREE_H
#define CONF_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/must.h"
#include "base/span.h"
#include "conf/report.h"

enum node_kind {
    NODE_SCALAR,
    NODE_MAPPING,
    NODE_SEQUENCE,
};

/** A node, by value; valid as long as its tree. Aliases are followed: a node is never one. */
struct node {
    struct fy_node *raw; /* NULL: nothing was written, an empty scalar */
    enum node_kind kind;
    struct span text; /* of a scalar, without quotes; not NUL-terminated */
    struct place
        at; /* of a mapping or sequence that of its first scalar; of a value left out: its key's */
};

struct tree;

/** Reads `text`, which must stay until tree_free(). NULL after at least one error was added to
 * `report`. */
must_check struct tree *tree_read(const char *text, size_t len, struct report *report);

struct node tree_root(const struct tree *t);

/** The next pair of a mapping; `*iter` is NULL at first. False at the end. */
must_check bool node_next_pair(struct node map, void **iter, struct node *key, struct node *value);

/** The next item of a sequence; `*iter` is NULL at first. False at the end. */
must_check bool node_next_item(struct node seq, void **iter, struct node *item);

void tree_free(struct tree *t);

#endif
