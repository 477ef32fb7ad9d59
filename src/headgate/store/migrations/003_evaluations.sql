-- Moves tell what they rest on. They are copies of the registry's, so they are emptied here and copied anew.

ALTER TABLE alias_moves ADD COLUMN gate VARCHAR;

ALTER TABLE alias_moves ADD COLUMN receipt_id VARCHAR;

DELETE FROM alias_moves;

-- A run that was finished again is copied again: the time tells which of the two this is.
ALTER TABLE eval_runs ADD COLUMN finished_at TIMESTAMP;
