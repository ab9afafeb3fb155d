/* chat.h: the conversation that `berth chat` holds, and what can be typed in it beside words for the model.
 *
 * messages is what the model hears: the system's words first, if any, then what was said, in turns. A line that begins with a slash and a name is a command, done
 * by chat_command; a line that begins with a path ("/etc/fstab is …") is not.
 */
#pragma once

#include "cli/pool-client.h"

#include <stdbool.h>

struct chat {
        struct pool_client c;
        char *model;
        json_t *messages;
        long max_tokens; /* 0: the server's */
        bool terminal;   /* somebody types */
        bool edited;     /* and lines can be edited, so the cursor can be moved */
        bool dim;        /* notes stand back behind answers */
};

/* All commands with their slashes, ended by NULL: for completion. */
extern const char *const chat_commands[];

void chat_say(struct chat *chat, const char *role, const char *text);
/* A note to whoever types, on standard error. */
void chat_note(const struct chat *chat, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool chat_is_command(const char *line);
/* 1: the conversation is over; 0: it goes on. */
int chat_command(struct chat *chat, const char *line);

/* A name that is wrong is told now, not with the next question: -ENOENT, and message names those that there are. 0 also where the list can't be had or is empty. */
must_check int chat_check_model(struct chat *chat, const char *name, char message[CLI_MESSAGE]);
/* Takes the only model that there is; else message tells which there are. */
must_check int chat_only_model(struct chat *chat, char message[CLI_MESSAGE]);
