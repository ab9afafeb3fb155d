/* test-snapshot.h: the small world that the tests of status and top show: one full device, three programs, one with a
 * hostile name. */
#pragma once

#include "cli/snapshot.h"

/* Devices and clients lie in static storage of the includer: never snapshot_done it. */
static inline struct snapshot test_world(void)
{
        static struct wire_STATUS_DEVICE devices[1];
        static struct wire_STATUS_CLIENT clients[3];
        const uint64_t mib = 1 << 20, s = 1000000000;

        devices[0] = (struct wire_STATUS_DEVICE){.uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
                                                 .total_bytes = 256 * mib,
                                                 .room_bytes = 230 * mib,
                                                 .granted_bytes = 208 * mib,
                                                 .swapped_bytes = 380 * mib,
                                                 .out_bytes = 1200 * mib,
                                                 .in_bytes = 1000 * mib,
                                                 .out_ns = s / 2,
                                                 .in_ns = s / 4,
                                                 .switches = 12,
                                                 .slice_ns = 2 * s,
                                                 .max_wait_ns = 3 * s,
                                                 .max_wait_bound_ns = 30 * s,
                                                 .valid = WIRE_VALID_TOTAL,
                                                 .kind = WIRE_SOFTWARE,
                                                 .waiting = 2,
                                                 .clients = 3,
                                                 .name = "Berth software device"};
        clients[0] = (struct wire_STATUS_CLIENT){.granted_bytes = 208 * mib,
                                                 .movable_bytes = 192 * mib,
                                                 .pinned_bytes = 8 * mib,
                                                 .resident_bytes = 192 * mib,
                                                 .peak_bytes = 200 * mib,
                                                 .need_bytes = 208 * mib,
                                                 .out_bytes = 500 * mib,
                                                 .in_bytes = 400 * mib,
                                                 .ran_ns = 9 * s,
                                                 .slice_left_ns = 3 * s / 2,
                                                 .switches = 4,
                                                 .age_ns = 20 * s,
                                                 .client = 1,
                                                 .pid = 4001,
                                                 .uid = 4000001,
                                                 .state = WIRE_RUNNING,
                                                 .priority = WIRE_NORMAL,
                                                 .name = "train"};
        clients[1] = (struct wire_STATUS_CLIENT){.movable_bytes = 190 * mib,
                                                 .peak_bytes = 190 * mib,
                                                 .limit_bytes = 200 * mib,
                                                 .need_bytes = 198 * mib,
                                                 .out_bytes = 700 * mib,
                                                 .in_bytes = 600 * mib,
                                                 .waited_ns = 5 * s,
                                                 .wait_ns = 2 * s,
                                                 .wait_bound_ns = 30 * s,
                                                 .age_ns = 15 * s,
                                                 .client = 2,
                                                 .pid = 4002,
                                                 .uid = 4000001,
                                                 .state = WIRE_WAITING,
                                                 .priority = WIRE_BATCH,
                                                 .position = 1,
                                                 .reason = WIRE_WAIT_MEMORY,
                                                 .job = "both",
                                                 .name = "\"; rm -rf / #<b>%s%n</b>\\"};
        clients[2] = (struct wire_STATUS_CLIENT){
                .movable_bytes = 190 * mib,
                .resident_bytes = 10 * mib,
                .waited_ns = s,
                .wait_ns = s,
                .age_ns = 5 * s,
                .client = 3,
                .pid = 4003,
                .uid = 4000001,
                .state = WIRE_GOING_OUT,
                .priority = WIRE_INTERACTIVE,
                .position = 2,
                .reason = WIRE_WAIT_QUEUE,
                .stuck = 1,
                .name = "a-name-that-is-as-long-as-the-field-of-the-message-lets-it-be-in-all-yes"};
        clients[2].name[sizeof clients[2].name - 1] = 0;
        return (struct snapshot){.taken_ns = 100 * s,
                                 .daemon = {.uptime_ns = 75 * s,
                                            .rss_bytes = 6 * mib,
                                            .arena_bytes = 1024 * mib,
                                            .arena_ready_bytes = 64 * mib,
                                            .arena_lent_bytes = 384 * mib,
                                            .messages = 1234,
                                            .refused = 2,
                                            .slice_multiplier = 5,
                                            .pid = 4000,
                                            .clients = 3,
                                            .devices = 1,
                                            .reserve_percent = 10,
                                            .version = "0.1.0"},
                                 .devices = devices,
                                 .clients = clients,
                                 .device_count = 1,
                                 .client_count = 3};
}
