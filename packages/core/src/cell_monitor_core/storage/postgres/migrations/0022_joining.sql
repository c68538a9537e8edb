-- Joining a course by a code (docs/adr/0026).
ALTER TABLE memberships
    DROP CONSTRAINT memberships_source_check,
    ADD CONSTRAINT memberships_source_check CHECK (source IN ('roster', 'hub', 'lti', 'oidc', 'join'));

-- A course has one code at most. The code itself is not stored: it is a keyed hash of the nonce.
CREATE TABLE join_codes (
    course_id  text PRIMARY KEY REFERENCES courses ON DELETE CASCADE,
    -- First characters of the code: they say which course is meant, and are no secret.
    locator    text NOT NULL UNIQUE CHECK (length(locator) = 4),
    nonce      bytea NOT NULL CHECK (length(nonce) = 16),
    opened_at  timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    people     integer NOT NULL DEFAULT 0
);

-- A computer that joined: it holds a secret, of which only the SHA-256 is stored, and sends events of this person in this
-- course. The row stays when the computer may send no more.
CREATE TABLE joined_computers (
    computer_id text PRIMARY KEY CHECK (length(computer_id) = 12),
    secret_hash bytea NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    course_id   text NOT NULL REFERENCES courses ON DELETE CASCADE,
    person_id   uuid NOT NULL REFERENCES people ON DELETE CASCADE,
    created_at  timestamptz NOT NULL DEFAULT now(),
    revoked_at  timestamptz
);
CREATE INDEX joined_computers_person ON joined_computers (person_id, course_id);
CREATE INDEX joined_computers_course ON joined_computers (course_id);
