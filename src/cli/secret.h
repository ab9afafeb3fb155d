/* secret.h: passwords typed at a terminal, without echo; from standard input when that is no terminal. */
#pragma once

#define SECRET_BYTES 256

/* One line into text (SECRET_BYTES). 0, or a negative error after saying why. */
int secret_ask(const char *prompt, char text[SECRET_BYTES]);
/* Twice at a terminal, until both are the same; once from elsewhere. */
int secret_ask_twice(const char *prompt, char text[SECRET_BYTES]);
void secret_wipe(char text[SECRET_BYTES]);
