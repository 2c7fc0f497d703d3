/* test_http_client.c: answers, cut at every place, against what they mean.
 *
 * A peer within the same loop says its text when it has been asked; the loop delivers at most so
 * many bytes at a time, from one up to all of them. */
#include "workloads/http_client.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "workloads/request_set.h"

#ifdef HAVE_LLHTTP

enum { LONGEST = 512, GIVEN_UP_MS = 10000 };

struct dialogue {
    const char *method;
    unsigned asks; /* at once */
    const char *text;
    bool closes; /* the peer, behind its text */
    /* "200" an answer, "200." the last of its connection, "!" garbage, then what the end was: "|"
     * ours, "|EPIPE" … */
    const char *seen;
};

struct stage {
    const struct dialogue *dialogue;
    struct loop *loop;
    struct client *client;
    struct listener *listener;
    void *asker;
    struct timer given_up;
    unsigned answered;
    bool late, told; /* told: the peer has said its text */
    size_t answer_bytes;
    char seen[LONGEST];
};

static void note(struct stage *stage, const char *text) {
    size_t used = strlen(stage->seen);
    snprintf(stage->seen + used, sizeof stage->seen - used, "%s", text);
}

/* ---- the peer -------------------------------------------------------------------------------- */

static void peer_data(struct stream *stream, struct buffer *buffer, uint8_t *bytes, size_t n) {
    struct stage *stage = stream_data(stream);
    const char *text = stage->dialogue->text;
    struct iovec part = {(char *)text, strlen(text)};
    (void)buffer;
    (void)bytes;
    (void)n;
    if (stage->told)
        return;
    stage->told = true;
    if (part.iov_len > 0)
        assert_int_equal(stream_send(stream, &part, 1, NULL), SEND_DONE);
    if (stage->dialogue->closes)
        stream_shutdown(stream);
}

static const struct stream_handler peer_handler = {.on_data = peer_data};

/* ---- the generator's side -------------------------------------------------------------------- */

static void opened(void *slot) {
    struct stage *stage = slot;
    for (unsigned i = 0; i < stage->dialogue->asks; i++)
        assert_int_equal(http_client.request(stage->asker), 0);
}

static void answered(void *slot, const struct answer *answer) {
    struct stage *stage = slot;
    char text[32];
    if (answer->err == -EPROTO)
        snprintf(text, sizeof text, "!");
    else
        snprintf(text, sizeof text, "%d%s%s ", answer->status, answer->last ? "." : "",
                 answer->err ? "?" : "");
    if (answer->err == -EPROTO)
        assert_non_null(answer->what);
    note(stage, text);
    stage->answered++;
    stage->answer_bytes += answer->bytes;
    if (answer->err || answer->last)
        stream_close(stage->asker);
}

static void closed(void *slot, const struct client_end *end) {
    struct stage *stage = slot;
    note(stage, "|");
    if (end->err)
        note(stage, strerrorname_np(-end->err));
    loop_stop(stage->loop);
}

static const struct client_events events = {
    .opened = opened, .answered = answered, .closed = closed};

static void give_up(struct timer *timer) {
    struct stage *stage = CONTAINER_OF(timer, struct stage, given_up);
    stage->late = true;
    loop_stop(stage->loop);
}

/* ---- a dialogue ------------------------------------------------------------------------------ */

static void play(const struct dialogue *dialogue, uint32_t receive_bytes, bool verify,
                 struct stage *stage) {
    struct loop_config config = {.receive_bytes = receive_bytes};
    struct request_options request = {.method = dialogue->method};
    struct error error = {""};
    struct endpoint listen;
    struct url url;
    struct request_set *set;
    *stage = (struct stage){.dialogue = dialogue, .given_up = {.on_due = give_up}};
    assert_int_equal(loop_open("epoll", &config, &stage->loop, &error), 0);
    assert_int_equal(endpoint_parse("127.0.0.1:0", &listen, &error), 0);
    assert_int_equal(loop_listen(stage->loop, &listen, 4, &peer_handler, stage, &stage->listener,
                                 &listen, &error),
                     0);
    url_of_endpoint("http", &listen, &url);
    assert_int_equal(request_set_open(&request, &url, &set, &error), 0);
    struct client_setup setup = {.loop = stage->loop,
                                 .url = &url,
                                 .requests = set,
                                 .verify = verify,
                                 .in_flight = 4,
                                 .events = &events};
    assert_int_equal(http_client.start(&setup, &stage->client, &error), 0);
    assert_int_equal(http_client.connect(stage->client, NULL, stage, &stage->asker), 0);
    timer_set(stage->loop, &stage->given_up, clock_now_ns() + GIVEN_UP_MS * NS_PER_MS);
    loop_run(stage->loop);
    timer_cancel(stage->loop, &stage->given_up);
    listener_close(stage->listener);
    loop_free(stage->loop);
    http_client.stop(stage->client);
    request_set_close(set);
}

static void expect(const struct dialogue *dialogue, uint32_t receive_bytes, bool verify) {
    struct stage stage;
    play(dialogue, receive_bytes, verify, &stage);
    if (stage.late || strcmp(stage.seen, dialogue->seen) != 0)
        fail_msg("%s: by %u bytes: seen '%s', not '%s'%s", dialogue->text, receive_bytes,
                 stage.seen, dialogue->seen, stage.late ? ", and it hangs" : "");
}

#define OK "HTTP/1.1 200 OK\r\n"
#define FIVE OK "Content-Length: 5\r\n\r\nhello"
#define CHUNKS OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
#define CONTINUED "HTTP/1.1 100 Continue\r\n\r\n" FIVE
#define NONE OK "Content-Length: 0\r\n\r\n"

static const struct dialogue dialogues[] = {
    /* bodies with a length; the server ends the connection when all is said */
    {"GET", 1, FIVE, true, "200 |"},
    {"GET", 3, FIVE FIVE FIVE, true, "200 200 200 |"},
    {"GET", 4, NONE NONE FIVE NONE, true, "200 200 200 200 |"},
    {"GET", 2, FIVE "HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno", true, "200 503 |"},
    /* chunked, with extensions and trailers */
    {"GET", 2,
     OK "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n3\r\nyou\r\n0\r\nX: y\r\n\r\n" FIVE,
     true, "200 200 |"},
    {"GET", 2, OK "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" FIVE, true, "200 200 |"},
    {"GET", 3, CHUNKS CHUNKS CHUNKS, true, "200 200 200 |"},
    /* up to the end of the connection */
    {"GET", 1, OK "\r\nto the end", true, "200. |"},
    {"GET", 2, OK "\r\nto the end", true, "200. |"},
    {"GET", 1, "HTTP/1.0 200 OK\r\n\r\nto the end", true, "200. |"},
    /* the server says that it is the last */
    {"GET", 2, OK "Connection: close\r\nContent-Length: 2\r\n\r\nhi", false, "200. |"},
    {"GET", 1, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", false, "200. |"},
    {"GET", 2, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi" FIVE,
     true, "200 200 |"},
    /* no body, whatever the head says */
    {"HEAD", 2, OK "Content-Length: 500\r\n\r\n" OK "Content-Length: 500\r\n\r\n", true,
     "200 200 |"},
    {"HEAD", 2, OK "Transfer-Encoding: chunked\r\n\r\n" NONE, true, "200 200 |"},
    {"HEAD", 2, OK "\r\n" NONE, true, "200 200 |"},
    {"GET", 2, "HTTP/1.1 304 Same\r\nContent-Length: 500\r\n\r\n" FIVE, true, "304 200 |"},
    {"GET", 2, "HTTP/1.1 204 Empty\r\n\r\n" FIVE, true, "204 200 |"},
    /* interim answers */
    {"GET", 2, "HTTP/1.1 100 Continue\r\n\r\n" FIVE "HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" FIVE,
     true, "200 200 |"},
    {"GET", 1, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Still\r\n\r\n" NONE, true, "200 |"},
    {"GET", 3, CONTINUED CONTINUED CONTINUED, true, "200 200 200 |"},
    {"GET", 1, "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", false,
     "101. |"},
    /* ends before the end */
    {"GET", 1, "", true, "|EPIPE"},
    {"GET", 1, "HTTP/1.1 20", true, "|EPIPE"},
    {"GET", 1, OK "Content-Length: 5\r\n\r\nhel", true, "|EPIPE"},
    {"GET", 2, FIVE, true, "200 |EPIPE"},
    {"GET", 2, FIVE OK "Content-Length: 5\r\n\r\nhel", true, "200 |EPIPE"},
    {"GET", 1, OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhel", true, "|EPIPE"},
    {"GET", 1, "HTTP/1.1 100 Continue\r\n\r\n", true, "|EPIPE"},
    /* not HTTP */
    {"GET", 1, "SSH-2.0-OpenSSH\r\n", false, "!|"},
    {"GET", 2, FIVE "garbage\r\n\r\n", false, "200 !|"},
    {"GET", 1, "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", false, "!|"},
    {"GET", 1, OK "Content-Length: five\r\n\r\n", false, "!|"},
    {"GET", 1, OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", false, "!|"},
    {"GET", 1, OK "Transfer-Encoding: chunked\r\n\r\nfive\r\n", false, "!|"},
    {"GET", 1, OK "Content-Length: 99999999999999999999999\r\n\r\n", false, "!|"},
};

static void answers_cut_anywhere(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(dialogues); i++)
        for (uint32_t bytes = 1; bytes <= strlen(dialogues[i].text) + 1; bytes++)
            expect(&dialogues[i], bytes, false);
}

static void answers_verified_cut_anywhere(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(dialogues); i++)
        if (!strstr(dialogues[i].seen, "503") && strcmp(dialogues[i].seen, "304 200 |") != 0)
            for (uint32_t bytes = 1; bytes <= strlen(dialogues[i].text) + 1; bytes += 3) {
                struct stage stage;
                play(&dialogues[i], bytes, true, &stage);
                assert_false(stage.late);
            }
}

/* Behind a head that is known, the bytes of the body are not looked at, and yet they are counted;
 * one that differs in its last letter is parsed. */
static void known_heads_are_compared_whole(void **state) {
    static const struct dialogue twice = {"GET", 3, FIVE FIVE OK "Content-Length: 6\r\n\r\nhello!",
                                          true, "200 200 200 |"};
    static const struct dialogue close = {
        "GET", 3, OK "Content-Length: 1\r\nConnection: Close\r\n\r\na" FIVE, false, "200. |"};
    (void)state;
    for (uint32_t bytes = 1; bytes <= strlen(twice.text); bytes++) {
        struct stage stage;
        play(&twice, bytes, false, &stage);
        assert_string_equal(stage.seen, twice.seen);
        assert_int_equal(stage.answer_bytes, strlen(twice.text));
        expect(&close, bytes, false);
    }
}

static void bytes_that_nobody_asked_for(void **state) {
    static const struct dialogue more = {"GET", 1, FIVE "HTTP/1.1 408 Late\r\n\r\n", true,
                                         "200 |EPROTO"};
    (void)state;
    for (uint32_t bytes = 1; bytes <= strlen(more.text); bytes++)
        expect(&more, bytes, false);
}

static void verify_notices_another_answer(void **state) {
    static const struct dialogue cases[] = {
        {"GET", 2, FIVE FIVE, true, "200 200 |"},
        {"GET", 2, FIVE OK "Content-Length: 5\r\n\r\nhallo", true, "200 200? |"},
        {"GET", 2, FIVE OK "Content-Length: 4\r\n\r\nhell", true, "200 200? |"},
        {"GET", 2, FIVE "HTTP/1.1 201 OK\r\nContent-Length: 5\r\n\r\nhello", true, "200 201? |"},
        {"GET", 2, FIVE OK "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
         true, "200 200 |"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++)
        for (uint32_t bytes = 1; bytes <= strlen(cases[i].text); bytes++)
            expect(&cases[i], bytes, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_cut_anywhere),
        cmocka_unit_test(answers_verified_cut_anywhere),
        cmocka_unit_test(known_heads_are_compared_whole),
        cmocka_unit_test(bytes_that_nobody_asked_for),
        cmocka_unit_test(verify_notices_another_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void) {
    printf("skip http_client: built without llhttp\n");
    return 0;
}

#endif
