-- The time of an event is the server's (docs/adr/0020). Events that are stored keep the time that they were given: the
-- sender's clock, at most a day after the receipt. What that clock said of new events is in their facts ("occurred").
ALTER TABLE events RENAME COLUMN occurred_at TO happened_at;

DROP VIEW executions;
CREATE VIEW executions AS
    SELECT stored_at, person_id, event_id, course_id, session_id, happened_at, received_at, notebook_id, cell_id, status,
           error_name, duration_ms, execution_count
    FROM events WHERE type = 'cell_executed' AND test_id IS NULL;

-- The key of a fact in the folds, [time, event id], gets the number in the session in its middle: none for facts of before.
-- Nothing else in a fold is an array of a number and an id; within a text the quotes would be escaped.
UPDATE student_states SET fold = regexp_replace(fold::text, '\[(\d+), "([0-9a-f-]{36})"\]', '[\1, 0, "\2"]', 'g')::jsonb
    WHERE fold::text ~ '\[\d+, "[0-9a-f-]{36}"\]';
UPDATE cell_states SET fold = regexp_replace(fold::text, '\[(\d+), "([0-9a-f-]{36})"\]', '[\1, 0, "\2"]', 'g')::jsonb
    WHERE fold::text ~ '\[\d+, "[0-9a-f-]{36}"\]';
UPDATE session_states SET fold = regexp_replace(fold::text, '\[(\d+), "([0-9a-f-]{36})"\]', '[\1, 0, "\2"]', 'g')::jsonb
    WHERE fold::text ~ '\[\d+, "[0-9a-f-]{36}"\]';

-- Requests are ordered by their receipt, which no claimed wait changes.
ALTER TABLE help_requests ADD received_at timestamptz;
UPDATE help_requests r SET received_at = e.received_at
FROM event_keys k JOIN events e USING (person_id, event_id, stored_at)
WHERE k.person_id = r.person_id AND k.event_id = r.event_id;
DROP INDEX help_requests_closed;
CREATE INDEX help_requests_closed ON help_requests (course_id, (coalesce(received_at, requested_at)) DESC)
    WHERE status IN ('resolved', 'cancelled', 'expired');
