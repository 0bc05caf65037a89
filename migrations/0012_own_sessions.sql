-- What people recognise their own sign-ins by: the browser as it called itself, and how and from where a program was let in.
-- Of what began before, it is not known.
ALTER TABLE sessions ADD COLUMN browser TEXT;
ALTER TABLE token_families ADD COLUMN how TEXT;
ALTER TABLE token_families ADD COLUMN peer TEXT;
