-- A run that goes on is kept for each notebook, not one for all of a student's: a run that ended in another notebook hid it
-- (derivation/open_runs.py). All of it derives from facts and folds that are stored.
CREATE TEMPORARY TABLE notebook_runs ON COMMIT DROP AS
SELECT course_id, person_id, notebook_id, fact, key, type = 'cell_execution_started' AS is_start,
       row_number() OVER (PARTITION BY course_id, person_id ORDER BY happened_at DESC, number DESC, event_id DESC) AS place
FROM (
    SELECT DISTINCT ON (e.course_id, e.person_id, e.notebook_id)
           e.course_id, e.person_id, e.notebook_id, e.fact, e.type, e.happened_at, k.number, e.event_id,
           jsonb_build_array(e.fact->'at', k.number, e.event_id) AS key
    FROM events e CROSS JOIN LATERAL (SELECT CASE WHEN e.fact ? 'occurred' THEN e.seq ELSE 0 END AS number) k
    WHERE e.test_id IS NULL AND e.notebook_id IS NOT NULL
      AND (e.type = 'cell_execution_started' AND e.cell_id IS NOT NULL
           OR e.type IN ('kernel_connected', 'kernel_died', 'kernel_restarted', 'session_started')
              AND coalesce((e.fact->>'ends_runs')::boolean, true))
    ORDER BY e.course_id, e.person_id, e.notebook_id, e.happened_at DESC, k.number DESC, e.event_id DESC
) newest;

CREATE TEMPORARY TABLE session_ends ON COMMIT DROP AS
SELECT course_id, person_id, session_id, key,
       row_number() OVER (PARTITION BY course_id, person_id ORDER BY happened_at DESC, number DESC, event_id DESC) AS place
FROM (
    SELECT DISTINCT ON (e.course_id, e.person_id, e.session_id)
           e.course_id, e.person_id, e.session_id, e.happened_at, k.number, e.event_id,
           jsonb_build_array(e.fact->'at', k.number, e.event_id) AS key
    FROM events e CROSS JOIN LATERAL (SELECT CASE WHEN e.fact ? 'occurred' THEN e.seq ELSE 0 END AS number) k
    WHERE e.test_id IS NULL AND e.type = 'session_ended' AND coalesce((e.fact->>'ends_runs')::boolean, true)
    ORDER BY e.course_id, e.person_id, e.session_id, e.happened_at DESC, k.number DESC, e.event_id DESC
) newest;

CREATE TEMPORARY TABLE last_starts ON COMMIT DROP AS
SELECT DISTINCT ON (e.course_id, e.person_id) e.course_id, e.person_id,
       jsonb_build_array(jsonb_build_array(e.fact->'at', k.number, e.event_id), e.notebook_id, e.cell_id) AS started
FROM events e CROSS JOIN LATERAL (SELECT CASE WHEN e.fact ? 'occurred' THEN e.seq ELSE 0 END AS number) k
WHERE e.test_id IS NULL AND e.type = 'cell_execution_started' AND e.notebook_id IS NOT NULL AND e.cell_id IS NOT NULL
ORDER BY e.course_id, e.person_id, e.happened_at DESC, k.number DESC, e.event_id DESC;

UPDATE student_states s SET fold = (s.fold - 'started' - 'run_end_markers') || jsonb_build_object(
    'open_runs', jsonb_build_object(
        'notebooks', coalesce((
            SELECT jsonb_object_agg(r.notebook_id, jsonb_build_array(r.key, CASE WHEN r.is_start THEN jsonb_build_array(
                r.fact->'session', r.fact->'notebook', r.fact->'cell',
                coalesce((c.fold->>'started_ended')::boolean, false), coalesce((f.fold->>'last')::bigint, 0)) END))
            FROM notebook_runs r
            LEFT JOIN cell_states c ON r.is_start AND c.course_id = r.course_id AND c.person_id = r.person_id
                AND c.notebook_id = r.notebook_id AND c.cell_id = r.fact#>>'{cell,source_id}'
            LEFT JOIN session_states f ON f.course_id = r.course_id AND f.person_id = r.person_id
                AND f.session_id = (r.fact->>'session')::uuid
            WHERE r.course_id = s.course_id AND r.person_id = s.person_id AND r.place <= 32), '{}'),
        'session_ends', coalesce((
            SELECT jsonb_object_agg(e.session_id, e.key) FROM session_ends e
            WHERE e.course_id = s.course_id AND e.person_id = s.person_id AND e.place <= 16), '{}'),
        'forgotten', coalesce((
            SELECT e.key FROM session_ends e
            WHERE e.course_id = s.course_id AND e.person_id = s.person_id AND e.place = 17), '[0, 0, ""]'),
        'last_started', (
            SELECT l.started FROM last_starts l WHERE l.course_id = s.course_id AND l.person_id = s.person_id),
        'newest', coalesce((
            SELECT max((f.fold->>'last')::bigint) FROM session_states f
            WHERE f.course_id = s.course_id AND f.person_id = s.person_id), 0)))
WHERE s.fold ? 'last_received_at';

UPDATE student_states s SET version = s.version + 1, state = s.state || jsonb_build_object(
    'version', s.version + 1,
    'status', CASE WHEN g.runs IS NOT NULL THEN 'running'
                   WHEN s.fold#>>'{completed,3}' = 'error' THEN 'error'
                   WHEN s.fold#>>'{completed,3}' IS NOT NULL THEN 'ok'
                   WHEN s.fold ? 'active' THEN 'working' ELSE 'waiting' END,
    'running_since', g.since, 'running_notebook', g.notebook, 'running_cell', g.cell)
FROM student_states t CROSS JOIN LATERAL (SELECT t.fold->'open_runs' AS o) o LEFT JOIN LATERAL (
    SELECT n.value AS runs,
           to_char((timestamptz 'epoch' + (n.value#>>'{0,0}')::bigint * interval '1 millisecond') AT TIME ZONE 'UTC',
                   'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS since,
           -- As they were named last.
           CASE WHEN t.fold->'names'->n.key->0 >= n.value->0 THEN t.fold->'names'->n.key->1
                ELSE n.value#>'{1,1}' END AS notebook,
           CASE WHEN t.fold#>'{cell,0}' >= n.value->0 AND t.fold#>>'{cell,1}' = n.key
                     AND t.fold#>'{cell,2,source_id}' = n.value#>'{1,2,source_id}' THEN t.fold#>'{cell,2}'
                ELSE n.value#>'{1,2}' END AS cell
    FROM jsonb_each(o->'notebooks') n
    WHERE n.value->1 <> 'null' AND NOT (n.value#>>'{1,3}')::boolean
      AND n.value->0 >= o->'forgotten'
      AND n.value->0 >= coalesce(o->'session_ends'->(n.value#>>'{1,0}'), '[0, 0, ""]')
      AND ((n.value#>>'{1,4}')::bigint = 0 OR (o->>'newest')::bigint - (n.value#>>'{1,4}')::bigint <= 86400000)
    ORDER BY n.value->0 LIMIT 1
) g ON true
WHERE t.course_id = s.course_id AND t.person_id = s.person_id AND s.fold ? 'open_runs'
  AND (g.since IS DISTINCT FROM s.state->>'running_since'
       OR coalesce(g.notebook, 'null') <> coalesce(s.state->'running_notebook', 'null')
       OR coalesce(g.cell, 'null') <> coalesce(s.state->'running_cell', 'null'));

-- A request does not end before it was made, whatever waits its student's events claim.
UPDATE help_requests SET cancelled_at = requested_at WHERE cancelled_at < requested_at;
