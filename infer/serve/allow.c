/* allow.c - keys, and pages of other origins; see server.h. */
#include "server.h"

#include <string.h>
#include <strings.h>

static const char *header(const struct call *call, const char *name)
{
    return MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, name);
}

/* ---- Keys -------------------------------------------------------------------------- */

/* How long it takes does not depend on where they differ. */
static bool same(const char *given, const char *key)
{
    const size_t n = strlen(given), k = strlen(key);
    unsigned char differs = n != k;
    for (size_t i = 0; i < n; i++)
        differs |= (unsigned char)(given[i] ^ key[k ? i % k : 0]);
    return !differs;
}

/* "Authorization: Bearer KEY", or "X-Api-Key: KEY". */
bool allow_key(const struct call *call)
{
    const struct q3n_serve_options *o = &call->server->o;
    const char *given = header(call, "Authorization");
    if (!o->n_api_keys) return true;
    if (given && !strncasecmp(given, "Bearer ", 7)) given += 7;
    else given = header(call, "X-Api-Key");
    bool ok = false;
    for (size_t i = 0; given && i < o->n_api_keys; i++) ok |= same(given, o->api_keys[i]);
    return ok;
}

/* ---- Origins ----------------------------------------------------------------------- */

/* What follows "http://" or "https://"; else NULL. */
static const char *host_of(const char *origin)
{
    if (!strncmp(origin, "http://", 7)) return origin + 7;
    return !strncmp(origin, "https://", 8) ? origin + 8 : NULL;
}

/* This machine, at any port. */
static bool is_local(const char *origin)
{
    static const char *const names[] = { "localhost", "127.0.0.1", "[::1]" };
    const char *host = host_of(origin);
    for (size_t i = 0; host && i < sizeof names / sizeof *names; i++) {
        const size_t n = strlen(names[i]);
        if (!strncmp(host, names[i], n) && (!host[n] || host[n] == ':')) return true;
    }
    return false;
}

/* Is the origin, or what stands for it, in the list? */
static bool listed(const char *list, const char *origin, bool *any)
{
    for (size_t n; *list; list += n + (list[n] == ',')) {
        n = strcspn(list, ",");
        if (n == 1 && *list == '*') return *any = true;
        if (n == 9 && !strncmp(list, "localhost", n) && is_local(origin)) return true;
        if (n == strlen(origin) && !strncmp(list, origin, n)) return true;
    }
    return false;
}

bool allow_origin(const struct call *call, const char **value)
{
    const char *origin = header(call, "Origin"), *host = header(call, "Host");
    bool any = false;
    *value = NULL;
    if (!origin) return true;
    if (listed(call->server->o.cors_origins, origin, &any)) {
        *value = any ? "*" : origin;
        return true;
    }
    /* A page of our own. */
    return host && host_of(origin) && !strcasecmp(host_of(origin), host);
}
