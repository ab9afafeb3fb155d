/* table.c: aligned columns; see table.h. */
#include "cli/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void table_init(struct table *t, const char *const *titles)
{
        *t = (struct table){0};
        for (; titles[t->columns] && t->columns < TABLE_COLUMNS; t->columns++) {
                t->right[t->columns] = titles[t->columns][0] == '>';
                t->title[t->columns] = titles[t->columns] + t->right[t->columns];
        }
}

void table_add(struct table *t, const char *format, ...)
{
        va_list args;
        int n;

        if (t->failed)
                return;
        if (t->filled == t->rows * t->columns) {
                void *grown = realloc(t->cells, (t->rows + 1) * t->columns * sizeof *t->cells);

                if (!grown) {
                        t->failed = true;
                        return;
                }
                t->cells = grown;
                memset(t->cells + t->rows * t->columns, 0, t->columns * sizeof *t->cells);
                t->rows++;
        }
        va_start(args, format);
        n = vsnprintf(t->cells[t->filled], TABLE_CELL, format, args);
        va_end(args);
        if (n >= TABLE_CELL)
                t->cells[t->filled][TABLE_CELL - 2] = '~';
        t->filled++;
}

static void line(const struct table *t, const size_t *width, size_t indent,
                 const char *(*cell)(const struct table *, size_t, size_t), size_t row, struct strbuf *b)
{
        size_t start, i;

        strbuf_fill(b, ' ', indent);
        start = b->length;
        for (i = 0; i < t->columns; i++)
                strbuf_add(b, t->right[i] ? "%s%*s" : "%s%-*s", i ? "  " : "", (int)width[i], cell(t, row, i));
        while (b->length > start && b->text && b->text[b->length - 1] == ' ')
                b->text[--b->length] = 0;
        strbuf_add(b, "\n");
}

static const char *title_at(const struct table *t, size_t row, size_t column)
{
        (void)row;
        return t->title[column];
}

static const char *cell_at(const struct table *t, size_t row, size_t column)
{
        return t->cells[row * t->columns + column];
}

void table_print(struct table *t, size_t indent, struct strbuf *b)
{
        size_t width[TABLE_COLUMNS] = {0};

        if (t->failed) {
                b->failed = true;
                return;
        }
        for (size_t i = 0; i < t->columns; i++) {
                width[i] = strlen(t->title[i]);
                for (size_t row = 0; row < t->rows; row++)
                        if (strlen(cell_at(t, row, i)) > width[i])
                                width[i] = strlen(cell_at(t, row, i));
        }
        line(t, width, indent, title_at, 0, b);
        for (size_t row = 0; row < t->rows; row++)
                line(t, width, indent, cell_at, row, b);
}

void table_done(struct table *t)
{
        free(t->cells);
        t->cells = NULL;
}
