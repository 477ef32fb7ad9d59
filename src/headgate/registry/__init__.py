"""Registry objects and control state in SQLite: keys and history; the only package that imports sqlite3."""
