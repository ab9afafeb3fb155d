/* tls.h: encryption of the door: given files, or a certificate of our own, made at the first start and kept in the folder.
 *
 * Our own is self-signed (ECDSA P-256); workers and the command line pin its fingerprint, which is the SHA-256 of the certificate, in hex. TLS 1.2 and 1.3,
 * no renegotiation, no compression. Plain is for loopback addresses, or when "off" is asked for in so many words.
 */
#pragma once

#include "gateway/gateway.h"

/* server->tls and fingerprint by settings.tls. 0 (also for plain), or an error with message. */
must_check int tls_setup(struct server *server, char message[SERVER_MESSAGE]);
void tls_done(struct server *server);
