/* postgres_target.c: see postgres_target.h. */
#ifdef HAVE_LIBPQ

#include "workloads/drivers/postgres_target.h"

#include <errno.h>
#include <libpq-fe.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loops/check.h"

enum { ADDRESSES_MOST = 4 };

static void set(struct postgres_target *target, const char *keyword, const char *value) {
    size_t at = 0;
    while (target->keywords[at] && strcmp(target->keywords[at], keyword) != 0)
        at++;
    CHECK(at < POSTGRES_KEYWORDS_MOST);
    target->keywords[at] = keyword;
    target->values[at] = value;
}

static const char *get(const struct postgres_target *target, const char *keyword) {
    for (size_t i = 0; target->keywords[i]; i++)
        if (strcmp(target->keywords[i], keyword) == 0)
            return target->values[i];
    return NULL;
}

static void set_default(struct postgres_target *target, const char *keyword, const char *value) {
    if (!get(target, keyword))
        set(target, keyword, value);
}

/* ---- names --------------------------------------------------------------------------------------
 */

/* A directory of sockets, an abstract socket, or an address: there is nothing to look up. */
static bool is_name(const char *host) {
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST};
    struct addrinfo *list;
    if (*host == '\0' || *host == '/' || *host == '@')
        return false;
    if (getaddrinfo(host, NULL, &hints, &list) != 0)
        return true;
    freeaddrinfo(list);
    return false;
}

static int refuse_names(const char *hosts, struct error *error) {
    for (const char *at = hosts; *at; at += strcspn(at, ","), at += *at == ',') {
        char host[256];
        snprintf(host, sizeof host, "%.*s", (int)strcspn(at, ","), at);
        if (is_name(host))
            return error_set(error, -EINVAL, "of several hosts, '%s' has to be an address", host);
    }
    return 0;
}

/* Written as a list of the same host at several addresses, which libpq tries in their order. */
static int look_up(struct postgres_target *target, const char *host, struct error *error) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    int failure = getaddrinfo(host, NULL, &hints, &list), count = 0;
    if (failure)
        return error_set(error, -EINVAL, "host '%s': %s", host, gai_strerror(failure));
    for (const struct addrinfo *one = list; one && count < ADDRESSES_MOST; one = one->ai_next) {
        char address[NI_MAXHOST];
        if (getnameinfo(one->ai_addr, one->ai_addrlen, address, sizeof address, NULL, 0,
                        NI_NUMERICHOST))
            continue;
        size_t hosts = strlen(target->hosts), addresses = strlen(target->addresses);
        if (hosts + strlen(host) + 2 > sizeof target->hosts ||
            addresses + strlen(address) + 2 > sizeof target->addresses)
            break;
        snprintf(target->hosts + hosts, sizeof target->hosts - hosts, "%s%s", count ? "," : "",
                 host);
        snprintf(target->addresses + addresses, sizeof target->addresses - addresses, "%s%s",
                 count ? "," : "", address);
        count++;
    }
    freeaddrinfo(list);
    if (count == 0)
        return error_set(error, -EINVAL, "host '%s' has no address", host);
    set(target, "host", target->hosts);
    set(target, "hostaddr", target->addresses);
    return 0;
}

static int resolve(struct postgres_target *target, struct error *error) {
    const char *host = get(target, "host");
    if (!host)
        host = getenv("PGHOST"); /* as libpq does */
    if (!host || get(target, "hostaddr"))
        return 0;
    if (strchr(host, ','))
        return refuse_names(host, error);
    return is_name(host) ? look_up(target, host, error) : 0;
}

/* ---- the whole ----------------------------------------------------------------------------------
 */

/* Beside options that the target has. */
static int set_read_only(struct postgres_target *target, struct error *error) {
    const char *given = get(target, "options");
    int length =
        snprintf(target->options, sizeof target->options, "%s%s-c default_transaction_read_only=on",
                 given ? given : "", given ? " " : "");
    if (length < 0 || (size_t)length >= sizeof target->options)
        return error_set(error, -EINVAL, "the target's options are too long");
    set(target, "options", target->options);
    return 0;
}

int postgres_target_parse(const char *text, bool read_only, struct postgres_target *target,
                          struct error *error) {
    char *words = NULL;
    *target = (struct postgres_target){.parsed = NULL};
    PQconninfoOption *parsed = PQconninfoParse(text, &words);
    if (!parsed) {
        error_set(error, -EINVAL, "%.*s", words ? (int)strcspn(words, "\n") : 0, words);
        PQfreemem(words);
        return -EINVAL;
    }
    target->parsed = parsed;
    for (const PQconninfoOption *option = parsed; option->keyword; option++)
        if (option->val)
            set(target, option->keyword, option->val);
    set_default(target, "sslmode", "disable");
    set_default(target, "gssencmode", "disable");
    set_default(target, "application_name", "loopmark");
    int failure = resolve(target, error);
    if (!failure && read_only)
        failure = set_read_only(target, error);
    if (failure)
        postgres_target_free(target);
    return failure;
}

void postgres_target_free(struct postgres_target *target) {
    PQconninfoFree(target->parsed);
    target->parsed = NULL;
}

#endif
