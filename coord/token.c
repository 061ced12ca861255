/* Tokens of the HTTP API: see token.h. */
#include "coord/token.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define PREFIX        "rota_" /* by which scanners for secrets find one that was published */
#define KEY_BYTES     6
#define SECRET_BYTES  32
#define SECRET_LENGTH 43 /* in letters of 6 bits */

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

int token_make(char ret_text[TOKEN_TEXT_SIZE], struct rota_error *error)
{
    unsigned char random[KEY_BYTES + SECRET_BYTES + 1];
    size_t length = 0;
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return error_set(error, ERROR_REFUSED, "no random bytes are to be had");
    length += (size_t)snprintf(ret_text, TOKEN_TEXT_SIZE, PREFIX);
    for (int i = 0; i < KEY_BYTES; i++)
        length += (size_t)snprintf(ret_text + length, TOKEN_TEXT_SIZE - length, "%02x", random[i]);
    ret_text[length++] = '_';
    for (int i = 0; i < SECRET_LENGTH; i++) {
        const unsigned char *at = random + KEY_BYTES + i * 6 / 8;
        int shift = 10 - i * 6 % 8;
        ret_text[length++] = letters[(at[0] << 8 | at[1]) >> shift & 63];
    }
    ret_text[length] = '\0';
    OPENSSL_cleanse(random, sizeof random);
    return 0;
}

int token_split(const char *text, char ret_key[TOKEN_KEY_SIZE])
{
    const char *key = text + strlen(PREFIX), *secret;
    if (strncmp(text, PREFIX, strlen(PREFIX)) != 0 ||
        strspn(key, "0123456789abcdef") != TOKEN_KEY_SIZE - 1 || key[TOKEN_KEY_SIZE - 1] != '_')
        return -1;
    secret = key + TOKEN_KEY_SIZE;
    if (strlen(secret) != SECRET_LENGTH || strspn(secret, letters) != SECRET_LENGTH)
        return -1;
    memcpy(ret_key, key, TOKEN_KEY_SIZE - 1);
    ret_key[TOKEN_KEY_SIZE - 1] = '\0';
    return 0;
}

void token_hash(const char *text, unsigned char ret_hash[TOKEN_HASH_SIZE])
{
    unsigned int size = TOKEN_HASH_SIZE;
    int done = EVP_Digest(text, strlen(text), ret_hash, &size, EVP_sha256(), NULL);
    assert(done == 1 && size == TOKEN_HASH_SIZE); /* SHA-256 is always there */
}

bool token_same(struct slice stored, const unsigned char hash[TOKEN_HASH_SIZE])
{
    return stored.length == TOKEN_HASH_SIZE &&
           CRYPTO_memcmp(stored.data, hash, TOKEN_HASH_SIZE) == 0;
}
