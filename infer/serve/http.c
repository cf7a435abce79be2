/* http.c - connections and requests: listening, reading bodies, limits, and who answers
 * which path; see server.h. */
#include "http.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- Listening --------------------------------------------------------------------- */

static int listen_at(const struct addrinfo *a)
{
    const int on = 1;
    const int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                          a->ai_protocol);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!bind(fd, a->ai_addr, a->ai_addrlen) && !listen(fd, SOMAXCONN)) return fd;
    const int e = errno;
    close(fd);
    errno = e;
    return -1;
}

static int bound_port(int fd)
{
    struct sockaddr_storage a;
    socklen_t size = sizeof a;
    char port[16];
    if (getsockname(fd, (struct sockaddr *)&a, &size) ||
        getnameinfo((struct sockaddr *)&a, size, NULL, 0, port, sizeof port,
                    NI_NUMERICSERV))
        return 0;
    return atoi(port);
}

int http_listen(q3n_server *s, ggf_error *err)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                                    .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
    struct addrinfo *found = NULL;
    char port[16];
    snprintf(port, sizeof port, "%d", s->o.port);
    const int e = getaddrinfo(s->o.host, port, &hints, &found);
    if (e)
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot listen on %s: %s",
                        s->o.host, gai_strerror(e));
    for (const struct addrinfo *a = found; a && s->listener < 0; a = a->ai_next)
        s->listener = listen_at(a);
    const int why = errno;
    freeaddrinfo(found);
    if (s->listener < 0)
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot listen on %s port %s: %s",
                        s->o.host, port, strerror(why));
    s->port = bound_port(s->listener);
    return 0;
}

/* ---- Routes ------------------------------------------------------------------------ */

static const struct route routes[] = {
    { "GET", "/", api_page, true, true },
    { "GET", "/health", api_health, true, true },
    { "GET", "/models", api_models, true, false },
    { "GET", "/props", api_props, false, false },
    { "GET", "/experts", api_experts, false, false },
    { "GET", "/slots", api_slots, false, false },
    { "GET", "/metrics", api_metrics, false, false },
    { "POST", "/slots/", api_slot_action, false, false },
    { "POST", "/chat/completions", api_chat, false, false },
    { "POST", "/completions", api_completions, false, false },
    { "POST", "/tokenize", api_tokenize, false, false },
    { "POST", "/detokenize", api_detokenize, false, false },
    { "POST", "/apply-template", api_apply_template, false, false },
};

static bool matches(const struct route *r, const char *path)
{
    const size_t n = strlen(r->path);
    return r->path[n - 1] == '/' && n > 1 ? !strncmp(path, r->path, n)
                                          : !strcmp(path, r->path);
}

/* *known: the path is one of ours, whatever the method. */
static const struct route *find_route(const char *method, const char *path, bool *known)
{
    if (!strcmp(method, "HEAD")) method = "GET";
    *known = false;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (!matches(&routes[i], path)) continue;
        *known = true;
        if (!strcmp(method, routes[i].method)) return &routes[i];
    }
    return NULL;
}

/* What a page asks before it asks something else (CORS). */
static enum MHD_Result preflight(const struct call *call)
{
    const char *origin;
    const char *wanted = MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND,
                                                     "Access-Control-Request-Headers");
    struct MHD_Response *r =
        MHD_create_response_from_buffer(0, (char[]){ "" }, MHD_RESPMEM_MUST_COPY);
    if (r && allow_origin(call, &origin) && origin) {
        MHD_add_response_header(r, "Access-Control-Allow-Methods", "GET, POST");
        MHD_add_response_header(r, "Access-Control-Max-Age", "600");
        if (wanted) MHD_add_response_header(r, "Access-Control-Allow-Headers", wanted);
    }
    return answer_send(call, 204, r);
}

/* ---- A request --------------------------------------------------------------------- */

bool call_gone(const struct call *call)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(call->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct pollfd p = { .fd = info ? info->connect_fd : -1, .events = POLLRDHUP };
    return poll(&p, 1, 0) > 0 && p.revents;
}

void call_waits(const struct call *call, bool ours)
{
    MHD_set_connection_option(call->connection, MHD_CONNECTION_OPTION_TIMEOUT,
                              ours ? 0U : call->server->o.timeout);
}

/* The status of what can be refused before the body is there; 0: nothing. */
static unsigned refuse_early(const struct call *call, bool known)
{
    const char *length = MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND,
                                                     MHD_HTTP_HEADER_CONTENT_LENGTH);
    const char *origin;
    if (!strcmp(call->method, "OPTIONS")) return 0;
    if (!allow_origin(call, &origin)) return 403;
    if (!call->route || !call->route->open)
        if (!allow_key(call)) return 401;
    if (!call->route) return known ? 405 : 404;
    return length && strtoull(length, NULL, 10) > call->server->o.most_body ? 413 : 0;
}

static bool has_body(struct MHD_Connection *c)
{
    return MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length") ||
           MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Transfer-Encoding");
}

static const char *refusal(unsigned status)
{
    switch (status) {
    case 401: return "Invalid API Key";
    case 403: return "pages of this origin are not answered (--cors-origins)";
    case 404: return "File Not Found";
    case 405: return "this path does not take this method";
    case 413: return "the body is larger than the server takes";
    default: return "out of memory";
    }
}

static void enter(struct call *call)
{
    q3n_server *s = call->server;
    pthread_mutex_lock(&s->lock);
    s->n_calls++;
    pthread_mutex_unlock(&s->lock);
    call->working = true;
}

static void leave(struct call *call)
{
    q3n_server *s = call->server;
    if (!call->working) return;
    pthread_mutex_lock(&s->lock);
    if (!--s->n_calls) pthread_cond_broadcast(&s->quiet);
    pthread_mutex_unlock(&s->lock);
}

static enum MHD_Result answer(struct call *call)
{
    q3n_server *s = call->server;
    watch_allow(s->watch, call->peer, 0);
    enter(call);
    if (call->refused) return answer_error(call, call->refused, refusal(call->refused));
    if (!strcmp(call->method, "OPTIONS")) return preflight(call);
    const int state = s->state;
    if (state == SERVER_STOPPING)
        return answer_error(call, 503, "the server is stopping");
    if (state == SERVER_LOADING && !call->route->early)
        return answer_error(call, 503, "Loading model");
    call_waits(call, true);
    const enum MHD_Result r = call->route->answer(call);
    call_waits(call, false);
    return r;
}

/* The headers are there. */
static enum MHD_Result begin(q3n_server *s, struct MHD_Connection *connection,
                             const char *url, const char *method, struct call **out)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct call *call = calloc(1, sizeof *call);
    bool known;
    *out = call;
    if (!call) return MHD_NO;
    call->server = s;
    call->connection = connection;
    call->peer = info ? info->socket_context : NULL;
    call->method = method;
    call->path = !strncmp(url, "/v1/", 4) ? url + 3 : url;
    call->route = find_route(method, call->path, &known);
    call->refused = refuse_early(call, known);
    watch_allow(s->watch, call->peer, WATCH_BODY);
    /* Now, before the client sends a body for nothing; that ends the connection. */
    return call->refused && has_body(connection) ? answer(call) : MHD_YES;
}

/* A piece of the body.  What is too much is read, so that the client reads the answer,
 * but not kept; the clock runs on. */
static void take_in(struct call *call, const char *bytes, size_t n)
{
    if (call->refused) return;
    if (n > call->server->o.most_body - call->len) {
        call->refused = 413;
        return;
    }
    if (call->len + n >= call->room) {
        const size_t room = 2 * (call->len + n) + 1;
        char *more = realloc(call->body, room);
        if (!more) {
            call->refused = 500;
            return;
        }
        call->body = more;
        call->room = room;
    }
    if ((call->len + n) / WATCH_BODY_STEP > call->len / WATCH_BODY_STEP)
        watch_allow(call->server->watch, call->peer, WATCH_BODY);
    memcpy(call->body + call->len, bytes, n);
    call->len += n;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection,
                                  const char *url, const char *method,
                                  const char *version, const char *bytes, size_t *n,
                                  void **state)
{
    (void)version;
    if (!*state) return begin(user, connection, url, method, (struct call **)state);
    struct call *call = *state;
    call->method = method;
    call->path = !strncmp(url, "/v1/", 4) ? url + 3 : url;
    if (*n) {
        take_in(call, bytes, *n);
        *n = 0;
        return MHD_YES;
    }
    return answer(call);
}

static void on_completed(void *user, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode why)
{
    q3n_server *s = user;
    struct call *call = *state;
    (void)connection;
    (void)why;
    if (!call) return;
    watch_allow(s->watch, call->peer, WATCH_HEADERS);
    leave(call);
    free(call->body);
    free(call);
    *state = NULL;
}

static void on_connection(void *user, struct MHD_Connection *connection, void **state,
                          enum MHD_ConnectionNotificationCode what)
{
    q3n_server *s = user;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        watch_leave(s->watch, *state);
        door_left(s->door);
    } else *state = info ? watch_join(s->watch, info->connect_fd) : NULL;
}

/* ---- The daemon -------------------------------------------------------------------- */

enum { HEADER_BYTES = 64 << 10 }; /* for a request's headers, and its answer's buffer */

int http_start(q3n_server *s, ggf_error *err)
{
    s->daemon = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL |
            MHD_USE_ITC | MHD_USE_NO_LISTEN_SOCKET,
        0, NULL, NULL, on_request, s, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_CONNECTION_LIMIT,
        2 * s->o.connections + 64, /* the door keeps the limit */
        MHD_OPTION_CONNECTION_TIMEOUT, s->o.timeout, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HEADER_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (!s->daemon)
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET,
                        "the HTTP server cannot be started: %s", strerror(errno));
    const int e = door_open(&s->door, s->listener, s->daemon, s->o.connections, err);
    if (!e) s->listener = -1;
    return e;
}

void http_stop(q3n_server *s) { door_close(s->door); }

void http_close(q3n_server *s)
{
    if (s->daemon) MHD_stop_daemon(s->daemon);
    if (s->listener >= 0) close(s->listener);
    door_free(s->door);
    s->daemon = NULL;
    s->door = NULL;
    s->listener = -1;
}
