-- Sign-ins that JupyterHub vouches for. The token that the Hub gave for one is asked about again each minute (docs/adr/0025).
CREATE TABLE hub_sessions (
    cookie_hash bytea PRIMARY KEY REFERENCES sign_ins ON UPDATE CASCADE ON DELETE CASCADE,
    person_id   uuid NOT NULL REFERENCES people ON DELETE CASCADE,
    token_enc   bytea NOT NULL,
    -- When an access token was given last: a sign-in that nobody uses need not be asked about.
    used_at     timestamptz NOT NULL DEFAULT now(),
    -- When the Hub answered last.
    answered_at timestamptz NOT NULL DEFAULT now(),
    -- When it is to be asked next.
    due_at      timestamptz NOT NULL
);
CREATE INDEX hub_sessions_due ON hub_sessions (due_at);
CREATE INDEX hub_sessions_person ON hub_sessions (person_id);
