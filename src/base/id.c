/* id.c: UUIDv7 names, made and read. */
#include "base/id.h"

#include <errno.h>

/* The 74 bits that are neither time, version nor variant count on by one; 2^74 of them never run out within a millisecond. */
static bool count_on(struct id *id)
{
        for (int i = 15; i > 8; i--)
                if (++id->bytes[i])
                        return true;
        id->bytes[8] = (uint8_t)(0x80 | ((id->bytes[8] + 1) & 0x3f));
        return id->bytes[8] != 0x80;
}

struct id id_next(struct id *last, uint64_t unix_ms, const uint8_t random[10])
{
        struct id id;

        if (unix_ms > id_unix_ms(last)) {
                for (int i = 0; i < 6; i++)
                        id.bytes[i] = (uint8_t)(unix_ms >> (40 - 8 * i));
                memcpy(id.bytes + 6, random, 10);
                id.bytes[6] = (uint8_t)(0x70 | (id.bytes[6] & 0x0f));
                /* The upper half of the counted bits starts low, so that counting on has room. */
                id.bytes[8] = (uint8_t)(0x80 | (id.bytes[8] & 0x1f));
        } else {
                id = *last;
                if (!count_on(&id))
                        return id_next(last, id_unix_ms(last) + 1, random);
        }
        *last = id;
        return id;
}

char *id_text(const char *prefix, const struct id *id, char *text)
{
        static const char digits[] = "0123456789abcdef";
        int n = 0;

        /* By hand: ids are written many times for each task. */
        for (; prefix[n] && n < 12; n++)
                text[n] = prefix[n];
        text[n++] = '_';
        for (int i = 0; i < 16; i++) {
                text[n++] = digits[id->bytes[i] >> 4];
                text[n++] = digits[id->bytes[i] & 15];
        }
        text[n] = '\0';
        return text;
}

static int digit(char c)
{
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int id_parse(const char *prefix, const char *text, struct id *ret_id)
{
        size_t n = strlen(prefix);
        struct id id;

        if (strncmp(text, prefix, n) || text[n] != '_' || strlen(text) != n + 33)
                return -EINVAL;
        text += n + 1;
        for (int i = 0; i < 16; i++) {
                int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

                if (high < 0 || low < 0)
                        return -EINVAL;
                id.bytes[i] = (uint8_t)(high << 4 | low);
        }
        *ret_id = id;
        return 0;
}

uint64_t id_unix_ms(const struct id *id)
{
        uint64_t ms = 0;

        for (int i = 0; i < 6; i++)
                ms = ms << 8 | id->bytes[i];
        return ms;
}
