/* frame.c: reading and writing of WebSocket frames; see frame.h. */
#include "gateway/frame.h"

#include <openssl/evp.h>
#include <string.h>

void frame_reader_init(struct frame_reader *reader, uint64_t limit)
{
        memset(reader, 0, sizeof *reader);
        reader->limit = limit;
}

void frame_reader_done(struct frame_reader *reader)
{
        free(reader->message);
        reader->message = NULL;
        reader->length = reader->size = 0;
}

static size_t head_needs(const struct frame_reader *r)
{
        uint8_t length;

        if (r->have < 2)
                return 2;
        length = r->head[1] & 0x7f;
        return 2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + 4;
}

/* The head is complete: what it says is allowed, or -close code. */
static int take_head(struct frame_reader *r)
{
        uint8_t length = r->head[1] & 0x7f, opcode = r->head[0] & 0x0f;
        size_t at = 2;

        r->left = length;
        if (length >= 126) {
                r->left = 0;
                for (size_t n = length == 126 ? 2 : 8; n; n--)
                        r->left = r->left << 8 | r->head[at++];
        }
        memcpy(r->mask, r->head + at, 4);
        r->mask_at = 0;
        r->last = r->head[0] & 0x80;
        r->opcode = opcode;
        r->have = 0;
        r->in_payload = true;
        if (opcode >= FRAME_CLOSE) {
                r->control_length = 0;
                return 0;
        }
        if (r->left >> 63)
                return -FRAME_CLOSE_PROTOCOL;
        if (r->left > r->limit || r->length > r->limit - r->left)
                return -FRAME_CLOSE_BIG;
        if (opcode)
                r->kind = opcode;
        return 0;
}

/* What the first two bytes say is enough to refuse. */
static int check_start(const struct frame_reader *r)
{
        uint8_t opcode = r->head[0] & 0x0f;
        bool control = opcode >= FRAME_CLOSE;

        if (r->head[0] & 0x70 || !(r->head[1] & 0x80))
                return -FRAME_CLOSE_PROTOCOL;
        if ((opcode > FRAME_BINARY && !control) || opcode > FRAME_PONG)
                return -FRAME_CLOSE_PROTOCOL;
        if (control && (!(r->head[0] & 0x80) || (r->head[1] & 0x7f) > FRAME_CONTROL))
                return -FRAME_CLOSE_PROTOCOL;
        if (!control && (opcode == FRAME_MORE) != (r->kind != 0))
                return -FRAME_CLOSE_PROTOCOL;
        return 0;
}

static void unmask(struct frame_reader *r, uint8_t *data, size_t length)
{
        uint8_t turned[8];
        uint64_t wide;

        for (unsigned i = 0; i < 8; i++)
                turned[i] = r->mask[(r->mask_at + i) & 3];
        memcpy(&wide, turned, 8);
        r->mask_at = (uint8_t)((r->mask_at + length) & 3);
        for (; length >= 8; data += 8, length -= 8) {
                uint64_t word;

                memcpy(&word, data, 8);
                word ^= wide;
                memcpy(data, &word, 8);
        }
        for (size_t i = 0; i < length; i++)
                data[i] ^= turned[i];
}

static int keep(struct frame_reader *r, const uint8_t *data, size_t length)
{
        size_t size = r->size ? r->size : 256;
        char *more;

        if (!length)
                return 0;
        while (size < r->length + length)
                size *= 2;
        if (size != r->size) {
                more = realloc(r->message, size);
                if (!more)
                        return -FRAME_CLOSE_AGAIN;
                r->message = more;
                r->size = size;
        }
        memcpy(r->message + r->length, data, length);
        r->length += length;
        return 0;
}

static int tell_control(struct frame_reader *r, struct frame_message *message)
{
        *message = (struct frame_message){.opcode = r->opcode, .text = (const char *)r->control, .length = r->control_length};
        if (r->opcode == FRAME_CLOSE) {
                message->close_code = 1005;
                if (r->control_length == 1)
                        return -FRAME_CLOSE_PROTOCOL;
                if (r->control_length >= 2)
                        message->close_code = (unsigned)(r->control[0] << 8 | r->control[1]);
        }
        return 1;
}

/* A part of a frame's payload, already unmasked. */
static int take_payload(struct frame_reader *r, const uint8_t *data, size_t length, struct frame_message *message)
{
        int code;

        if (r->opcode >= FRAME_CLOSE) {
                memcpy(r->control + r->control_length, data, length);
                r->control_length = (uint8_t)(r->control_length + length);
                if (r->left)
                        return 0;
                r->in_payload = false;
                return tell_control(r, message);
        }
        if (!r->left && r->last && !r->length) {
                /* All of it lies here. */
                *message = (struct frame_message){.opcode = r->kind, .text = (const char *)data, .length = length};
        } else {
                code = keep(r, data, length);
                if (code < 0)
                        return code;
                if (r->left)
                        return 0;
                *message = (struct frame_message){.opcode = r->kind, .text = r->message ? r->message : "", .length = r->length};
        }
        r->in_payload = false;
        if (!r->last)
                return 0;
        r->kind = 0;
        return 1;
}

int frame_read(struct frame_reader *r, uint8_t **data, size_t *length, struct frame_message *ret_message)
{
        /* What was told last is no longer needed. */
        if (!r->kind && r->message)
                frame_reader_done(r);
        while (*length || (r->in_payload && !r->left)) {
                size_t n;
                int code;

                if (!r->in_payload) {
                        r->head[r->have++] = *(*data)++;
                        (*length)--;
                        if (r->have == 2) {
                                code = check_start(r);
                                if (code < 0)
                                        return code;
                        }
                        if (r->have < 2 || r->have < head_needs(r))
                                continue;
                        code = take_head(r);
                        if (code < 0)
                                return code;
                        continue;
                }
                n = r->left < *length ? (size_t)r->left : *length;
                unmask(r, *data, n);
                r->left -= n;
                *data += n;
                *length -= n;
                code = take_payload(r, *data - n, n, ret_message);
                if (code)
                        return code;
        }
        return 0;
}

size_t frame_head(uint8_t head[FRAME_HEAD], enum frame_opcode opcode, uint64_t length)
{
        head[0] = (uint8_t)(0x80 | opcode);
        if (length < 126) {
                head[1] = (uint8_t)length;
                return 2;
        }
        if (length <= 0xffff) {
                head[1] = 126;
                head[2] = (uint8_t)(length >> 8);
                head[3] = (uint8_t)length;
                return 4;
        }
        head[1] = 127;
        for (unsigned i = 0; i < 8; i++)
                head[2 + i] = (uint8_t)(length >> (56 - 8 * i));
        return 10;
}

int frame_accept_key(const char *key, char accept[29])
{
        static const char mark[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
        unsigned char digest[EVP_MAX_MD_SIZE];
        char text[24 + sizeof mark];
        unsigned length = 0;

        if (strlen(key) != 24 || strcmp(key + 22, "==") || strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") != 22)
                return -EINVAL;
        memcpy(text, key, 24);
        memcpy(text + 24, mark, sizeof mark);
        if (EVP_Digest(text, 24 + sizeof mark - 1, digest, &length, EVP_sha1(), NULL) != 1)
                return -EIO;
        EVP_EncodeBlock((unsigned char *)accept, digest, 20);
        return 0;
}
