/* plot.c: see plot.h. */
#include "cli/plot.h"

/* Dots filled from below, of 4 × height. */
static unsigned int dots(float value, float top, unsigned int height)
{
        unsigned int most = height * 4;
        float share;

        if (!(value == value))
                return 0;
        share = top > 0 ? value / top : 0;
        if (!(share > 0))
                return 1;
        if (share >= 1)
                return most;
        share *= (float)most;
        return share < 1 ? 1 : (unsigned int)(share + 0.5f);
}

void plot_area(const float *values, float top, unsigned int width, unsigned int height, bool unicode, uint16_t *cells)
{
        /* Braille dots of the left and the right column, from below. */
        static const uint8_t left[4] = {0x40, 0x04, 0x02, 0x01}, right[4] = {0x80, 0x20, 0x10, 0x08};
        static const char steps[5] = {' ', '.', ':', '!', '|'};

        for (unsigned int x = 0; x < width; x++) {
                unsigned int a = dots(values[2 * x], top, height), b = dots(values[2 * x + 1], top, height);

                for (unsigned int y = 0; y < height; y++) {
                        unsigned int below = (height - 1 - y) * 4, c = 0, step;

                        for (unsigned int i = 0; i < 4; i++)
                                c |= (a > below + i ? left[i] : 0u) | (b > below + i ? right[i] : 0u);
                        step = (a > b ? a : b) > below ? (a > b ? a : b) - below : 0;
                        cells[y * width + x] = unicode ? (uint16_t)(c ? 0x2800 + c : ' ') : (uint16_t)steps[step > 4 ? 4 : step];
                }
        }
}
