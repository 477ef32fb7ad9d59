-- Predictions carry what labels and questions join on; labels may come by entity, before and after what they label.

ALTER TABLE predictions ADD COLUMN predicted VARCHAR;

ALTER TABLE predictions ADD COLUMN alias VARCHAR;

ALTER TABLE predictions ADD COLUMN entity VARCHAR;

ALTER TABLE predictions ADD COLUMN predicted_at TIMESTAMP;

ALTER TABLE labels ADD COLUMN model VARCHAR;

ALTER TABLE labels ADD COLUMN entity VARCHAR;

ALTER TABLE labels ADD COLUMN as_of TIMESTAMP;
