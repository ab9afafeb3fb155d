/* test-top.c: the picture of `berth top`: golden text, sizes, cursor, rates, residents in the bar, the machine, what can't be measured. */
#include "base/strbuf.h"
#include "base/text.h"
#include "cli/test-snapshot.h"
#include "cli/top-frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct frame frame;

static const char golden[] = "berth top  12:00:00  up 1.2 min  arena 384 MiB lent of 1.0 GiB  berthd 0.1.0\n"
                             "0 Berth software device software  3 programs, 2 waiting  longest wait 3.00 s\n"
                             "  [############################%...    ] 208 MiB of 230 MiB room, 256 MiB\n"
                             "  use, memory in use, power, temperature unavailable\n"
                             "  out 200 MiB/s (1.2 GiB)  in 200 MiB/s (1000 MiB)  swapped 380 MiB  switches 12\n"
                             "  DV     PID NAME         PRIO  STATE      ON DEV/OWNED  MOVE/S WAIT, SLICE\n"
                             "#  0    4001 train        norm  running      200M/200M        0 left 1.50 s\n"
                             "   0    4002 \"; rm -rf /  batch waiting        0B/190M    50.0M 1. memory 2.00 s\n"
                             "%  0    4003 a-name-that- inter stuck       10.0M/190M      ... 2. queue 1.00 s\n"
                             "\n"
                             "\n"
                             "\n"
                             "\n"
                             "\n"
                             "\n"
                             "\n"
                             "\n"
                             "\n"
                             "\n"
                             "\n"
                             "\n"
                             "\n"
                             "\n"
                             "q leave  h help  Tab processes  s sort (now: device)  Enter details  / filter\n";

static struct top_world of(const struct snapshot *now, const struct snapshot *before)
{
        return (struct top_world){.now = now, .before = before, .hertz = 100, .page = 4096, .status = {.uid = UINT32_MAX}};
}

static char *picture_of(const struct top_world *world, struct top_view *view, unsigned int width, unsigned int height)
{
        struct strbuf b = {0};

        top_frame(world, view, width, height, &frame);
        top_text(&frame, &b);
        assert_false(b.failed);
        return b.text;
}

static char *picture(const struct snapshot *now, const struct snapshot *before, struct top_view *view, unsigned int width, unsigned int height)
{
        struct top_world world = of(now, before);

        return picture_of(&world, view, width, height);
}

static void test_golden(void **state)
{
        struct snapshot s = test_world(), before = s;
        struct wire_STATUS_DEVICE device = s.devices[0];
        struct wire_STATUS_CLIENT clients[3];
        struct top_view view = {.clock = "12:00:00"};
        char *text;

        /* Two seconds earlier: the device had moved 400 MiB less each way, the first client nothing, the second 100 MiB
         * less. */
        memcpy(clients, s.clients, sizeof clients);
        before.devices = &device;
        before.clients = clients;
        before.taken_ns -= 2000000000;
        device.out_bytes -= 400 << 20;
        device.in_bytes -= 400 << 20;
        clients[1].out_bytes -= 100 << 20;
        clients[2].pid++;
        text = picture(&s, &before, &view, 80, 24);
        assert_string_equal(text, golden);
        free(text);
}

static void test_sizes(void **state)
{
        struct snapshot s = test_world();

        for (unsigned int width = 0; width < 500; width += 37)
                for (unsigned int height = 0; height < 500; height += 61) {
                        struct top_view view = {.chosen = 1000};

                        struct top_world world = of(&s, NULL);

                        top_frame(&world, &view, width, height, &frame);
                        assert_in_range(frame.width, TOP_WIDTH_MIN, TOP_WIDTH_MAX);
                        assert_in_range(frame.height, TOP_HEIGHT_MIN, TOP_HEIGHT_MAX);
                        assert_int_equal(view.chosen, 2);
                        for (unsigned int row = 0; row < frame.height; row++)
                                for (unsigned int column = 0; column < frame.width; column++) {
                                        assert_in_range(frame.cells[row][column].c, 32, 126);
                                        assert_in_range(frame.cells[row][column].style, 0, STYLE_N - 1);
                                }
                }
}

static void test_nothing_known(void **state)
{
        struct snapshot empty = {0};
        struct top_view view = {.trouble = "no daemon answers"};
        char *text = picture(NULL, NULL, &view, 80, 24);

        assert_non_null(strstr(text, "no daemon answers"));
        free(text);
        view.trouble = NULL;
        text = picture(&empty, NULL, &view, 80, 24);
        assert_non_null(strstr(text, "no device"));
        assert_non_null(strstr(text, "no program yet"));
        free(text);
}

static void test_sort_and_scroll(void **state)
{
        struct wire_STATUS_CLIENT many[60] = {0};
        struct snapshot s = test_world();
        struct top_view view = {.sort = TOP_BY_MEMORY, .chosen = 59};
        char *text;

        for (unsigned int i = 0; i < 60; i++)
                many[i] = (struct wire_STATUS_CLIENT){
                        .pid = 1000 + i, .client = i, .movable_bytes = i << 20, .name = "p"};
        s.clients = many;
        s.client_count = 60;
        text = picture(&s, NULL, &view, 80, 24);
        assert_non_null(strstr(text, " 1000 "));
        assert_null(strstr(text, " 1059 "));
        free(text);
        view.chosen = 0;
        view.moved = true;
        text = picture(&s, NULL, &view, 80, 24);
        assert_int_equal(view.first, 0);
        assert_true(strstr(text, " 1059 ") < strstr(text, " 1058 "));
        free(text);
}

/* Many devices never push the list from the screen. */
static void test_many_devices(void **state)
{
        struct wire_STATUS_DEVICE devices[64];
        struct snapshot s = test_world();
        struct top_view view = {0};
        char *text;

        for (unsigned int i = 0; i < 64; i++) {
                devices[i] = s.devices[0];
                devices[i].index = i;
        }
        s.devices = devices;
        s.device_count = 64;
        text = picture(&s, NULL, &view, 80, 24);
        assert_non_null(strstr(text, "more devices"));
        assert_non_null(strstr(text, " 4003 "));
        free(text);
}

static void test_bar(void **state)
{
        struct snapshot s = test_world();
        struct top_view view = {0};
        unsigned int counts[STYLE_N] = {0};

        struct top_world world = of(&s, NULL);

        top_frame(&world, &view, 80, 24, &frame);
        for (unsigned int column = 0; column < 40; column++)
                counts[frame.cells[2][column].style]++;
        /* 36 columns for 256 MiB: 200 MiB are 28, 10 MiB are 1, room ends at 32. */
        assert_int_equal(counts[STYLE_SHADE], 28);
        assert_int_equal(counts[STYLE_SHADE + 1], 0);
        assert_int_equal(counts[STYLE_SHADE + 2], 1);
        assert_int_equal(counts[STYLE_FREE], 3);
}

static void test_help(void **state)
{
        struct snapshot s = test_world();
        struct top_view view = {.mode = TOP_HELP};
        char *text = picture(&s, NULL, &view, 80, 24);

        assert_non_null(strstr(text, "PgUp"));
        free(text);
}

/* --- with a machine --- */

static struct machine_look look;
static struct machine_rates rates;

static struct machine_process process(int32_t pid, int32_t parent, const char *name, uint64_t ticks, uint64_t pages)
{
        struct machine_process p = {.stat = {.pid = pid, .parent = parent, .ticks = ticks, .resident_pages = pages, .state = 'S', .threads = 1, .start_ticks = 9},
                                    .uid = 4000001, .io_error = -EACCES, .use = {false, MACHINE_UNKNOWN, MACHINE_UNKNOWN}};

        snprintf(p.stat.name, sizeof p.stat.name, "%s", name);
        return p;
}

static struct machine_process list_now[5], list_before[5];
static struct machine_processes now_processes, before_processes;

static struct top_world whole(const struct snapshot *s)
{
        struct top_world w = of(s, NULL);

        memset(&look, 0, sizeof look);
        look.memory = (struct machine_memory){.total = 16 * GIB, .available = 12 * GIB, .free = 4 * GIB, .buffers = 0, .cached = 8 * GIB, .shared = 0,
                                              .swap_total = 4 * GIB, .swap_free = 3 * GIB};
        look.pressure_error[MACHINE_PRESSURE_MEMORY] = -ENOENT;
        look.pressure[MACHINE_PRESSURE_IO].some_permille = 500;
        look.network_error = -EACCES;
        look.disk_error = -ENODEV;
        look.load = (struct machine_load){{52, 104, 1234}, 3, 512};
        look.heat_millicelsius = 61500;
        look.stat.running = 3;
        look.vm.oom_kills = 2;
        machine_rates(&look, NULL, &rates);
        rates.user = 250;
        rates.system = 150;
        rates.stolen = rates.wait = 0;
        rates.busy = 400;
        list_now[0] = process(1, 0, "init", 100, 1000);
        list_now[1] = process(4001, 1, "train", 5150, 50000);
        list_now[2] = process(4002, 4001, "worker", 300, 100);
        list_now[3] = process(5000, 1, "\033[31mred", 10, 70000);
        list_now[4] = process(5001, 4002, "leaf", 10, 10);
        memcpy(list_before, list_now, sizeof list_now);
        list_before[1].stat.ticks -= 250;
        list_before[2].stat.ticks -= 50;
        now_processes = (struct machine_processes){.taken_ns = UINT64_C(3000000000), .count = 5, .list = list_now};
        before_processes = (struct machine_processes){.taken_ns = UINT64_C(1000000000), .count = 5, .list = list_before};
        w.look = &look;
        w.rates = &rates;
        w.processes = &now_processes;
        w.processes_before = &before_processes;
        return w;
}

static void test_machine(void **state)
{
        struct snapshot s = test_world();
        struct top_world w = whole(&s);
        struct top_view view = {0};
        char *text = picture_of(&w, &view, 80, 24);

        assert_non_null(strstr(text, "CPU[||||||||||||||               40.0%] Mem[|||||||||4.0G/16.0G] swap 1.0G/4.0G\n"));
        assert_non_null(strstr(text, "stalled cpu 0.0% io 50.0%  load 0.52 1.04 12.34  61 C  2 OOM kills  3 run\n"));
        assert_non_null(strstr(text, "net unavailable  disk unavailable: the kernel does not tell\n"));
        assert_non_null(strstr(text, "  use, memory in use, power, temperature unavailable\n"));
        free(text);
        look.stat_error = -EACCES;
        look.memory_error = -EINVAL;
        text = picture_of(&w, &view, 120, 24);
        assert_non_null(strstr(text, "CPU unavailable: not permitted"));
        assert_non_null(strstr(text, "Mem unavailable: not in the form that is known"));
        free(text);
}

/* A process on the device has both sides in its line; names are clean, of what is not permitted there is "-". */
static void test_processes(void **state)
{
        struct snapshot s = test_world();
        struct top_world w = whole(&s);
        struct top_view view = {.list = TOP_PROCESSES, .sort = TOP_BY_CPU};
        char *text = picture_of(&w, &view, 80, 24);
        const char *train = strstr(text, "   4001 4000001    0 S   125   195M      -      -   200M      - train\n");
        const char *worker = strstr(text, "   4002 4000001    0 S  25.0   400K      -      -     0B      - \"; rm -rf /");

        assert_non_null(train);
        assert_non_null(worker);
        assert_true(train < worker);
        assert_non_null(strstr(text, " ?[31mred"));
        assert_int_equal(view.under.pid, 4001);
        assert_int_equal(view.under.start_ticks, 9);
        free(text);
        view.sort = TOP_BY_RESIDENT;
        view.moved = true;
        text = picture_of(&w, &view, 80, 24);
        assert_int_equal(view.under.pid, 5000);
        free(text);
}

static void test_cursor_stays_with_its_process(void **state)
{
        struct snapshot s = test_world();
        struct top_world w = whole(&s);
        struct top_view view = {.list = TOP_PROCESSES, .sort = TOP_BY_CPU};

        top_frame(&w, &view, 80, 24, &frame);
        assert_int_equal(view.under.pid, 4001);
        view.sort = TOP_BY_PID;
        top_frame(&w, &view, 80, 24, &frame);
        assert_int_equal(view.under.pid, 4001);
        assert_int_equal(view.chosen, 1);
        assert_int_equal(top_key(&view, 'j'), TOP_GO_ON);
        top_frame(&w, &view, 80, 24, &frame);
        assert_int_equal(view.under.pid, 4002);
        /* It ended: the line is the next one's. */
        now_processes.count = 2;
        top_frame(&w, &view, 80, 24, &frame);
        assert_int_equal(view.under.pid, 4001);
}

static void test_tree(void **state)
{
        struct snapshot s = test_world();
        struct top_world w = whole(&s);
        struct top_view view = {.list = TOP_PROCESSES, .sort = TOP_BY_PID, .tree = true};
        static const uint32_t pids[] = {1, 4001, 4002, 5001, 5000}, depths[] = {0, 1, 2, 3, 1};
        struct top_row *rows = NULL;
        size_t count = 0;

        assert_int_equal(top_rows(&w, &view, &rows, &count), 0);
        assert_int_equal(count, 5);
        for (size_t i = 0; i < 5; i++) {
                assert_int_equal(rows[i].pid, pids[i]);
                assert_int_equal(rows[i].depth, depths[i]);
        }
        free(rows);
        /* Parents in a circle: everybody is still there, once. */
        list_now[1].stat.parent = 5001;
        list_now[3].stat.parent = 5000;
        assert_int_equal(top_rows(&w, &view, &rows, &count), 0);
        assert_int_equal(count, 5);
        for (size_t i = 0; i < 5; i++)
                for (size_t k = 0; k < i; k++)
                        assert_int_not_equal(rows[i].pid, rows[k].pid);
        free(rows);
}

static void test_filter(void **state)
{
        static const struct {
                const char *filter;
                size_t count;
        } cases[] = {{"TRAIN", 1}, {"l", 1}, {"4002", 1}, {"400", 0}, {"4000001", 5}, {"zebra", 0}, {"", 5}};
        struct snapshot s = test_world();
        struct top_world w = whole(&s);

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct top_view view = {.list = TOP_PROCESSES, .tree = true};
                struct top_row *rows = NULL;
                size_t count = 99;

                snprintf(view.filter, sizeof view.filter, "%s", cases[i].filter);
                assert_int_equal(top_rows(&w, &view, &rows, &count), 0);
                assert_int_equal(count, cases[i].count);
                free(rows);
        }
}

static void type(struct top_view *view, const char *keys)
{
        for (; *keys; keys++)
                assert_int_equal(top_key(view, *keys), TOP_GO_ON);
}

/* Nothing is done to anybody without a yes, and to nobody when there is nobody. */
static void test_keys(void **state)
{
        struct top_view view = {.under = {.pid = 77, .start_ticks = 5, .nice = 3, .name = "p"}};

        type(&view, "xk");
        assert_int_equal(view.mode, TOP_CONFIRM);
        type(&view, "n");
        assert_int_equal(view.mode, TOP_WATCH);
        type(&view, "xk");
        view.under.pid = 78; /* the order changed meanwhile */
        assert_int_equal(top_key(&view, 'y'), TOP_DO_SIGNAL);
        assert_int_equal(view.target.pid, 77);
        assert_int_equal(view.signal, 9);
        assert_string_equal(top_signal_name(view.signal), "KILL");
        type(&view, "xz");
        assert_int_equal(view.mode, TOP_WATCH);

        type(&view, "N+++");
        assert_int_equal(view.nice, 6);
        assert_int_equal(top_key(&view, TOP_KEY_ENTER), TOP_DO_NICE);
        type(&view, "N");
        assert_int_equal(top_key(&view, TOP_KEY_ENTER), TOP_GO_ON); /* nothing changed */
        view.target.nice = 19;
        view.under.nice = 19;
        type(&view, "N++");
        assert_int_equal(view.nice, 19);
        assert_int_equal(top_key(&view, TOP_KEY_ESCAPE), TOP_GO_ON);

        view.under.pid = 0;
        type(&view, "xN");
        assert_int_equal(view.mode, TOP_WATCH);

        type(&view, "/qx");
        assert_string_equal(view.filter, "qx");
        assert_int_equal(top_key(&view, TOP_KEY_BACK), TOP_GO_ON);
        assert_int_equal(top_key(&view, TOP_KEY_ENTER), TOP_GO_ON);
        assert_string_equal(view.filter, "q");
        for (int i = 0; i < 100; i++)
                type(&view, i ? "a" : "/");
        assert_int_equal(strlen(view.filter), sizeof view.filter - 1);
        assert_int_equal(top_key(&view, TOP_KEY_ESCAPE), TOP_GO_ON);
        assert_string_equal(view.filter, "");
        assert_int_equal(top_key(&view, 'q'), TOP_LEAVE);
        type(&view, "h");
        assert_int_equal(view.mode, TOP_HELP);
        for (int key = -5; key < 0x1010; key++)
                (void)top_key(&view, key);
}

static void test_detail(void **state)
{
        struct snapshot s = test_world();
        struct top_world w = whole(&s);
        struct top_view view = {.mode = TOP_DETAIL, .target = {.pid = 4001, .start_ticks = 9, .name = "train"}};
        char *text;

        w.command = "python3 train.py";
        w.probes_why = "no probes run";
        text = picture_of(&w, &view, 80, 24);
        assert_non_null(strstr(text, "command    python3 train.py\n"));
        assert_non_null(strstr(text, "cpu        125.0% of a processor"));
        assert_non_null(strstr(text, "storage    unavailable: not permitted"));
        assert_non_null(strstr(text, "on device 200 MiB of 200 MiB owned  peak 200 MiB"));
        assert_non_null(strstr(text, "files  unavailable: no probes run"));
        free(text);
        view.target.start_ticks = 8;
        text = picture_of(&w, &view, 80, 24);
        assert_non_null(strstr(text, "it has ended"));
        free(text);
}

/* What probes counted of a process: its calls of the driver, its files with the most active first and the ends of long names, and how it went. */
static void test_detail_of_probes(void **state)
{
        struct probes_snapshot *probes scoped_free = calloc(1, probes_bytes(1, 3, 3, 0, 0));
        scoped(history_set_free) struct history_set *set = NULL;
        struct snapshot s = test_world();
        struct top_world w = whole(&s);
        struct top_view view = {.mode = TOP_DETAIL, .target = {.pid = 4001, .start_ticks = 9, .name = "train"}};
        struct probes_file *files;
        struct probes_use *uses;
        char *text;

        (void)state;
        assert_non_null(probes);
        *probes = (struct probes_snapshot){.processes = 1, .files = 3, .uses = 3, .window_ns = 2000000000};
        probes->families[PROBES_FILES] = (struct probes_family){.state = PROBES_ATTACHED, .rung = PROBES_SYS_EXIT};
        probes->families[PROBES_GPU] = (struct probes_family){.state = PROBES_ATTACHED, .rung = PROBES_UPROBE, .window_permille = 1000};
        *(struct probes_process *)(uintptr_t)probes_processes(probes) = (struct probes_process){
                .pid = 4001, .alive = 1, .gpu_now = {.launches = 500, .in_bytes = 4 << 20}, .gpu_total = {.launches = 9000, .graphs = 3, .allocs = 7, .alloc_bytes = 1 << 30}};
        files = (struct probes_file *)(uintptr_t)probes_files(probes);
        uses = (struct probes_use *)(uintptr_t)probes_uses(probes);
        strcpy(files[0].name, "/quiet");
        memset(files[1].name, 'd', 120);
        strcpy(files[1].name + 120, "/busy\x1b");
        files[1].flags = PROBES_FILE_DELETED;
        uses[0] = (struct probes_use){.file = 0, .total = {.opens = 2, .reads = 1, .read_bytes = 1 << 20}};
        uses[1] = (struct probes_use){.file = 1, .now = {.writes = 1, .write_bytes = 8 << 10}, .total = {.writes = 1, .write_bytes = 8 << 10}};
        uses[2] = (struct probes_use){.file = 2};
        w.probes = probes;
        assert_int_equal(history_set_new(history_usual, HISTORY_USUAL_LEVELS, 8, &set), 0);
        w.history = set;
        w.history_ns = UINT64_C(1000) * 1000000000;
        for (uint64_t i = 900; i < 1000; i++)
                assert_int_equal(history_set_put(set, TOP_TARGET_CPU, i * 1000000000, 1250), 0);
        text = picture_of(&w, &view, 100, 40);
        assert_non_null(strstr(text, "driver     launches 250/s (9000)  graphs 0/s (3)  waits 0/s\n"));
        assert_non_null(strstr(text, "copies     in 2.0M/s (0 B)  out 0/s (0 B)  other 0/s (0 B)  asked for 1.0 GiB\n"));
        assert_non_null(strstr(text, "processor up to 125%"));
        assert_non_null(strstr(text, "counted by sys_exit since the probe began, 2 of them, most active first\n"));
        assert_non_null(strstr(text, "/busy\\x1b"));
        assert_true(strstr(text, "/busy") < strstr(text, "/quiet"));
        free(text);
        /* Without room for plots there are files. */
        text = picture_of(&w, &view, 80, 24);
        assert_non_null(strstr(text, "/quiet"));
        free(text);
}

/* Known zeros have a dot, unknown times are blank; every picture of every mode is clean and within its edges. */
static void test_plots_and_modes(void **state)
{
        static const enum top_mode modes[] = {TOP_WATCH, TOP_HELP, TOP_FILTER, TOP_DETAIL, TOP_SIGNAL, TOP_NICE, TOP_CONFIRM};
        scoped(history_set_free) struct history_set *set = NULL;
        struct snapshot s = test_world();
        struct top_world w = whole(&s);
        unsigned int dots = 0;

        assert_int_equal(history_set_new(history_usual, HISTORY_USUAL_LEVELS, 16, &set), 0);
        for (uint64_t i = 0; i < 10; i++)
                assert_int_equal(history_set_put(set, "cpu.busy", (1000 + i) * UINT64_C(1000000000), 0), 0);
        w.history = set;
        w.history_ns = 1009 * UINT64_C(1000000000);
        for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
                for (int unicode = 0; unicode < 2; unicode++) {
                        struct top_view view = {.mode = modes[i], .unicode = unicode, .subject = (unsigned int)i, .processors = true,
                                                .target = {.pid = 4001, .start_ticks = 9, .name = "train"}};

                        top_frame(&w, &view, 120, 50, &frame);
                        for (unsigned int row = 0; row < frame.height; row++)
                                for (unsigned int column = 0; column < frame.width; column++) {
                                        uint16_t c = frame.cells[row][column].c;

                                        assert_true((c >= 32 && c < 127) || (unicode && c >= 0x2800 && c < 0x2900));
                                        if (modes[i] == TOP_WATCH && c >= 0x2800)
                                                dots += (unsigned int)__builtin_popcount(c - 0x2800u);
                                }
                }
        assert_int_equal(dots, 5); /* of two seconds each */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_golden),        cmocka_unit_test(test_sizes),
                cmocka_unit_test(test_nothing_known), cmocka_unit_test(test_sort_and_scroll),
                cmocka_unit_test(test_many_devices),  cmocka_unit_test(test_bar),
                cmocka_unit_test(test_help),          cmocka_unit_test(test_machine),
                cmocka_unit_test(test_processes),     cmocka_unit_test(test_cursor_stays_with_its_process),
                cmocka_unit_test(test_tree),          cmocka_unit_test(test_filter),
                cmocka_unit_test(test_keys),          cmocka_unit_test(test_detail),
                cmocka_unit_test(test_detail_of_probes),
                cmocka_unit_test(test_plots_and_modes),
        };

        return cmocka_run_group_tests_name("cli-top", tests, NULL, NULL);
}
