-- States are rewritten with every batch: room on the page keeps those updates from touching the index (HOT), and rows
-- of a few kilobytes are not compressed anew each time.
ALTER TABLE student_states SET (fillfactor = 50, toast_tuple_target = 8160);
ALTER TABLE cell_states SET (fillfactor = 70);
ALTER TABLE session_states SET (fillfactor = 70);

-- A request's cancellation is looked for among its student's events, which may be many thousands.
CREATE INDEX events_help ON events (course_id, person_id, occurred_at)
    WHERE type IN ('help_requested', 'help_cancelled');
