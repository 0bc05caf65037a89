-- When the provider last described the person of a session: at the sign-in, and with each refresh. What it said last is what counts.
ALTER TABLE sessions ADD COLUMN heard_at BIGINT NOT NULL DEFAULT 0;
