/* test-top.c: the picture of `berth top`: golden text, sizes, cursor, rates, residents in the bar. */
#include "base/strbuf.h"
#include "cli/test-snapshot.h"
#include "cli/top-frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct frame frame;

static const char golden[] = "berth top  12:00:00  up 1.2 min  arena 384 MiB lent of 1.0 GiB  berthd 0.1.0 pid\n"
                             "0 Berth software device software  3 programs, 2 waiting\n"
                             "  [############################%...    ] 208 MiB of 230 MiB room, 256 MiB\n"
                             "  out 200 MiB/s (1.2 GiB)  in 200 MiB/s (1000 MiB)  swapped 380 MiB  switches 12\n"
                             "  longest wait 3.00 s of at most 30.00 s\n"
                             "  DV     PID NAME         PRIO  STATE      ON DEV/OWNED  MOVED/S WAIT, SLICE\n"
                             "#  0    4001 train        norm  running      200M/200M        0B left 1.50 s\n"
                             "   0    4002 \"; rm -rf /  batch waiting        0B/190M     50.0M 1. memory 2.00\n"
                             "%  0    4003 a-name-that- inter stuck       10.0M/190M       ... 2. queue 1.00 s\n"
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
                             "q leave  h help  Up/Down choose  d m w v p sort (now: device)  +/- interval\n";

static char *picture(const struct snapshot *now, const struct snapshot *before, struct top_view *view,
                     unsigned int width, unsigned int height)
{
        struct strbuf b = {0};

        top_frame(now, before, view, width, height, &frame);
        top_text(&frame, &b);
        assert_false(b.failed);
        return b.text;
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

                        top_frame(&s, NULL, &view, width, height, &frame);
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

        top_frame(&s, NULL, &view, 80, 24, &frame);
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
        struct top_view view = {.help = true};
        char *text = picture(&s, NULL, &view, 80, 24);

        assert_non_null(strstr(text, "PgUp"));
        free(text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_golden),        cmocka_unit_test(test_sizes),
                cmocka_unit_test(test_nothing_known), cmocka_unit_test(test_sort_and_scroll),
                cmocka_unit_test(test_many_devices),  cmocka_unit_test(test_bar),
                cmocka_unit_test(test_help),
        };

        return cmocka_run_group_tests_name("cli-top", tests, NULL, NULL);
}
