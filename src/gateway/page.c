/* page.c: which of the page's files is asked for, in which form; see page.h. */
#include "gateway/page.h"

#include <string.h>
#include <strings.h>

const struct page_file *page_find(const char *path)
{
        for (size_t i = 0; i < page_file_count; i++)
                if (!strcmp(page_files[i].path, path))
                        return &page_files[i];
        return NULL;
}

const char *page_form_name(enum page_form form)
{
        static const char *const names[PAGE_FORMS] = {[PAGE_GZIP] = "gzip", [PAGE_BR] = "br"};

        return (size_t)form < PAGE_FORMS ? names[form] : NULL;
}

/* ";q=0", ";q=0.000": not that one. What can't be read is no reason to refuse. */
static bool is_refused(const char *parameters, size_t length)
{
        const char *q = memchr(parameters, '=', length);

        if (!q || q == parameters || (q[-1] != 'q' && q[-1] != 'Q'))
                return false;
        length -= (size_t)(++q - parameters);
        while (length && (*q == ' ' || *q == '\t'))
                q++, length--;
        if (!length || *q != '0')
                return false;
        for (; length; q++, length--)
                if (*q >= '1' && *q <= '9')
                        return false;
        return true;
}

static bool allows(const char *accept, const char *name)
{
        bool any = false;

        while (*accept) {
                size_t length, n;

                accept += strspn(accept, " \t,");
                length = strcspn(accept, ",");
                n = strcspn(accept, " \t,;");
                if (n == strlen(name) && !strncasecmp(accept, name, n))
                        return !is_refused(accept + n, length - n);
                if (n == 1 && *accept == '*')
                        any = !is_refused(accept + n, length - n);
                accept += length;
        }
        return any;
}

enum page_form page_choose(const struct page_file *file, const char *accept)
{
        enum page_form best = PAGE_PLAIN;

        for (enum page_form form = PAGE_GZIP; accept && form < PAGE_FORMS; form++)
                if (file->tags[form] && file->counts[form] < file->counts[best] && allows(accept, page_form_name(form)))
                        best = form;
        return best;
}

bool page_is_known(const struct page_file *file, enum page_form form, const char *none_match)
{
        const char *tag = file->tags[form];
        size_t n = strlen(tag);

        while (none_match && *none_match) {
                none_match += strspn(none_match, " \t,");
                if (*none_match == '*')
                        return true;
                if (!strncmp(none_match, "W/", 2))
                        none_match += 2;
                if (!strncmp(none_match, tag, n) && (!none_match[n] || strchr(" \t,", none_match[n])))
                        return true;
                none_match += strcspn(none_match, ",");
        }
        return false;
}
