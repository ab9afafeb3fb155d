/* sample.h: texts made from the table of settings: the sample file and the manual's list. Pure. */
#pragma once

#include "base/strbuf.h"

/* An INI file with every setting, commented out, at its default. */
void sample_config(struct strbuf *b);

/* The same as sections of scdoc. */
void sample_manual(struct strbuf *b);
