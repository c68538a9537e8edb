-- What staff did about help requests and open dashboards may not have been told yet: a row is written with the action
-- and deleted by the worker once the states that follow from it are published (docs/adr/0010). Almost always empty.
CREATE TABLE help_outbox (
    action_id  uuid PRIMARY KEY,
    request_id uuid NOT NULL,
    course_id  text NOT NULL
);
