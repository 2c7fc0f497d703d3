/* request_set.c: see request_set.h. */
#include "request_set.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "loops/check.h"

/* ---- checking words -------------------------------------------------------------------------- */

/* A token of RFC 9110 section 5.6.2: method and header names. */
static bool is_token(const char *text, size_t length) {
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (c == '\0' || !strchr(marks, c)))
            return false;
    }
    return length > 0;
}

static int check_method(const char *method, struct error *error) {
    if (!is_token(method, strlen(method)))
        return error_set(error, -EINVAL, "'%s' is no method; they look like GET or POST", method);
    if (strcmp(method, "CONNECT") == 0)
        return error_set(error, -EINVAL, "CONNECT makes a tunnel: no further requests can follow");
    return 0;
}

static int check_path(const char *path, struct error *error) {
    if (*path != '/' && strcmp(path, "*") != 0)
        return error_set(error, -EINVAL, "path '%s' does not begin with /", path);
    for (const char *at = path; *at; at++)
        if (*at <= ' ' || *at >= 0x7f)
            return error_set(error, -EINVAL, "path '%s' has a byte that has to be written as %%XX",
                             path);
    return 0;
}

static bool is_named(const char *header, const char *name) {
    size_t length = strlen(name);
    return strncasecmp(header, name, length) == 0 && header[length] == ':';
}

static int check_header(const char *header, struct error *error) {
    static const struct {
        const char *name, *why;
    } ours[] = {
        {"Content-Length", "it follows from the body"},
        {"Transfer-Encoding", "bodies are sent with their length"},
        {"Connection", "use --keep-alive"},
    };
    const char *colon = strchr(header, ':');
    if (!colon || !is_token(header, (size_t)(colon - header)))
        return error_set(error, -EINVAL, "header '%s' does not look like 'Name: value'", header);
    for (const char *at = colon; *at; at++)
        if ((*at < ' ' && *at != '\t') || *at == 0x7f)
            return error_set(error, -EINVAL, "header '%.*s' has a control character in its value",
                             (int)(colon - header), header);
    for (size_t i = 0; i < ARRAY_LENGTH(ours); i++)
        if (is_named(header, ours[i].name))
            return error_set(error, -EINVAL, "header %s cannot be given: %s", ours[i].name,
                             ours[i].why);
    return 0;
}

/* ---- bodies ---------------------------------------------------------------------------------- */

struct body {
    char *bytes;
    size_t length;
    bool given;
};

static int read_stream(FILE *file, const char *path, struct body *body, struct error *error) {
    size_t room = 0;
    for (;;) {
        if (body->length == room) {
            room = room ? room * 2 : 4096;
            char *larger = realloc(body->bytes, room);
            if (!larger)
                return error_set(error, -ENOMEM, "%s: out of memory", path);
            body->bytes = larger;
        }
        size_t n = fread(body->bytes + body->length, 1, room - body->length, file);
        if (n == 0)
            return ferror(file)
                       ? error_set(error, -EINVAL, "%s: cannot read: %s", path, strerror(errno))
                       : 0;
        body->length += n;
        if (body->length > BODY_BYTES_MOST)
            return error_set(error, -EINVAL, "%s: a body has at most %d MiB", path,
                             BODY_BYTES_MOST >> 20);
    }
}

static int read_body_file(const char *path, struct body *body, struct error *error) {
    FILE *file = fopen(path, "rbe");
    if (!file)
        return error_set(error, -EINVAL, "body %s: cannot open: %s", path, strerror(errno));
    int failure = read_stream(file, path, body, error);
    fclose(file);
    return failure;
}

/* TEXT, @FILE or null. body->bytes is to be freed, also after an error. */
static int take_body(const char *text, struct body *body, struct error *error) {
    *body = (struct body){.given = text != NULL};
    if (!text)
        return 0;
    if (*text == '@')
        return read_body_file(text + 1, body, error);
    body->bytes = strdup(text);
    body->length = strlen(text);
    return body->bytes ? 0 : error_set(error, -ENOMEM, "out of memory");
}

/* ---- one request as bytes -------------------------------------------------------------------- */

struct maker {
    const struct request_options *options;
    const struct url *url;
    struct request_set *set;
};

static bool is_given(const struct request_options *options, const char *name) {
    for (size_t i = 0; i < options->header_count; i++)
        if (is_named(options->headers[i], name))
            return true;
    return false;
}

/* RFC 9110 section 8.6: a length of zero is said for methods that usually have a body. */
static bool wants_length(const char *method, const struct body *body) {
    return body->given || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
           strcmp(method, "PATCH") == 0;
}

static int write_request(const struct maker *maker, const char *method, const char *path,
                         const struct body *body, bool last, uint8_t **bytes, size_t *length) {
    const struct request_options *options = maker->options;
    FILE *text = open_memstream((char **)bytes, length);
    if (!text)
        return -ENOMEM;
    fprintf(text, "%s %s HTTP/1.1\r\n", method, path);
    if (!is_given(options, "Host"))
        fprintf(text, "Host: %s\r\n", maker->url->host);
    for (size_t i = 0; i < options->header_count; i++)
        fprintf(text, "%s\r\n", options->headers[i]);
    if (wants_length(method, body))
        fprintf(text, "Content-Length: %zu\r\n", body->length);
    fputs(last ? "Connection: close\r\n\r\n" : "\r\n", text);
    fwrite(body->bytes ? body->bytes : "", 1, body->length, text);
    bool bad = ferror(text);
    return fclose(text) || bad ? -ENOMEM : 0;
}

static int add_request(struct maker *maker, uint32_t weight, const char *method, const char *path,
                       const char *body_text, struct error *error) {
    struct request_set *set = maker->set;
    struct http_request *request = &set->requests[set->count];
    struct body body;
    if (check_method(method, error) || check_path(path, error))
        return -EINVAL;
    int failure = take_body(body_text, &body, error);
    if (!failure) {
        set->count++;
        request->weight = weight;
        request->head = strcmp(method, "HEAD") == 0;
        if (write_request(maker, method, path, &body, false, &request->bytes, &request->length) ||
            write_request(maker, method, path, &body, true, &request->last_bytes,
                          &request->last_length))
            failure = error_set(error, -ENOMEM, "out of memory for the requests");
    }
    free(body.bytes);
    return failure;
}

/* ---- a mix ----------------------------------------------------------------------------------- */

/* The next word, ended; null when there is none. `*rest` goes on behind it. */
static char *next_word(char **rest) {
    char *word = *rest + strspn(*rest, " \t");
    if (*word == '\0')
        return NULL;
    char *end = word + strcspn(word, " \t");
    *rest = *end ? end + 1 : end;
    *end = '\0';
    return word;
}

static int take_weight(const char *word, uint32_t *weight, struct error *error) {
    char *end;
    errno = 0;
    unsigned long value = strtoul(word, &end, 10);
    if (*end || *word < '0' || *word > '9' || errno || value < 1 || value > WEIGHTS_MOST)
        return error_set(error, -EINVAL, "weight '%s' is not a whole number from 1 to %d", word,
                         WEIGHTS_MOST);
    *weight = (uint32_t)value;
    return 0;
}

static int take_line(struct maker *maker, char *line, struct error *error) {
    uint32_t weight = 0;
    char *rest = line;
    char *word = next_word(&rest);
    if (!word || *word == '#')
        return 0;
    char *method = next_word(&rest), *path = method ? next_word(&rest) : NULL;
    if (!path)
        return error_set(error, -EINVAL,
                         "a line is WEIGHT METHOD PATH [BODY], as in "
                         "'3 GET /index.html'");
    char *body = rest + strspn(rest, " \t");
    if (maker->set->count == REQUESTS_MOST)
        return error_set(error, -EINVAL, "more than %d requests", REQUESTS_MOST);
    if (take_weight(word, &weight, error))
        return -EINVAL;
    return add_request(maker, weight, method, path, *body ? body : NULL, error);
}

/* For messages. */
static const char *place(const struct request_options *options) {
    return options->lines ? "requests" : options->file;
}

static int read_mix(struct maker *maker, FILE *file, struct error *error) {
    const char *path = place(maker->options);
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    int failure = 0;
    for (unsigned number = 1; !failure && (length = getline(&line, &room, file)) >= 0; number++) {
        struct error why = {""};
        line[strcspn(line, "\r\n")] = '\0';
        failure = take_line(maker, line, &why);
        if (failure)
            error_set(error, failure, "%s:%u: %s", path, number, why.text);
    }
    if (!failure && ferror(file))
        failure = error_set(error, -EINVAL, "%s: cannot read: %s", path, strerror(errno));
    free(line);
    if (!failure && maker->set->count == 0)
        failure = error_set(error, -EINVAL, "%s: there is no request in it", path);
    return failure;
}

static int make_mix(struct maker *maker, struct error *error) {
    const char *path = place(maker->options);
    const char *lines = maker->options->lines;
    FILE *file = lines ? fmemopen((void *)(uintptr_t)lines, strlen(lines), "r") : fopen(path, "re");
    if (!file)
        return error_set(error, -EINVAL, "%s: cannot open: %s", path, strerror(errno));
    int failure = read_mix(maker, file, error);
    fclose(file);
    return failure;
}

/* ---- their order ----------------------------------------------------------------------------- */

/* Knuth's MMIX generator; the upper bits, which are the good ones. */
static uint32_t next_random(uint64_t *state) {
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 33);
}

/* Each request as often as its weight says, shuffled (Fisher-Yates): exact shares, and no beat
 * between the mix and the number of connections. */
static int make_order(struct request_set *set, struct error *error) {
    uint64_t sum = 0, state = 1;
    for (size_t i = 0; i < set->count; i++)
        sum += set->requests[i].weight;
    if (sum > WEIGHTS_MOST)
        return error_set(error, -EINVAL, "the weights are %llu together, at most %d are possible",
                         (unsigned long long)sum, WEIGHTS_MOST);
    set->order = malloc(sum * sizeof *set->order);
    if (!set->order)
        return error_set(error, -ENOMEM, "out of memory for the requests");
    for (size_t i = 0; i < set->count; i++)
        for (uint32_t k = 0; k < set->requests[i].weight; k++)
            set->order[set->order_length++] = (uint16_t)i;
    for (size_t left = set->order_length; left > 1; left--) {
        size_t chosen = next_random(&state) % left;
        uint16_t moved = set->order[left - 1];
        set->order[left - 1] = set->order[chosen];
        set->order[chosen] = moved;
    }
    return 0;
}

int request_set_open(const struct request_options *options, const struct url *url,
                     struct request_set **out, struct error *error) {
    struct request_set *set = calloc(1, sizeof *set);
    if (set)
        set->requests = calloc(REQUESTS_MOST, sizeof *set->requests);
    if (!set || !set->requests) {
        free(set);
        return error_set(error, -ENOMEM, "out of memory for the requests");
    }
    struct maker maker = {.options = options, .url = url, .set = set};
    int failure = 0;
    for (size_t i = 0; i < options->header_count && !failure; i++)
        failure = check_header(options->headers[i], error);
    const char *method = options->method ? options->method : options->body ? "POST" : "GET";
    if (!failure)
        failure = options->file || options->lines
                      ? make_mix(&maker, error)
                      : add_request(&maker, 1, method, url->path, options->body, error);
    if (!failure)
        failure = make_order(set, error);
    if (failure)
        request_set_close(set);
    else
        *out = set;
    return failure;
}

void request_set_close(struct request_set *set) {
    for (size_t i = 0; i < set->count; i++) {
        free(set->requests[i].bytes);
        free(set->requests[i].last_bytes);
    }
    free(set->requests);
    free(set->order);
    free(set);
}
