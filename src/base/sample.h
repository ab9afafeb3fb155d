/* sample.h: texts made from a table of settings (config.h): the sample file and the manual's list. Pure. */
#pragma once

#include "base/config.h"
#include "base/strbuf.h"

/* An INI file with every setting, commented out, at its default; heading: its first lines, as comments already. */
void sample_config(const struct config_table *table, const char *heading, struct strbuf *b);

/* The same as sections of scdoc. */
void sample_manual(const struct config_table *table, struct strbuf *b);
