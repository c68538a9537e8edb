-- Events of a newer release are kept as opaque facts and derived by the release that knows them (docs/adr/0014).

-- Those that wait, by type: almost always none.
CREATE INDEX events_opaque ON events (type, course_id, person_id) WHERE position('@' IN type) > 0;

-- Events that were derived after they had been stored as opaque, until each group has done its part with them: postgres
-- publishes their student's state, influxdb writes their point.
CREATE TABLE opaque_outbox (
    consumer_group text NOT NULL,
    person_id      uuid NOT NULL,
    event_id       uuid NOT NULL,
    course_id      text NOT NULL,
    PRIMARY KEY (person_id, event_id, consumer_group)
);

-- Facts do not change, but for this: an opaque one of a student becomes what its payload says, or is marked as unreadable.
-- Runs with its owner's rights, so that the worker, who calls it, may change no other fact.
CREATE FUNCTION derive_opaque_facts(person uuid, course text, facts json) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE changed integer;
BEGIN
    UPDATE events e SET
        type = u.type, notebook_id = u.notebook_id, cell_id = u.cell_id, status = u.status, error_name = u.error_name,
        duration_ms = u.duration_ms, execution_count = u.execution_count, fact = u.fact
    FROM json_to_recordset(facts) AS u(
        stored_at timestamptz, event_id uuid, type text, notebook_id text, cell_id text, status text, error_name text,
        duration_ms bigint, execution_count integer, fact jsonb)
    WHERE e.person_id = person AND e.course_id = course AND e.event_id = u.event_id AND e.stored_at = u.stored_at
      AND position('@' IN e.type) > 0 AND u.type IN (split_part(e.type, '@', 1), replace(e.type, '@', '!'));
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$$;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION derive_opaque_facts(uuid, text, json) SET search_path = %I, pg_temp', current_schema());
    REVOKE ALL ON FUNCTION derive_opaque_facts(uuid, text, json) FROM PUBLIC;
END $$;
