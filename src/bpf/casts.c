/* casts.c: rewrites placeholders into calls of the kernel's function; see casts.h. */
#include "bpf/casts.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>

static int number_in_kernel(void)
{
        struct btf *kernel = btf__load_vmlinux_btf();
        int number;

        if (!kernel || libbpf_get_error(kernel))
                return -ENOENT;
        number = btf__find_by_name_kind(kernel, "bpf_rdonly_cast", BTF_KIND_FUNC);
        btf__free(kernel);
        return number > 0 ? number : -EOPNOTSUPP;
}

static int put(struct bpf_program *program, int number)
{
        size_t count = bpf_program__insn_cnt(program);
        struct bpf_insn *all scoped_free = calloc(count, sizeof *all);

        if (!all)
                return -ENOMEM;
        memcpy(all, bpf_program__insns(program), count * sizeof *all);
        for (size_t i = 0; i < count; i++)
                if (all[i].code == (BPF_JMP | BPF_CALL) && all[i].src_reg == 0 && all[i].imm == CASTS_PLACEHOLDER) {
                        all[i].src_reg = BPF_PSEUDO_KFUNC_CALL;
                        all[i].imm = number;
                }
        return bpf_program__set_insns(program, all, count);
}

int casts_put(struct bpf_program *const *programs, size_t count)
{
        int number = number_in_kernel(), r = number < 0 ? number : 0;

        for (size_t i = 0; i < count && r == 0; i++)
                r = put(programs[i], number);
        return r;
}
