/* child.c: the sensor process: the only one that loads an NVML library. See observe.h and child.h.
 *
 * It does nothing but answer. It ends with the daemon, however that ends: by the kernel's signal, also in the middle of
 * a driver call, or by the end of the socket.
 */
#include "observe/child.h"

#include "base/error.h"
#include "base/text.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

static bool send_reply(int fd, const struct child_reply *reply)
{
        ssize_t n;

        do
                n = send(fd, reply, sizeof *reply, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n == (ssize_t)sizeof *reply;
}

static bool send_device(int fd, struct child_reply *reply, const struct observe_device *d)
{
        memset(&reply->sample, 0, sizeof reply->sample);
        reply->device =
                (struct child_device){.total_bytes = d->total_bytes, .kind = d->kind, .shareable = d->shareable};
        memcpy(reply->device.uuid, d->uuid, sizeof reply->device.uuid);
        text_copy_clean(reply->device.name, sizeof reply->device.name, d->name);
        return send_reply(fd, reply);
}

static bool send_sample(int fd, struct child_reply *reply, const struct observe_sample *s)
{
        memset(&reply->sample, 0, sizeof reply->sample);
        reply->sample = (struct child_sample){
                .total_bytes = s->total_bytes,
                .used_bytes = s->used_bytes,
                .power_mw = s->power_mw,
                .valid = s->valid,
                .utilisation_permille = s->utilisation_permille,
                .temperature_c = s->temperature_c,
                .extra = s->extra,
                .processes_valid = s->processes_valid,
                .process_count = s->process_count,
        };
        for (uint32_t i = 0; i < s->process_count; i++)
                reply->sample.processes[i] =
                        (struct child_process){.used_bytes = s->processes[i].used_bytes, .pid = s->processes[i].pid};
        return send_reply(fd, reply);
}

static bool answer(int fd, const struct child_request *request, struct observe *observe, int result,
                   const char *message)
{
        struct child_reply reply = {.magic = CHILD_MAGIC, .kind = request->kind, .sequence = request->sequence};
        struct observe_sample sample;

        if (!observe) {
                reply.result = result;
                text_copy_clean(reply.text, sizeof reply.text, message);
                return send_reply(fd, &reply);
        }
        reply.count = (uint32_t)observe_count(observe);
        for (uint32_t i = 0; i < reply.count; i++) {
                reply.index = i;
                if (request->kind == CHILD_SAMPLE)
                        observe_sample(observe, i, &sample);
                if (!(request->kind == CHILD_SAMPLE ? send_sample(fd, &reply, &sample)
                                                    : send_device(fd, &reply, observe_device(observe, i))))
                        return false;
        }
        return true;
}

void observe_serve(int fd, struct observe *observe, int result, const char *message)
{
        struct child_request request;
        ssize_t n;

        for (;;) {
                n = recv(fd, &request, sizeof request, 0);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n != (ssize_t)sizeof request || request.magic != CHILD_MAGIC ||
                    !answer(fd, &request, observe, result, message))
                        return;
        }
}

int observe_child_begin(void)
{
        struct pollfd end = {.fd = CHILD_FD, .events = 0};
        int type = 0;
        socklen_t size = sizeof type;

        if (getsockopt(CHILD_FD, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET)
                return -ENOTSOCK;
        prctl(PR_SET_NAME, "berthd: sensor");
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* A terminal signals the whole group; this process ends with the daemon and not before it. */
        signal(SIGINT, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        /* The daemon may have ended before the line above took effect. */
        if (poll(&end, 1, 0) > 0)
                return -EPIPE;
        return CHILD_FD;
}

int observe_child_main(int argc, char **argv)
{
        struct observe_options options = {0};
        struct observe *observe = NULL;
        uint64_t choice = 0;
        char message[256] = "";
        int fd, r;

        if (argc != 7 || text_parse_u64(argv[2], OBSERVE_AUTO, OBSERVE_SOFTWARE, &choice) < 0 ||
            text_parse_u64(argv[3], 0, UINT64_MAX, &options.software_devices) < 0 ||
            text_parse_u64(argv[4], 0, UINT64_MAX, &options.software_memory) < 0 ||
            text_parse_u64(argv[5], 0, UINT64_MAX, &options.software_link) < 0 ||
            (fd = observe_child_begin()) == -ENOTSOCK) {
                fputs(OBSERVE_CHILD_OPTION " is for berthd itself: it starts its sensor process with it\n", stderr);
                return EXIT_FAILURE;
        }
        if (fd < 0)
                return EXIT_SUCCESS;
        options.choice = (uint32_t)choice;
        options.nvml = argv[6];
        r = observe_open(&options, &observe, message);
        observe_serve(fd, r < 0 ? NULL : observe, r, message[0] ? message : error_text(r));
        /* No farewell to the driver: that call may hang as well. */
        _exit(EXIT_SUCCESS);
}
