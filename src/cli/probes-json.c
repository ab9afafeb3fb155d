/* probes-json.c: a snapshot of what probes counted, as JSON; see probes-client.h. What was not measured is null. */
#include "cli/probes-client.h"

#include "base/error.h"
#include "bpf/active.h"

static json_t *text(const char *bytes, size_t size)
{
        char safe[1100];

        return json_string(probes_escape(safe, sizeof safe, bytes, size));
}

static json_t *number(uint64_t n)
{
        return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);
}

static json_t *sums(const struct probes_sums *s)
{
        return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "opens", number(s->opens), "closes", number(s->closes), "reads", number(s->reads), "writes",
                         number(s->writes), "read_bytes", number(s->read_bytes), "write_bytes", number(s->write_bytes));
}

static json_t *gpu(const struct probes_gpu *g)
{
        return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "launches", number(g->launches), "graphs", number(g->graphs),
                         "waits", number(g->waits), "frees", number(g->frees), "allocs", number(g->allocs), "alloc_bytes", number(g->alloc_bytes),
                         "copies_in", number(g->copies_in), "in_bytes", number(g->in_bytes), "copies_out", number(g->copies_out), "out_bytes",
                         number(g->out_bytes), "copies_other", number(g->copies_other), "other_bytes", number(g->other_bytes));
}

json_t *probes_family_json(const struct probes_snapshot *s, uint32_t family)
{
        const struct probes_family *f = &s->families[family];
        json_t *refused = json_array(), *blind = json_array();

        for (uint32_t i = 0; i < f->refused_count; i++)
                json_array_append_new(refused, json_pack("{s:s, s:s, s:s}", "rung", probes_rung_name(f->refused[i].rung), "error",
                                                         error_name(f->refused[i].error), "reason", f->refused[i].text));
        for (uint32_t i = 0; i < f->blind_count; i++)
                json_array_append_new(blind, json_string(f->blind[i]));
        return json_pack("{s:s, s:s, s:s?, s:o, s:o, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "family", probes_family_name(family), "state",
                         probes_state_name(f->state), "rung", f->rung ? probes_rung_name(f->rung) : NULL, "refused", refused, "blind", blind, "one_in",
                         (int)f->one_in, "window_permille", (int)f->window_permille, "programs", number(f->programs), "links", number(f->links), "entries",
                         number(f->entries), "entries_max", number(f->entries_max), "hits", number(f->hits), "hooked", number(f->hooked), "full",
                         number(f->full), "hooked_cost_ns", f->hooked_cost_ps ? json_real((double)f->hooked_cost_ps / 1000) : json_null(),
                         "other_cost_ns", f->hooked_cost_ps ? json_real((double)f->other_cost_ps / 1000) : json_null(), "cost_ns", number(f->cost_ns));
}

static json_t *cache(const struct probes_cache *c)
{
        return json_pack("{s:o, s:o, s:o, s:o, s:o}", "asked", number(c->asked), "found", number(c->found), "entries", number(c->entries), "limit",
                         number(c->limit), "keeps_ns", number(c->keeps_ns));
}

static json_t *head(const struct probes_snapshot *s)
{
        json_t *families = json_array();

        for (uint32_t i = 0; i < PROBES_FAMILY_N; i++)
                json_array_append_new(families, probes_family_json(s, i));
        return json_pack("{s:o, s:o, s:o, s:o, s:{s:i, s:o, s:o}, s:{s:o, s:o, s:o}, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "families", families, "began_ns",
                         number(s->began_ns), "taken_ns", number(s->taken_ns), "window_ns", number(s->window_ns), "own", "pid", (int)s->pid, "cpu_ns",
                         number(s->cpu_ns), "rss_bytes", number(s->rss_bytes), "caches", "process", cache(&s->caches[PROBES_CACHE_PROCESS]), "cgroup",
                         cache(&s->caches[PROBES_CACHE_CGROUP]), "path", cache(&s->caches[PROBES_CACHE_PATH]), "left_out", number(s->left_out), "now",
                         sums(&s->all_now), "total", sums(&s->all_total), "others_now", sums(&s->others_now), "others_total", sums(&s->others_total),
                         "gpu_now", gpu(&s->gpu_now), "gpu_total", gpu(&s->gpu_total));
}

static json_t *process(const struct probes_process *p)
{
        return json_pack("{s:i, s:i, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o}", "pid", (int)p->pid, "uid", (int)p->uid, "start_ns", number(p->start_ns), "alive",
                         p->alive == 1, "comm", text(p->comm, sizeof p->comm), "cgroup", p->cgroup[0] ? text(p->cgroup, sizeof p->cgroup) : json_null(), "now",
                         sums(&p->now), "total", sums(&p->total), "gpu_now", gpu(&p->gpu_now), "gpu_total", gpu(&p->gpu_total));
}

static json_t *file(const struct probes_file *f)
{
        return json_pack("{s:o, s:i, s:i, s:o, s:o, s:b, s:b, s:b, s:o, s:o}", "inode", number(f->inode), "major", (int)(f->device >> 20), "minor",
                         (int)(f->device & 0xfffff), "generation", number(f->generation), "name", f->name[0] ? text(f->name, sizeof f->name) : json_null(),
                         "whole_path", !!(f->flags & PROBES_FILE_PATH), "deleted", !!(f->flags & PROBES_FILE_DELETED), "approximate",
                         !!(f->flags & PROBES_FILE_APPROXIMATE), "now", sums(&f->now), "total", sums(&f->total));
}

json_t *probes_active_json(const struct probes_snapshot *s, size_t most)
{
        struct active_process *list scoped_free = calloc(most + 1, sizeof *list);
        json_t *processes = json_array(), *o = head(s);
        size_t count = list ? active_list(s, list, most) : 0;

        for (size_t i = 0; i < count; i++) {
                json_t *p = process(list[i].process), *files = json_array();

                for (uint32_t k = 0; k < list[i].files; k++) {
                        const struct probes_use *u = list[i].file[k];
                        json_t *f = file(&probes_files(s)[u->file]);

                        /* What this process did there, not all that was done. */
                        json_object_set_new(f, "now", sums(&u->now));
                        json_object_set_new(f, "total", sums(&u->total));
                        json_array_append_new(files, f);
                }
                json_object_set_new(p, "files", files);
                json_object_set_new(p, "files_left_out", json_integer(list[i].more));
                json_array_append_new(processes, p);
        }
        json_object_set_new(o, "processes", processes);
        json_object_set_new(o, "latency", probes_latency_json(s, (uint32_t)most));
        return o;
}

json_t *probes_json(const struct probes_snapshot *s)
{
        json_t *processes = json_array(), *files = json_array(), *uses = json_array(), *o = head(s);

        for (uint32_t i = 0; i < s->processes; i++)
                json_array_append_new(processes, process(&probes_processes(s)[i]));
        for (uint32_t i = 0; i < s->files; i++)
                json_array_append_new(files, file(&probes_files(s)[i]));
        for (uint32_t i = 0; i < s->uses; i++) {
                const struct probes_use *u = &probes_uses(s)[i];

                if (u->process != PROBES_NONE && u->file != PROBES_NONE)
                        json_array_append_new(uses, json_pack("{s:i, s:i, s:o, s:o}", "process", (int)u->process, "file", (int)u->file, "now", sums(&u->now), "total",
                                                              sums(&u->total)));
        }
        if (!o || json_object_set_new(o, "processes", processes) < 0 || json_object_set_new(o, "files", files) < 0 ||
            json_object_set_new(o, "uses", uses) < 0 || json_object_set_new(o, "latency", probes_latency_json(s, PROBES_MAX_RUNNERS)) < 0) {
                json_decref(o);
                return NULL;
        }
        return o;
}
