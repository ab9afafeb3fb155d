/* base64.c: strict base64url without padding. libsodium's decoder takes some bytes above 0x7f for letters where char is signed (1.0.18; found by fuzz-token), so one
 * credential could be written in several ways: the alphabet is looked at first. It refuses loose bits at the end itself.
 */
#include "account/books.h"

int base64_decode(const char *text, size_t length, uint8_t *bytes, size_t size, size_t *ret_count)
{
        for (size_t i = 0; i < length; i++) {
                char c = text[i];

                if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
                        return -EINVAL;
        }
        return sodium_base642bin(bytes, size, text, length, NULL, ret_count, NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING) ? -EINVAL : 0;
}
