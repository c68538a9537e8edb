-- Which courses groups of an issuer give by their own properties, as read last; course_links has what is set here.
CREATE TABLE group_properties (
    issuer     text NOT NULL CHECK (length(issuer) BETWEEN 1 AND 512),
    group_name text NOT NULL CHECK (length(group_name) BETWEEN 1 AND 512),
    role       text NOT NULL CHECK (role IN ('instructor', 'assistant', 'observer', 'student')),
    course_id  text NOT NULL REFERENCES courses ON DELETE CASCADE,
    PRIMARY KEY (issuer, group_name, role, course_id)
);
CREATE INDEX group_properties_course ON group_properties (course_id);

-- When the groups of an issuer are to be read next: of several processes one reads them.
CREATE TABLE group_readings (
    issuer text PRIMARY KEY CHECK (length(issuer) BETWEEN 1 AND 512),
    due_at timestamptz NOT NULL
);
