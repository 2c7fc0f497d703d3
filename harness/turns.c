/* turns.c: see turns.h. */
#include "harness/turns.h"

static uint64_t usable_ns(const struct turns *turns) {
    return turns->length_ns - TURNS_REST_NS;
}

uint64_t turns_own_ns(const struct turns *turns, uint64_t time_ns) {
    if (turns->count == 0)
        return time_ns;
    uint64_t round_ns = turns->length_ns * turns->count, own_ns = 0;
    uint64_t in_round_ns = time_ns % round_ns, begins_ns = turns->number * turns->length_ns;
    if (in_round_ns > begins_ns)
        own_ns = in_round_ns - begins_ns;
    if (own_ns > usable_ns(turns))
        own_ns = usable_ns(turns);
    return time_ns / round_ns * usable_ns(turns) + own_ns;
}

uint64_t turns_time_ns(const struct turns *turns, uint64_t own_ns) {
    if (turns->count == 0)
        return own_ns;
    uint64_t round = own_ns / usable_ns(turns);
    return (round * turns->count + turns->number) * turns->length_ns + own_ns % usable_ns(turns);
}

uint64_t turns_own_between_ns(const struct turns *turns, uint64_t from_ns, uint64_t to_ns) {
    return turns_own_ns(turns, to_ns) - turns_own_ns(turns, from_ns);
}
