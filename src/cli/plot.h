/* plot.h: values over time as an area of characters. Pure.
 *
 * With Unicode each character holds two values side by side in four steps (braille), without it one value in four steps ('.', ':', '!', '|'). What is
 * unknown is blank, a known zero shows the lowest dot: unknown is not zero.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 2 × width values, oldest first, not a number where unknown; top: the value that reaches the upper edge. Fills width × height characters, row by row. */
void plot_area(const float *values, float top, unsigned int width, unsigned int height, bool unicode, uint16_t *cells);
