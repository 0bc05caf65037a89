-- The revision that a revision puts in force again.
ALTER TABLE revisions ADD COLUMN restores BIGINT;
