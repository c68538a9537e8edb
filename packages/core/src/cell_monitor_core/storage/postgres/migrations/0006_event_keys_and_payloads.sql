-- An event is known by (person, event id), facts are partitioned by the time at which PostgreSQL stored them, and payloads
-- have a table of their own that can be dropped week by week (docs/adr/0004). A help request gets an id of the server's.

-- What tells a new event from a duplicate, across all partitions.
CREATE TABLE event_keys (
    person_id uuid NOT NULL,
    event_id  uuid NOT NULL,
    -- PostgreSQL's clock: the partition of the fact and of the payload. Kept at least as long as the facts.
    stored_at timestamptz NOT NULL,
    PRIMARY KEY (person_id, event_id)
);
-- For deleting old keys in batches; rows lie in the order of their times.
CREATE INDEX event_keys_stored ON event_keys USING brin (stored_at);

DROP VIEW executions;
ALTER TABLE events RENAME TO events_by_id;
ALTER TABLE events_default RENAME TO events_by_id_default;
DO $$
DECLARE part record;
BEGIN
    -- The months of the old table make way for those of the new one; so do the names of its indexes.
    FOR part IN SELECT inhrelid::regclass AS name, relname FROM pg_inherits JOIN pg_class ON oid = inhrelid
                WHERE inhparent = 'events_by_id'::regclass AND relname LIKE 'events\_20%' LOOP
        EXECUTE format('ALTER TABLE %s RENAME TO %I', part.name, 'by_id_' || part.relname);
    END LOOP;
    FOR part IN SELECT indexrelid::regclass AS name, indexrelid AS number FROM pg_index JOIN pg_class ON oid = indexrelid
                WHERE relname LIKE 'events%' LOOP
        EXECUTE format('ALTER INDEX %s RENAME TO %I', part.name, 'by_id_' || part.number);
    END LOOP;
END
$$;
DROP FUNCTION ensure_event_partition(date);
DROP FUNCTION uuid_v7_floor(timestamptz);

CREATE TABLE events (
    stored_at       timestamptz NOT NULL,
    person_id       uuid NOT NULL,
    event_id        uuid NOT NULL,
    type            text NOT NULL,
    course_id       text NOT NULL,
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
    -- Everything that derivation reads: no code, outputs or messages. See core.derivation.facts.
    fact            jsonb NOT NULL,
    test_id         text,
    -- In the order in which a student's runs are read. event_keys says what is a duplicate.
    PRIMARY KEY (person_id, course_id, occurred_at, event_id, stored_at)
) PARTITION BY RANGE (stored_at);
CREATE INDEX events_cell ON events (course_id, person_id, notebook_id, cell_id, occurred_at, event_id);
CREATE INDEX events_help ON events (person_id, course_id) WHERE type IN ('help_requested', 'help_cancelled');

-- The whole event as its sender wrote it, encrypted: what only a person reads.
CREATE TABLE event_payloads (
    stored_at   timestamptz NOT NULL,
    person_id   uuid NOT NULL,
    event_id    uuid NOT NULL,
    payload_enc bytea NOT NULL,
    PRIMARY KEY (person_id, event_id, stored_at)
) PARTITION BY RANGE (stored_at);

-- Makes the partition of a table that begins at a moment, if it is not there; returns its name if it was made. Writers are
-- not held up: a partition is attached under a lock that only other makers of partitions wait for.
CREATE FUNCTION attach_partition(parent text, part text, low timestamptz, high timestamptz) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('LOCK TABLE ONLY %I IN SHARE UPDATE EXCLUSIVE MODE', parent);
    IF to_regclass(part) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, part, low, high);
    RETURN part;
END
$$;

CREATE FUNCTION event_month_partition(at timestamptz) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE first timestamp := date_trunc('month', at AT TIME ZONE 'UTC');
BEGIN
    RETURN attach_partition('events', 'events_' || to_char(first, 'YYYY_MM'),
                            first AT TIME ZONE 'UTC', (first + interval '1 month') AT TIME ZONE 'UTC');
END
$$;

CREATE FUNCTION payload_week_partition(at timestamptz) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE first timestamp := date_trunc('week', at AT TIME ZONE 'UTC');  -- Monday
BEGIN
    RETURN attach_partition('event_payloads', 'event_payloads_' || to_char(first, 'YYYY_MM_DD'),
                            first AT TIME ZONE 'UTC', (first + interval '7 days') AT TIME ZONE 'UTC');
END
$$;

-- Called by the worker, which owns nothing: runs with its owner's rights, and takes nothing from its caller, so that no
-- caller can make other tables than these.
CREATE FUNCTION ensure_event_partitions() RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '3s' AS $$
DECLARE ahead integer; made text;
BEGIN
    FOR ahead IN 0..3 LOOP
        made := event_month_partition(now() + ahead * interval '1 month');
        IF made IS NOT NULL THEN RETURN NEXT made; END IF;
    END LOOP;
    FOR ahead IN 0..8 LOOP
        made := payload_week_partition(now() + ahead * interval '7 days');
        IF made IS NOT NULL THEN RETURN NEXT made; END IF;
    END LOOP;
END
$$;

-- The functions' names mean this schema's tables, whatever a caller has in its search path or its temporary schema.
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['attach_partition(text, text, timestamptz, timestamptz)',
                                'event_month_partition(timestamptz)', 'payload_week_partition(timestamptz)',
                                'ensure_event_partitions()'] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', name, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
    END LOOP;
END $$;

-- Move what is stored. It was stored when the API received it, as far as is known.
SELECT event_month_partition(month) FROM (SELECT DISTINCT date_trunc('month', received_at, 'UTC') AS month FROM events_by_id) m;
SELECT payload_week_partition(week) FROM (SELECT DISTINCT date_trunc('week', received_at, 'UTC') AS week FROM events_by_id) w;
INSERT INTO event_keys (person_id, event_id, stored_at)
SELECT person_id, event_id, received_at FROM events_by_id ORDER BY received_at;
INSERT INTO events (stored_at, person_id, event_id, type, course_id, session_id, seq, occurred_at, received_at, notebook_id,
                    cell_id, status, error_name, duration_ms, execution_count, fact, test_id)
-- An error's message is payload; the fact keeps its class.
SELECT received_at, person_id, event_id, type, course_id, session_id, seq, occurred_at, received_at, notebook_id, cell_id,
       status, error_name, duration_ms, execution_count, fact #- '{error,value}', test_id
FROM events_by_id ORDER BY received_at;
INSERT INTO event_payloads (stored_at, person_id, event_id, payload_enc)
SELECT received_at, person_id, event_id, payload_enc FROM events_by_id ORDER BY received_at;
DROP TABLE events_by_id;

CREATE VIEW executions AS
    SELECT stored_at, person_id, event_id, course_id, session_id, occurred_at, received_at, notebook_id, cell_id, status,
           error_name, duration_ms, execution_count
    FROM events WHERE type = 'cell_executed' AND test_id IS NULL;

-- Derived state keeps the class of an error; its text is encrypted beside it, for people to read.
ALTER TABLE student_states ADD error_text_enc bytea;
UPDATE student_states SET
    state = state #- '{last_execution,error,value}',
    -- The fold's fields have other names as well.
    fold = ((fold #- '{completed,6,value}') - ARRAY['heard', 'barriers', 'given_up'])
        || jsonb_strip_nulls(jsonb_build_object(
               'last_received_at', fold->'heard', 'run_end_markers', fold->'barriers'))
        || CASE WHEN fold ? 'given_up' THEN jsonb_build_object('last_aborted', fold->'given_up' #- '{6,value}')
                ELSE '{}' END;

-- A request's id is made of its sender and the sender's event (derivation.help.help_request_id): UUID version 8, the first
-- 122 bits of SHA-256 over both.
CREATE FUNCTION help_request_id(person_id uuid, event_id uuid) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT encode(set_byte(set_byte(digest, 6, 128 | (get_byte(digest, 6) & 15)), 8, 128 | (get_byte(digest, 8) & 63)), 'hex')::uuid
    FROM substr(sha256(uuid_send(person_id) || uuid_send(event_id)), 1, 16) AS digest
$$;

ALTER TABLE help_requests ADD event_id uuid, ADD error_text_enc bytea;
UPDATE help_requests SET event_id = request_id;
ALTER TABLE help_requests ALTER event_id SET NOT NULL;
UPDATE help_actions a SET request_id = help_request_id(r.person_id, r.event_id)
    FROM help_requests r WHERE a.request_id = r.request_id;
UPDATE help_outbox o SET request_id = help_request_id(r.person_id, r.event_id)
    FROM help_requests r WHERE o.request_id = r.request_id;
-- Which run the error is of is part of the context from now on.
UPDATE help_requests r SET
    request_id = help_request_id(person_id, event_id),
    context = (context #- '{error,value}') || coalesce((
        SELECT jsonb_build_object('run', e.event_id) FROM events e
        WHERE e.person_id = r.person_id AND e.course_id = r.course_id AND e.type = 'cell_executed'
          AND e.status IN ('ok', 'error') AND e.test_id IS NULL
          AND (e.occurred_at, e.event_id) < (r.requested_at, r.event_id)
        ORDER BY e.occurred_at DESC, e.event_id DESC LIMIT 1), '{}');

ALTER TABLE failed_events ADD person_id uuid;

ALTER TABLE time_series ADD person_id uuid;
UPDATE time_series SET person_id = student::uuid;
ALTER TABLE time_series ALTER person_id SET NOT NULL, DROP student, DROP CONSTRAINT time_series_pkey,
    ADD PRIMARY KEY (person_id, event_id);

-- Keys of keyed hashes that derivation makes, encrypted: they must outlive every rotation of the key ring.
CREATE TABLE derivation_keys (
    name    text PRIMARY KEY,
    key_enc bytea NOT NULL
);
