/* cli.h: what every verb of `berth` shares: descriptors, exit codes, messages to people.
 *
 * A verb is one file that defines one struct verb; verbs.c lists them. Option parser, `berth --help`, `berth help
 * VERB`, the shell completions and the check of the manual all read those descriptors: nothing about a verb is written
 * twice.
 */
#pragma once

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>

/* Documented in berth(1); scripts rely on them. */
enum cli_exit {
        CLI_OK = 0,
        CLI_FAILED = 1,       /* it did not work; the message says why */
        CLI_USAGE = 2,        /* the command line itself is wrong */
        CLI_UNAVAILABLE = 69, /* no daemon answers, or it died or hung in the middle */
        CLI_PROTOCOL = 76,    /* what answers is no berthd of a version we can talk to */
        CLI_FORBIDDEN = 77,   /* the daemon belongs to somebody else */
        CLI_CONFIG = 78,      /* a configuration file is wrong */
        CLI_CANNOT_RUN = 126, /* berth run, doctor: the program can't be executed */
        CLI_NOT_FOUND = 127,  /* berth run, doctor: there is no such program */
};

#define CLI_MESSAGE 512
/* Of a measured number that is not whole, where programs read it: 0.3, not 0.30000000000000004, and of a year in seconds still the tenth of a millisecond. */
#define CLI_DIGITS 12

struct verb {
        const char *name;
        const char *arguments;             /* as in the usage line: "[--] PROGRAM [ARGS...]"; NULL: none */
        const char *words;                 /* for completion: "show check sample", or "@program", "@verb"; NULL: none */
        const char *summary;               /* one line */
        const char *more;                  /* paragraphs for --help, after the options; examples included; NULL: none */
        const struct argp_option *options; /* NULL: none */
        argp_parser_t parse;               /* sees the options; input is what cli_parse was given */
        unsigned int argp_flags;
        int (*run)(const struct verb *verb, int argc, char **argv); /* argv[0] is "berth VERB"; returns a cli_exit */
};

extern const struct verb *const verbs[]; /* ended by NULL */

/* The title of the group that this verb is the first of, else NULL. */
const char *verb_group_title(const struct verb *verb);
/* NULL when there is none. */
const struct verb *verb_find(const char *name);
/* The verb a mistyped name most likely meant, or NULL when none is near. */
const struct verb *verb_nearest(const char *name);

/* The options before the verb; the verb's index in argv, 0 when there is none, -1 when out of memory. Exits as
 * cli_parse does. */
int cli_parse_general(int argc, char **argv);
/* Parses argv with the verb's options into input. Exits for --help (0) and for mistakes (CLI_USAGE). */
void cli_parse(const struct verb *verb, int argc, char **argv, void *input);
/* Prints what `berth VERB --help` prints, or the overview for NULL. */
void cli_help(const struct verb *verb);

/* "berth: …" on standard error. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A mistake on the command line: message, hint to --help; returns CLI_USAGE. */
int cli_usage(const struct verb *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Writes everything to standard output and makes sure that it arrived; CLI_FAILED with a message when not. */
int cli_print(const char *text);
/* The exit code for an error of connection.h. */
int cli_exit_code(int error);

/* "1.0 MiB/s" from bytes in ns; "unavailable" when nothing was measured. 24 bytes are enough. */
char *cli_rate(double bytes_per_second, char *buffer, size_t size);
/* User name or number; never fails. */
char *cli_user(unsigned int uid, char *buffer, size_t size);
