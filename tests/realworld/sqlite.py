"""SQLite's shell: makes a database of 20,000 rows with an index and asks it questions. Imports wasi_unstable."""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from pathlib import Path

from tests.realworld.harness import Program, Result, main
from tests.realworld.packages import RUNNO

SCRIPT = """
create table town(id integer primary key, name text not null, people integer, region text);
begin;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
insert into town select i, 'town ' || hex(i * 7919 % 65521), i * 104729 % 99991, char(65 + i % 26) from n;
commit;
create index by_region on town(region, people);
select count(*), sum(people), min(name), max(name) from town;
select region, count(*), avg(people) from town group by region order by 3 desc limit 3;
select a.name, b.name from town a join town b on b.id = a.people where a.people < a.id order by a.id limit 5;
delete from town where people % 3 = 0;
vacuum;
select sql from sqlite_master order by name;
"""


def check(result: Result) -> None:
    assert result.exit_code == 0 and result.stderr == b"", result.stderr
    assert b"20000|" in result.stdout and b"CREATE INDEX by_region" in result.stdout, result.stdout
    with tempfile.TemporaryDirectory() as directory:  # another SQLite can read what this one wrote
        path = Path(directory) / "towns.db"
        path.write_bytes(result.files["towns.db"])
        with sqlite3.connect(path) as connection:
            assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
            expected = sum(i * 104729 % 99991 % 3 != 0 for i in range(1, 20001))
            assert connection.execute("select count(*) from town").fetchone() == (expected,)
        connection.close()


PROGRAM = Program(
    "sqlite",
    "SQLite",
    RUNNO,
    "package/dist/langs/sqlite.wasm",
    ("/towns.db",),
    check,
    stdin=SCRIPT.encode(),
    reference_is_command=True,
)

if __name__ == "__main__":
    sys.exit(main([PROGRAM]))
