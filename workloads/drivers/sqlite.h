/* sqlite.h: SQLite as a driver; the contract is that of driver.h.
 *
 * The target is sqlite:PATH, or PATH alone. The file has to be there (an empty one is an empty
 * database): one that a slip of the pen had made would answer "no such table". Databases in memory
 * (:memory:) are refused: each connection would have its own.
 *
 * A statement runs on a thread of a pool that belongs to the database, one at a time for each
 * connection, and its whole result is collected before its rows are told; so a result has to fit
 * into memory, and the connection keeps as much as its largest one took. depth > 1 only makes
 * queries wait here instead of with the caller.
 *
 * Settings: journal_mode WAL and synchronous NORMAL (a commit survives the process, not a loss of
 * power); a locked database is waited for as with busy_timeout 5000; the rest as SQLite comes, with
 * a cache of 2 MB for each connection. A wait for a lock holds a thread, so a transaction is to be
 * one statement. Read-only databases are opened as such (SQLITE_OPEN_READONLY), in whatever
 * journal mode they are.
 *
 * Connections have the function pg_sleep(SECONDS), so that the slow query of PostgreSQL is one
 * here, too. It holds a thread. Cancelling ends it, a running statement and the wait for a lock at
 * once, with -EIO and "interrupted", also of one whose thread has not begun.
 *
 * `free` may also be called with connections open, when the loop will not run again and before it
 * is freed: it ends what runs, closes them, and no callback comes. */
#ifndef LOOPMARK_SQLITE_H
#define LOOPMARK_SQLITE_H

#include "workloads/drivers/driver.h"

extern const struct db_driver sqlite_driver;

#endif
