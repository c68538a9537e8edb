-- Erasing a person or a course (core.erasure): indexes where it looks, and nothing can be stored of a person who is gone.

-- Every student's row is of a person, and ends with it. Rows of before are not checked; they end with their person, too.
ALTER TABLE student_states ADD CONSTRAINT student_states_person_fkey
    FOREIGN KEY (person_id) REFERENCES people ON DELETE CASCADE NOT VALID;
CREATE INDEX student_states_person ON student_states (person_id);
CREATE INDEX cell_states_person ON cell_states (person_id);
CREATE INDEX session_states_person ON session_states (person_id);
CREATE INDEX help_actions_person ON help_actions (person_id);
CREATE INDEX help_actions_course ON help_actions (course_id);
CREATE INDEX help_requests_claimed_by ON help_requests (claimed_by) WHERE claimed_by IS NOT NULL;
CREATE INDEX help_requests_resolved_by ON help_requests (resolved_by) WHERE resolved_by IS NOT NULL;
CREATE INDEX failed_events_person ON failed_events (person_id);
CREATE INDEX failed_events_course ON failed_events (course_id);

-- Whose erasing has begun and is not finished, and the courses whose channels are to begin again. Almost always empty.
CREATE TABLE erasures (
    person_id  uuid PRIMARY KEY,
    course_ids text[] NOT NULL,
    begun_at   timestamptz NOT NULL DEFAULT now()
);
