-- The counters that belong to a course's version: a version grows only when one of them has changed. Null where none were
-- counted yet.
ALTER TABLE course_versions ADD counters bigint[];
