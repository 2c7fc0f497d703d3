/* Any bytes as what an HTTP client sends. However they are cut, they are the same requests; what
 * was used adds up; and nothing is parsed after a refusal. The first byte says where they are cut.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "loops/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#ifndef HAVE_LLHTTP

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    (void)data, (void)size;
    return 0;
}

#else

#include "workloads/http_request.h"

enum { BODY_MOST = 4096, REQUESTS_MOST = 256 };

/* What came out of it, in short. */
struct outcome {
    size_t count;
    struct {
        uint64_t body_bytes;
        uint32_t path_bytes;
        char path[REQUEST_PATH_BYTES];
        uint8_t method, minor_version;
        bool keep_alive;
    } requests[REQUESTS_MOST];
    bool bad, idle, in_body;
};

static void note(struct outcome *outcome, const struct request *request) {
    CHECK(request->body_bytes <= BODY_MOST && request->minor_version <= 1);
    CHECK(request_is_idle(request) && !request_in_body(request));
    if (outcome->count == REQUESTS_MOST)
        return;
    size_t i = outcome->count++;
    outcome->requests[i].body_bytes = request->body_bytes;
    outcome->requests[i].path_bytes = request->path_bytes;
    memcpy(outcome->requests[i].path, request->path, REQUEST_PATH_BYTES);
    outcome->requests[i].method = (uint8_t)request->method;
    outcome->requests[i].minor_version = request->minor_version;
    outcome->requests[i].keep_alive = request->keep_alive;
}

/* In memory of its own, so that a sanitizer sees a byte read too far. */
static void feed(struct request *request, const uint8_t *from, size_t n, struct outcome *outcome) {
    uint8_t *bytes = malloc(n);
    CHECK(bytes);
    memcpy(bytes, from, n);
    for (size_t at = 0, used; at < n && !outcome->bad; at += used) {
        enum request_event event = request_parse(request, bytes + at, n - at, &used);
        CHECK(used <= n - at && (event != REQUEST_MORE || used == n - at));
        if (event == REQUEST_BODY)
            CHECK(request_in_body(request));
        else if (event == REQUEST_DONE)
            note(outcome, request);
        else if (event == REQUEST_BAD) {
            CHECK(request->status >= 400 && request->status < 600 && !request->keep_alive);
            outcome->bad = true;
        }
    }
    free(bytes);
}

static void parse(const uint8_t *bytes, size_t n, size_t piece, struct outcome *outcome) {
    struct request request;
    request_init(&request, BODY_MOST);
    memset(outcome, 0, sizeof *outcome);
    for (size_t at = 0; at < n && !outcome->bad; at += piece)
        feed(&request, bytes + at, piece < n - at ? piece : n - at, outcome);
    outcome->idle = request_is_idle(&request);
    outcome->in_body = request_in_body(&request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct outcome whole, cut;
    if (size < 2)
        return 0;
    parse(data + 1, size - 1, size, &whole);
    parse(data + 1, size - 1, data[0] % 32 + 1, &cut);
    CHECK(whole.count == cut.count && whole.bad == cut.bad);
    CHECK(memcmp(whole.requests, cut.requests, sizeof whole.requests) == 0);
    CHECK(whole.bad || (whole.idle == cut.idle && whole.in_body == cut.in_body));
    return 0;
}

#endif
