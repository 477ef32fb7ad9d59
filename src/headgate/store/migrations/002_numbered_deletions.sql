-- Which deletions a rewrite of the file has seen is told by number, not by time: a clock may step back.

ALTER TABLE deletions ADD COLUMN number BIGINT DEFAULT 1;

-- The greatest number that each rewrite has seen.
CREATE TABLE rewrites (
    number   BIGINT,
    noted_at TIMESTAMP
);
