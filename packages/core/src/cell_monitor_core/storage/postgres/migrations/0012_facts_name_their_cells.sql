-- A student's row names the cell of every fact that it shows: of the newest run, of the one that goes on, and of the error
-- in the context of a help request. They derive from facts that are stored.
UPDATE student_states s SET
    fold = jsonb_set(s.fold, '{completed}', s.fold->'completed' || jsonb_build_array(e.fact->'notebook'))
FROM event_keys k JOIN events e USING (person_id, event_id, stored_at)
WHERE k.person_id = s.person_id AND k.event_id = (s.fold#>>'{completed,0,1}')::uuid
  AND jsonb_array_length(s.fold->'completed') = 7;

UPDATE student_states s SET
    fold = jsonb_set(s.fold, '{last_aborted}', s.fold->'last_aborted' || jsonb_build_array(e.fact->'notebook'))
FROM event_keys k JOIN events e USING (person_id, event_id, stored_at)
WHERE k.person_id = s.person_id AND k.event_id = (s.fold#>>'{last_aborted,0,1}')::uuid
  AND jsonb_array_length(s.fold->'last_aborted') = 7;

UPDATE student_states s SET
    fold = jsonb_set(s.fold, '{started}', s.fold->'started' || jsonb_build_array(e.fact->'notebook', e.fact->'cell'))
FROM event_keys k JOIN events e USING (person_id, event_id, stored_at)
WHERE k.person_id = s.person_id AND k.event_id = (s.fold#>>'{started,0,1}')::uuid
  AND jsonb_array_length(s.fold->'started') = 5;

UPDATE student_states s SET
    state = jsonb_set(s.state, '{last_execution,notebook}',
                      coalesce(s.fold#>'{completed,7}', s.fold#>'{last_aborted,7}', 'null'))
WHERE s.state->'last_execution' <> 'null';

UPDATE student_states s SET
    state = s.state || jsonb_build_object(
        'running_notebook', coalesce(s.fold#>'{started,5}', 'null'), 'running_cell', coalesce(s.fold#>'{started,6}', 'null'))
WHERE s.state->>'running_since' IS NOT NULL;

UPDATE help_requests r SET
    context = r.context || jsonb_strip_nulls(jsonb_build_object(
        'error_notebook', e.fact->'notebook', 'error_cell', e.fact->'cell'))
FROM event_keys k JOIN events e USING (person_id, event_id, stored_at)
WHERE r.context ? 'error' AND k.person_id = r.person_id AND k.event_id = (r.context->>'run')::uuid;

-- A request whose student has left closes itself: a fact without a person. seen_at is the latest time of an event that
-- was stored then; one of a later time, up to the action's, refutes it.
ALTER TABLE help_actions
    ALTER person_id DROP NOT NULL,
    ADD seen_at timestamptz,
    DROP CONSTRAINT help_actions_action_check,
    ADD CONSTRAINT help_actions_action_check CHECK (action IN ('claim', 'release', 'resolve', 'expire')),
    ADD CONSTRAINT help_actions_expire_check
        CHECK ((action = 'expire') = (person_id IS NULL) AND (action = 'expire') = (seen_at IS NOT NULL));
ALTER TABLE help_requests
    ADD expired_at timestamptz,
    DROP CONSTRAINT help_requests_status_check,
    ADD CONSTRAINT help_requests_status_check
        CHECK (status IN ('open', 'claimed', 'resolved', 'cancelled', 'expired'));
DROP INDEX help_requests_closed;
CREATE INDEX help_requests_closed ON help_requests (course_id, requested_at DESC)
    WHERE status IN ('resolved', 'cancelled', 'expired');
