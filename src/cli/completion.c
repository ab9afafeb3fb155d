/* completion.c: `berth completion bash|zsh`: the shell's completion, made from the table of verbs. The build installs
 * its output. */
#include "cli/cli.h"

#include "base/strbuf.h"

#include <string.h>

struct completion {
        const char *shell;
};

static int parse(int key, char *arg, struct argp_state *state)
{
        struct completion *c = state->input;

        if (key != ARGP_KEY_ARG || c->shell)
                return ARGP_ERR_UNKNOWN;
        c->shell = arg;
        return 0;
}

static void add_options(struct strbuf *b, const struct verb *verb)
{
        strbuf_add(b, "--help");
        for (const struct argp_option *o = verb->options; o && (o->name || o->key || o->doc); o++)
                if (o->name && !(o->flags & OPTION_HIDDEN))
                        strbuf_add(b, " --%s", o->name);
}

static void add_verbs(struct strbuf *b)
{
        for (const struct verb *const *v = verbs; *v; v++)
                strbuf_add(b, "%s%s", v == verbs ? "" : " ", (*v)->name);
}

static void bash(struct strbuf *b)
{
        strbuf_add(b, "# bash completion for berth; made by `berth completion bash'\n"
                      "_berth()\n{\n"
                      "        local word=\"${COMP_WORDS[COMP_CWORD]}\" before=\"${COMP_WORDS[COMP_CWORD-1]}\" at "
                      "verb= words= options= i\n"
                      "        for ((i = 1; i < COMP_CWORD; i++)); do\n"
                      "                case \"${COMP_WORDS[i]}\" in\n"
                      "                -s|--socket) ((i++)) ;;\n"
                      "                -*) ;;\n"
                      "                *) verb=\"${COMP_WORDS[i]}\"; at=$i; break ;;\n"
                      "                esac\n"
                      "        done\n"
                      "        case \"$before\" in\n"
                      "        -s|--socket) COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n"
                      "        --priority|-p) COMPREPLY=($(compgen -W \"interactive normal batch\" -- \"$word\")); "
                      "return ;;\n"
                      "        esac\n"
                      "        case \"$verb\" in\n"
                      "        '') words=\"");
        add_verbs(b);
        strbuf_add(b, "\" options=\"--socket --version --help\" ;;\n");
        for (const struct verb *const *v = verbs; *v; v++) {
                const char *words = (*v)->words;

                strbuf_add(b, "        %s) options=\"", (*v)->name);
                add_options(b, *v);
                strbuf_add(b, "\"");
                if (words && !strcmp(words, "@verb")) {
                        strbuf_add(b, " words=\"");
                        add_verbs(b);
                        strbuf_add(b, "\"");
                } else if (words && words[0] != '@') {
                        strbuf_add(b, " words=\"%s\"", words);
                }
                if (words && !strcmp(words, "@program")) {
                        strbuf_add(b, "\n                for ((i = at + 1; i < COMP_CWORD; i++)); do\n"
                                      "                        [[ \"${COMP_WORDS[i]}\" == -- ]] || continue\n"
                                      "                        if ((i + 1 == COMP_CWORD)); then\n"
                                      "                                COMPREPLY=($(compgen -c -- \"$word\"))\n"
                                      "                        else\n"
                                      "                                COMPREPLY=($(compgen -f -- \"$word\"))\n"
                                      "                        fi\n"
                                      "                        return\n"
                                      "                done\n"
                                      "                words=-- ;;\n");
                        continue;
                }
                strbuf_add(b, " ;;\n");
        }
        strbuf_add(b, "        esac\n"
                      "        if [[ \"$word\" == -* ]]; then\n"
                      "                COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
                      "        elif [[ -n \"$words\" ]]; then\n"
                      "                COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
                      "        else\n"
                      "                COMPREPLY=($(compgen -f -- \"$word\"))\n"
                      "        fi\n"
                      "}\n"
                      "complete -F _berth berth\n");
}

/* Inside '…' of zsh and of its own [descriptions]. */
static void zsh_text(struct strbuf *b, const char *s)
{
        for (; *s; s++) {
                if (*s == '\'')
                        strbuf_add(b, "'\\''");
                else if (*s == '[' || *s == ']' || *s == ':' || *s == '\\')
                        strbuf_add(b, "\\%c", *s);
                else
                        strbuf_add(b, "%c", *s);
        }
}

static void zsh(struct strbuf *b)
{
        strbuf_add(b, "#compdef berth\n# zsh completion for berth; made by `berth completion zsh'\n"
                      "_berth_verbs()\n{\n        local -a list=(\n");
        for (const struct verb *const *v = verbs; *v; v++) {
                strbuf_add(b, "                '%s:", (*v)->name);
                zsh_text(b, (*v)->summary);
                strbuf_add(b, "'\n");
        }
        strbuf_add(b, "        )\n        _describe verb list\n}\n\n"
                      "_berth()\n{\n        local context state state_descr line\n        typeset -A opt_args\n"
                      "        _arguments -C \\\n"
                      "                '(-s --socket)'{-s,--socket}'[socket of the daemon]:socket:_files' \\\n"
                      "                '--version[print the version]' '--help[explain]' \\\n"
                      "                '1:verb:_berth_verbs' '*::arguments:->verb' && return\n"
                      "        case \"$line[1]\" in\n");
        for (const struct verb *const *v = verbs; *v; v++) {
                const char *words = (*v)->words;

                strbuf_add(b, "        %s) _arguments -S '--help[explain]'", (*v)->name);
                for (const struct argp_option *o = (*v)->options; o && (o->name || o->key || o->doc); o++) {
                        if (!o->name || (o->flags & OPTION_HIDDEN))
                                continue;
                        strbuf_add(b, " '--%s%s[", o->name, o->arg ? "=" : "");
                        zsh_text(b, o->doc);
                        strbuf_add(b, "]");
                        if (o->arg && !strcmp(o->name, "priority"))
                                strbuf_add(b, ":priority:(interactive normal batch)");
                        else if (o->arg)
                                strbuf_add(b, ":%s: ", o->arg);
                        strbuf_add(b, "'");
                }
                if (words && !strcmp(words, "@verb"))
                        strbuf_add(b, " '1:verb:_berth_verbs'");
                else if (words && !strcmp(words, "@program"))
                        strbuf_add(b, " '(-)1:program:_command_names -e' '*::arguments:_normal'");
                else if (words)
                        strbuf_add(b, " '1:what:(%s)' '*:file:_files'", words);
                strbuf_add(b, " ;;\n");
        }
        strbuf_add(b, "        esac\n}\n\n_berth \"$@\"\n");
}

static int run(const struct verb *self, int argc, char **argv)
{
        __attribute__((cleanup(strbuf_done_at))) struct strbuf b = {0};
        struct completion c = {0};

        cli_parse(self, argc, argv, &c);
        if (!c.shell)
                return cli_usage(self, "which shell? bash or zsh");
        if (!strcmp(c.shell, "bash"))
                bash(&b);
        else if (!strcmp(c.shell, "zsh"))
                zsh(&b);
        else
                return cli_usage(self, "no completion for the shell \"%s\"; there is bash and zsh", c.shell);
        if (b.failed) {
                cli_error("out of memory");
                return CLI_FAILED;
        }
        return cli_print(b.text);
}

const struct verb verb_completion = {
        .name = "completion",
        .arguments = "bash|zsh",
        .words = "bash zsh",
        .summary = "print the completion for a shell",
        .more = "Packages install it; without one:\n\n  source <(berth completion bash)",
        .parse = parse,
        .run = run,
};
