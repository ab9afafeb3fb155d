/* audit.c: rows of the audit log: who did what to what, with which outcome. Refusals can be made by strangers at will, so the log takes 60 of them at once and
 * one a second; how many were left out stands in the next one it takes. What was done by right is never left out.
 */
#include "account/books.h"

#include <string.h>

#include "base/text.h"

#define REFUSALS 60

static bool refusal_fits(struct accounts *a, uint64_t now_ms)
{
        if (!a->audit_monotonic_ms) {
                a->audit_monotonic_ms = now_ms;
                a->audit_tokens = REFUSALS;
        }
        if (now_ms > a->audit_monotonic_ms && now_ms - a->audit_monotonic_ms >= 1000) {
                uint64_t seconds = (now_ms - a->audit_monotonic_ms) / 1000;

                a->audit_tokens = a->audit_tokens + seconds > REFUSALS ? REFUSALS : a->audit_tokens + seconds;
                a->audit_monotonic_ms += seconds * 1000;
        }
        if (!a->audit_tokens) {
                a->audit_left_out++;
                a->counts.audit_left_out++;
                return false;
        }
        a->audit_tokens--;
        return true;
}

int audit_add(struct accounts *a, const struct account_now *now, const struct account_caller *by, const char *verb, const char *object, int outcome,
              struct account_changes *changes)
{
        struct store_row row = {.table = STORE_AUDIT};
        char clean_verb[64], clean_object[160], address[64], id[ID_TEXT];
        json_t *spec;

        if (outcome < 0 && !refusal_fits(a, now->monotonic_ms))
                return 0;
        text_copy_clean(clean_verb, sizeof(clean_verb), verb ? verb : "");
        text_copy_clean(clean_object, sizeof(clean_object), object ? object : "");
        text_copy_clean(address, sizeof(address), now->address ? now->address : "");
        spec = json_pack("{s:s, s:s, s:i, s:I, s:s}", "verb", clean_verb, "object", clean_object, "outcome", outcome, "time", (json_int_t)a->clock_ms,
                         "address", address);
        if (by && account_any_right(by)) {
                row.account = by->account;
                json_object_set_new(spec, "by", id_is_none(&by->account) ? json_null() : json_string(id_text("account", &by->account, id)));
                json_object_set_new(spec, "name", json_string(by->name));
                if (!id_is_none(&by->key))
                        json_object_set_new(spec, "key", json_string(id_text("key", &by->key, id)));
        }
        if (outcome < 0 && a->audit_left_out) {
                json_object_set_new(spec, "left_out", json_integer((json_int_t)a->audit_left_out));
                a->audit_left_out = 0;
        }
        row.id = accounts_new_id(a, now);
        row.state = outcome < 0;
        return changes_add_row(a, changes, &row, NULL, spec, json_object());
}

int account_audit(struct accounts *a, const struct account_now *now, const struct account_caller *by, const char *verb, const char *object, int outcome,
                  struct account_changes *ret_changes)
{
        accounts_clock(a, now);
        changes_begin(a, ret_changes);
        return audit_add(a, now, by, verb, object, outcome, ret_changes);
}
