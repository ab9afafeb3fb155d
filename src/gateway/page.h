/* page.h: the page's files, which stand in the program: made by Vite from web/, embedded with their compressed forms by gen-page.py. Finding one, and which
 * form of it a client takes, are decided here, purely; pool.c answers.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum page_form { PAGE_PLAIN, PAGE_GZIP, PAGE_BR, PAGE_FORMS };

struct page_file {
        const char *path;              /* "/", "/icon.svg", "/assets/index-C0ffee12.js" */
        const char *type;
        bool immutable;                /* its name changes with its content */
        const char *tags[PAGE_FORMS];  /* entity tags, quoted; NULL: there is no such form */
        const char *bytes[PAGE_FORMS];
        size_t counts[PAGE_FORMS];
};

/* Made when built: sorted by path; empty when there was no Node.js to make the page with. */
extern const struct page_file page_files[];
extern const size_t page_file_count;

/* NULL: there is none of that path. */
const struct page_file *page_find(const char *path);
/* The smallest form that an Accept-Encoding header allows; NULL: none was sent. */
enum page_form page_choose(const struct page_file *file, const char *accept);
/* If-None-Match lists that form: it need not be sent again. */
bool page_is_known(const struct page_file *file, enum page_form form, const char *none_match);
/* "gzip", "br"; NULL for the plain form. */
const char *page_form_name(enum page_form form);
