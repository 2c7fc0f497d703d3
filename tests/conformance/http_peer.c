/* http_peer.c: see http_peer.h. */
#include "http_peer.h"

#include <stdio.h>
#include <sys/socket.h>

void peer_ask(struct fixture *fixture, int peer, const char *bytes) {
    peer_send_all(fixture, peer, bytes, strlen(bytes));
}

bool peer_read_bytes(struct fixture *fixture, int peer, void *to, size_t n) {
    for (size_t at = 0; at < n;) {
        ssize_t received;
        RUN_UNTIL(fixture, (received = peer_receive(peer, (char *)to + at, n - at)) != -EAGAIN);
        if (received <= 0)
            return false;
        at += (size_t)received;
    }
    return true;
}

/* One byte at a time: what follows the head is another's. */
void peer_read_head(struct fixture *fixture, int peer, struct peer_answer *answer) {
    size_t n = 0;
    *answer = (struct peer_answer){.head = ""};
    while (n < 4 || memcmp(answer->head + n - 4, "\r\n\r\n", 4) != 0) {
        assert_true(n + 1 < sizeof answer->head);
        if (!peer_read_bytes(fixture, peer, answer->head + n, 1))
            fail_msg("an answer ends in its head: '%s'", answer->head);
        n++;
    }
    const char *length = strstr(answer->head, "\r\nContent-Length: ");
    assert_int_equal(sscanf(answer->head, "HTTP/1.1 %d ", &answer->status), 1);
    if (answer->status != 100) {
        assert_non_null(length);
        assert_int_equal(sscanf(length, "\r\nContent-Length: %zu\r\n", &answer->bytes), 1);
    }
    answer->closes = strstr(answer->head, "\r\nConnection: close\r\n") != NULL;
}

void peer_read_answer(struct fixture *fixture, int peer, struct peer_answer *answer) {
    peer_read_head(fixture, peer, answer);
    assert_true(answer->bytes < sizeof answer->text);
    if (!peer_read_bytes(fixture, peer, answer->text, answer->bytes))
        fail_msg("an answer ends in its body: '%s'", answer->text);
    answer->text[answer->bytes] = '\0';
}

void peer_expect_answer(struct fixture *fixture, int peer, int status, const char *text,
                        bool closes) {
    struct peer_answer answer;
    peer_read_answer(fixture, peer, &answer);
    if (answer.status != status || strcmp(answer.text, text) != 0 || answer.closes != closes)
        fail_msg("not %d '%s'%s: '%s%s'", status, text, closes ? " and close" : "", answer.head,
                 answer.text);
}

void peer_expect_close(struct fixture *fixture, int peer) {
    if (!peer_expect_end(fixture, peer))
        fail_msg("the connection was reset");
    close(peer);
}

bool peer_hears_nothing(struct fixture *fixture, int peer) {
    char byte;
    settle(fixture);
    return recv(peer, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}
