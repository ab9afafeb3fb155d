/* main.c: `berth-worker`: the agent's decisions carried out: connections, runners, signals, identity. One thread, one loop. */
#include "worker/connection.h"
#include "worker/describe.h"
#include "worker/node-watch.h"
#include "worker/engines.h"
#include "worker/sight.h"
#include "worker/options.h"
#include "worker/runners.h"
#include "worker/tunnel-links.h"
#include "worker/watch.h"

#define LOG_ROOM "worker"
#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/folder.h"
#include "base/log.h"
#include "base/text.h"

#include <curl/curl.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#define SIGNAL_EVENT UINT64_MAX
#define NODE_EVENT (UINT64_MAX - 1)
#define SIGHT_EVENT (UINT64_MAX - 2)
#define LAST_WORDS_MS 2000
#define ENGINES_END_MS 15000
#define ENGINES_NODE_MS 1000

struct worker {
        struct options options;
        struct runner_settings settings;
        struct agent agent;
        struct runners runners;
        struct connections *connections;
        struct engines *engines; /* NULL: not yet */
        struct tunnel_links tunnels;
        struct node_watch *node;
        struct sight *sight;
        char socket[256], known_as[ID_TEXT], instance[33];
        char folders[2 * CONFINE_FOLDERS][CONFIG_TEXT]; /* what settings.read and .write point to */
        uint32_t folder_count;
        uint64_t load_at;
        int signals, lock;
        bool told_ready;
};

static struct worker worker; /* one a process; large */

static uint64_t now_ms(void)
{
        return clock_now_ns() / NS_PER_MS;
}

/* What the agent wants done. */

static void do_connect(void *context, uint32_t server, const char *url)
{
        struct worker *w = context;
        int r = connections_begin(w->connections, server, url);

        if (r < 0)
                agent_closed(&w->agent, now_ms(), server, r == -EINVAL ? "no address that can be used" : error_text(r), 60000);
}

static void do_disconnect(void *context, uint32_t server)
{
        connections_end(((struct worker *)context)->connections, server);
}

static int do_send(void *context, uint32_t server, const char *text, size_t bytes)
{
        return connections_send(((struct worker *)context)->connections, server, text, bytes);
}

static int do_start(void *context, uint32_t slot, const struct message *lease, char why[MESSAGE_WHY])
{
        struct worker *w = context;
        const struct agent_link *l = &w->agent.links[w->agent.tasks[slot].server];

        return runners_start(&w->runners, slot, lease, l->url, l->payload_bytes, why);
}

static void do_stop(void *context, uint32_t slot, bool at_once)
{
        runners_stop(&((struct worker *)context)->runners, slot, at_once);
}

static void do_named(void *context, const char *name)
{
        struct worker *w = context;
        char path[PATH_MAX], fresh[PATH_MAX];
        scoped_fd int fd = -1;

        snprintf(path, sizeof path, "%s/identity", w->options.folder);
        snprintf(fresh, sizeof fresh, "%s/identity.new", w->options.folder);
        fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || dprintf(fd, "%s\n", name) < 0 || rename(fresh, path) < 0)
                log_warning("%s: %s; the next start joins as a new worker", path, strerror(errno));
}

static void do_say(void *context, int level, const char *text)
{
        log_line((enum log_level)level, LOG_ROOM, "%s", text);
}

static uint32_t do_chance(void *context)
{
        uint32_t r = 0;

        (void)!getrandom(&r, sizeof r, 0);
        return r;
}

static void do_engine(void *context, uint32_t server, const struct message *words)
{
        struct worker *w = context;

        if (w->engines)
                engines_asked(w->engines, now_ms(), server, words);
}

static void do_look(void *context, uint32_t server, uint32_t span_s)
{
        struct worker *w = context;

        if (w->sight)
                sight_ask(w->sight, now_ms(), server, span_s);
}

static void do_tunnel(void *context, uint32_t server, const char *url, const char *credential)
{
        tunnel_links_want(&((struct worker *)context)->tunnels, now_ms(), server, url, credential);
}

static uint32_t do_requests(void *context)
{
        struct worker *w = context;

        return tunnels_running(w->tunnels.tunnels) + engines_requests(w->engines);
}

static const struct agent_ops ops = {do_connect, do_disconnect, do_send, do_start, do_stop, do_named, do_say, do_chance, do_engine, do_look, do_tunnel, do_requests};

/* What happens to it. */

/* Pools go to engines themselves where they can; not when there are several: their requests add up here, where their places are counted. */
static void choose_road(struct worker *w, uint32_t more)
{
        const struct options *o = &w->options;
        bool reached = !o->far || o->engine_address[0];

        engines_direct(w->engines, o->engine_road == ROAD_DIRECT || (o->engine_road == ROAD_AUTO && reached && agent_connected(&w->agent) + more <= 1));
}

static void on_opened(void *context, uint32_t server)
{
        struct worker *w = context;

        if (server >= AGENT_SERVERS) {
                tunnel_links_opened(&w->tunnels, server);
                return;
        }
        choose_road(w, 1);
        agent_opened(&w->agent, now_ms(), server);
}

static void on_closed(void *context, uint32_t server, const char *why, uint64_t retry_after_ms)
{
        struct worker *w = context;

        if (server >= AGENT_SERVERS) {
                tunnel_links_closed(&w->tunnels, now_ms(), server, why, retry_after_ms);
                return;
        }
        agent_closed(&w->agent, now_ms(), server, why, retry_after_ms);
        choose_road(w, 0);
}

static void on_received(void *context, uint32_t server, const char *text, size_t bytes)
{
        struct worker *w = context;

        if (server >= AGENT_SERVERS) {
                tunnel_links_received(&w->tunnels, now_ms(), server, text, bytes);
                return;
        }
        if (agent_received(&w->agent, now_ms(), server, text, bytes) < 0)
                return;
        if (!w->told_ready && w->agent.links[server].state == AGENT_READY) {
                w->told_ready = true;
                if (w->options.ready_fd >= 0) {
                        dprintf(w->options.ready_fd, "{\"worker\": \"%s\"}\n", w->agent.worker);
                        fd_close_at(&w->options.ready_fd);
                }
        }
}

static void on_writable(void *context, uint32_t server)
{
        struct worker *w = context;

        if (server >= AGENT_SERVERS)
                tunnels_writable(w->tunnels.tunnels, now_ms(), server - AGENT_SERVERS);
        else
                agent_writable(&w->agent, now_ms(), server);
}

static void on_event(void *context, uint64_t number)
{
        struct worker *w = context;
        struct signalfd_siginfo info;

        if (number >= ENGINES_EVENTS && number < ENGINES_EVENTS_END) {
                engines_event(w->engines, now_ms(), number);
                return;
        }
        if (number >= TUNNEL_EVENTS && number < TUNNEL_EVENTS_END) {
                tunnels_event(w->tunnels.tunnels, now_ms(), (int)(number - TUNNEL_EVENTS));
                return;
        }
        if (number == NODE_EVENT) {
                node_watch_event(w->node, now_ms());
                return;
        }
        if (number == SIGHT_EVENT) {
                sight_event(w->sight, now_ms());
                return;
        }
        if (number != SIGNAL_EVENT) {
                runners_event(&w->runners, number);
                return;
        }
        while (read(w->signals, &info, sizeof info) == sizeof info) {
                log_notice("signal %u (%s)", info.ssi_signo, strsignal((int)info.ssi_signo));
                agent_drain(&w->agent, now_ms());
                tunnels_drain(w->tunnels.tunnels);
        }
}

static void on_said(void *context, uint32_t slot, json_t *words)
{
        agent_said(&((struct worker *)context)->agent, now_ms(), slot, words);
}

static void on_ended(void *context, uint32_t slot, const char *how)
{
        struct worker *w = context;

        agent_ended(&w->agent, now_ms(), slot, how);
}

/* How often the node daemon is asked: as some server wants it, and for the engines whose memory may be moved. */
static uint64_t node_every(const struct worker *w)
{
        uint64_t every = agent_node_every(&w->agent);

        return engines_gated(w->engines) && (!every || every > ENGINES_NODE_MS) ? ENGINES_NODE_MS : every;
}

static uint64_t on_tick(void *context)
{
        struct worker *w = context;
        uint64_t now = now_ms(), next, due;

        if (now >= w->load_at) {
                agent_load(&w->agent, describe_load(agent_running(&w->agent)));
                w->load_at = now + 5000;
        }
        next = tunnel_links_tick(&w->tunnels, now);
        due = engines_tick(w->engines, now);
        due = next < due ? next : due;
        next = node_watch_tick(w->node, now, node_every(w));
        due = next < due ? next : due;
        next = sight_tick(w->sight, now);
        due = next < due ? next : due;
        next = agent_tick(&w->agent, now);
        next = due < next ? due : next;
        return next == UINT64_MAX ? UINT64_MAX : next > now ? next - now : 0;
}

static void on_engines(void *context, json_t *list)
{
        agent_changed(&((struct worker *)context)->agent, now_ms(), json_pack("{s:o}", "engines", list));
}

static void on_node(void *context, json_t *node)
{
        struct worker *w = context;

        engines_node(w->engines, node);
        agent_node(&w->agent, node);
}

static void on_seen(void *context, uint32_t server, const char *report, size_t bytes)
{
        agent_seen(&((struct worker *)context)->agent, now_ms(), server, report, bytes);
}

static void on_prefetch(void *context, const char *job, uint32_t milliseconds)
{
        node_watch_prefetch(((struct worker *)context)->node, job, milliseconds);
}

static int open_engines(struct worker *w)
{
        const struct options *o = &w->options;
        const struct engines_options engines = {.epoll = w->runners.epoll, .catalogue = o->catalogue, .folder = o->folder,
                                                .address = o->engine_address[0] ? o->engine_address : "127.0.0.1", .berth = w->settings.confine.berth, .log_bytes = o->engine_log,
                                                .changed = on_engines, .prefetch = on_prefetch, .context = w};

        return engines_open(&engines, now_ms(), &w->engines);
}

/* Its own folder, used by this worker alone; what an earlier one left there goes. */
static int take_folder(struct worker *w)
{
        char path[PATH_MAX];
        struct dirent *e;
        ssize_t n;
        DIR *d;
        int fd, r;

        /* Tasks of another user must get through to their own folders; nothing else here can be listed or read by them. */
        r = folder_make(w->options.folder, 0755, 0711);
        if (r < 0)
                return r;
        snprintf(path, sizeof path, "%s/lock", w->options.folder);
        w->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (w->lock < 0)
                return -errno;
        if (flock(w->lock, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? -E_RUNNING : -errno;
        snprintf(path, sizeof path, "%s/work", w->options.folder);
        d = opendir(path);
        while (d && (e = readdir(d)))
                if (e->d_name[0] != '.') {
                        snprintf(path, sizeof path, "%s/work/%s", w->options.folder, e->d_name);
                        (void)watch_remove(path);
                }
        if (d)
                closedir(d);
        snprintf(path, sizeof path, "%s/identity", w->options.folder);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
                n = read(fd, w->known_as, sizeof w->known_as - 1);
                w->known_as[n > 0 ? n : 0] = 0;
                w->known_as[strcspn(w->known_as, "\n")] = 0;
                close(fd);
        }
        return 0;
}

struct adding {
        struct worker *w;
        const char **list;
        size_t count;
};

static int add_folder(void *context, const char *part)
{
        struct adding *a = context;
        char *copy = a->w->folders[a->w->folder_count];

        if (a->count == CONFINE_FOLDERS)
                return -ENOSPC;
        a->w->folder_count++;
        snprintf(copy, CONFIG_TEXT, "%s", part);
        a->list[a->count++] = copy;
        return 0;
}

/* Where the machine lets it, the kernel holds the memory of tasks. */
static void find_groups(struct worker *w)
{
        scoped_fd int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
        char self[8192] = "", why[200];
        ssize_t n = fd < 0 ? -1 : read(fd, self, sizeof self - 1);

        self[n > 0 ? n : 0] = '\0';
        if (w->settings.confine.mode != CONFINE_OFF && group_find("/sys/fs/cgroup", self, &w->settings.groups, why) < 0)
                log_debug("no control groups for tasks: %s", why);
}

static void prepare_settings(struct worker *w)
{
        const struct options *o = &w->options;
        uint64_t memory = describe_memory();

        w->settings.folder = o->folder;
        w->settings.most = (struct spec_limits){.wall_ms = o->wall / NS_PER_MS, .cpu_ms = o->cpu / NS_PER_MS, .disk_bytes = o->disk, .processes = o->processes,
                                                .memory_bytes = o->memory ? o->memory : memory / 5 * 4 / o->slot_count};
        w->settings.network = o->network;
        w->settings.token = o->token;
        w->settings.pin = o->pin[0] ? o->pin : NULL;
        w->settings.ca = o->ca[0] ? o->ca : NULL;
        w->settings.socket = node_link_find(w->socket, sizeof w->socket) == 0 ? w->socket : NULL;
        w->settings.cache_bytes = o->cache;
        w->settings.log_bytes = o->log_bytes;
        w->settings.log_rate = o->log_rate;
        w->settings.grace_ms = o->grace / NS_PER_MS;
        w->settings.hang_after_ns = o->hang_after;
        w->settings.end_hangs = o->on_hang == 1;
        options_each(o->read, add_folder, &(struct adding){w, w->settings.read, 0});
        options_each(o->write, add_folder, &(struct adding){w, w->settings.write, 0});
}

static int watch_signals(struct worker *w)
{
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = SIGNAL_EVENT};
        sigset_t set;

        signal(SIGPIPE, SIG_IGN);
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigprocmask(SIG_BLOCK, &set, NULL);
        w->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return w->signals < 0 || epoll_ctl(w->runners.epoll, EPOLL_CTL_ADD, w->signals, &event) < 0 ? -errno : 0;
}

static int open_all(struct worker *w)
{
        const struct options *o = &w->options;
        const struct agent_settings settings = {.slots = o->slot_count, .drain_ms = o->drain / NS_PER_MS, .bye_ms = 5000, .hello_ms = 15000, .instance = w->instance,
                                                .worker = w->known_as, .secure = strncmp(o->urls[0], "wss://", 6) ? NULL : "wss"};
        const struct connections_options connections = {.token = o->token, .pin = w->settings.pin, .ca = w->settings.ca, .opened = on_opened, .closed = on_closed,
                                                        .received = on_received, .writable = on_writable, .event = on_event, .tick = on_tick, .context = w};
        struct connections_options with_epoll = connections;
        uint8_t random[16];
        int r;

        if (getrandom(random, sizeof random, 0) != sizeof random)
                return -EIO;
        for (size_t i = 0; i < sizeof random; i++)
                snprintf(w->instance + 2 * i, 3, "%02x", random[i]);
        w->runners.said = on_said;
        w->runners.ended = on_ended;
        w->runners.context = w;
        r = runners_open(&w->runners, &w->settings);
        r = r < 0 ? r : watch_signals(w);
        if (r < 0)
                return r;
        with_epoll.epoll = w->runners.epoll;
        agent_init(&w->agent, &settings, describe(o, &w->settings.confine), &ops, w);
        r = node_watch_open(&(struct node_watch_options){.epoll = w->runners.epoll, .number = NODE_EVENT, .devices = json_object_get(w->agent.about, "devices"), .report = on_node,
                                                         .context = w}, &w->node);
        if (r < 0)
                return r;
        r = sight_open(&(struct sight_options){.epoll = w->runners.epoll, .number = SIGHT_EVENT, .depth = (enum sight_depth)o->show, .seen = on_seen, .context = w}, &w->sight);
        if (r < 0)
                return r;
        r = open_engines(w);
        if (r < 0) {
                log_error("engines, %s: %s", o->catalogue, error_text(r));
                return r;
        }
        r = tunnel_links_open(&w->tunnels, w->runners.epoll, w->engines);
        r = r < 0 ? r : connections_open(&with_epoll, &w->connections);
        w->tunnels.connections = w->connections;
        for (uint32_t i = 0; r >= 0 && i < o->url_count; i++)
                r = agent_add(&w->agent, now_ms(), o->urls[i], false) == -ENOSPC ? -ENOSPC : 0;
        return r;
}

int main(int argc, char **argv)
{
        char message[CONFIG_MESSAGE] = "", why[SPEC_MESSAGE] = "";
        struct worker *w = &worker;
        uint64_t until;
        int r;

        r = options_read(argc, argv, &w->options, message);
        if (r < 0) {
                log_error("%s", message);
                return 2;
        }
        log_set_level((enum log_level)w->options.log_level);
        /* The key stays ours: no other process of this user may look into this one, nor a core file be left. */
        prctl(PR_SET_DUMPABLE, 0);
        r = take_folder(w);
        if (r < 0) {
                log_error("%s: %s", w->options.folder, r == -E_RUNNING ? "another worker uses this folder; give each its --folder" : error_text(r));
                return 1;
        }
        r = confine_find((enum confine_mode)w->options.confine, &w->settings.confine, why);
        if (r < 0) {
                log_error("confinement: %s", why);
                return 1;
        }
        if (why[0])
                log_warning("%s", why);
        find_groups(w);
        log_notice("tasks are confined by %s%s", w->settings.confine.words, w->settings.groups.version ? "; their memory is held by control groups" : "");
        prepare_settings(w);
        curl_global_init(CURL_GLOBAL_DEFAULT);
        r = open_all(w);
        if (r < 0) {
                log_error("can't start: %s", error_text(r));
                return 1;
        }
        log_notice("%u slots, folder %s", w->options.slot_count, w->options.folder);
        while (r >= 0 && !agent_is_over(&w->agent))
                r = connections_turn(w->connections);
        engines_end(w->engines, now_ms());
        for (until = now_ms() + ENGINES_END_MS; r >= 0 && engines_alive(w->engines) && now_ms() < until;)
                r = connections_turn(w->connections);
        /* The last words leave. */
        for (until = now_ms() + LAST_WORDS_MS; r >= 0 && connections_waiting(w->connections) && now_ms() < until;)
                r = connections_turn(w->connections);
        tunnel_links_close(&w->tunnels);
        connections_close(w->connections);
        engines_close(w->engines);
        node_watch_close(w->node);
        sight_close(w->sight);
        agent_done(&w->agent);
        if (r < 0)
                log_error("the loop ended: %s", error_text(r));
        else
                log_notice("ended: %llu tasks done, %llu failed", (unsigned long long)w->agent.counters.done, (unsigned long long)w->agent.counters.failed);
        return r < 0;
}
