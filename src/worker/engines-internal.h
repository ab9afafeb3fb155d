/* engines-internal.h: what engines.c (events, decisions carried out), engines-catalogue.c (which there are) and engines-start.c (how one is started) share. */
#pragma once

#include "worker/engines.h"

#include "base/strbuf.h"
#include "engine/catalogue.h"
#include "engine/engine.h"
#include "worker/health.h"

#include <sys/types.h>

#define ENGINES_MOST CATALOGUE_ENTRIES
#define ENGINES_KEY 512
#define ENGINES_ADDRESS 300

struct engines_slot {
        uint32_t index;                   /* among the slots */
        bool leaving, wanted_before;      /* leaving: its entry went from the catalogue; wanted_before: when its entry changed */
        struct catalogue_entry entry;
        struct catalogue_entry *next;     /* takes entry's place once its program has ended, or NULL */
        struct engine engine;
        uint32_t version;                 /* of what was told */
        /* its keeper */
        pid_t pid;                        /* 0: none */
        int fd, pidfd;
        struct strbuf line;
        char how[ENGINE_TEXT];            /* what the keeper said of its end */
        bool hopeless;
        /* what pools are told */
        char ca[PATH_MAX];                /* kind url: of certificates; "": the system's */
        char address[ENGINES_ADDRESS], key[ENGINES_KEY], revision[CONFIG_TEXT], job[48];
        uint32_t port;
        bool gated, coming;               /* it runs under `berth run'; the node daemon was told that its memory comes next */
        int resident;                     /* -1: not known */
        uint64_t held;                    /* device memory that its programs own, as far as told */
        char note[ENGINE_TEXT];           /* told when the engine itself has nothing to say */
};

struct engines {
        struct engines_options options;
        struct health *health;
        int inotify;
        char folder[PATH_MAX], catalogue[PATH_MAX], file[NAME_MAX + 1], logs[PATH_MAX]; /* folder, file: of the catalogue */
        struct engines_slot *slots[ENGINES_MOST];
        bool dirty, ending, direct;       /* direct: pools may go to engines by their addresses */
};

/* engines-catalogue.c: reads the file, and makes slots what it says. */
must_check int engines_watch(struct engines *e);
void engines_load(struct engines *e, uint64_t now, bool first);
void engines_noticed(struct engines *e, uint64_t now);
/* After its program ended: the entry that waited takes its place, or the slot is free. */
void engines_settle(struct engines *e, uint64_t now, struct engines_slot *s);

/* engines.c: its keeper's descriptors are registered. */
must_check int engines_follow(struct engines *e, struct engines_slot *s);

/* engines-node.c: passes the list on to the node daemon. */
void engines_upcoming(struct engines *e, const struct message *m);

/* engines-start.c: what its program is, and starting it through a keeper. 0, or why it can't be (256 bytes). */
must_check int engines_start(struct engines *e, struct engines_slot *s, char why[ENGINE_TEXT]);
/* The model's file by its full path, "" without one. */
void engines_file(const struct engines *e, const struct catalogue_entry *entry, char path[PATH_MAX]);
/* Worked out from its entry and file. */
void engines_revise(const struct engines *e, struct engines_slot *s);
