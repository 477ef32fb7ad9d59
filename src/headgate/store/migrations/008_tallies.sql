-- What was read of each spool segment, number by number, in the transaction of the mark that says so: the proof that
-- nothing is missing (`headgate verify`). Several rows of one segment add up.
CREATE TABLE tallies (
    spool_id VARCHAR,
    segment  BIGINT,
    tally    VARCHAR,
    noted_at TIMESTAMP
);

-- How many rows deletion and retention took out of each segment, in the transaction that took them.
CREATE TABLE removals (
    spool_id VARCHAR,
    segment  BIGINT,
    rows     BIGINT,
    noted_at TIMESTAMP
);

-- Of the whole sealed file, when it was written or taken in; NULL: before that was noted.
ALTER TABLE file_changes ADD COLUMN sha256 VARCHAR;
