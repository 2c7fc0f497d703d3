/* database_access.c: see database_access.h. */
#include "database_access.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "durations.h"

enum { LEASE_WAITS, LEASE_READY, LEASE_LEFT, LEASE_RELEASED };

/* The connection of one place in the pool. */
struct member {
    struct access *access;
    struct pool_member *pool_member;
    struct db_connection connection;
    bool live, opened; /* live: from connect to closed */
    int err;
    struct timer limit; /* of connecting; one that did not even begin is told by it, too */
};

struct access {
    struct loop *loop;
    const struct db_driver *driver;
    struct db *db;
    struct pool *pool; /* null: connections of their own */
    struct member *members;
    uint32_t member_count;
    struct access_lease *leases; /* that have a connection of their own */
    uint64_t acquire_ns, timed_out, failed;
    uint32_t size, size_most;
    bool stopping, pool_stopped;
    struct durations waits; /* of all acquired */
};

static void note_wait(void *data, uint64_t wait_ns) {
    struct access *access = data;
    durations_add(&access->waits, wait_ns);
}

/* ---- connections of the pool ------------------------------------------------------------------
 */

static void member_opened(struct db_connection *connection, int err) {
    struct member *member = connection->data;
    timer_cancel(member->access->loop, &member->limit);
    member->err = err;
    member->opened = err == 0;
    if (err == 0)
        pool_connected(member->pool_member, 0);
}

static void member_closed(struct db_connection *connection, int err) {
    struct member *member = connection->data;
    bool opened = member->opened;
    timer_cancel(member->access->loop, &member->limit);
    member->live = member->opened = false;
    if (opened)
        pool_closed(member->pool_member);
    else
        pool_connected(member->pool_member, member->err ? member->err : err ? err : -ECANCELED);
}

static const struct db_connection_events member_events = {.opened = member_opened,
                                                          .closed = member_closed};

static void member_has_failed(struct timer *timer) {
    struct member *member = CONTAINER_OF(timer, struct member, limit);
    pool_connected(member->pool_member, member->err);
}

/* The pool makes one connection at a time: one that never comes would be in the way of all. */
static void member_took_too_long(struct timer *timer) {
    struct member *member = CONTAINER_OF(timer, struct member, limit);
    member->err = -ETIMEDOUT; /* told when it has closed */
    member->access->driver->close(&member->connection);
}

static void connect_member(struct pool_member *pool_member, void *data) {
    struct access *access = data;
    struct member *member = &access->members[pool_member->index];
    *member = (struct member){.access = access,
                              .pool_member = pool_member,
                              .connection = {.events = &member_events, .data = member},
                              .limit.on_due = member_took_too_long};
    uint64_t now_ns = loop_now_ns(access->loop);
    member->err = access->driver->connect(access->db, &member->connection);
    member->live = member->err == 0;
    if (member->err) {
        member->limit.on_due = member_has_failed;
        timer_set(access->loop, &member->limit, now_ns);
    } else if (access->acquire_ns > 0)
        timer_set(access->loop, &member->limit, now_ns + access->acquire_ns);
}

static void close_member(struct pool_member *pool_member, void *data) {
    struct access *access = data;
    access->driver->close(&access->members[pool_member->index].connection);
}

static const struct pool_kind member_kind = {.connect = connect_member, .close = close_member};

static void lease_acquired(struct pool_waiter *waiter, struct pool_member *member, int err) {
    struct access_lease *lease = CONTAINER_OF(waiter, struct access_lease, waiter);
    lease->member = member;
    if (member)
        lease->connection = &lease->access->members[member->index].connection;
    lease->state = LEASE_READY;
    lease->ready(lease, err);
}

static int acquire_from_pool(struct access *access, struct access_lease *lease) {
    lease->waiter = (struct pool_waiter){.acquired = lease_acquired};
    int result = pool_acquire(access->pool, &lease->waiter, &lease->member);
    if (result == POOL_NOW) {
        lease->state = LEASE_READY;
        lease->connection = &access->members[lease->member->index].connection;
        return ACCESS_NOW;
    }
    return result == POOL_LATER ? ACCESS_LATER : result;
}

/* ---- a connection of its own ------------------------------------------------------------------
 */

static void list_lease(struct access *access, struct access_lease *lease) {
    lease->previous = NULL;
    lease->next = access->leases;
    if (lease->next)
        lease->next->previous = lease;
    access->leases = lease;
    if (++access->size > access->size_most)
        access->size_most = access->size;
}

static void unlist_lease(struct access_lease *lease) {
    struct access *access = lease->access;
    if (lease->previous)
        lease->previous->next = lease->next;
    else
        access->leases = lease->next;
    if (lease->next)
        lease->next->previous = lease->previous;
    access->size--;
}

static void own_opened(struct db_connection *connection, int err) {
    struct access_lease *lease = connection->data;
    struct access *access = lease->access;
    timer_cancel(access->loop, &lease->limit);
    if (err) {
        lease->err = err; /* told when it has closed */
        return;
    }
    if (lease->state != LEASE_WAITS || lease->err)
        return; /* it is being closed */
    note_wait(access, loop_now_ns(access->loop) - lease->since_ns);
    lease->connection = connection;
    lease->state = LEASE_READY;
    lease->ready(lease, 0);
}

/* After LEASE_READY its query has ended already, and with it the lease was released. */
static void own_closed(struct db_connection *connection, int err) {
    struct access_lease *lease = connection->data;
    struct access *access = lease->access;
    timer_cancel(access->loop, &lease->limit);
    unlist_lease(lease);
    CHECK(lease->state != LEASE_READY);
    if (lease->state != LEASE_WAITS) {
        lease->over(lease);
        return;
    }
    if (lease->err == 0)
        lease->err = err ? err : -ECANCELED;
    access->timed_out += lease->err == -ETIMEDOUT;
    access->failed++;
    lease->ready(lease, lease->err);
}

static const struct db_connection_events own_events = {.opened = own_opened, .closed = own_closed};

static void own_took_too_long(struct timer *timer) {
    struct access_lease *lease = CONTAINER_OF(timer, struct access_lease, limit);
    lease->err = -ETIMEDOUT;
    lease->access->driver->close(&lease->own);
}

static int acquire_own(struct access *access, struct access_lease *lease) {
    lease->own = (struct db_connection){.events = &own_events, .data = lease};
    lease->limit = (struct timer){.on_due = own_took_too_long};
    lease->since_ns = loop_now_ns(access->loop);
    int err = access->driver->connect(access->db, &lease->own);
    if (err)
        return err;
    list_lease(access, lease);
    if (access->acquire_ns > 0)
        timer_set(access->loop, &lease->limit, lease->since_ns + access->acquire_ns);
    return ACCESS_LATER;
}

/* ---- leases -----------------------------------------------------------------------------------
 */

int access_acquire(struct access *access, struct access_lease *lease) {
    if (access->stopping)
        return -ESHUTDOWN;
    lease->access = access;
    lease->state = LEASE_WAITS;
    lease->err = 0;
    lease->connection = NULL;
    lease->member = NULL;
    return access->pool ? acquire_from_pool(access, lease) : acquire_own(access, lease);
}

int access_leave(struct access_lease *lease) {
    struct access *access = lease->access;
    CHECK(lease->state == LEASE_WAITS);
    lease->state = LEASE_LEFT;
    if (access->pool) {
        pool_leave(access->pool, &lease->waiter);
        return ACCESS_NOW;
    }
    access->driver->close(&lease->own);
    return ACCESS_LATER;
}

int access_release(struct access_lease *lease) {
    CHECK(lease->state == LEASE_READY);
    lease->state = LEASE_RELEASED;
    if (lease->member) {
        pool_release(lease->member);
        return ACCESS_NOW;
    }
    lease->access->driver->close(&lease->own);
    return ACCESS_LATER;
}

void access_retire(struct access_lease *lease) {
    if (lease->member)
        pool_retire(lease->member);
}

void access_cancel(struct access_lease *lease) {
    lease->access->driver->cancel(lease->connection);
}

void access_break(struct access_lease *lease) {
    lease->access->driver->close(lease->connection);
}

/* ---- all of it --------------------------------------------------------------------------------
 */

static int open_pool(struct access *access, const struct pool_options *options,
                     struct error *error) {
    access->member_count = options->max;
    access->members = calloc(options->max, sizeof *access->members);
    if (!access->members)
        return error_set(error, -ENOMEM, "out of memory");
    int failure = pool_open(access->loop, options, &member_kind, access, &access->pool, error);
    if (!failure)
        pool_on_wait(access->pool, note_wait, access);
    return failure;
}

int access_open(struct loop *loop, const struct access_options *options, struct access **out,
                struct error *error) {
    struct access *access = calloc(1, sizeof *access);
    if (!access)
        return error_set(error, -ENOMEM, "out of memory");
    access->loop = loop;
    access->driver = options->driver;
    access->acquire_ns = options->pool.acquire_ns;
    int failure = access->driver->open(loop, &options->db, &access->db, error);
    if (!failure && options->pooled) {
        failure = open_pool(access, &options->pool, error);
        if (failure)
            access->driver->free(access->db);
    }
    if (failure) {
        free(access->members);
        free(access);
    } else
        *out = access;
    return failure;
}

static void pool_has_stopped(void *data) {
    struct access *access = data;
    access->pool_stopped = true;
}

void access_stop(struct access *access) {
    CHECK(!access->stopping);
    access->stopping = true;
    if (access->pool)
        pool_stop(access->pool, pool_has_stopped, access);
}

static void break_off(struct access *access, struct db_connection *connection) {
    if (connection->in_flight > 0)
        access->driver->cancel(connection);
    access->driver->close(connection);
}

void access_break_all(struct access *access) {
    for (uint32_t i = 0; i < access->member_count; i++)
        if (access->members[i].live)
            break_off(access, &access->members[i].connection);
    for (struct access_lease *lease = access->leases; lease; lease = lease->next)
        break_off(access, &lease->own);
}

bool access_is_stopped(const struct access *access) {
    return access->pool ? access->pool_stopped : access->stopping && !access->leases;
}

void access_free(struct access *access) {
    if (access->pool)
        pool_free(access->pool);
    access->driver->free(access->db);
    free(access->members);
    free(access);
}

void access_read_counters(const struct access *access, struct access_counters *counters) {
    *counters = (struct access_counters){.db = *access->driver->counters(access->db)};
    if (access->pool)
        counters->pool = *pool_counters(access->pool);
    else
        counters->pool = (struct pool_counters){.size = access->size,
                                                .size_most = access->size_most,
                                                .connects = counters->db.connects,
                                                .connects_failed = access->failed,
                                                .acquired = access->waits.count,
                                                .waited = access->waits.count,
                                                .timed_out = access->timed_out,
                                                .waited_ns = access->waits.sum_ns};
    counters->wait_mean_ns = durations_mean_ns(&access->waits);
    counters->wait_p50_ns = durations_quantile_ns(&access->waits, 0.5);
    counters->wait_p99_ns = durations_quantile_ns(&access->waits, 0.99);
}
