"""
Reads the stores of a TLJH that somebody handed over: passwords.dbm and jupyterhub.sqlite.

It runs as nobody, in a sandbox without network (stores.ts), because what it parses may be hostile. It gets the files on its standard
input as JSON, in base64, and answers as JSON: for each store what is in it, or why it cannot be read.
"""

import base64
import json
import os
import sys
import tempfile

MOST_ROWS = 100_000


def as_text(value):
    """Base64 of what may be bytes or text."""
    data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
    return base64.b64encode(data).decode()


def passwords(folder):
    import dbm

    with dbm.open(os.path.join(folder, "passwords"), "r") as store:
        return [[as_text(key), as_text(store[key])] for key in list(store.keys())[:MOST_ROWS]]


def database(folder):
    import sqlite3

    db = sqlite3.connect(f"file:{folder}/database?mode=ro", uri=True)
    db.execute("PRAGMA trusted_schema = OFF")

    def rows(table, *columns):
        # A view or a virtual table could be anything.
        plain = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ? AND sql LIKE 'CREATE TABLE%'"
        if not db.execute(plain, (table,)).fetchone():
            return []
        found = db.execute(f"SELECT {', '.join(columns)} FROM {table} LIMIT {MOST_ROWS}")
        return [[as_text(name), *rest] for name, *rest in found]

    users = [[name, admin == 1] for name, admin in rows("users", "name", "admin")]
    signed_up = rows("users_info", "username", "password", "is_authorized")
    return {
        "users": users,
        "signUps": [[name, as_text(password), is_authorized == 1] for name, password, is_authorized in signed_up],
    }


def answer(read, folder):
    try:
        return {"found": read(folder)}
    except Exception as error:
        return {"problem": f"{type(error).__name__}: {error}"[:300]}


with tempfile.TemporaryDirectory() as folder:
    given = json.load(sys.stdin)
    for name, data in given.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(base64.b64decode(data))
    print(
        json.dumps(
            {
                "passwords": answer(passwords, folder) if any(name.startswith("passwords") for name in given) else None,
                "database": answer(database, folder) if "database" in given else None,
            }
        )
    )
