-- One dialect for SQLite and Postgres: TEXT ids, BIGINT microseconds, TEXT JSON; sealed values are base64 TEXT.

-- Position of the change feed. Taking the next number locks the row until commit, so numbers follow commit order.
CREATE TABLE feed_head (
    name TEXT PRIMARY KEY,
    seq BIGINT NOT NULL
);
INSERT INTO feed_head (name, seq) VALUES ('changes', 0);

CREATE TABLE changes (
    seq BIGINT PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX changes_at ON changes (at);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    provider_sid TEXT,
    principal TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    refresh_at BIGINT NOT NULL,
    tokens TEXT,
    leased_until BIGINT NOT NULL DEFAULT 0,
    ended_at BIGINT,
    end_reason TEXT
);
CREATE INDEX sessions_person ON sessions (issuer, subject);
CREATE INDEX sessions_provider_sid ON sessions (issuer, provider_sid);
CREATE INDEX sessions_expires_at ON sessions (expires_at);

CREATE TABLE session_cookies (
    hash TEXT PRIMARY KEY,
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    host TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX session_cookies_session ON session_cookies (session);

CREATE TABLE one_time (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX one_time_expires_at ON one_time (expires_at);

CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY,
    private_key TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE revisions (
    revision BIGINT PRIMARY KEY,
    parent BIGINT REFERENCES revisions (revision),
    author TEXT NOT NULL,
    message TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- A row holds from valid_from up to, and not including, valid_until; NULL means it still holds.
CREATE TABLE policy_objects (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    position BIGINT NOT NULL,
    body TEXT NOT NULL,
    valid_from BIGINT NOT NULL REFERENCES revisions (revision),
    valid_until BIGINT REFERENCES revisions (revision),
    PRIMARY KEY (kind, name, valid_from)
);
CREATE INDEX policy_objects_current ON policy_objects (valid_until);
