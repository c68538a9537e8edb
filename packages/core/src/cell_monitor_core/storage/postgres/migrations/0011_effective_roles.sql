-- The same members as in 0005, derived without grouping: the planner reads the rows of the courses, people and roles that a
-- query asks for, also where it learns them from a join. Grouped, it derived the roles of all courses first.
CREATE OR REPLACE VIEW course_members AS
SELECT m.course_id, m.person_id, m.role
FROM memberships m JOIN courses c ON c.course_id = m.course_id
WHERE m.role IS NOT NULL
  AND (m.source = c.ruling_source OR NOT EXISTS (
      SELECT FROM memberships o
      WHERE o.course_id = m.course_id AND o.person_id = m.person_id AND o.source <> m.source
        AND (-- The ruling source has spoken of this person, be it to remove them.
             o.source = c.ruling_source
             -- Another source gives a higher role, the first of this list; NULL, a removal, is in none of its places.
             OR array_position(ARRAY['instructor', 'assistant', 'observer', 'student'], o.role)
                < array_position(ARRAY['instructor', 'assistant', 'observer', 'student'], m.role)
             -- Of two sources that give the same role one row is enough.
             OR (o.role = m.role AND o.source < m.source))
  ));
