-- Links that sign a person in once. The secret is stored as its hash only.
CREATE TABLE sign_in_links (
    link_id text PRIMARY KEY,
    secret_hash bytea NOT NULL,
    person_id uuid NOT NULL REFERENCES people ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX sign_in_links_person ON sign_in_links (person_id);
