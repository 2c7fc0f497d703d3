/* http_send.c: see http_connection.h.
 *
 * Heads and small bodies are written into an outbox, where they lie until they are sent; everything
 * else is sent from where it is. */
#ifdef HAVE_LLHTTP

#include <stdlib.h>
#include <string.h>

#include "http_connection.h"

enum { LONG_BODY_PARTS = 4 };

/* Heads and small bodies that no page has. Lent to a connection while it answers. */
struct outbox {
    struct outbox *next;
    uint32_t used;
    char bytes[HTTP_OUTBOX_BYTES];
};

void http_add_part(struct send *send, const void *bytes, size_t n) {
    struct iovec *last = send->count > 0 ? &send->parts[send->count - 1] : NULL;
    send->bytes += n;
    if (n == 0)
        return;
    if (last && (const char *)last->iov_base + last->iov_len == bytes) {
        last->iov_len += n;
        return;
    }
    CHECK(send->count < LOOP_SEND_PARTS);
    send->parts[send->count++] = (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
}

/* An answer takes two parts at most, before what is left of its body. A lent body goes alone, as
 * its exchange ends before the next one begins. */
bool http_has_room(const struct connection *connection, const struct send *send) {
    const struct outbox *outbox = connection->outbox;
    return connection->body_left == 0 && !connection->lent && send->count <= LOOP_SEND_PARTS - 2 &&
           send->bytes < LOOP_SEND_BUDGET &&
           (!outbox || HTTP_OUTBOX_BYTES - outbox->used >= HTTP_HEAD_BYTES + HTTP_COPIED_BYTES);
}

/* ---- bodies ------------------------------------------------------------------------------------
 */

/* Long bodies take few parts, since libuv allocates for a write of more. */
static void add_body(struct connection *connection, struct send *send) {
    const char *block = (const char *)connection->server->block;
    while (connection->body_left > 0 && send->bytes < LOOP_SEND_BUDGET) {
        size_t n =
            connection->lent ? LOOP_SEND_BUDGET : HTTP_BODY_BLOCK_BYTES - connection->body_at;
        bool ends = connection->body_left <= n;
        if (send->count >= (ends ? LOOP_SEND_PARTS : LONG_BODY_PARTS))
            return;
        if (ends)
            n = (size_t)connection->body_left;
        http_add_part(send, (connection->lent ? connection->lent : block) + connection->body_at, n);
        connection->body_left -= n;
        connection->body_at += n;
        if (!connection->lent)
            connection->body_at %= HTTP_BODY_BLOCK_BYTES;
    }
}

static void begin_body(struct connection *connection, uint64_t bytes) {
    connection->body_left = bytes;
    connection->body_at = 0;
}

/* ---- answers -----------------------------------------------------------------------------------
 */

void http_add_page_answer(struct connection *connection, struct send *send) {
    struct server *server = connection->server;
    const struct http_pages *pages = &server->pages;
    if (send->page_answers == pages->copies)
        send->page_answers = 0; /* from its beginning again, in another part */
    http_add_part(send, pages->current->answers + send->page_answers++ * pages->answer_bytes,
                  pages->answer_bytes);
    send->uses_page = true;
    if (pages->answer_bytes == pages->head_bytes) {
        begin_body(connection, server->options.size_bytes);
        add_body(connection, send);
    }
}

static struct outbox *take_outbox(struct connection *connection) {
    struct server *server = connection->server;
    if (!connection->outbox) {
        connection->outbox = server->outboxes;
        if (connection->outbox)
            server->outboxes = connection->outbox->next;
        else
            connection->outbox = malloc(sizeof *connection->outbox);
        if (connection->outbox)
            connection->outbox->used = 0;
    }
    return connection->outbox;
}

static enum http_connection connection_field(const struct connection *connection) {
    if (connection->stage == LAST)
        return CONNECTION_CLOSE;
    return connection->request.minor_version == 0 ? CONNECTION_KEEP_ALIVE : CONNECTION_UNSAID;
}

/* Writes the head, and the body if it is small, at the end of what is queued; `body` null: that of
 * http_answer.h. A larger body begins. */
static void queue_answer(struct connection *connection, const struct http_answer *head,
                         const char *body) {
    const struct server *server = connection->server;
    bool is_small = head->body_bytes <= HTTP_COPIED_BYTES;
    bool has_body = connection->request.method != METHOD_HEAD;
    struct outbox *outbox = take_outbox(connection);
    if (!is_small)
        connection->lent = body;
    if (!outbox) {
        stream_close(connection->stream);
        return;
    }
    char *to = outbox->bytes + outbox->used;
    size_t n = http_format_head(to, head, server->date);
    if (has_body && is_small) {
        memcpy(to + n, body ? body : (const char *)server->block, (size_t)head->body_bytes);
        n += (size_t)head->body_bytes;
    } else if (has_body)
        begin_body(connection, head->body_bytes);
    outbox->used += (uint32_t)n;
    connection->queued += (uint32_t)n;
}

void http_add_queued(struct connection *connection, struct send *send) {
    const struct outbox *outbox = connection->outbox;
    if (connection->queued > 0)
        http_add_part(send, outbox->bytes + outbox->used - connection->queued, connection->queued);
    connection->queued = 0;
    add_body(connection, send);
}

void http_add_answer(struct connection *connection, struct send *send, int status,
                     uint64_t body_bytes) {
    struct http_answer head = {
        .status = status, .body_bytes = body_bytes, .connection = connection_field(connection)};
    queue_answer(connection, &head, NULL);
    http_add_queued(connection, send);
}

void http_queue_reply(struct connection *connection, const struct http_reply *reply) {
    struct http_answer head = {.status = reply->status,
                               .allow = reply->allow,
                               .body_bytes = reply->bytes,
                               .connection = connection_field(connection)};
    queue_answer(connection, &head, reply->bytes > 0 ? reply->body : "");
}

void http_add_reply(struct connection *connection, struct send *send,
                    const struct http_reply *reply) {
    http_queue_reply(connection, reply);
    http_add_queued(connection, send);
}

/* ---- afterwards --------------------------------------------------------------------------------
 */

void http_end_send(struct connection *connection) {
    const struct server *server = connection->server;
    if (connection->outbox && connection->queued == 0)
        connection->outbox->used = 0;
    if (!connection->lent || connection->body_left > 0)
        return;
    connection->lent = NULL;
    server->routes->sent(server->routes_data, &connection->exchange);
}

void http_return_outbox(struct connection *connection) {
    struct server *server = connection->server;
    if (!connection->outbox)
        return;
    connection->outbox->next = server->outboxes;
    server->outboxes = connection->outbox;
    connection->outbox = NULL;
    connection->queued = 0;
}

void http_free_outboxes(struct server *server) {
    while (server->outboxes) {
        struct outbox *outbox = server->outboxes;
        server->outboxes = outbox->next;
        free(outbox);
    }
}

#endif
