-- What people asked for. State is open, granted, refused, withdrawn or expired; only an open one changes, once.
CREATE TABLE access_requests (
    id TEXT PRIMARY KEY,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    principal TEXT NOT NULL,
    rule TEXT NOT NULL,
    route TEXT NOT NULL,
    method TEXT NOT NULL,
    host TEXT NOT NULL,
    target TEXT NOT NULL,
    reason TEXT NOT NULL,
    lasting BIGINT NOT NULL,
    asked_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    state TEXT NOT NULL,
    decided_at BIGINT,
    decided_by TEXT,
    why TEXT
);
CREATE INDEX access_requests_person ON access_requests (issuer, subject, asked_at);
CREATE INDEX access_requests_state ON access_requests (state, expires_at);

-- What came of them: at most one grant of each request, under its id. One that ended never comes back.
CREATE TABLE grants (
    id TEXT PRIMARY KEY REFERENCES access_requests (id),
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    principal TEXT NOT NULL,
    rule TEXT NOT NULL,
    reason TEXT NOT NULL,
    granted_by TEXT NOT NULL,
    granted_at BIGINT NOT NULL,
    until BIGINT NOT NULL,
    ended_at BIGINT,
    end_reason TEXT,
    break_glass BIGINT NOT NULL,
    reviewed_at BIGINT,
    reviewed_by TEXT,
    review_note TEXT
);
CREATE INDEX grants_person ON grants (issuer, subject, granted_at);
CREATE INDEX grants_until ON grants (until);
