/* key.c: API keys: "berth_", 43 letters and digits (256 random bits in base 62) and 6 characters of CRC-32, so that a mistyped or cut key is told apart
 * without looking, and secret scanners can be sure of what they found. Known to the books by HMAC-SHA-256 under the pool's secret only. Looking one up by that in
 * a hash table tells nothing by its time: who tries keys can't choose their HMACs.
 */
#include "account/books.h"

#include <stdio.h>
#include <string.h>

#define PREFIX "berth_"
#define BODY 43
#define CHECK 6
#define LENGTH (sizeof(PREFIX) - 1 + BODY + CHECK)

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static uint32_t crc32(const char *text, size_t length)
{
        /* By half bytes: 16 entries in place of 256. The polynomial of zlib and PNG. */
        static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                           0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
        uint32_t crc = ~0u;

        for (size_t i = 0; i < length; i++) {
                crc ^= (uint8_t)text[i];
                crc = crc >> 4 ^ table[crc & 15];
                crc = crc >> 4 ^ table[crc & 15];
        }
        return ~crc;
}

static void check_text(const char *text, size_t length, char check[CHECK])
{
        uint32_t crc = crc32(text, length);

        for (int i = CHECK - 1; i >= 0; i--, crc /= 62)
                check[i] = digits[crc % 62];
}

void key_draw(struct accounts *a, const struct account_now *now, const char *prefix, char *text, size_t size)
{
        uint8_t number[32];
        size_t n = strlen(prefix);

        if (n + BODY + CHECK >= size)
                abort();
        accounts_draw(a, now, number, sizeof(number));
        memcpy(text, prefix, n);
        for (int i = BODY - 1; i >= 0; i--) {
                unsigned int rest = 0;

                for (size_t j = 0; j < sizeof(number); j++) {
                        rest = rest << 8 | number[j];
                        number[j] = (uint8_t)(rest / 62);
                        rest %= 62;
                }
                text[n + (size_t)i] = digits[rest];
        }
        check_text(text, n + BODY, text + n + BODY);
        text[n + BODY + CHECK] = '\0';
        sodium_memzero(number, sizeof(number));
}

int key_text_check(const char *text, size_t length)
{
        char check[CHECK];

        if (length != LENGTH || memcmp(text, PREFIX, sizeof(PREFIX) - 1))
                return -EINVAL;
        /* Only what the books could hold; the checksum is no secret. */
        for (size_t i = sizeof(PREFIX) - 1; i < length; i++)
                if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'A' && text[i] <= 'Z') || (text[i] >= 'a' && text[i] <= 'z')))
                        return -EINVAL;
        check_text(text, length - CHECK, check);
        return memcmp(check, text + length - CHECK, CHECK) ? -EINVAL : 0;
}

void key_mac(const struct accounts *a, const char *text, size_t length, uint8_t mac[MAC])
{
        crypto_auth_hmacsha256_state state = a->key_mac;

        crypto_auth_hmacsha256_update(&state, (const uint8_t *)text, length);
        crypto_auth_hmacsha256_final(&state, mac);
        sodium_memzero(&state, sizeof(state));
}

int key_identify(struct accounts *a, int64_t clock_ms, const char *text, size_t length, struct account_caller *ret_caller)
{
        uint8_t mac[MAC];
        struct key *key;

        if (key_text_check(text, length))
                return accounts_refuse(a, -EINVAL, "the API key is mistyped or cut: it is berth_ and 49 letters and digits, and its checksum does not fit");
        key_mac(a, text, length, mac);
        HASH_FIND(by_mac, a->keys_by_mac, mac, sizeof(mac), key);
        if (!key || !key_valid(key, clock_ms))
                return -EACCES;
        key->used_ms = clock_ms;
        a->counts.keys_accepted++;
        caller_of(ret_caller, key->account, key, NULL);
        return 0;
}
