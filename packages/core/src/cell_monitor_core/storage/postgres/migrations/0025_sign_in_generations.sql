-- How often all sign-ins of a person were ended. A sign-in that was under way meanwhile states an earlier number and is not stored.
ALTER TABLE people ADD COLUMN sign_in_generation integer NOT NULL DEFAULT 0;
