/* http_server.c: see http_server.h. */
#include "http_server.h"

#include <errno.h>

#ifndef HAVE_LLHTTP

int http_serve_routes(struct loop *loop, const struct knob_values *knobs,
                      const struct endpoint *listen, const struct http_routes *routes,
                      void *routes_data, struct endpoint *bound, struct server **out,
                      struct error *error) {
    (void)loop, (void)knobs, (void)listen, (void)routes, (void)routes_data, (void)bound, (void)out;
    return error_set(error, -ENOTSUP,
                     "not built: llhttp (Debian: node-llhttp or libllhttp-dev) was missing at "
                     "build time");
}

static void http_stop_serving(struct server *server) {
    (void)server;
}

void *http_routes_data(const struct server *server) {
    (void)server;
    return NULL;
}

bool http_has_connections(const struct server *server) {
    (void)server;
    return false;
}

void http_close_connections(struct server *server) {
    (void)server;
}

void http_free(struct server *server) {
    (void)server;
}

void http_reply(struct http_exchange *exchange, const struct http_reply *reply) {
    (void)exchange, (void)reply;
}

void http_step(struct http_exchange *exchange, const char *step) {
    (void)exchange, (void)step;
}

#else

#include <stdlib.h>
#include <time.h>

#include "http_connection.h"
#include "loops/trace.h"

enum { HTTP_BACKLOG = 4096 };

static uint64_t knob_number(const struct knob_values *knobs, const char *name) {
    return (uint64_t)knob_get(knobs, name);
}

static struct http_options read_options(const struct knob_values *knobs) {
    return (struct http_options){
        .size_bytes = knob_number(knobs, "size_bytes"),
        .work_ns = knob_number(knobs, "work_us") * NS_PER_US,
        .requests_most = knob_number(knobs, "keep_alive_requests"),
        .body_most = knob_number(knobs, "body_limit_bytes"),
        .idle_ns = knob_number(knobs, "idle_timeout"),
        .header_ns = knob_number(knobs, "header_timeout"),
        .transfer_ns = knob_number(knobs, "transfer_timeout"),
    };
}

int http_serve_routes(struct loop *loop, const struct knob_values *knobs,
                      const struct endpoint *listen, const struct http_routes *routes,
                      void *routes_data, struct endpoint *bound, struct server **out,
                      struct error *error) {
    struct server *server = calloc(1, sizeof *server);
    if (!server)
        return error_set(error, -ENOMEM, "out of memory");
    server->loop = loop;
    server->traces = loop_traces(loop);
    server->options = read_options(knobs);
    server->routes = routes;
    server->routes_data = routes_data;
    http_fill_body_block(server->block);
    if (http_pages_open(&server->pages, server->options.size_bytes, time(NULL), server->block)) {
        free(server);
        return error_set(error, -ENOMEM, "out of memory");
    }
    int failure = loop_listen(loop, listen, HTTP_BACKLOG, &http_handler, server, &server->listener,
                              bound, error);
    if (failure) {
        http_free(server);
        return failure;
    }
    *out = server;
    return 0;
}

static void http_stop_serving(struct server *server) {
    listener_close(server->listener);
    server->stopping = true;
    if (!server->connections && !server->routes) {
        http_free(server);
        return;
    }
    for (struct connection *connection = server->connections; connection;
         connection = connection->next)
        if (http_is_idle(connection))
            stream_close(connection->stream);
}

void *http_routes_data(const struct server *server) {
    return server->routes_data;
}

bool http_has_connections(const struct server *server) {
    return server->connections != NULL;
}

void http_close_connections(struct server *server) {
    for (struct connection *connection = server->connections; connection;
         connection = connection->next)
        stream_close(connection->stream);
}

void http_free(struct server *server) {
    http_free_outboxes(server);
    http_pages_close(&server->pages);
    free(server);
}

#endif

static int http_serve(struct loop *loop, const struct knob_values *knobs,
                      const struct endpoint *listen, struct endpoint *bound, struct server **out,
                      struct error *error) {
    return http_serve_routes(loop, knobs, listen, NULL, NULL, bound, out, error);
}

const struct workload_server http_server = {.start = http_serve, .stop = http_stop_serving};
