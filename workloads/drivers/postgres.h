/* postgres.h: PostgreSQL as a driver; the contract is that of driver.h.
 *
 * The target is what libpq takes: postgresql://USER@HOST/DATABASE or `host=… dbname=…`. Names are
 * looked up when the database is opened. A connect has no limit of its own: who wants one closes
 * the connection. A constraint that is deferred to the end of a transaction fails where nobody is
 * told. */
#ifndef LOOPMARK_POSTGRES_H
#define LOOPMARK_POSTGRES_H

#include "workloads/drivers/driver.h"

extern const struct db_driver postgres_driver;

#endif
