-- A notebook has one name, the newest, wherever it is shown; rows knew only the names of renamed ones
-- (derivation/notebook_names.py). All of it derives from facts that are stored.
CREATE TEMPORARY TABLE notebook_names ON COMMIT DROP AS
SELECT course_id, person_id, jsonb_object_agg(notebook_id, jsonb_build_array(key, notebook)) AS names
FROM (
    SELECT *, row_number() OVER (
        PARTITION BY course_id, person_id ORDER BY happened_at DESC, number DESC, event_id DESC) AS place
    FROM (
        SELECT DISTINCT ON (e.course_id, e.person_id, e.notebook_id)
               e.course_id, e.person_id, e.notebook_id, e.fact->'notebook' AS notebook, e.happened_at, k.number, e.event_id,
               jsonb_build_array(e.fact->'at', k.number, e.event_id) AS key
        FROM events e CROSS JOIN LATERAL (SELECT CASE WHEN e.fact ? 'occurred' THEN e.seq ELSE 0 END AS number) k
        WHERE e.test_id IS NULL AND e.notebook_id IS NOT NULL
          AND (e.type IN ('notebook_opened', 'notebook_renamed')
               OR e.type NOT IN ('cell_executed', 'kernel_died', 'kernel_restarted', 'notebook_saved')
                  AND coalesce((e.fact->>'place')::boolean, e.type IN (
                      'cell_added', 'cell_edited', 'cell_execution_started', 'cell_removed', 'cell_selected',
                      'help_cancelled', 'help_requested', 'session_started')))
        ORDER BY e.course_id, e.person_id, e.notebook_id, e.happened_at DESC, k.number DESC, e.event_id DESC
    ) newest
) numbered
WHERE place <= 32
GROUP BY course_id, person_id;

UPDATE student_states s SET fold = (s.fold - 'names') || jsonb_build_object('notebook_names', coalesce((
    SELECT n.names FROM notebook_names n WHERE n.course_id = s.course_id AND n.person_id = s.person_id), '{}'))
WHERE s.fold ? 'last_received_at';

-- As ``called`` of derivation/notebook_names.py; null of null.
CREATE FUNCTION pg_temp.called(names jsonb, notebook jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN name IS NULL OR name->>'title' IS NULL AND name->'path' = notebook->'path' THEN coalesce(notebook, 'null')
                ELSE name END
    FROM (SELECT names->(notebook->>'id')->1 AS name) known
$$;

CREATE TEMPORARY TABLE named_states ON COMMIT DROP AS
SELECT course_id, person_id, state
    || jsonb_build_object('notebook', pg_temp.called(names, state->'notebook'),
                          'running_notebook', pg_temp.called(names, state->'running_notebook'))
    || CASE WHEN state#>>'{last_execution,notebook,id}' IS NULL THEN '{}' ELSE jsonb_build_object(
        'last_execution', (state->'last_execution') || jsonb_build_object(
            'notebook', pg_temp.called(names, state#>'{last_execution,notebook}'))) END
    || CASE WHEN state#>>'{kernel_deaths,notebook,id}' IS NULL THEN '{}' ELSE jsonb_build_object(
        'kernel_deaths', (state->'kernel_deaths') || jsonb_build_object(
            'notebook', pg_temp.called(names, state#>'{kernel_deaths,notebook}'))) END AS state
FROM (SELECT course_id, person_id, state, fold->'notebook_names' AS names FROM student_states
      WHERE fold ? 'notebook_names') s;

UPDATE student_states s SET version = s.version + 1, state = n.state || jsonb_build_object('version', s.version + 1)
FROM named_states n
WHERE n.course_id = s.course_id AND n.person_id = s.person_id
  -- A row of an early release has no key for what is null.
  AND n.state <> jsonb_build_object('notebook', null, 'running_notebook', null) || s.state;
