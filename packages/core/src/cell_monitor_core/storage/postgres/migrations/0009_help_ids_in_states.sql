-- A student's row names their open request by the server's id as well: 0006 gave requests these ids.
UPDATE student_states s SET
    fold = jsonb_set(s.fold, '{help,request_id}', to_jsonb(r.request_id)),
    state = CASE WHEN s.state#>>'{help,request_id}' = r.event_id::text
                 THEN jsonb_set(s.state, '{help,request_id}', to_jsonb(r.request_id)) ELSE s.state END
FROM help_requests r
WHERE r.course_id = s.course_id AND r.person_id = s.person_id AND s.fold#>>'{help,request_id}' = r.event_id::text;
