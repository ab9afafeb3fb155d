/* text.c: sizes, percentages and durations as people write them; see text.h. */
#include "base/text.h"

#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct unit {
        const char *name;
        uint64_t scale;
};

static const struct unit size_units[] = {
        {"", 1},           {"B", 1},         {"K", KIB},         {"KB", KIB},        {"KiB", KIB},
        {"M", MIB},        {"MB", MIB},      {"MiB", MIB},       {"G", GIB},         {"GB", GIB},
        {"GiB", GIB},      {"T", GIB * 1024}, {"TB", GIB * 1024}, {"TiB", GIB * 1024},
};

static const struct unit time_units[] = {
        {"", NS_PER_S},          {"s", NS_PER_S},       {"sec", NS_PER_S},         {"ms", NS_PER_MS},
        {"us", NS_PER_US},       {"ns", 1},             {"m", 60 * NS_PER_S},      {"min", 60 * NS_PER_S},
        {"h", 3600 * NS_PER_S},
};

/* "<digits>[.<digits>][ ]<unit>" times the unit's scale, in whole numbers so that no rounding surprises: the fraction
 * keeps nine digits. */
static int parse_scaled(const char *s, const struct unit *units, size_t n, uint64_t *ret_value)
{
        uint64_t whole = 0, fraction = 0, part = 1;
        bool digits = false;

        for (; isdigit((unsigned char)*s); s++, digits = true)
                if (__builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, *s - '0', &whole))
                        return -ERANGE;
        if (*s == '.')
                for (s++; isdigit((unsigned char)*s); s++, digits = true)
                        if (part < 1000000000) {
                                fraction = fraction * 10 + (uint64_t)(*s - '0');
                                part *= 10;
                        }
        if (!digits)
                return -EINVAL;
        while (*s == ' ')
                s++;
        for (size_t i = 0; i < n; i++) {
                uint64_t value;

                if (strcasecmp(s, units[i].name))
                        continue;
                if (__builtin_mul_overflow(whole, units[i].scale, &value))
                        return -ERANGE;
                if (__builtin_add_overflow(value, (uint64_t)((unsigned __int128)fraction * units[i].scale / part), &value))
                        return -ERANGE;
                *ret_value = value;
                return 0;
        }
        return -EINVAL;
}

int text_parse_bytes(const char *s, uint64_t *ret_bytes)
{
        return parse_scaled(s, size_units, ARRAY_SIZE(size_units), ret_bytes);
}

int text_parse_share(const char *s, uint64_t *ret_bytes, uint32_t *ret_permille)
{
        static const struct unit percent[] = {{"%", 10}};
        uint64_t value;
        int r;

        if (strchr(s, '%')) {
                r = parse_scaled(s, percent, 1, &value);
                if (r < 0)
                        return r;
                if (value < 1 || value > 1000)
                        return -ERANGE;
                *ret_bytes = 0;
                *ret_permille = (uint32_t)value;
                return 0;
        }
        r = text_parse_bytes(s, &value);
        if (r < 0)
                return r;
        *ret_bytes = value;
        *ret_permille = 0;
        return 0;
}

int text_parse_fraction(const char *s, uint32_t *ret_permille)
{
        static const struct unit fraction[] = {{"", 1000000000}};
        uint64_t value;
        int r = parse_scaled(s, fraction, 1, &value);

        if (r < 0)
                return r;
        if (!value || value > 1000000000)
                return -ERANGE;
        *ret_permille = value < 1000000 ? 1 : (uint32_t)(value / 1000000);
        return 0;
}

int text_parse_duration(const char *s, uint64_t *ret_ns)
{
        return parse_scaled(s, time_units, ARRAY_SIZE(time_units), ret_ns);
}

int text_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret_value)
{
        static const struct unit plain[] = {{"", 1}};
        uint64_t value;
        int r;

        if (strspn(s, "0123456789") != strlen(s))
                return -EINVAL;
        r = parse_scaled(s, plain, 1, &value);
        if (r < 0)
                return r;
        if (value < min || value > max)
                return -ERANGE;
        *ret_value = value;
        return 0;
}

int text_parse_bool(const char *s, bool *ret_value)
{
        static const char *const yes[] = {"yes", "true", "on", "1"}, *const no[] = {"no", "false", "off", "0"};

        for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
                if (!strcasecmp(s, yes[i]) || !strcasecmp(s, no[i])) {
                        *ret_value = !strcasecmp(s, yes[i]);
                        return 0;
                }
        }
        return -EINVAL;
}

char *text_bytes(uint64_t bytes, char *buffer, size_t size)
{
        static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
        double value = (double)bytes;
        size_t i = 0;

        for (; value >= 1023.95 && i + 1 < ARRAY_SIZE(names); i++)
                value /= 1024;
        snprintf(buffer, size, i == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value, names[i]);
        return buffer;
}

char *text_duration(uint64_t ns, char *buffer, size_t size)
{
        if (ns >= 60 * NS_PER_S)
                snprintf(buffer, size, "%.1f min", (double)ns / (60.0 * NS_PER_S));
        else if (ns >= NS_PER_S)
                snprintf(buffer, size, "%.2f s", (double)ns / NS_PER_S);
        else if (ns >= NS_PER_MS)
                snprintf(buffer, size, "%.0f ms", (double)ns / NS_PER_MS);
        else if (ns >= NS_PER_US)
                snprintf(buffer, size, "%.0f us", (double)ns / NS_PER_US);
        else
                snprintf(buffer, size, "%.0f ns", (double)ns);
        return buffer;
}

static bool is_clean(unsigned char c)
{
        return c >= 0x20 && c < 0x7f;
}

void text_copy_clean(char *to, size_t size, const char *from)
{
        size_t i = 0;

        for (; i + 1 < size && from[i]; i++)
                to[i] = is_clean((unsigned char)from[i]) ? from[i] : '?';
        memset(to + i, 0, size - i);
}

bool text_is_clean(const char *s, size_t size)
{
        for (size_t i = 0; i < size; i++) {
                if (!s[i])
                        return true;
                if (!is_clean((unsigned char)s[i]))
                        return false;
        }
        return false;
}
