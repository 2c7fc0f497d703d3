/* Any bytes as what an HTTP server answers, cut into pieces of any length: each request is answered
 * or lost once, nothing hangs, never a crash.
 *
 * Of the input, byte 0 says how much is read at a time, byte 1 how many requests are asked and of
 * which kind, and whether answers are verified; the rest is what the server says. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loops/check.h"
#include "workloads/http_client.h"
#include "workloads/request_set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { IN_FLIGHT = 4, MOST = 4096 };

struct stage {
    struct loop *loop;
    void *asker;
    const uint8_t *text;
    size_t length;
    unsigned asking, asked, most;
    bool over, told;
};

static void peer_data(struct stream *stream, struct buffer *buffer, uint8_t *bytes, size_t n) {
    struct stage *stage = stream_data(stream);
    struct iovec part = {(void *)stage->text, stage->length};
    (void)buffer;
    (void)bytes;
    (void)n;
    if (stage->told)
        return;
    stage->told = true;
    if (stage->length > 0)
        CHECK(stream_send(stream, &part, 1, NULL) == SEND_DONE);
    stream_shutdown(stream);
}

static void ask(struct stage *stage) {
    while (!stage->over && stage->asking < IN_FLIGHT && stage->asked < stage->most) {
        stage->asking++;
        stage->asked++;
        if (http_client.request(stage->asker) != 0)
            return;
    }
}

static void opened(void *slot) {
    ask(slot);
}

static void answered(void *slot, const struct answer *answer) {
    struct stage *stage = slot;
    CHECK(!stage->over && stage->asking > 0);
    CHECK(answer->err || (answer->status >= 100 && answer->status <= 999));
    stage->asking--;
    stage->over = answer->err || answer->last;
    if (stage->over)
        stream_close(stage->asker);
    else
        ask(stage);
}

static void closed(void *slot, const struct client_end *end) {
    struct stage *stage = slot;
    CHECK(end->err || stage->over || stage->asking == 0);
    loop_stop(stage->loop);
}

static const struct stream_handler peer_handler = {.on_data = peer_data};
static const struct client_events events = {
    .opened = opened, .answered = answered, .closed = closed};

static void play(struct stage *stage, uint32_t receive_bytes, bool head, bool verify) {
    struct loop_config config = {.receive_bytes = receive_bytes};
    struct request_options request = {.method = head ? "HEAD" : "GET"};
    struct listener *listener;
    struct endpoint listen;
    struct url url;
    struct request_set *set;
    struct client *client;
    struct error error;
    char path[64];
    CHECK(loop_open("epoll", &config, &stage->loop, &error) == 0);
    snprintf(path, sizeof path, "unix:/tmp/loopmark-fuzz-%d", (int)getpid());
    CHECK(endpoint_parse(path, &listen, &error) == 0);
    CHECK(loop_listen(stage->loop, &listen, 4, &peer_handler, stage, &listener, &listen, &error) ==
          0);
    url_of_endpoint("http", &listen, &url);
    CHECK(request_set_open(&request, &url, &set, &error) == 0);
    struct client_setup setup = {.loop = stage->loop,
                                 .url = &url,
                                 .requests = set,
                                 .verify = verify,
                                 .in_flight = IN_FLIGHT,
                                 .events = &events};
    if (http_client.start(&setup, &client, &error) == 0) {
        CHECK(http_client.connect(client, NULL, stage, &stage->asker) == 0);
        loop_run(stage->loop);
        loop_free(stage->loop);
        http_client.stop(client);
    } else
        loop_free(stage->loop);
    request_set_close(set);
    unlink(path + strlen("unix:"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > MOST)
        return 0;
    struct stage stage = {.text = data + 2, .length = size - 2, .most = 1 + (data[1] & 15)};
    play(&stage, data[0] ? data[0] : LOOP_RECEIVE_BYTES, data[1] & 16, data[1] & 32);
    return 0;
}
