/* image.h: pictures of the PNM family as bytes: P5 (grey) and P6 (colour) with 8 bits a sample. Reading is strict and bounded. */
#pragma once

#include "base/scope.h"

#include <stdint.h>
#include <stdio.h>

#define IMAGE_PIXELS (64U << 20)

struct image {
        uint32_t width, height, samples; /* samples: 1 or 3 a pixel */
        uint8_t *data;
};

/* The whole file. 0; -EINVAL and why; -ENOMEM, -EIO. */
must_check int image_read(FILE *file, struct image *ret, char why[128]);
must_check int image_write(FILE *file, const struct image *image);
void image_done(struct image *image);

/* Left and right change places. */
void image_flip(struct image *image);
/* The part from (x, y) of that size; bounds are the caller's. -ENOMEM. */
must_check int image_crop(const struct image *from, uint32_t x, uint32_t y, uint32_t width, uint32_t height, struct image *ret);
/* Samples times factor, cut at 255. */
void image_brighten(struct image *image, double factor);
