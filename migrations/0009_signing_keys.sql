-- When signing keys sign, and their public halves, which outlive the private ones in signing_keys: what they signed is verified for ever.
CREATE TABLE signing_key_lives (
    kid TEXT PRIMARY KEY,
    public_key TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    signs_from BIGINT NOT NULL,
    revoked_at BIGINT
);
