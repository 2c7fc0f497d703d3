/* database.h: how the workload `database` is told where its database is.
 *
 * A place may hold a password, and every user can read command lines, so it comes in the
 * environment: a target as the drivers take it, such as postgresql://user@host/name or sqlite:PATH,
 * with the table of drivers/sample_table.h in it. The knob `driver` says which database is meant:
 *
 *   any       the one that the environment names; without one, as sqlite
 *   sqlite    the one that the environment names if that is of SQLite; otherwise a database of our
 *             own in a temporary folder, made at start and removed at the end
 *   postgres  the one that the environment names, which has to be a PostgreSQL */
#ifndef LOOPMARK_DATABASE_H
#define LOOPMARK_DATABASE_H

#define DATABASE_VARIABLE "LOOPMARK_DATABASE"

enum database_driver { DATABASE_ANY, DATABASE_SQLITE, DATABASE_POSTGRES };

#endif
