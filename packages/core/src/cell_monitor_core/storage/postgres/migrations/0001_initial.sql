-- The first schema. Facts are append-only; states are functions of the facts (docs/adr/0003).
-- Columns ending in _enc hold AES-256-GCM ciphertext, columns ending in _hash a keyed hash for look-up.

CREATE TABLE courses (
    course_id   text PRIMARY KEY CHECK (course_id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    title       text NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    -- Thresholds of the dashboard's reasons: {"stuck_errors": 3, "long_run_s": 180, "idle_s": 480, "offline_s": 60}
    thresholds  jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE people (
    person_id        uuid PRIMARY KEY,
    username_hash    bytea NOT NULL UNIQUE,
    username_enc     bytea NOT NULL,
    display_name_enc bytea,
    email_enc        bytea,
    is_admin         boolean NOT NULL DEFAULT false,
    created_at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE local_accounts (
    person_id     uuid PRIMARY KEY REFERENCES people ON DELETE CASCADE,
    password_hash text NOT NULL,
    updated_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE memberships (
    course_id text NOT NULL REFERENCES courses ON DELETE CASCADE,
    person_id uuid NOT NULL REFERENCES people ON DELETE CASCADE,
    role      text NOT NULL CHECK (role IN ('instructor', 'assistant', 'observer', 'student')),
    PRIMARY KEY (course_id, person_id)
);
CREATE INDEX memberships_person ON memberships (person_id);

-- Browser sign-ins: the refresh cookie's hash. Access tokens are JWTs and are not stored.
CREATE TABLE sign_ins (
    cookie_hash bytea PRIMARY KEY,
    person_id   uuid NOT NULL REFERENCES people ON DELETE CASCADE,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL
);

CREATE TABLE api_keys (
    key_id       text PRIMARY KEY,
    key_hash     bytea NOT NULL UNIQUE,
    name         text NOT NULL,
    person_id    uuid REFERENCES people ON DELETE CASCADE,
    scopes       text[] NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    revoked_at   timestamptz,
    last_used_at timestamptz
);

-- All facts. The primary key is also the partition key: a UUIDv7 begins with its time (RFC 9562), so monthly
-- partitions are ranges of event_id and "no duplicates" stays one unique index.
CREATE TABLE events (
    event_id        uuid NOT NULL,
    type            text NOT NULL,
    course_id       text NOT NULL,
    person_id       uuid NOT NULL,
    session_id      uuid NOT NULL,
    seq             bigint NOT NULL,
    occurred_at     timestamptz NOT NULL,
    received_at     timestamptz NOT NULL,
    notebook_id     text,
    cell_id         text,
    status          text,
    error_name      text,
    duration_ms     bigint,
    execution_count integer,
    -- Everything the reducer needs, without code, outputs or messages: see core.derivation.
    fact            jsonb NOT NULL,
    -- The whole event as its sender wrote it, encrypted.
    payload_enc     bytea NOT NULL,
    test_id         text,
    PRIMARY KEY (event_id)
) PARTITION BY RANGE (event_id);
CREATE TABLE events_default PARTITION OF events DEFAULT;
CREATE INDEX events_cell ON events (course_id, person_id, notebook_id, cell_id, occurred_at, event_id);
CREATE INDEX events_student_time ON events (course_id, person_id, occurred_at DESC, event_id DESC);

CREATE VIEW executions AS
    SELECT event_id, course_id, person_id, session_id, occurred_at, received_at, notebook_id, cell_id, status,
           error_name, duration_ms, execution_count, payload_enc
    FROM events WHERE type = 'cell_executed' AND test_id IS NULL;

-- One row a student and course; also the lock that serialises two workers on one student.
CREATE TABLE student_states (
    course_id text NOT NULL REFERENCES courses ON DELETE CASCADE,
    person_id uuid NOT NULL,
    version   bigint NOT NULL DEFAULT 0,
    -- The reducer's own state (core.derivation.StudentFold) and what is shown of it (publications.StudentState).
    fold      jsonb NOT NULL DEFAULT '{}',
    state     jsonb NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (course_id, person_id)
);

CREATE TABLE cell_states (
    course_id   text NOT NULL,
    person_id   uuid NOT NULL,
    notebook_id text NOT NULL,
    cell_id     text NOT NULL,
    fold        jsonb NOT NULL,
    PRIMARY KEY (course_id, person_id, notebook_id, cell_id)
);

CREATE TABLE session_states (
    course_id  text NOT NULL,
    person_id  uuid NOT NULL,
    session_id uuid NOT NULL,
    fold       jsonb NOT NULL,
    PRIMARY KEY (course_id, person_id, session_id)
);

-- What staff did about help requests: facts too, so that a request's state is a function of events and actions.
CREATE TABLE help_actions (
    action_id  uuid PRIMARY KEY,
    request_id uuid NOT NULL,
    course_id  text NOT NULL,
    action     text NOT NULL CHECK (action IN ('claim', 'release', 'resolve')),
    person_id  uuid NOT NULL,
    acted_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX help_actions_request ON help_actions (request_id, acted_at, action_id);

CREATE TABLE help_requests (
    request_id   uuid PRIMARY KEY,
    course_id    text NOT NULL,
    person_id    uuid NOT NULL,
    version      bigint NOT NULL DEFAULT 0,
    status       text NOT NULL CHECK (status IN ('open', 'claimed', 'resolved', 'cancelled')),
    -- Null while only the cancellation has arrived: such a row is not shown.
    requested_at timestamptz,
    cancelled_at timestamptz,
    claimed_by   uuid,
    claimed_at   timestamptz,
    resolved_by  uuid,
    resolved_at  timestamptz,
    notebook_id  text,
    cell_id      text,
    -- Notebook, cell and error references (publications.HelpState), without the message.
    context      jsonb NOT NULL DEFAULT '{}',
    message_enc  bytea
);
CREATE INDEX help_requests_open ON help_requests (course_id, requested_at) WHERE status IN ('open', 'claimed');
CREATE INDEX help_requests_closed ON help_requests (course_id, requested_at DESC) WHERE status IN ('resolved', 'cancelled');
-- Led by the person: every heartbeat asks for the sender's own requests, whatever the course.
CREATE INDEX help_requests_person ON help_requests (person_id, course_id, requested_at DESC);

CREATE TABLE course_versions (
    course_id text PRIMARY KEY REFERENCES courses ON DELETE CASCADE,
    version   bigint NOT NULL DEFAULT 0
);

CREATE TABLE failed_events (
    failed_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer_group text NOT NULL,
    partition    integer NOT NULL,
    entry_id     text NOT NULL,
    record_index integer NOT NULL,
    event_id     uuid,
    course_id    text,
    reason       text NOT NULL,
    detail       text NOT NULL,
    -- The encoded StreamRecord or, where an entry was unreadable, the entry's payload; encrypted.
    record_enc   bytea NOT NULL,
    failed_at    timestamptz NOT NULL DEFAULT now(),
    replayed_at  timestamptz,
    UNIQUE (consumer_group, partition, entry_id, record_index)
);

-- The TimeSeries port's PostgreSQL adapter, for installations without InfluxDB.
CREATE TABLE time_series (
    event_id    uuid PRIMARY KEY,
    at          timestamptz NOT NULL,
    course_id   text NOT NULL,
    student     text NOT NULL,
    type        text NOT NULL,
    notebook_id text NOT NULL DEFAULT '',
    cell_id     text NOT NULL DEFAULT '',
    status      text NOT NULL DEFAULT '',
    error_name  text NOT NULL DEFAULT '',
    duration_ms bigint
);
CREATE INDEX time_series_course ON time_series (course_id, at);
