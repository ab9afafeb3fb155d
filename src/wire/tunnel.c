/* tunnel.c: frames of a worker's tunnel, read and written; see tunnel.h. */
#include "wire/tunnel.h"

#include "base/error.h"

#include <string.h>

#define CREDIT_MOST (1U << 24)

static uint32_t get32(const uint8_t *p)
{
        return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put32(uint8_t *p, uint32_t v)
{
        p[0] = (uint8_t)(v >> 24);
        p[1] = (uint8_t)(v >> 16);
        p[2] = (uint8_t)(v >> 8);
        p[3] = (uint8_t)v;
}

/* Who says what, and how long its payload is. */
static const struct {
        bool pool, worker, numbered;
        uint32_t least, most;
} rules[] = {
        [TUNNEL_OPEN] = {true, false, true, 4 + 2 + 5 + 2, 4 + TUNNEL_MODEL + TUNNEL_PATH + TUNNEL_ID},
        [TUNNEL_BODY] = {true, true, true, 1, TUNNEL_PAYLOAD},
        [TUNNEL_HEAD] = {false, true, true, 6, 6 + TUNNEL_TYPE - 1},
        [TUNNEL_END] = {false, true, true, 1, 1 + TUNNEL_TEXT - 1},
        [TUNNEL_CANCEL] = {true, false, true, 0, 0},
        [TUNNEL_CREDIT] = {true, true, true, 4, 4},
        [TUNNEL_FREE] = {false, true, false, 1, TUNNEL_MODEL - 1},
};

int tunnel_next(const uint8_t **data, size_t *length, bool from_pool, struct tunnel_frame *ret)
{
        const uint8_t *p = *data;
        uint32_t kind, bytes;

        if (!*length)
                return 0;
        if (*length < TUNNEL_FRAME)
                return -E_MESSAGE;
        kind = p[0];
        bytes = get32(p) & 0xffffff;
        if (kind < TUNNEL_OPEN || kind > TUNNEL_FREE || !(from_pool ? rules[kind].pool : rules[kind].worker) || bytes < rules[kind].least || bytes > rules[kind].most ||
            bytes > *length - TUNNEL_FRAME)
                return -E_MESSAGE;
        *ret = (struct tunnel_frame){.kind = (enum tunnel_kind)kind, .stream = get32(p + 4), .payload = p + TUNNEL_FRAME, .length = bytes};
        if ((ret->stream != 0) != rules[kind].numbered)
                return -E_MESSAGE;
        *data += TUNNEL_FRAME + bytes;
        *length -= TUNNEL_FRAME + bytes;
        return 1;
}

/* All of the bytes are fit for a line of a head or a log. */
static bool is_text(const uint8_t *p, size_t length, bool blanks)
{
        for (size_t i = 0; i < length; i++)
                if (p[i] < (blanks ? ' ' : '!') || p[i] > '~' || p[i] == '"' || p[i] == '\\')
                        return false;
        return true;
}

static int take_text(const uint8_t *p, size_t length, bool blanks, char *to, size_t size)
{
        if (length >= size || !is_text(p, length, blanks))
                return -E_MESSAGE;
        memcpy(to, p, length);
        to[length] = 0;
        return 0;
}

/* A text up to its zero byte, which is passed over. */
static int take_one(const uint8_t **p, size_t *length, char *to, size_t size)
{
        const uint8_t *end = memchr(*p, 0, *length);
        size_t n = end ? (size_t)(end - *p) : 0;

        if (!end || !n || take_text(*p, n, false, to, size) < 0)
                return -E_MESSAGE;
        *p += n + 1;
        *length -= n + 1;
        return 0;
}

int tunnel_read_request(const struct tunnel_frame *frame, struct tunnel_request *ret)
{
        const uint8_t *p = frame->payload + 4;
        size_t length = frame->length - 4;

        *ret = (struct tunnel_request){.body_bytes = get32(frame->payload)};
        if (take_one(&p, &length, ret->model, sizeof(ret->model)) < 0 || take_one(&p, &length, ret->path, sizeof(ret->path)) < 0 ||
            take_one(&p, &length, ret->id, sizeof(ret->id)) < 0 || length)
                return -E_MESSAGE;
        return strncmp(ret->path, "/v1/", 4) || strpbrk(ret->path, "?#%@:") || strstr(ret->path, "..") ? -E_MESSAGE : 0;
}

int tunnel_read_answer(const struct tunnel_frame *frame, struct tunnel_answer *ret)
{
        *ret = (struct tunnel_answer){.status = (uint32_t)frame->payload[0] << 8 | frame->payload[1], .retry_after_s = get32(frame->payload + 2)};
        if (ret->status < 200 || ret->status > 599 || ret->retry_after_s > 86400)
                return -E_MESSAGE;
        return take_text(frame->payload + 6, frame->length - 6, true, ret->type, sizeof(ret->type));
}

int tunnel_read_end(const struct tunnel_frame *frame, enum tunnel_end *ret, char text[TUNNEL_TEXT])
{
        if (frame->payload[0] > TUNNEL_GONE)
                return -E_MESSAGE;
        *ret = (enum tunnel_end)frame->payload[0];
        return take_text(frame->payload + 1, frame->length - 1, true, text, TUNNEL_TEXT);
}

int tunnel_read_credit(const struct tunnel_frame *frame, uint32_t *ret)
{
        *ret = get32(frame->payload);
        return *ret && *ret <= CREDIT_MOST ? 0 : -E_MESSAGE;
}

int tunnel_read_free(const struct tunnel_frame *frame, char model[TUNNEL_MODEL])
{
        return take_text(frame->payload, frame->length, false, model, TUNNEL_MODEL);
}

/* ---- writing ---- */

static size_t head(uint8_t *room, enum tunnel_kind kind, uint32_t stream, size_t length)
{
        put32(room, (uint32_t)kind << 24 | (uint32_t)length);
        put32(room + 4, stream);
        return TUNNEL_FRAME + length;
}

static size_t put_text(uint8_t *to, const char *text, size_t most, bool blanks)
{
        size_t n = strnlen(text, most);

        for (size_t i = 0; i < n; i++)
                to[i] = is_text((const uint8_t *)text + i, 1, blanks) ? (uint8_t)text[i] : blanks && (text[i] == '"' || text[i] == '\\') ? '\'' : '?';
        return n;
}

size_t tunnel_write_request(uint8_t *room, uint32_t stream, const struct tunnel_request *q)
{
        const struct {
                const char *text;
                size_t most;
        } texts[] = {{q->model, TUNNEL_MODEL - 1}, {q->path, TUNNEL_PATH - 1}, {q->id, TUNNEL_ID - 1}};
        uint8_t *at = room + TUNNEL_FRAME;

        put32(at, q->body_bytes);
        at += 4;
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                at += put_text(at, texts[i].text, texts[i].most, false);
                *at++ = 0;
        }
        return head(room, TUNNEL_OPEN, stream, (size_t)(at - room) - TUNNEL_FRAME);
}

size_t tunnel_write_answer(uint8_t *room, uint32_t stream, const struct tunnel_answer *a)
{
        uint8_t *p = room + TUNNEL_FRAME;

        p[0] = (uint8_t)(a->status >> 8);
        p[1] = (uint8_t)a->status;
        put32(p + 2, a->retry_after_s);
        return head(room, TUNNEL_HEAD, stream, 6 + put_text(p + 6, a->type, TUNNEL_TYPE - 1, true));
}

size_t tunnel_write_end(uint8_t *room, uint32_t stream, enum tunnel_end end, const char *text)
{
        room[TUNNEL_FRAME] = (uint8_t)end;
        return head(room, TUNNEL_END, stream, 1 + put_text(room + TUNNEL_FRAME + 1, text, TUNNEL_TEXT - 1, true));
}

size_t tunnel_write_credit(uint8_t *room, uint32_t stream, uint32_t bytes)
{
        put32(room + TUNNEL_FRAME, bytes);
        return head(room, TUNNEL_CREDIT, stream, 4);
}

size_t tunnel_write_free(uint8_t *room, const char *model)
{
        return head(room, TUNNEL_FREE, 0, put_text(room + TUNNEL_FRAME, model, TUNNEL_MODEL - 1, false));
}

size_t tunnel_write_cancel(uint8_t *room, uint32_t stream)
{
        return head(room, TUNNEL_CANCEL, stream, 0);
}

size_t tunnel_write_body(uint8_t *room, uint32_t stream, size_t length)
{
        return head(room, TUNNEL_BODY, stream, length) - length;
}
