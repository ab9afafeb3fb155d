/* table.h: rows of short texts in aligned columns. Pure. */
#pragma once

#include "base/strbuf.h"

#define TABLE_COLUMNS 16
#define TABLE_CELL 64

struct table {
        const char *title[TABLE_COLUMNS]; /* borrowed, static; NULL ends */
        bool right[TABLE_COLUMNS];
        char (*cells)[TABLE_CELL]; /* rows * columns */
        size_t columns, rows, filled;
        bool failed;
};

/* Titles with a leading '>' are aligned right. */
void table_init(struct table *t, const char *const *titles);
/* The next cell, row by row; cut with "~" at TABLE_CELL - 1 characters. */
void table_add(struct table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Each line behind `indent` spaces. A short last row is filled up with blanks. */
void table_print(struct table *t, size_t indent, struct strbuf *b);
void table_done(struct table *t);
#define scoped_table __attribute__((cleanup(table_done)))
