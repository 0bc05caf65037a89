-- Drafts of policy. Every change of text, message or parent makes another version; approvals are of one version and of no other.
-- Without issuer and subject the author is whoever had the operator token.
CREATE TABLE drafts (
    id BIGINT PRIMARY KEY,
    version BIGINT NOT NULL,
    state TEXT NOT NULL,
    author TEXT NOT NULL,
    issuer TEXT,
    subject TEXT,
    message TEXT NOT NULL,
    text TEXT NOT NULL,
    parent BIGINT REFERENCES revisions (revision),
    revision BIGINT REFERENCES revisions (revision),
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE INDEX drafts_state ON drafts (state, id);

-- The principal as it was then; a person approves a version once.
CREATE TABLE draft_approvals (
    draft BIGINT NOT NULL REFERENCES drafts (id),
    version BIGINT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    principal TEXT NOT NULL,
    message TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (draft, version, issuer, subject)
);

CREATE TABLE draft_comments (
    draft BIGINT NOT NULL REFERENCES drafts (id),
    number BIGINT NOT NULL,
    version BIGINT NOT NULL,
    author TEXT NOT NULL,
    text TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (draft, number)
);

-- The draft that a revision was made from, and whether it was written past the approvals that are asked for.
ALTER TABLE revisions ADD COLUMN draft BIGINT;
ALTER TABLE revisions ADD COLUMN is_emergency BIGINT NOT NULL DEFAULT 0;
