/* bound.h: whose limit a closed loop's throughput is. In the record as its name. */
#ifndef LOOPMARK_BOUND_H
#define LOOPMARK_BOUND_H

/* In order from the strongest statement about the server to the weakest. */
enum bound {
    BOUND_NONE,       /* open loop, or the server's CPU time is not known */
    BOUND_SERVER,     /* the server is saturated: its capacity */
    BOUND_LATENCY,    /* neither side is: round trips of a fixed number of connections */
    BOUND_CO_LIMITED, /* the generator is saturated too: a lower bound */
    BOUND_GENERATOR,  /* only the generator is: says nothing about the server, and is invalid */
    BOUNDS
};

/* "" (for BOUND_NONE), "server", "latency", "co-limited", "generator". */
const char *bound_name(enum bound bound);

#endif
