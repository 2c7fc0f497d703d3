/* raw_echo.h: an echo server on plain epoll, for servers that do something known to each message.
 *
 * It shares no code with what is measured: no loop, no workload, no harness. One thread. A message
 * is what one recv brings, so ask for little (1 KiB) and with one request in flight on a
 * connection. */
#ifndef LOOPMARK_RAW_ECHO_H
#define LOOPMARK_RAW_ECHO_H

#include <stddef.h>
#include <stdint.h>

struct raw_echo {
    const char *listen;               /* "127.0.0.1:PORT"; port 0 lets the kernel choose */
    /* Between receiving and sending; may be null. The message arrived then, by the kernel's stamp,
     * however busy the server was: CLOCK_REALTIME (socket(7), SO_TIMESTAMPNS). */
    void (*on_message)(void *state, uint64_t arrived_ns);
    void (*on_answered)(void *state); /* after sending; may be null */
    void *state;
};

/* Prints `listening on ADDR` and serves until SIGTERM or SIGINT. 0, or 1 after saying on stderr
 * what went wrong. */
int raw_echo_serve(const struct raw_echo *server);

/* A count given as an option's value: a whole number up to 10^12. Anything else ends the program
 * with exit status 2 after saying so. */
uint64_t raw_echo_count(const char *option, const char *text);

#endif
