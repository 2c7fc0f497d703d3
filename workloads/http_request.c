/* http_request.c: see http_request.h. */
#ifdef HAVE_LLHTTP

#include "http_request.h"

#include <string.h>
#include <strings.h>

#include "loops/check.h"

enum { PART_HEAD, PART_BODY, PART_TRAILERS, PART_WHOLE };
enum { FIELD_OTHER, FIELD_HOST, FIELD_EXPECT, FIELD_ENCODING };
enum {
    TARGET_START,
    TARGET_PATH,
    TARGET_QUERY,
    TARGET_SCHEME,
    TARGET_SLASHES,
    TARGET_AUTHORITY,
    TARGET_AUTHORITY_MORE, /* it is not empty */
    TARGET_ASTERISK,
    TARGET_WRONG,
};
enum { HOST_NAME, HOST_LITERAL, HOST_LITERAL_ENDED, HOST_PORT, HOST_ENDED, HOST_WRONG };

static bool is_one_of(char c, const char *set) {
    return c != '\0' && strchr(set, c);
}

static bool is_alphanumeric(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_token_char(char c) {
    return is_alphanumeric(c) || is_one_of(c, "!#$%&'*+-.^_`|~");
}

/* ---- the target: /path?query or http://host/path?query ------------------------------------------
 */

static void path_byte(struct request *request, char c) {
    if (request->path_bytes < REQUEST_PATH_BYTES)
        request->path[request->path_bytes] = c;
    if (request->path_bytes <= REQUEST_PATH_BYTES)
        request->path_bytes++;
}

static void path_is_root(struct request *request) {
    request->path[0] = '/';
    request->path_bytes = 1;
}

/* The scheme is kept where the path will be. */
static int after_scheme_byte(struct request *request, char c) {
    if (c != ':') {
        path_byte(request, c);
        return TARGET_SCHEME;
    }
    bool is_http = request->path_bytes == 4 && strncasecmp(request->path, "http", 4) == 0;
    request->skip = 2;
    return is_http ? TARGET_SLASHES : TARGET_WRONG;
}

static int after_authority_byte(struct request *request, char c) {
    bool is_empty = request->target_state == TARGET_AUTHORITY;
    if (c == '@' || c == '#' || (is_empty && (c == '/' || c == '?')))
        return TARGET_WRONG;
    if (c != '/' && c != '?')
        return TARGET_AUTHORITY_MORE;
    path_is_root(request);
    return c == '/' ? TARGET_PATH : TARGET_QUERY;
}

static int after_target_byte(struct request *request, char c) {
    switch (request->target_state) {
    case TARGET_START:
        path_byte(request, c);
        return c == '/' ? TARGET_PATH : c == '*' ? TARGET_ASTERISK : TARGET_SCHEME;
    case TARGET_PATH:
        if (c == '?')
            return TARGET_QUERY;
        path_byte(request, c);
        return c == '#' ? TARGET_WRONG : TARGET_PATH;
    case TARGET_QUERY:
        return c == '#' ? TARGET_WRONG : TARGET_QUERY;
    case TARGET_SCHEME:
        return after_scheme_byte(request, c);
    case TARGET_SLASHES:
        return --request->skip == 0 ? TARGET_AUTHORITY : TARGET_SLASHES;
    case TARGET_AUTHORITY:
    case TARGET_AUTHORITY_MORE:
        return after_authority_byte(request, c);
    default:
        return TARGET_WRONG; /* nothing may follow an asterisk */
    }
}

static bool target_is_right(struct request *request) {
    if (request->target_state == TARGET_AUTHORITY_MORE) {
        path_is_root(request);
        return true;
    }
    return request->target_state == TARGET_PATH || request->target_state == TARGET_QUERY;
}

/* ---- Host: name, [literal], each with or without a port -----------------------------------------
 */

static int after_host_byte(int state, char c) {
    if (state == HOST_WRONG)
        return HOST_WRONG;
    if (c == ' ' || c == '\t')
        return state == HOST_LITERAL ? HOST_WRONG : HOST_ENDED;
    switch (state) {
    case HOST_LITERAL:
        if (c == ']')
            return HOST_LITERAL_ENDED;
        return is_alphanumeric(c) || is_one_of(c, ":.-_~!$&'()*+,;=") ? HOST_LITERAL : HOST_WRONG;
    case HOST_NAME:
        if (c == ':')
            return HOST_PORT;
        return is_alphanumeric(c) || is_one_of(c, "-._~%!$&'()*+,;=") ? HOST_NAME : HOST_WRONG;
    case HOST_LITERAL_ENDED:
        return c == ':' ? HOST_PORT : HOST_WRONG;
    case HOST_PORT:
        return c >= '0' && c <= '9' ? HOST_PORT : HOST_WRONG;
    default:
        return HOST_WRONG; /* only spaces may follow the end */
    }
}

static void host_bytes(struct request *request, const char *at, size_t n) {
    for (size_t i = 0; i < n; i++) {
        bool is_first = request->word_bytes == 0 && i == 0;
        request->host_state =
            (uint8_t)(is_first && at[i] == '[' ? HOST_LITERAL
                                               : after_host_byte(request->host_state, at[i]));
    }
    request->word_bytes += (uint32_t)n;
}

/* ---- what llhttp finds --------------------------------------------------------------------------
 */

static struct request *request_of(llhttp_t *llhttp) {
    return CONTAINER_OF(llhttp, struct request, llhttp);
}

/* Refuses from within a callback. */
static int refuse(struct request *request, int status) {
    request->status = status;
    return -1;
}

static void word_append(struct request *request, const char *at, size_t n) {
    if (request->word_bytes < REQUEST_WORD_BYTES) {
        size_t room = REQUEST_WORD_BYTES - request->word_bytes;
        memcpy(request->word + request->word_bytes, at, n < room ? n : room);
    }
    request->word_bytes += (uint32_t)n; /* a section's size bounds it */
}

static bool word_is(const struct request *request, const char *word) {
    size_t n = request->word_bytes;
    if (n > REQUEST_WORD_BYTES)
        return false;
    while (n > 0 && is_one_of(request->word[n - 1], " \t"))
        n--;
    return n == strlen(word) && strncasecmp(request->word, word, n) == 0;
}

static int found_target(llhttp_t *llhttp, const char *at, size_t n) {
    struct request *request = request_of(llhttp);
    for (size_t i = 0; i < n; i++)
        request->target_state = (uint8_t)after_target_byte(request, at[i]);
    return 0;
}

static int found_field_name(llhttp_t *llhttp, const char *at, size_t n) {
    word_append(request_of(llhttp), at, n);
    return 0;
}

/* Fields of trailers mean nothing here. */
static int field_name_ended(llhttp_t *llhttp) {
    struct request *request = request_of(llhttp);
    uint32_t n = request->word_bytes;
    if (n == 0)
        return refuse(request, 400);
    request->field = FIELD_OTHER;
    if (request->part == PART_HEAD) {
        if (n == 4 && word_is(request, "host"))
            request->field = FIELD_HOST;
        else if (n == 6 && word_is(request, "expect"))
            request->field = FIELD_EXPECT;
        else if (n == 17 && word_is(request, "transfer-encoding"))
            request->field = FIELD_ENCODING;
    }
    request->word_bytes = 0;
    return 0;
}

static int found_field_value(llhttp_t *llhttp, const char *at, size_t n) {
    struct request *request = request_of(llhttp);
    if (request->field == FIELD_HOST)
        host_bytes(request, at, n);
    else if (request->field != FIELD_OTHER)
        word_append(request, at, n);
    return 0;
}

static int field_value_ended(llhttp_t *llhttp) {
    struct request *request = request_of(llhttp);
    int failure = 0;
    if (request->field == FIELD_HOST) {
        if (++request->hosts > 1 || request->host_state == HOST_WRONG ||
            request->host_state == HOST_LITERAL)
            failure = refuse(request, 400);
    } else if (request->field == FIELD_EXPECT) {
        request->expects_continue = word_is(request, "100-continue");
        if (!request->expects_continue)
            failure = refuse(request, 417);
    } else if (request->field == FIELD_ENCODING) {
        /* Whether the last coding is chunked is llhttp's question: if it is not, no length can be
         * known and the answer is another. */
        request->encodings++;
        if (request->encodings > 1 || !word_is(request, "chunked"))
            request->encodings = 2;
    }
    request->word_bytes = 0;
    return failure;
}

static int head_ended(llhttp_t *llhttp) {
    struct request *request = request_of(llhttp);
    request->head_seen = true;
    request->keep_alive = llhttp_should_keep_alive(llhttp);
    llhttp->upgrade = 0; /* or it would stop at a change of protocols that we do not make */
    return 0;
}

static int found_body(llhttp_t *llhttp, const char *at, size_t n) {
    (void)at;
    struct request *request = request_of(llhttp);
    if (n > request->body_most - request->body_bytes)
        return refuse(request, 413);
    request->body_bytes += n;
    return 0;
}

/* Its size is told in content_length. The last chunk has none, and then trailers begin. */
static int chunk_begins(llhttp_t *llhttp) {
    struct request *request = request_of(llhttp);
    if (llhttp->content_length > request->body_most - request->body_bytes)
        return refuse(request, 413);
    return llhttp->content_length == 0 ? HPE_PAUSED : 0;
}

static int found_chunk_extension(llhttp_t *llhttp, const char *at, size_t n) {
    (void)at;
    struct request *request = request_of(llhttp);
    if (n > REQUEST_SECTION_BYTES - request->extension_bytes)
        return refuse(request, 431);
    request->extension_bytes += (uint32_t)n;
    return 0;
}

static int message_ended(llhttp_t *llhttp) {
    request_of(llhttp)->whole = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = found_target,
    .on_header_field = found_field_name,
    .on_header_field_complete = field_name_ended,
    .on_header_value = found_field_value,
    .on_header_value_complete = field_value_ended,
    .on_headers_complete = head_ended,
    .on_body = found_body,
    .on_chunk_header = chunk_begins,
    .on_chunk_extension_name = found_chunk_extension,
    .on_chunk_extension_value = found_chunk_extension,
    .on_message_complete = message_ended,
};

/* ---- the lines of a head or of trailers ---------------------------------------------------------
 */

static void begin_section(struct request *request, int part) {
    request->part = (uint8_t)part;
    request->section_bytes = request->lines = request->line_bytes = 0;
    request->section_ended = false;
}

/* How many of the bytes belong to the section, its empty line included; 0 when a line is wrong.
 * Empty lines before a request are no lines (RFC 9112 section 2.2). */
static size_t scan_section(struct request *request, const uint8_t *bytes, size_t n) {
    size_t at = 0;
    while (at < n && !request->section_ended) {
        bool is_folded = bytes[at] == ' ' || bytes[at] == '\t';
        if (request->line_bytes == 0 && is_folded && request->lines > 0)
            return 0;
        const uint8_t *feed = memchr(bytes + at, '\n', n - at);
        size_t end = feed ? (size_t)(feed - bytes) : n;
        if (end > at) {
            request->line_bytes += (uint32_t)(end - at);
            request->last_byte = bytes[end - 1];
        }
        if (!feed)
            return n;
        if (request->line_bytes == 0 || request->last_byte != '\r')
            return 0;
        at = end + 1;
        if (request->line_bytes > 1)
            request->lines++;
        else
            request->section_ended = request->lines > 0 || request->part == PART_TRAILERS;
        request->line_bytes = 0;
    }
    return at;
}

/* ---- parsing ------------------------------------------------------------------------------------
 */

static enum request_event bad(struct request *request, int status) {
    request->status = status;
    request->keep_alive = false;
    return REQUEST_BAD;
}

/* A method of the right form that llhttp has not heard of is no fault of the connection's. */
static int method_status(const struct request *request) {
    const char *at = llhttp_get_error_pos(&request->llhttp);
    return at && is_token_char(*at) ? 405 : 400;
}

/* So is a version that is only too new. */
static int version_status(const struct request *request) {
    int major = request->llhttp.http_major, minor = request->llhttp.http_minor;
    return major > 1 || (major == 1 && minor > 1) ? 505 : 400;
}

static enum request_event parser_failed(struct request *request) {
    if (request->status)
        return bad(request, request->status);
    switch (llhttp_get_errno(&request->llhttp)) {
    case HPE_INVALID_METHOD:
        return bad(request, method_status(request));
    case HPE_INVALID_VERSION:
        return bad(request, version_status(request));
    default:
        return bad(request, 400);
    }
}

static enum request_method method_of(const struct request *request) {
    switch (request->llhttp.method) {
    case HTTP_GET:
        return METHOD_GET;
    case HTTP_HEAD:
        return METHOD_HEAD;
    case HTTP_POST:
        return METHOD_POST;
    case HTTP_PUT:
        return METHOD_PUT;
    default:
        return METHOD_OTHER;
    }
}

/* What no single line shows. The status, or 0. */
static int check_head(struct request *request) {
    const llhttp_t *llhttp = &request->llhttp;
    if (llhttp->http_major == 2)
        return 505;
    if (llhttp->http_major != 1)
        return 400;
    request->minor_version = llhttp->http_minor;
    request->method = method_of(request);
    if (request->method != METHOD_OTHER && !target_is_right(request))
        return 400;
    if (request->minor_version == 1 && request->hosts == 0)
        return 400;
    if (request->encodings > 0 && request->minor_version == 0)
        return 400;
    if (request->encodings > 1)
        return llhttp->flags & F_CHUNKED ? 501 : 400;
    if ((llhttp->flags & F_CONTENT_LENGTH) && llhttp->content_length > request->body_most)
        return 413;
    if (request->minor_version == 0)
        request->expects_continue = false;
    return 0;
}

static enum request_event head_is_whole(struct request *request) {
    int status = check_head(request);
    if (status)
        return bad(request, status);
    if (request->whole) {
        request->part = PART_WHOLE;
        return REQUEST_DONE;
    }
    request->part = PART_BODY;
    return REQUEST_BODY;
}

/* llhttp gets the bytes of this section alone, and must see its end where we do. */
static enum request_event parse_section(struct request *request, const uint8_t *bytes, size_t n,
                                        size_t *used) {
    size_t room = REQUEST_SECTION_BYTES - request->section_bytes;
    if (room == 0)
        return bad(request, request->part == PART_HEAD && request->lines == 0 ? 414 : 431);
    size_t length = scan_section(request, bytes, n < room ? n : room);
    if (length == 0)
        return bad(request, 400);
    request->section_bytes += (uint32_t)length;
    llhttp_errno_t result = llhttp_execute(&request->llhttp, (const char *)bytes, length);
    if (result != HPE_OK && result != HPE_PAUSED)
        return parser_failed(request);
    const char *end = llhttp_get_error_pos(&request->llhttp);
    if (result == HPE_PAUSED && end != (const char *)bytes + length)
        return bad(request, 400);
    bool seen = request->part == PART_HEAD ? request->head_seen : request->whole;
    if (seen != request->section_ended)
        return bad(request, version_status(request));
    *used += length;
    if (!request->section_ended)
        return REQUEST_MORE;
    if (request->part == PART_HEAD)
        return head_is_whole(request);
    request->part = PART_WHOLE;
    return REQUEST_DONE;
}

static enum request_event parse_body(struct request *request, const uint8_t *bytes, size_t n,
                                     size_t *used) {
    llhttp_errno_t result = llhttp_execute(&request->llhttp, (const char *)bytes, n);
    if (result == HPE_OK) {
        *used += n;
        return REQUEST_MORE;
    }
    if (result != HPE_PAUSED)
        return parser_failed(request);
    *used += (size_t)((const uint8_t *)llhttp_get_error_pos(&request->llhttp) - bytes);
    if (request->whole) {
        request->part = PART_WHOLE;
        return REQUEST_DONE;
    }
    llhttp_resume(&request->llhttp);
    begin_section(request, PART_TRAILERS);
    return REQUEST_MORE;
}

/* Each request has a parser that knows nothing of the one before. */
static void begin_request(struct request *request) {
    uint64_t body_most = request->body_most;
    *request = (struct request){.body_most = body_most};
    llhttp_init(&request->llhttp, HTTP_REQUEST, &settings);
}

void request_init(struct request *request, uint64_t body_most) {
    request->body_most = body_most;
    begin_request(request);
}

enum request_event request_parse(struct request *request, const uint8_t *bytes, size_t n,
                                 size_t *used) {
    CHECK(n > 0 && request->status == 0);
    *used = 0;
    if (request->part == PART_WHOLE)
        begin_request(request);
    while (*used < n) {
        enum request_event event = request->part == PART_BODY
                                       ? parse_body(request, bytes + *used, n - *used, used)
                                       : parse_section(request, bytes + *used, n - *used, used);
        if (event != REQUEST_MORE)
            return event;
    }
    return REQUEST_MORE;
}

bool request_is_idle(const struct request *request) {
    return request->part == PART_WHOLE ||
           (request->part == PART_HEAD && request->lines == 0 && request->line_bytes == 0);
}

bool request_in_body(const struct request *request) {
    return request->part == PART_BODY || request->part == PART_TRAILERS;
}

bool request_path_is(const struct request *request, const char *path) {
    size_t n = strlen(path);
    return request->path_bytes == n && memcmp(request->path, path, n) == 0;
}

#endif
