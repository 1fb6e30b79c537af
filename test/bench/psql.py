"""Sessions of psql against the cluster of the environment (PGHOST, PGPORT), for benchmarks."""
import os
import subprocess
import time

ONE_BACKEND = "max_parallel_workers_per_gather = 0"


class Session:
    """One backend. query() returns rows as text; seconds() times a statement at the client."""

    def __init__(self, *settings):
        bindir = subprocess.run([os.environ.get("PG_CONFIG", "pg_config"), "--bindir"], check=True,
                                capture_output=True, text=True).stdout.strip()
        self.psql = subprocess.Popen([f"{bindir}/psql", "-qAtX", "-v", "ON_ERROR_STOP=1"],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for setting in settings:
            self.query(f"SET {setting}")

    def query(self, sql):
        self.psql.stdin.write(f"{sql}\n;\n\\echo <end>\n")
        self.psql.stdin.flush()
        lines = []
        for line in self.psql.stdout:
            if line == "<end>\n":
                return lines
            lines.append(line[:-1])
        raise RuntimeError(f"psql ended at: {sql[:200]}")

    def seconds(self, sql):
        began = time.perf_counter()
        self.query(sql)
        return time.perf_counter() - began

    def pid(self):
        return int(self.query("SELECT pg_backend_pid()")[0])

    def close(self):
        self.psql.stdin.close()
        self.psql.wait()


def load_texts(session, table, texts, options=""):
    """A table (id, t) of these texts."""
    session.query(f"CREATE TABLE {table} (id int, t text) {options}")
    for at in range(0, len(texts), 500):
        values = ",".join("(%d, '%s')" % (at + i, text.replace("'", "''"))
                          for i, text in enumerate(texts[at:at + 500]))
        session.query(f"INSERT INTO {table} VALUES {values}")
    session.query(f"VACUUM ANALYZE {table}")
