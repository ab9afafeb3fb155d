/* test-symbols.c: functions of a real library are found where the dynamic linker finds them; no damage to its bytes harms the reader. */
#include "bpf/symbols.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static uint8_t *data;
static size_t size;

static int load(void **state)
{
        FILE *f = fopen(getenv("TEST_LIBRARY"), "re");

        assert_non_null(f);
        fseek(f, 0, SEEK_END);
        size = (size_t)ftell(f);
        rewind(f);
        data = malloc(size);
        assert_non_null(data);
        assert_int_equal(fread(data, 1, size, f), size);
        fclose(f);
        return 0;
}

static int unload(void **state)
{
        free(data);
        return 0;
}

static void found_where_the_linker_finds_them(void **state)
{
        static const char *const names[] = {"cuLaunchKernel", "cuMemAlloc_v2", "cuNoSuchFunction", "cuMemcpyHtoD_v2"};
        uint64_t offsets[4];
        char path[40];
        void *library;
        int fd = memfd_create("symbols", MFD_CLOEXEC);

        /* A copy: into the memory of the file itself other tests' probes are put while this one runs. */
        assert_true(fd >= 0);
        assert_int_equal(write(fd, data, size), size);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        assert_non_null(library);
        assert_int_equal(symbols_find(data, size, names, 4, offsets), 3);
        assert_int_equal(offsets[2], 0);
        for (int i = 0; i < 4; i++) {
                const void *code = i == 2 ? NULL : dlsym(library, names[i]);
                bool cheap = false;
                uint64_t at;

                if (!code)
                        continue;
                /* The same bytes in the file and in memory; but the first, where somebody may have set a probe. */
                assert_memory_equal(data + offsets[i] + 8, (const uint8_t *)code + 8, 24);
                at = symbols_probe_at(data, size, offsets[i], &cheap);
                assert_in_range(at, offsets[i], offsets[i] + 4);
        }
        dlclose(library);
        close(fd);
}

static void cheap_instructions_are_told(void **state)
{
        static const uint8_t push[] = {0x55}, push_r15[] = {0x41, 0x57}, nop5[] = {0x0f, 0x1f, 0x44, 0, 0}, sub[] = {0x48, 0x83, 0xec, 8},
                             endbr_push[] = {0xf3, 0x0f, 0x1e, 0xfa, 0x53}, endbr_sub[] = {0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x83},
                             endbr_cut[] = {0xf3, 0x0f, 0x1e, 0xfa};
        bool cheap;

        assert_int_equal(symbols_probe_at(push, sizeof push, 0, &cheap), 0);
        assert_true(cheap);
        assert_int_equal(symbols_probe_at(push_r15, sizeof push_r15, 0, &cheap), 0);
        assert_true(cheap);
        assert_int_equal(symbols_probe_at(nop5, sizeof nop5, 0, &cheap), 0);
        assert_true(cheap);
        assert_int_equal(symbols_probe_at(sub, sizeof sub, 0, &cheap), 0);
        assert_false(cheap);
        assert_int_equal(symbols_probe_at(endbr_push, sizeof endbr_push, 0, &cheap), 4);
        assert_true(cheap);
        assert_int_equal(symbols_probe_at(endbr_sub, sizeof endbr_sub, 0, &cheap), 0);
        assert_false(cheap);
        assert_int_equal(symbols_probe_at(endbr_cut, sizeof endbr_cut, 0, &cheap), 0);
        assert_int_equal(symbols_probe_at(push, sizeof push, 1000, &cheap), 1000);
        assert_false(cheap);
}

/* Cut off anywhere, and with any byte of its headers changed: an answer or an error, never a look outside (the sanitized build would tell). */
static void damage_harms_nothing(void **state)
{
        static const char *const names[] = {"cuLaunchKernel"};
        uint8_t *bad = malloc(size);
        uint32_t seed = 7;
        uint64_t offset;
        bool cheap;

        assert_non_null(bad);
        for (size_t cut = 0; cut < size; cut += cut < 4096 ? 1 : size / 50) {
                uint8_t *part = malloc(cut ? cut : 1);

                assert_non_null(part);
                memcpy(part, data, cut);
                if (symbols_find(part, cut, names, 1, &offset) > 0)
                        (void)symbols_probe_at(part, cut, offset, &cheap);
                free(part);
        }
        for (int round = 0; round < 300; round++) {
                memcpy(bad, data, size);
                for (int k = 0; k < 8; k++) {
                        seed = seed * 1664525 + 1013904223;
                        /* Half of them in the header, half in the table of sections at the end. */
                        bad[k & 1 ? (seed >> 8) % 64 : size - 1 - (seed >> 8) % 4096] = (uint8_t)(seed >> 24);
                }
                if (symbols_find(bad, size, names, 1, &offset) > 0)
                        (void)symbols_probe_at(bad, size, offset, &cheap);
        }
        free(bad);
        assert_int_equal(symbols_find(NULL, 0, names, 1, &offset), -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(found_where_the_linker_finds_them),
                cmocka_unit_test(cheap_instructions_are_told),
                cmocka_unit_test(damage_harms_nothing),
        };

        return cmocka_run_group_tests(tests, load, unload);
}
