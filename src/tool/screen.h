/* SPDX-License-Identifier: BSD-3-Clause */
/* Unit screen is where text for people goes: a terminal of some width, or a file. Colours go to terminals only, and say
 * nothing that the words don't. */
#ifndef TOOL_SCREEN_H
#define TOOL_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/span.h"

struct screen {
    FILE *out;
    unsigned columns; /* of the terminal; of COLUMNS, or 80, if it is none */
    bool terminal;
    bool colours; /* a terminal, and nothing in TERM or NO_COLOR is against it */
    bool utf8;    /* by the locale */
};

enum ink { INK_PLAIN, INK_HEAD, INK_BAR, INK_WARNING };

/** What `out` is. The locale must have been set. */
struct screen screen_of(FILE *out);

/** What follows is in that colour, if there are colours. */
void screen_ink(const struct screen *s, enum ink ink);

/** How many columns a text takes. */
unsigned screen_width(const struct screen *s, struct span text);

/** Writes text in exactly so many columns: filled with spaces at its end, or before it (`right`), or cut, which shows as
 * '~'. */
void screen_cell(const struct screen *s, struct span text, unsigned columns, bool right);

/** Writes a bar of `part` (0 to 1) of so many columns. */
void screen_bar(const struct screen *s, double part, unsigned columns);

/** Writes any bytes so that they can be told from each other and do nothing to the terminal: what is no printable
 * character becomes \xNN, a backslash two. */
void screen_bytes(const struct screen *s, struct span bytes);

/** Writes text as a paragraph of the screen's width (of 80 columns where that is more), later lines indented. */
void screen_paragraph(const struct screen *s, const char *text, unsigned begun, unsigned indent);

#endif
