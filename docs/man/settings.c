/* settings.c: puts the table of settings into the manual: standard output is the page named by the first argument, with the
 * line @SETTINGS@ replaced. */
#include "base/sample.h"
#include "base/strbuf.h"
#include "gateway/settings.h"
#include "wire/settings.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
        __attribute__((cleanup(strbuf_done_at))) struct strbuf settings = {0};
        char line[4096];
        FILE *page;
        int found = 0;

        if (argc != 3) {
                fprintf(stderr, "usage: %s PAGE node|pool\n", argv[0]);
                return 2;
        }
        page = fopen(argv[1], "r");
        sample_manual(strcmp(argv[2], "pool") ? &settings_table : &gateway_settings_table, &settings);
        if (!page || settings.failed) {
                fprintf(stderr, "%s: %s\n", argv[1], page ? "out of memory" : strerror(errno));
                return 1;
        }
        while (fgets(line, sizeof line, page)) {
                found += !strcmp(line, "@SETTINGS@\n");
                fputs(strcmp(line, "@SETTINGS@\n") ? line : settings.text, stdout);
        }
        fclose(page);
        if (found != 1) {
                fprintf(stderr, "%s: holds @SETTINGS@ %d times, once is right\n", argv[1], found);
                return 1;
        }
        return fflush(stdout) == EOF;
}
