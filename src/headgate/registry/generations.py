"""The generations of the snapshot, counted where lost or restored snapshot files cannot turn them back."""

from headgate.registry.database import Database


def take_generation(database: Database, at_least: int) -> int:
    """The next generation to publish, durably taken: above every one taken before, and not below ``at_least``."""
    with database.write() as connection:
        row = connection.execute("SELECT generation FROM published_snapshot").fetchone()
        generation = max(at_least, row[0] + 1 if row else 1)
        connection.execute(
            "INSERT INTO published_snapshot VALUES (1, ?) ON CONFLICT DO UPDATE SET generation = excluded.generation",
            (generation,),
        )
    return generation
