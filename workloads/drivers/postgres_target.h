/* postgres_target.h: where a PostgreSQL is, as libpq wants it, without a name left to look up.
 *
 * The target is what libpq takes: a URI (postgresql://… or postgres://…) or `key=value` words. TLS
 * and GSS encryption are off unless it asks for them. A host's name is looked up here, once, since
 * libpq would do so at each connect and block; its addresses are tried in turn. */
#ifndef LOOPMARK_POSTGRES_TARGET_H
#define LOOPMARK_POSTGRES_TARGET_H

#include <stdbool.h>

#include "loops/error.h"

enum { POSTGRES_KEYWORDS_MOST = 64, POSTGRES_ADDRESSES_BYTES = 512 };

/* For PQconnectStartParams(keywords, values, 0). Both lists end with null. */
struct postgres_target {
    const char *keywords[POSTGRES_KEYWORDS_MOST + 1];
    const char *values[POSTGRES_KEYWORDS_MOST + 1];
    /* What the values point into. */
    void *parsed;
    char hosts[POSTGRES_ADDRESSES_BYTES], addresses[POSTGRES_ADDRESSES_BYTES];
    char options[512];
};

/* Blocks while it looks up a name. `read_only`: each connection's transactions are. -EINVAL with
 * words: it cannot be read, or the host is not known. Where it is parsed it must stay: it points
 * into itself. */
int postgres_target_parse(const char *text, bool read_only, struct postgres_target *target,
                          struct error *error);
void postgres_target_free(struct postgres_target *target);

#endif
