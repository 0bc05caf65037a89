-- Events, each with the hash that covers it and the one before it. Kind and actor are in the body, and here for searching.
CREATE TABLE audit_events (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    body TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE INDEX audit_events_at ON audit_events (at);
CREATE INDEX audit_events_kind ON audit_events (kind, seq);
CREATE INDEX audit_events_actor ON audit_events (actor, seq);

-- The newest event; taking the next number locks the row until commit. Events up to pruned_to may be deleted, no others.
CREATE TABLE audit_head (
    name TEXT PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL,
    pruned_to BIGINT NOT NULL
);
INSERT INTO audit_head (name, seq, hash, pruned_to)
VALUES ('events', 0, '0000000000000000000000000000000000000000000000000000000000000000', 0);

CREATE TABLE audit_checkpoints (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    token TEXT NOT NULL
);

-- Whom decisions are about, as they were then; the id is the SHA-256 of the JSON.
CREATE TABLE decided_principals (
    id TEXT PRIMARY KEY,
    principal TEXT NOT NULL,
    last_at BIGINT NOT NULL
);
CREATE INDEX decided_principals_last_at ON decided_principals (last_at);

-- Recorded decisions: denials one by one, what is alike within an hour in one row.
CREATE TABLE decisions (
    key TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    principal TEXT,
    body TEXT NOT NULL,
    count BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL
);
CREATE INDEX decisions_id ON decisions (id);
CREATE INDEX decisions_last_at ON decisions (last_at, key);

-- Parts of the segments of edges' spools that were taken in, so that none is taken in twice.
CREATE TABLE spool_segments (
    id TEXT PRIMARY KEY,
    at BIGINT NOT NULL
);
