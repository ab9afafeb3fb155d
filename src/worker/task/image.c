/* image.c: PNM pictures; see image.h. */
#include "worker/task/image.h"

#include <ctype.h>
#include <string.h>

/* The next number of the header, past white space and comments. */
static int number(FILE *file, uint32_t most, uint32_t *ret)
{
        uint64_t value = 0;
        int c = getc(file), digits = 0;

        while (isspace(c) || c == '#') {
                if (c == '#')
                        while (c != '\n' && c != EOF)
                                c = getc(file);
                else
                        c = getc(file);
        }
        for (; c >= '0' && c <= '9'; c = getc(file), digits++) {
                value = value * 10 + (uint64_t)(c - '0');
                if (value > most)
                        return -EINVAL;
        }
        if (!digits || !isspace(c)) /* one white space ends each number, also the last */
                return -EINVAL;
        *ret = (uint32_t)value;
        return 0;
}

int image_read(FILE *file, struct image *ret, char why[128])
{
        struct image i = {0};
        uint32_t most;
        size_t bytes;
        int p = getc(file), kind = getc(file);

        if (p != 'P' || (kind != '5' && kind != '6'))
                return snprintf(why, 128, "neither P5 nor P6"), -EINVAL;
        i.samples = kind == '6' ? 3 : 1;
        if (number(file, 1 << 20, &i.width) < 0 || number(file, 1 << 20, &i.height) < 0 || number(file, 65535, &most) < 0)
                return snprintf(why, 128, "the header is malformed"), -EINVAL;
        if (most != 255 || !i.width || !i.height || (uint64_t)i.width * i.height > IMAGE_PIXELS)
                return snprintf(why, 128, "no picture of 8 bits a sample and up to %u pixels", IMAGE_PIXELS), -EINVAL;
        bytes = (size_t)i.width * i.height * i.samples;
        i.data = malloc(bytes);
        if (!i.data)
                return -ENOMEM;
        if (fread(i.data, 1, bytes, file) != bytes) {
                free(i.data);
                return ferror(file) ? -EIO : (snprintf(why, 128, "it ends too early"), -EINVAL);
        }
        *ret = i;
        return 0;
}

int image_write(FILE *file, const struct image *i)
{
        size_t bytes = (size_t)i->width * i->height * i->samples;

        if (fprintf(file, "P%c\n%u %u\n255\n", i->samples == 3 ? '6' : '5', i->width, i->height) < 0 || fwrite(i->data, 1, bytes, file) != bytes)
                return -EIO;
        return 0;
}

void image_done(struct image *i)
{
        free(i->data);
        *i = (struct image){0};
}

void image_flip(struct image *i)
{
        for (uint32_t y = 0; y < i->height; y++) {
                uint8_t *row = i->data + (size_t)y * i->width * i->samples;

                for (uint32_t x = 0; x < i->width / 2; x++)
                        for (uint32_t s = 0; s < i->samples; s++) {
                                uint8_t *a = row + (size_t)x * i->samples + s, *b = row + (size_t)(i->width - 1 - x) * i->samples + s, t = *a;

                                *a = *b;
                                *b = t;
                        }
        }
}

int image_crop(const struct image *from, uint32_t x, uint32_t y, uint32_t width, uint32_t height, struct image *ret)
{
        struct image i = {.width = width, .height = height, .samples = from->samples, .data = malloc((size_t)width * height * from->samples)};

        if (!i.data)
                return -ENOMEM;
        for (uint32_t row = 0; row < height; row++)
                memcpy(i.data + (size_t)row * width * i.samples, from->data + ((size_t)(y + row) * from->width + x) * i.samples, (size_t)width * i.samples);
        *ret = i;
        return 0;
}

void image_brighten(struct image *i, double factor)
{
        size_t bytes = (size_t)i->width * i->height * i->samples;

        for (size_t k = 0; k < bytes; k++) {
                double v = i->data[k] * factor + 0.5;

                i->data[k] = v >= 255 ? 255 : v <= 0 ? 0 : (uint8_t)v;
        }
}
