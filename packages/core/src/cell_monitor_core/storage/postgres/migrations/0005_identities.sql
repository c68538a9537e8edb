-- People are apart from how they prove who they are, and memberships name their source (docs/adr/0015).

-- An identity is (issuer, exact subject). subject_hash is a keyed hash of the exact bytes: nothing is folded, so that two
-- names that look alike are two people. Issuer 'local' has the user names of this installation; others come with
-- their verifiers.
CREATE TABLE identities (
    identity_id  uuid PRIMARY KEY,
    issuer       text NOT NULL CHECK (length(issuer) BETWEEN 1 AND 512),
    subject_hash bytea NOT NULL CHECK (length(subject_hash) = 32),
    subject_enc  bytea NOT NULL,
    person_id    uuid NOT NULL REFERENCES people ON DELETE CASCADE,
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (issuer, subject_hash)
);
CREATE INDEX identities_person ON identities (person_id);

-- Everybody who is here already has a user name of this installation. Its keyed hash cannot be computed in SQL: the
-- migration command does that next, with the keys, for those who are marked. Nobody is marked later.
ALTER TABLE people ADD COLUMN identity_pending boolean NOT NULL DEFAULT true;
ALTER TABLE people ALTER COLUMN identity_pending SET DEFAULT false;
CREATE INDEX people_identity_pending ON people (person_id) WHERE identity_pending;

-- From now on username_hash, which is folded, serves search only.
ALTER TABLE people DROP CONSTRAINT people_username_hash_key;
CREATE INDEX people_username ON people (username_hash);

-- One row for each source that has spoken of a person in a course. A role of NULL says that the source has removed them:
-- the row stays, because a removal must be able to win over what other sources say.
ALTER TABLE memberships
    ALTER COLUMN role DROP NOT NULL,
    -- The default is for programs of the release before this schema, which name no source.
    ADD COLUMN source text NOT NULL DEFAULT 'roster' CHECK (source IN ('roster', 'hub', 'lti')),
    ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now(),
    DROP CONSTRAINT memberships_pkey,
    ADD PRIMARY KEY (course_id, person_id, source);

-- Where a course names a ruling source, it alone counts for everybody of whom it has spoken.
ALTER TABLE courses ADD COLUMN ruling_source text CHECK (ruling_source IN ('roster', 'hub', 'lti'));

-- The members of each course with the role that counts: the only place that derives it.
CREATE VIEW course_members AS
SELECT course_id, person_id, role FROM (
    SELECT m.course_id, m.person_id,
           CASE WHEN bool_or(m.source = c.ruling_source)
                THEN max(m.role) FILTER (WHERE m.source = c.ruling_source)
                -- The highest role is the first of this list; NULL, a removal, is in none of its places.
                ELSE (ARRAY['instructor', 'assistant', 'observer', 'student'])
                     [min(array_position(ARRAY['instructor', 'assistant', 'observer', 'student'], m.role))]
           END AS role
    FROM memberships m JOIN courses c USING (course_id)
    GROUP BY m.course_id, m.person_id
) effective WHERE role IS NOT NULL;

-- What a group of an issuer (of a Hub, a learning platform) means here. A group may have a role in several courses.
CREATE TABLE course_links (
    issuer     text NOT NULL CHECK (length(issuer) BETWEEN 1 AND 512),
    group_name text NOT NULL CHECK (length(group_name) BETWEEN 1 AND 512),
    role       text NOT NULL CHECK (role IN ('instructor', 'assistant', 'observer', 'student')),
    course_id  text NOT NULL REFERENCES courses ON DELETE CASCADE,
    PRIMARY KEY (issuer, group_name, role, course_id)
);
CREATE INDEX course_links_course ON course_links (course_id);

-- Erasing a person, and ending their sign-ins, looks here.
CREATE INDEX sign_ins_person ON sign_ins (person_id);
CREATE INDEX api_keys_person ON api_keys (person_id);
