/* tls.c: certificate and key, given or our own; see tls.h. */
#define LOG_ROOM "gateway"
#include "gateway/tls.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define YEARS 10
#define CERTIFICATE "tls-certificate.pem"
#define KEY "tls-key.pem"

SCOPED_FN(X509 *, X509_free)
SCOPED_FN(EVP_PKEY *, EVP_PKEY_free)
SCOPED_FN(X509_EXTENSION *, X509_EXTENSION_free)
SCOPED_FN(FILE *, fclose)

static bool is_loopback(const char *listen)
{
        struct in6_addr six;
        struct in_addr four;
        char host[128];
        uint16_t port;

        if (gateway_parse_listen(listen, host, &port) < 0)
                return false;
        if (!strcmp(host, "localhost"))
                return true;
        if (inet_pton(AF_INET, host, &four) == 1)
                return ntohl(four.s_addr) >> 24 == 127;
        return inet_pton(AF_INET6, host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

static bool add_extension(X509 *certificate, int nid, const char *value)
{
        X509V3_CTX context;
        scoped(X509_EXTENSION_free) X509_EXTENSION *extension = NULL;

        X509V3_set_ctx_nodb(&context);
        X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
        extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
        return extension && X509_add_ext(certificate, extension, -1) == 1;
}

/* The names that it is reached by, as far as they are known here. */
static void names(const struct server *server, char *text, size_t size)
{
        char host[128], machine[65] = "";
        struct in6_addr six;
        uint16_t port;
        bool address;

        (void)gethostname(machine, sizeof machine - 1);
        snprintf(text, size, "DNS:localhost,IP:127.0.0.1,IP:::1");
        if (machine[0] && strspn(machine, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == strlen(machine))
                snprintf(text + strlen(text), size - strlen(text), ",DNS:%s", machine);
        if (gateway_parse_listen(server->settings.listen, host, &port) < 0 || strspn(host, "abcdefABCDEF0123456789.:") != strlen(host))
                return;
        address = inet_pton(AF_INET, host, &six) == 1 || inet_pton(AF_INET6, host, &six) == 1;
        if (address)
                snprintf(text + strlen(text), size - strlen(text), ",IP:%s", host);
}

static int write_file(const char *path, mode_t mode, bool (*write)(FILE *file, void *what), void *what)
{
        char part[CONFIG_TEXT + 64];
        int fd;

        snprintf(part, sizeof part, "%s.part", path);
        (void)unlink(part);
        fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (fd < 0)
                return -errno;
        {
                scoped(fclose) FILE *file = fdopen(fd, "w");

                if (!file || !write(file, what) || fflush(file) || fsync(fd) < 0)
                        return errno ? -errno : -EIO;
        }
        return rename(part, path) < 0 ? -errno : 0;
}

static bool write_key(FILE *file, void *key)
{
        return PEM_write_PKCS8PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1;
}

static bool write_certificate(FILE *file, void *certificate)
{
        return PEM_write_X509(file, certificate) == 1;
}

static int make_own(const struct server *server, const char *certificate_path, const char *key_path)
{
        scoped(EVP_PKEY_free) EVP_PKEY *key = EVP_EC_gen("P-256");
        scoped(X509_free) X509 *certificate = X509_new();
        char alternative[400];
        uint64_t serial;
        X509_NAME *name;
        int r;

        names(server, alternative, sizeof alternative);
        if (!key || !certificate || RAND_bytes((unsigned char *)&serial, sizeof serial) != 1)
                return -ENOMEM;
        name = X509_get_subject_name(certificate);
        if (X509_set_version(certificate, X509_VERSION_3) != 1 || ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1) != 1 ||
            !X509_gmtime_adj(X509_getm_notBefore(certificate), -24 * 3600) || !X509_gmtime_adj(X509_getm_notAfter(certificate), YEARS * 365L * 24 * 3600) ||
            X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"berth pool", -1, -1, 0) != 1 ||
            X509_set_issuer_name(certificate, name) != 1 || X509_set_pubkey(certificate, key) != 1 ||
            !add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") || !add_extension(certificate, NID_key_usage, "critical,digitalSignature") ||
            !add_extension(certificate, NID_ext_key_usage, "serverAuth") || !add_extension(certificate, NID_subject_alt_name, alternative) ||
            !X509_sign(certificate, key, EVP_sha256()))
                return -EIO;
        r = write_file(key_path, 0600, write_key, key);
        return r < 0 ? r : write_file(certificate_path, 0644, write_certificate, certificate);
}

static void tell_openssl(char message[SERVER_MESSAGE], const char *what)
{
        char text[200];

        ERR_error_string_n(ERR_get_error(), text, sizeof text);
        snprintf(message, SERVER_MESSAGE, "%s: %s", what, text);
}

static int fingerprint(struct server *server)
{
        X509 *certificate = SSL_CTX_get0_certificate(server->tls);
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned length;

        if (!certificate || X509_digest(certificate, EVP_sha256(), digest, &length) != 1)
                return -EIO;
        for (unsigned i = 0; i < length; i++)
                snprintf(server->fingerprint + 2 * i, 3, "%02x", digest[i]);
        return 0;
}

static int use(struct server *server, const char *certificate, const char *key, char message[SERVER_MESSAGE])
{
        static const unsigned char session_context[] = "berth-pool";
        char what[SERVER_MESSAGE / 2];

        server->tls = SSL_CTX_new(TLS_server_method());
        if (!server->tls) {
                tell_openssl(message, "TLS");
                return -ENOMEM;
        }
        SSL_CTX_set_min_proto_version(server->tls, TLS1_2_VERSION);
        SSL_CTX_set_options(server->tls, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
        SSL_CTX_set_mode(server->tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
        /* Workers stay connected: tickets serve them when they come back, a cache in memory would not. */
        SSL_CTX_set_session_cache_mode(server->tls, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_session_id_context(server->tls, session_context, sizeof session_context - 1);
        SSL_CTX_set_num_tickets(server->tls, 1);
        if (SSL_CTX_use_certificate_chain_file(server->tls, certificate) != 1) {
                snprintf(what, sizeof what, "the certificate %s", certificate);
                tell_openssl(message, what);
                return -E_CONFIG;
        }
        if (SSL_CTX_use_PrivateKey_file(server->tls, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(server->tls) != 1) {
                snprintf(what, sizeof what, "the key %s", key);
                tell_openssl(message, what);
                return -E_CONFIG;
        }
        if (fingerprint(server) < 0) {
                snprintf(message, SERVER_MESSAGE, "no fingerprint of the certificate %s", certificate);
                return -E_CONFIG;
        }
        return 0;
}

static int use_own(struct server *server, char message[SERVER_MESSAGE])
{
        char certificate[CONFIG_TEXT + 32], key[CONFIG_TEXT + 32];
        int r;

        snprintf(certificate, sizeof certificate, "%s/" CERTIFICATE, server->settings.folder);
        snprintf(key, sizeof key, "%s/" KEY, server->settings.folder);
        if (mkdir(server->settings.folder, 0700) < 0 && errno != EEXIST) {
                r = -errno;
                snprintf(message, SERVER_MESSAGE, "can't make the folder %s: %s", server->settings.folder, strerror(-r));
                return r;
        }
        if (access(certificate, F_OK) < 0 || access(key, F_OK) < 0) {
                r = make_own(server, certificate, key);
                if (r < 0) {
                        snprintf(message, SERVER_MESSAGE, "can't make a certificate in %s: %s", server->settings.folder, error_text(r));
                        return r;
                }
                log_notice("made a certificate of our own: %s", certificate);
        }
        return use(server, certificate, key, message);
}

int tls_setup(struct server *server, char message[SERVER_MESSAGE])
{
        const char *tls = server->settings.tls, *comma = strchr(tls, ',');
        char certificate[CONFIG_TEXT];

        if (!strcmp(tls, "off") && !is_loopback(server->settings.listen))
                log_warning("without TLS keys and passwords cross the network readable: leave out --tls off, or let a proxy with TLS stand in front");
        if (!strcmp(tls, "off") || (!tls[0] && is_loopback(server->settings.listen)))
                return 0;
        if (!tls[0] || !strcmp(tls, "auto"))
                return use_own(server, message);
        if (!comma || comma == tls || !comma[1]) {
                snprintf(message, SERVER_MESSAGE, "pool.tls = %s: off, auto, or CERTIFICATE,KEY", tls);
                return -E_CONFIG;
        }
        snprintf(certificate, sizeof certificate, "%.*s", (int)(comma - tls), tls);
        return use(server, certificate, comma + 1, message);
}

void tls_done(struct server *server)
{
        if (server->tls)
                SSL_CTX_free(server->tls);
        server->tls = NULL;
}
