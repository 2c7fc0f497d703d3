/* random.h: reproducible pseudo-random numbers: xoshiro256** seeded by splitmix64.
 *
 * Both generators are Blackman's and Vigna's (https://prng.di.unimi.it). The same seed gives the
 * same numbers on every machine, so that a run's order and arrivals can be repeated from the seed
 * in its record. Not for secrets. The caller owns the state; one thread at a time. */
#ifndef LOOPMARK_RANDOM_H
#define LOOPMARK_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#include "loops/check.h"

struct random {
    uint64_t state[4]; /* never all zero */
};

static inline uint64_t random_splitmix64(uint64_t *state) {
    uint64_t mixed = *state += UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

/* Any seed will do, zero too; neighbouring seeds give unrelated sequences. */
static inline void random_seed(struct random *random, uint64_t seed) {
    for (size_t i = 0; i < 4; i++)
        random->state[i] = random_splitmix64(&seed);
}

static inline uint64_t random_rotate_left(uint64_t value, unsigned bits) {
    return value << bits | value >> (64 - bits);
}

/* 64 uniform bits. */
static inline uint64_t random_next(struct random *random) {
    uint64_t *s = random->state;
    uint64_t result = random_rotate_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = random_rotate_left(s[3], 45);
    return result;
}

/* Uniform in the open interval (0, 1): its logarithm is finite. 52 bits and a half, because with 53
 * the largest value would round to 1. */
static inline double random_unit(struct random *random) {
    return ((double)(random_next(random) >> 12) + 0.5) * 0x1p-52;
}

/* Uniform in 0 … n-1 without modulo bias (Lemire, "Fast random integer generation in an interval",
 * 2019: the high half of a product, drawn again where the low half is in the uneven rest). n > 0.
 */
static inline uint64_t random_below(struct random *random, uint64_t n) {
    CHECK(n > 0);
    uint64_t uneven = -n % n;
    unsigned __int128 product;
    do {
        product = (unsigned __int128)random_next(random) * n;
    } while ((uint64_t)product < uneven);
    return (uint64_t)(product >> 64);
}

/* Every order equally likely (Fisher-Yates). */
static inline void random_shuffle(struct random *random, uint32_t *items, size_t n) {
    for (size_t left = n; left > 1; left--) {
        size_t chosen = random_below(random, left);
        uint32_t moved = items[left - 1];
        items[left - 1] = items[chosen];
        items[chosen] = moved;
    }
}

#endif
