/* library.h: finds and opens the real library that one of ours stands for. For use inside foreign processes: libc only, no stdio. */
#pragma once

/* A handle (dlopen's) of the library soname, with all its symbols bound, that has function and is not the library in which ours lies; NULL
 * when there is none. Looked for at the path given and nowhere else, if that is not empty; else in LD_LIBRARY_PATH and where distributions
 * put drivers. */
void *library_open_real(const char *soname, const char *given, const char *function, const void *ours);
