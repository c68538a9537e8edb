-- What ends access tokens before their time. A token names the generation of its person; a change of rights begins a new one.
ALTER TABLE people ADD COLUMN token_generation integer NOT NULL DEFAULT 0;

-- Committed together with the change, and delivered to the services by the API (docs/adr/0024).
CREATE TABLE revocations (
    revocation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- A person's id, or the name of a credential.
    subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 100),
    -- Tokens of earlier generations are revoked; of a credential, where there is none, all are.
    generation integer,
    created_at timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz
);
CREATE INDEX revocations_pending ON revocations (revocation_id) WHERE delivered_at IS NULL;
