-- A family of tokens: what one program was given on behalf of one session. It ends with the session, or before it.
CREATE TABLE token_families (
    id TEXT PRIMARY KEY,
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    client TEXT NOT NULL,
    -- RFC 7638 thumbprint of the key that its tokens are bound to.
    key_thumbprint TEXT,
    created_at BIGINT NOT NULL,
    ended_at BIGINT,
    end_reason TEXT
);
CREATE INDEX token_families_session ON token_families (session);

-- Refresh tokens, each good once; those that were used stay as long as their family, to be recognised.
CREATE TABLE refresh_tokens (
    hash TEXT PRIMARY KEY,
    family TEXT NOT NULL REFERENCES token_families (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX refresh_tokens_family ON refresh_tokens (family);

-- Machines without a browser that wait for somebody to approve them.
CREATE TABLE device_grants (
    device_code TEXT PRIMARY KEY,
    user_code TEXT NOT NULL UNIQUE,
    client TEXT NOT NULL,
    key_thumbprint TEXT,
    asker TEXT NOT NULL,
    poll_interval BIGINT NOT NULL,
    polled_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    -- pending, approved or denied
    state TEXT NOT NULL,
    session TEXT
);
CREATE INDEX device_grants_expires_at ON device_grants (expires_at);
