/* sample_table.h: the table that database workloads ask, the same in every database.
 *
 *     item (id bigint primary key, value bigint, payload text)
 *
 * SAMPLE_ROWS rows with the ids 1 to SAMPLE_ROWS. A row's value and payload follow from its id, so
 * that an answer that belongs to another question is seen: `value` is SAMPLE_VALUE(id), and
 * `payload` is SAMPLE_PAYLOAD_BYTES of ASCII that begin with `item ID `. The SQL is what SQLite
 * (from 3.8.3) and PostgreSQL both take; run in this order it makes the table, on a database that
 * has none. */
#ifndef LOOPMARK_SAMPLE_TABLE_H
#define LOOPMARK_SAMPLE_TABLE_H

enum { SAMPLE_ROWS = 10000, SAMPLE_PAYLOAD_BYTES = 100 };

#define SAMPLE_VALUE(id) ((int64_t)(id)*7919 % 1000003)

static const char *const sample_table_sql[] = {
    "create table item (id bigint primary key, value bigint not null, payload text not null)",
    "insert into item"
    " with recursive number(id) as"
    " (select cast(1 as bigint) union all select id + 1 from number where id < 10000)"
    " select id, id * 7919 % 1000003,"
    " substr('item ' || id || ' the quick brown fox jumps over the lazy dog while the five boxing"
    " wizards jump quickly past it and away', 1, 100)"
    " from number",
    "analyze item", /* or the planner has nothing to go by */
};

#endif
