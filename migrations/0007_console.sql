-- Where somebody signed in from, what logs and pages call the session, and what it is found by, in lower case; NULL in rows of before.
ALTER TABLE sessions ADD COLUMN peer TEXT;
ALTER TABLE sessions ADD COLUMN words TEXT;
ALTER TABLE sessions ADD COLUMN label TEXT;
CREATE INDEX sessions_last_seen ON sessions (last_seen, id);
CREATE INDEX sessions_label ON sessions (label);

-- Everybody who signed in, or about whom something was decided, as they were last, and what they are found by, in lower case.
-- The id is the SHA-256 of issuer and subject.
CREATE TABLE people (
    id TEXT PRIMARY KEY,
    words TEXT NOT NULL,
    principal TEXT NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen BIGINT NOT NULL
);
CREATE INDEX people_last_seen ON people (last_seen, id);

ALTER TABLE decided_principals ADD COLUMN person TEXT;
CREATE INDEX decided_principals_person ON decided_principals (person);
CREATE INDEX decisions_principal ON decisions (principal, last_at);

-- How much there was of what within some minutes, all edges together.
CREATE TABLE activity (
    slot BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    route TEXT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (slot, outcome, route)
);

-- The processes that serve, as each said of itself last.
CREATE TABLE edges (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    revision BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    fresh_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);
