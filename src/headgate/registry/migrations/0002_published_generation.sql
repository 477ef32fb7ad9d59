-- The generation of the snapshot published last: it goes on rising when the snapshot's files are lost or put back.

CREATE TABLE published_snapshot (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    generation INTEGER NOT NULL
) STRICT;
