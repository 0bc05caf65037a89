-- Programs that registered themselves (RFC 7591) to act for people. What they say of themselves nobody verified.
CREATE TABLE oauth_clients (
    id TEXT PRIMARY KEY,
    name TEXT,
    -- a JSON array
    redirect_uris TEXT NOT NULL,
    -- where they registered from; of IPv6 the network
    address TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX oauth_clients_address ON oauth_clients (address);
CREATE INDEX oauth_clients_expires_at ON oauth_clients (expires_at);

-- The agent that a family's tokens are for, and the one route that they are good at, as JSON; NULL where people's own programs have it.
ALTER TABLE token_families ADD COLUMN acting TEXT;
