/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/screen.h"

#include <langinfo.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#include "tool/utf8.h"

enum { COLUMNS_USUAL = 80, COLUMNS_MOST = 1000, LINE_MOST = 80 };

static unsigned columns_of(FILE *out)
{
    const char *wish = getenv("COLUMNS");
    struct winsize size;
    uint64_t columns;
    if (wish != NULL && span_u64(span_str(wish), COLUMNS_MOST, &columns) && columns > 0)
        return (unsigned)columns;
    if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return COLUMNS_USUAL;
}

struct screen screen_of(FILE *out)
{
    const char *term = getenv("TERM");
    const char *plain = getenv("NO_COLOR");
    struct screen s = {.out = out, .columns = columns_of(out)};
    s.terminal = isatty(fileno(out)) == 1;
    s.colours = s.terminal && term != NULL && strcmp(term, "dumb") != 0 &&
                (plain == NULL || plain[0] == '\0');
    s.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    return s;
}

void screen_ink(const struct screen *s, enum ink ink)
{
    static const char *const codes[] = {[INK_PLAIN] = "\x1b[0m",
                                        [INK_HEAD] = "\x1b[1m",
                                        [INK_BAR] = "\x1b[36m",
                                        [INK_WARNING] = "\x1b[1;33m"};
    if (s->colours)
        fputs(codes[ink], s->out);
}

/* The character at the front of a text: its bytes and its columns. What is none takes one. */
static size_t step(const struct screen *s, struct span text, unsigned *columns)
{
    uint32_t c = 0;
    size_t len = utf8_read(text, &c);
    int width = s->utf8 && len > 1 ? wcwidth((wchar_t)c) : 1;
    *columns = width < 0 ? 1 : (unsigned)width;
    return len == 0 ? 1 : len;
}

unsigned screen_width(const struct screen *s, struct span text)
{
    unsigned sum = 0, columns;
    while (text.len > 0) {
        text = span_from(text, step(s, text, &columns));
        sum += columns;
    }
    return sum;
}

static void write_span(const struct screen *s, struct span text)
{
    fwrite(text.ptr, 1, text.len, s->out);
}

static void cut(const struct screen *s, struct span text, unsigned columns)
{
    unsigned used = 0, width;
    while (text.len > 0) {
        size_t len = step(s, text, &width);
        if (used + width + 1 > columns)
            break;
        write_span(s, span_of(text.ptr, len));
        used += width;
        text = span_from(text, len);
    }
    for (; used < columns; used++)
        fputc('~', s->out);
}

void screen_cell(const struct screen *s, struct span text, unsigned columns, bool right)
{
    unsigned width = screen_width(s, text);
    int gap = width < columns ? (int)(columns - width) : 0;
    if (width > columns) {
        cut(s, text, columns);
        return;
    }
    fprintf(s->out, "%*s", right ? gap : 0, "");
    write_span(s, text);
    fprintf(s->out, "%*s", right ? 0 : gap, "");
}

void screen_bar(const struct screen *s, double part, unsigned columns)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    unsigned length = (unsigned)(part * columns * 8 + 0.5);
    screen_ink(s, INK_BAR);
    for (unsigned i = 0; i < length / 8; i++)
        fputs(s->utf8 ? "█" : "#", s->out);
    if (s->utf8)
        fputs(eighths[length % 8], s->out);
    screen_ink(s, INK_PLAIN);
}

void screen_bytes(const struct screen *s, struct span bytes)
{
    while (bytes.len > 0) {
        uint32_t c = 0;
        size_t len = utf8_read(bytes, &c);
        bool shown = len == 1 ? c >= 0x20 && c != 0x7f : len > 1 && s->utf8 && iswprint((wint_t)c);
        if (!shown)
            fprintf(s->out, "\\x%02x", (unsigned)(unsigned char)bytes.ptr[0]);
        else if (c == '\\')
            fputs("\\\\", s->out);
        else
            write_span(s, span_of(bytes.ptr, len));
        bytes = span_from(bytes, shown ? len : 1);
    }
}

void screen_paragraph(const struct screen *s, const char *text, unsigned begun, unsigned indent)
{
    unsigned most = s->columns < LINE_MOST ? s->columns : LINE_MOST;
    unsigned used = begun;
    for (size_t len; *text != '\0'; text += len + (text[len] == ' ')) {
        len = strcspn(text, " ");
        unsigned width = screen_width(s, span_of(text, len));
        if (used > indent && used + 1 + width > most) {
            fprintf(s->out, "\n%*s", (int)indent, "");
            used = indent;
        } else if (used > indent) {
            fputc(' ', s->out);
            used++;
        }
        write_span(s, span_of(text, len));
        used += width;
    }
    fputc('\n', s->out);
}
