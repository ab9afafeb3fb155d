/* range.c: headers with numbers; see range.h. */
#include "gateway/range.h"

#include <string.h>

/* Digits up to the first other character; at least one, no overflow. */
static int number(const char **text, uint64_t *ret)
{
        const char *at = *text;
        uint64_t n = 0;

        if (*at < '0' || *at > '9')
                return -EINVAL;
        for (; *at >= '0' && *at <= '9'; at++) {
                uint64_t digit = (uint64_t)(*at - '0');

                if (n > (UINT64_MAX - digit) / 10)
                        return -EINVAL;
                n = n * 10 + digit;
        }
        *text = at;
        *ret = n;
        return 0;
}

int range_parse(const char *text, uint64_t total, uint64_t *ret_first, uint64_t *ret_count)
{
        uint64_t first, last;

        if (strncmp(text, "bytes=", 6))
                return -ENOTSUP;
        text += 6;
        if (*text == '-') {
                text++;
                if (number(&text, &last) < 0 || *text)
                        return -ENOTSUP;
                if (!last || !total)
                        return -ERANGE;
                first = last >= total ? 0 : total - last;
                last = total - 1;
        } else {
                if (number(&text, &first) < 0 || *text++ != '-')
                        return -ENOTSUP;
                last = UINT64_MAX;
                if (*text && number(&text, &last) < 0)
                        return -ENOTSUP;
                if (*text || last < first)
                        return -ENOTSUP;
                if (first >= total)
                        return -ERANGE;
                if (last >= total)
                        last = total - 1;
        }
        *ret_first = first;
        *ret_count = last - first + 1;
        return 0;
}

int range_parse_content(const char *text, uint64_t *ret_first, uint64_t *ret_count, uint64_t *ret_total)
{
        uint64_t first, last, total;

        if (strncmp(text, "bytes ", 6))
                return -EINVAL;
        text += 6;
        if (!strcmp(text, "*/0")) {
                *ret_first = *ret_count = *ret_total = 0;
                return 0;
        }
        if (number(&text, &first) < 0 || *text++ != '-' || number(&text, &last) < 0 || *text++ != '/' || number(&text, &total) < 0 || *text)
                return -EINVAL;
        if ((last < first && !(first == total && last + 1 == first)) || last >= total)
                return -EINVAL;
        *ret_first = first;
        *ret_count = last + 1 - first;
        *ret_total = total;
        return 0;
}

int etag_parse(const char *text, uint64_t *ret_version, bool *ret_any)
{
        uint64_t version = 0;
        bool any = !strcmp(text, "*");

        if (!any) {
                if (*text++ != '"' || number(&text, &version) < 0 || strcmp(text, "\""))
                        return -EINVAL;
                if (!version)
                        return -EINVAL;
        }
        *ret_version = version;
        *ret_any = any;
        return 0;
}

bool etag_listed(const char *text, uint64_t version)
{
        while (*text) {
                uint64_t one;

                text += strspn(text, " \t,");
                if (*text == '*')
                        return true;
                if (!strncmp(text, "W/", 2))
                        text += 2;
                if (*text == '"') {
                        text++;
                        if (number(&text, &one) == 0 && *text == '"' && one == version)
                                return true;
                }
                text += strcspn(text, ",");
        }
        return false;
}

int event_id_parse(const char *text, uint64_t *ret_epoch, uint64_t *ret_number)
{
        uint64_t epoch, n;

        if (number(&text, &epoch) < 0 || *text++ != '-' || number(&text, &n) < 0 || *text)
                return -EINVAL;
        *ret_epoch = epoch;
        *ret_number = n;
        return 0;
}
