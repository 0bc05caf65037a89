-- What a revision brought is found without going through what stayed.
CREATE INDEX policy_objects_begun ON policy_objects (valid_from);
