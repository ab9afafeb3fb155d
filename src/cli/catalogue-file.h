/* catalogue-file.h: models.conf on the disk: read, and changed by putting a new file in its place, one change at a time. */
#pragma once

#include "cli/cli.h"
#include "engine/catalogue.h"

/* models.conf in the folder of `berth up` (pool_folder). */
must_check int catalogue_file_find(char *path, size_t size);
/* One that is not there is empty. -E_CONFIG and other errors with message. */
must_check int catalogue_file_read(const char *path, struct catalogue *ret, char message[CONFIG_MESSAGE]);
/* -EEXIST, -E_CONFIG …; the file is as before then. */
must_check int catalogue_file_add(const char *path, const char *name, const struct catalogue_setting *settings, size_t count, char message[CONFIG_MESSAGE]);
/* A file where there is none yet, with the model that comes with Berth when that and its engine are installed. 0 also when it is there. */
must_check int catalogue_file_first(const char *path, char message[CONFIG_MESSAGE]);
must_check int catalogue_file_remove(const char *path, const char *name, char message[CONFIG_MESSAGE]);
