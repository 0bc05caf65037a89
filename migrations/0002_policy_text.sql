-- What the author wrote of an object, with its comments; of kind "part" are the lines that head a part of the document.
ALTER TABLE policy_objects ADD COLUMN text TEXT NOT NULL DEFAULT '';
