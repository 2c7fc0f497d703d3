/* http_client.c: see http_client.h. */
#include "http_client.h"

#include <errno.h>

#include "request_set.h"

#ifdef HAVE_LLHTTP

#include <llhttp.h>
#include <stdlib.h>
#include <string.h>

#include "loops/tls.h"

enum {
    HEAD_BYTES_MOST = 1024,         /* longer ones are parsed every time */
    REPEATED_BYTES_MOST = 64 * 1024 /* of one kind of request, to be sent at once */
};

/* The head that was parsed last, of a body with a length, on a connection that goes on. */
struct known_head {
    size_t length; /* 0: none yet */
    uint64_t body_bytes;
    int status;
    char bytes[HEAD_BYTES_MOST];
};

/* The first answer to a request, that the others should be like. */
struct expected {
    int status; /* 0: none yet */
    uint64_t body_bytes, hash;
};

struct client {
    struct loop *loop;
    struct tls *tls; /* of https, or null */
    struct endpoint target;
    struct stream_handler handler; /* asker_handler with room for `asked` */
    const struct client_events *events;
    const struct request_set *set;
    struct request_set *own_set; /* or null */
    size_t next_in_order;
    uint32_t in_flight, limit;
    uint8_t *repeated; /* copies of the only kind of request; null: there are several */
    uint32_t copies;
    struct known_head *known; /* one a request */
    struct expected *expected;
    bool verify;
};

struct asker {
    struct client *client;
    llhttp_t parser;
    uint32_t sent;          /* requests, on this connection */
    uint32_t queued;        /* asked for and not yet given to the stream */
    uint32_t first, asking; /* unanswered: asked[first], asked[first + 1], … */
    bool reading;           /* within on_data: what is asked for now is sent at its end */
    bool opened;
    bool over;              /* nothing that still comes matters */
    struct client_end end;

    /* The answer that is coming in. */
    bool inside;
    bool head_parsed; /* by llhttp; the next four are of it */
    bool complete;    /* its last byte has been parsed */
    bool fixed, last; /* its length is known; the connection ends with it */
    int status;
    uint64_t body_bytes;
    const char *body_at; /* where the body began within the bytes at hand */
    uint64_t skip;       /* bytes of the body still to come, behind a known head */
    size_t bytes;
    uint64_t seen_bytes, hash; /* of the body; verify only */
    bool unlike;               /* it does not begin as its request says */

    uint16_t asked[]; /* ring of in_flight: indices of requests */
};

static const struct http_request *oldest_request(const struct asker *asker) {
    return &asker->client->set->requests[asker->asked[asker->first]];
}

/* ---- asking ---------------------------------------------------------------------------------- */

static uint16_t choose(struct client *client) {
    const struct request_set *set = client->set;
    uint16_t chosen = set->order[client->next_in_order++];
    if (client->next_in_order == set->order_length)
        client->next_in_order = 0;
    return chosen;
}

static uint32_t wrapped(const struct client *client, uint32_t place) {
    return place < client->in_flight ? place : place - client->in_flight;
}

/* The next bytes to send; returns how many of the queued requests they are. */
static uint32_t next_part(const struct asker *asker, struct iovec *part) {
    const struct client *client = asker->client;
    uint32_t place = wrapped(client, asker->first + asker->asking - asker->queued);
    const struct http_request *request = &client->set->requests[asker->asked[place]];
    uint32_t before_last = client->limit ? client->limit - 1 - asker->sent : UINT32_MAX;
    if (before_last == 0) {
        *part = (struct iovec){request->last_bytes, request->last_length};
        return 1;
    }
    if (!client->repeated) {
        *part = (struct iovec){request->bytes, request->length};
        return 1;
    }
    uint32_t count = asker->queued < client->copies ? asker->queued : client->copies;
    if (count > before_last)
        count = before_last;
    *part = (struct iovec){client->repeated, count * request->length};
    return count;
}

static int send_queued(struct stream *stream, struct asker *asker) {
    while (asker->queued > 0 && !stream_sending(stream)) {
        struct iovec parts[LOOP_SEND_PARTS];
        int count = 0;
        while (count < LOOP_SEND_PARTS && asker->queued > 0) {
            uint32_t requests = next_part(asker, &parts[count++]);
            asker->queued -= requests;
            asker->sent += requests;
        }
        int result = stream_send(stream, parts, count, NULL);
        if (result < 0) {
            asker->over = true;
            asker->end = (struct client_end){.err = result, .step = CLIENT_SEND};
            stream_close(stream);
            return result;
        }
    }
    return 0;
}

static int http_request(void *connection) {
    struct stream *stream = connection;
    struct asker *asker = stream_state(stream);
    struct client *client = asker->client;
    CHECK(asker->asking < client->in_flight);
    asker->asked[wrapped(client, asker->first + asker->asking)] = choose(client);
    asker->asking++;
    asker->queued++;
    return asker->reading ? 0 : send_queued(stream, asker);
}

/* ---- what llhttp tells ----------------------------------------------------------------------- */

enum { PARSE_ON = 0, PARSE_NO_BODY = 1, PARSE_REFUSE = -1 };

/* RFC 9112 section 6.3: these have no body, whatever their head says. */
static bool has_no_body(const struct asker *asker, int status) {
    return status < 200 || status == 204 || status == 304 || oldest_request(asker)->head;
}

static int head_complete(llhttp_t *parser) {
    struct asker *asker = parser->data;
    if (parser->http_major != 1) {
        llhttp_set_error_reason(parser, "not of HTTP/1");
        return PARSE_REFUSE;
    }
    bool no_body = has_no_body(asker, parser->status_code);
    bool by_length =
        (parser->flags & (F_CONTENT_LENGTH | F_CHUNKED | F_TRANSFER_ENCODING)) == F_CONTENT_LENGTH;
    if (no_body)
        parser->flags |= F_SKIPBODY; /* or it would seem to need the end of the connection */
    asker->status = parser->status_code;
    asker->last = !llhttp_should_keep_alive(parser) || asker->status == 101;
    asker->fixed = no_body || by_length;
    asker->body_bytes = no_body ? 0 : parser->content_length;
    asker->head_parsed = true;
    return no_body ? PARSE_NO_BODY : PARSE_ON;
}

static int body_begins(llhttp_t *parser, const char *at, size_t length) {
    struct asker *asker = parser->data;
    (void)length;
    if (!asker->body_at)
        asker->body_at = at;
    return PARSE_ON;
}

static bool continues_as(const struct http_request *request, uint64_t from, const char *at,
                         size_t length) {
    size_t known = strlen(request->begins);
    if (from >= known)
        return true;
    size_t n = known - (size_t)from < length ? known - (size_t)from : length;
    return memcmp(request->begins + from, at, n) == 0;
}

/* FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/. */
static int body_to_verify(llhttp_t *parser, const char *at, size_t length) {
    struct asker *asker = parser->data;
    if (!continues_as(oldest_request(asker), asker->seen_bytes, at, length))
        asker->unlike = true;
    for (size_t i = 0; i < length; i++)
        asker->hash = (asker->hash ^ (uint8_t)at[i]) * 0x100000001b3ull;
    asker->seen_bytes += length;
    return PARSE_ON;
}

/* Stops behind each answer, so that it is told before the next one is looked at. */
static int message_complete(llhttp_t *parser) {
    struct asker *asker = parser->data;
    if (asker->status < 200 && asker->status != 101) {
        asker->head_parsed = false;
        return PARSE_ON;
    }
    asker->complete = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t parse_settings = {.on_headers_complete = head_complete,
                                                 .on_body = body_begins,
                                                 .on_message_complete = message_complete};
static const llhttp_settings_t verify_settings = {.on_headers_complete = head_complete,
                                                  .on_body = body_to_verify,
                                                  .on_message_complete = message_complete};

/* ---- answers --------------------------------------------------------------------------------- */

/* To where the next answer begins. */
static void begin_answer(struct asker *asker) {
    asker->inside = true;
    asker->head_parsed = asker->complete = asker->last = false;
    asker->bytes = 0;
    asker->seen_bytes = 0;
    asker->unlike = false;
    asker->hash = 0xcbf29ce484222325ull;
}

static bool is_like_first(struct asker *asker) {
    struct expected *expected = &asker->client->expected[asker->asked[asker->first]];
    if (expected->status == 0)
        *expected = (struct expected){asker->status, asker->seen_bytes, asker->hash};
    return expected->status == asker->status && expected->body_bytes == asker->seen_bytes &&
           expected->hash == asker->hash;
}

static bool begins_right(const struct asker *asker) {
    return asker->status != 200 ||
           (!asker->unlike && asker->seen_bytes >= strlen(oldest_request(asker)->begins));
}

/* Null, or what is wrong. */
static const char *judge(struct asker *asker) {
    if (oldest_request(asker)->begins[0])
        return begins_right(asker) ? NULL : "not the answer to this request";
    return is_like_first(asker) ? NULL : "unlike the first answer to the same request";
}

static void tell_answer(struct stream *stream, struct asker *asker) {
    const struct client *client = asker->client;
    struct answer answer = {.status = asker->status, .last = asker->last, .bytes = asker->bytes};
    answer.what = client->verify ? judge(asker) : NULL;
    if (answer.what)
        answer.err = -EBADMSG;
    asker->inside = false;
    asker->over = answer.last || answer.err;
    asker->first = wrapped(client, asker->first + 1);
    asker->asking--;
    client->events->answered(stream_data(stream), &answer);
}

static void tell_garbage(struct stream *stream, struct asker *asker, int code) {
    const char *reason = llhttp_get_error_reason(&asker->parser);
    struct answer answer = {.err = -EPROTO,
                            .what = reason && *reason ? reason : llhttp_errno_name(code)};
    asker->over = true;
    asker->client->events->answered(stream_data(stream), &answer);
}

/* Nobody asked for it, so there is no request to tell it of. */
static void refuse_bytes(struct stream *stream, struct asker *asker) {
    asker->over = true;
    asker->end = (struct client_end){
        .err = -EPROTO, .step = CLIENT_PARSE, .what = "bytes that were not asked for"};
    stream_close(stream);
}

/* A head from `begin` to where the body began, or to `stop`, was parsed from bytes at hand. 1xx
 * answers before it belong to it: the same bytes mean the same again. */
static void learn_head(struct asker *asker, const char *begin, const char *stop) {
    struct known_head *known = &asker->client->known[asker->asked[asker->first]];
    size_t length = (size_t)((asker->body_at ? asker->body_at : stop) - begin);
    if (!asker->head_parsed || !asker->fixed || asker->last || asker->client->verify ||
        length > HEAD_BYTES_MOST)
        return;
    known->length = length;
    known->body_bytes = asker->body_bytes;
    known->status = asker->status;
    memcpy(known->bytes, begin, length);
}

/* True if the answer that begins here has a known head: then only its body is left to come. */
static bool take_known_head(struct asker *asker, const char *at, size_t n) {
    const struct known_head *known = &asker->client->known[asker->asked[asker->first]];
    if (known->length == 0 || n < known->length || memcmp(at, known->bytes, known->length) != 0)
        return false;
    asker->status = known->status;
    asker->skip = known->body_bytes;
    asker->bytes = known->length;
    return true;
}

/* Takes of at[0..n) what belongs to a body whose length is known; returns how much. */
static size_t skip_body(struct stream *stream, struct asker *asker, size_t n) {
    size_t taken = asker->skip < n ? (size_t)asker->skip : n;
    asker->skip -= taken;
    asker->bytes += taken;
    if (asker->skip == 0)
        tell_answer(stream, asker);
    return taken;
}

/* Parses up to the end of an answer, or of the bytes; returns how much that was. */
static size_t parse(struct stream *stream, struct asker *asker, const char *at, size_t n,
                    bool from_begin) {
    asker->body_at = NULL;
    llhttp_errno_t code = llhttp_execute(&asker->parser, at, n);
    const char *stop = at + n;
    if (code == HPE_PAUSED || code == HPE_PAUSED_UPGRADE)
        stop = llhttp_get_error_pos(&asker->parser);
    else if (code != HPE_OK) {
        tell_garbage(stream, asker, code);
        return n;
    }
    size_t taken = (size_t)(stop - at);
    asker->bytes += taken;
    if (from_begin)
        learn_head(asker, at, stop);
    if (asker->complete) {
        llhttp_resume(&asker->parser);
        tell_answer(stream, asker);
    }
    return taken;
}

/* Takes the next piece of at[0..n), at least one byte; returns how much. */
static size_t read_piece(struct stream *stream, struct asker *asker, const char *at, size_t n) {
    bool begins = !asker->inside;
    if (asker->skip > 0)
        return skip_body(stream, asker, n);
    if (begins && asker->asking == asker->queued) {
        refuse_bytes(stream, asker);
        return n;
    }
    if (!begins)
        return parse(stream, asker, at, n, false);
    begin_answer(asker);
    if (!take_known_head(asker, at, n))
        return parse(stream, asker, at, n, true);
    size_t head = asker->bytes;
    return head + skip_body(stream, asker, n - head);
}

static void asker_data(struct stream *stream, struct buffer *buffer, uint8_t *bytes, size_t n) {
    (void)buffer;
    struct asker *asker = stream_state(stream);
    asker->reading = true;
    while (n > 0 && !asker->over) {
        size_t taken = read_piece(stream, asker, (const char *)bytes, n);
        bytes += taken;
        n -= taken;
    }
    asker->reading = false;
    if (!asker->over)
        send_queued(stream, asker);
}

/* ---- the connection -------------------------------------------------------------------------- */

static void asker_opened(struct stream *stream, int err) {
    struct asker *asker = stream_state(stream);
    asker->opened = err == 0;
    if (asker->opened)
        asker->client->events->opened(stream_data(stream));
}

static void asker_sent(struct stream *stream, void *cookie, int err) {
    (void)cookie;
    struct asker *asker = stream_state(stream);
    if (err == 0 && !asker->over)
        send_queued(stream, asker);
    else if (err && err != -ECANCELED && asker->end.err == 0)
        asker->end = (struct client_end){.err = err, .step = CLIENT_SEND};
}

/* The end of the connection can be the end of an answer too. */
static bool ends_answer(struct asker *asker) {
    if (!asker->inside || asker->skip > 0)
        return false;
    llhttp_finish(&asker->parser);
    return asker->complete;
}

static void asker_ended(struct stream *stream) {
    struct asker *asker = stream_state(stream);
    if (asker->over)
        return;
    if (ends_answer(asker)) {
        asker->last = true;
        tell_answer(stream, asker);
        return;
    }
    asker->over = true;
    if (asker->asking > 0)
        asker->end = (struct client_end){.err = -EPIPE,
                                         .step = CLIENT_CLOSE,
                                         .what = asker->inside ? "in the middle of an answer"
                                                               : "before an answer"};
    stream_close(stream);
}

static void asker_closed(struct stream *stream, int err) {
    struct asker *asker = stream_state(stream);
    bool allowed = err == -EPIPE && asker->opened && asker->asking == 0;
    if (asker->end.err == 0 && err && !allowed)
        asker->end =
            (struct client_end){.err = err, .step = CLIENT_RECEIVE, .what = tls_failure(stream)};
    asker->client->events->closed(stream_data(stream), &asker->end);
}

static const struct stream_handler asker_handler = {
    .state_bytes = sizeof(struct asker),
    .on_open = asker_opened,
    .on_data = asker_data,
    .on_sent = asker_sent,
    .on_eof = asker_ended,
    .on_close = asker_closed,
};

static int http_connect(struct client *client, const struct endpoint *source, void *slot,
                        void **out) {
    struct stream *stream;
    int failure = client->tls ? tls_connect(client->tls, client->loop, &client->target, source,
                                            &client->handler, slot, &stream)
                              : loop_connect(client->loop, &client->target, source,
                                             &client->handler, slot, &stream);
    if (failure)
        return failure;
    struct asker *asker = stream_state(stream);
    asker->client = client;
    llhttp_init(&asker->parser, HTTP_RESPONSE, client->verify ? &verify_settings : &parse_settings);
    asker->parser.data = asker;
    *out = stream;
    return 0;
}

/* ---- the client ------------------------------------------------------------------------------ */

/* Requests of one kind lie one behind the other, so that pipelined ones are one piece to send. */
static int repeat_request(struct client *client) {
    const struct http_request *request = &client->set->requests[0];
    if (client->set->count > 1)
        return 0;
    size_t fitting = REPEATED_BYTES_MOST / request->length;
    client->copies = fitting < client->in_flight ? (uint32_t)fitting : client->in_flight;
    if (client->copies == 0)
        client->copies = 1;
    client->repeated = malloc(client->copies * request->length);
    if (!client->repeated)
        return -ENOMEM;
    for (uint32_t i = 0; i < client->copies; i++)
        memcpy(client->repeated + i * request->length, request->bytes, request->length);
    return 0;
}

static void http_stop(struct client *client) {
    if (client->own_set)
        request_set_close(client->own_set);
    if (client->tls)
        tls_close(client->tls);
    free(client->repeated);
    free(client->known);
    free(client->expected);
    free(client);
}

static int take_requests(struct client *client, const struct client_setup *setup,
                         struct error *error) {
    static const struct request_options plain = {.method = "GET"};
    int failure = 0;
    if (!client->own_set && !setup->requests)
        failure = request_set_open(&plain, setup->url, &client->own_set, error);
    if (failure)
        return failure;
    client->set = client->own_set ? client->own_set : setup->requests;
    client->known = calloc(client->set->count, sizeof *client->known);
    client->expected = calloc(client->set->count, sizeof *client->expected);
    if (!client->known || !client->expected || repeat_request(client))
        return error_set(error, -ENOMEM, "out of memory");
    return 0;
}

static int prepare_tls(struct client *client, const struct client_setup *setup,
                       struct error *error) {
    struct tls_client_options options = {0};
    if (strcmp(setup->url->scheme, "https") != 0)
        return 0;
    if (setup->tls)
        options = *setup->tls;
    options.host = setup->url->name;
    options.protocol = "http/1.1";
    return tls_client_open(&options, &client->tls, error);
}

int http_client_start_with(const struct client_setup *setup, struct request_set *requests,
                           struct client **out, struct error *error) {
    struct client *client = calloc(1, sizeof *client);
    if (!client) {
        if (requests)
            request_set_close(requests);
        return error_set(error, -ENOMEM, "out of memory");
    }
    *client = (struct client){.loop = setup->loop,
                              .target = setup->url->endpoint,
                              .handler = asker_handler,
                              .events = setup->events,
                              .own_set = requests,
                              .in_flight = setup->in_flight,
                              .limit = setup->requests_per_connection,
                              .verify = setup->verify};
    client->handler.state_bytes += setup->in_flight * sizeof(uint16_t);
    int failure = prepare_tls(client, setup, error);
    if (!failure)
        failure = take_requests(client, setup, error);
    if (failure)
        http_stop(client);
    else
        *out = client;
    return failure;
}

static int http_start(const struct client_setup *setup, struct client **client,
                      struct error *error) {
    return http_client_start_with(setup, NULL, client, error);
}

const struct workload_client http_client = {
    .start = http_start, .connect = http_connect, .request = http_request, .stop = http_stop};

#else

int http_client_start_with(const struct client_setup *setup, struct request_set *requests,
                           struct client **client, struct error *error) {
    if (requests)
        request_set_close(requests);
    return http_client.start(setup, client, error);
}

static int http_start(const struct client_setup *setup, struct client **client,
                      struct error *error) {
    (void)setup;
    (void)client;
    return error_set(error, -ENOTSUP, "this loopmark was built without llhttp, which reads HTTP");
}

const struct workload_client http_client = {.start = http_start};

#endif
