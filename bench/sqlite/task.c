/* A task of any length for SQLite, in memory: rows are inserted, updated, and asked for in several ways.
 *
 *     task N      some N thousands of rows in all; prints what a query says of each round
 *
 * SQLite's own file (a package of a registry, see ../sqlite_program.py) is compiled with SQLITE_OS_OTHER: what it wants of an
 * operating system is here, and next to nothing. */
#include "sqlite3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 1000

/* ---- what stands for an operating system ---- */

static int no_file(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *out_flags)
{
    (void)vfs, (void)name, (void)flags, (void)out_flags;
    memset(file, 0, sizeof *file);
    return SQLITE_CANTOPEN;
}

static int no_deletion(sqlite3_vfs *vfs, const char *name, int sync)
{
    (void)vfs, (void)name, (void)sync;
    return SQLITE_OK;
}

static int no_access(sqlite3_vfs *vfs, const char *name, int flags, int *found)
{
    (void)vfs, (void)name, (void)flags;
    *found = 0;
    return SQLITE_OK;
}

static int same_name(sqlite3_vfs *vfs, const char *name, int size, char *full)
{
    (void)vfs;
    snprintf(full, (size_t)size, "%s", name);
    return SQLITE_OK;
}

static int same_bytes(sqlite3_vfs *vfs, int size, char *bytes)
{
    (void)vfs;
    memset(bytes, 7, (size_t)size); /* so that outputs are the same each time */
    return size;
}

static int no_sleep(sqlite3_vfs *vfs, int microseconds)
{
    (void)vfs;
    return microseconds;
}

static int same_time(sqlite3_vfs *vfs, double *days)
{
    (void)vfs;
    *days = 2461000.5;
    return SQLITE_OK;
}

static sqlite3_vfs nothing = {
    .iVersion = 1,
    .szOsFile = sizeof(sqlite3_file),
    .mxPathname = 64,
    .zName = "nothing",
    .xOpen = no_file,
    .xDelete = no_deletion,
    .xAccess = no_access,
    .xFullPathname = same_name,
    .xRandomness = same_bytes,
    .xSleep = no_sleep,
    .xCurrentTime = same_time,
};

int sqlite3_os_init(void)
{
    return sqlite3_vfs_register(&nothing, 1);
}

int sqlite3_os_end(void)
{
    return SQLITE_OK;
}

/* ---- the task ---- */

static sqlite3 *database;

static void check(int code)
{
    if (code != SQLITE_OK && code != SQLITE_DONE && code != SQLITE_ROW) {
        fprintf(stderr, "%s\n", sqlite3_errmsg(database));
        exit(1);
    }
}

static void run(const char *statements)
{
    check(sqlite3_exec(database, statements, NULL, NULL, NULL));
}

static void insert(int round)
{
    sqlite3_stmt *statement;
    check(sqlite3_prepare_v2(database, "INSERT INTO item(kind, price, name) VALUES(?, ?, ?)", -1, &statement, NULL));
    run("BEGIN");
    for (int row = 0; row < ROWS; row++) {
        char name[32];
        int length = snprintf(name, sizeof name, "item %d of round %d", row * 7919 % ROWS, round % 10);
        check(sqlite3_bind_int(statement, 1, row * 31 % 17));
        check(sqlite3_bind_double(statement, 2, (double)(row * 13 % 1009) / 8));
        check(sqlite3_bind_text(statement, 3, name, length, SQLITE_TRANSIENT));
        check(sqlite3_step(statement));
        check(sqlite3_reset(statement));
    }
    run("COMMIT");
    check(sqlite3_finalize(statement));
}

static void print(int round, const char *query)
{
    sqlite3_stmt *statement;
    check(sqlite3_prepare_v2(database, query, -1, &statement, NULL));
    long long sum = 0;
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        for (int column = 0; column < sqlite3_column_count(statement); column++) {
            const unsigned char *text = sqlite3_column_text(statement, column);
            for (; text != NULL && *text != 0; text++) {
                sum = (sum * 31 + *text) % 1000000007;
            }
        }
    }
    check(code);
    check(sqlite3_finalize(statement));
    printf("%d %lld\n", round, sum);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 1;
    check(sqlite3_open(":memory:", &database));
    run("CREATE TABLE kind(id INTEGER PRIMARY KEY, title TEXT);"
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 16) INSERT INTO kind SELECT i, 'kind ' || i FROM n");
    for (int round = 0; round < rounds; round++) {
        run("DROP TABLE IF EXISTS item; CREATE TABLE item(id INTEGER PRIMARY KEY, kind INTEGER, price REAL, name TEXT);"
            "CREATE INDEX by_name ON item(name)");
        insert(round);
        run("UPDATE item SET price = price * 1.25 WHERE kind % 3 = 1; DELETE FROM item WHERE id % 11 = 5");
        print(round, "SELECT title, count(*), round(sum(price), 2), max(name) FROM item JOIN kind ON kind.id = item.kind"
                     " GROUP BY kind ORDER BY 3 DESC");
        print(round, "SELECT name, price FROM item WHERE name LIKE 'item 9%' AND price > (SELECT avg(price) FROM item)"
                     " ORDER BY price, name LIMIT 50");
    }
    check(sqlite3_close(database));
    return 0;
}
