-- Who did what (docs/adr/0028). The API may add rows and read them; nobody but the owner changes or deletes any, except through
-- the two functions below.
CREATE TABLE audit_entries (
    entry_id        uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    -- Of the statement: acts of one transaction stay in their order.
    acted_at        timestamptz NOT NULL DEFAULT statement_timestamp(),
    action          text NOT NULL CHECK (length(action) BETWEEN 1 AND 50),
    actor_kind      text NOT NULL CHECK (length(actor_kind) BETWEEN 1 AND 20),
    -- NULL for a person: who did it has been erased.
    actor_id        uuid REFERENCES people ON DELETE SET NULL,
    actor_key_id    text,
    -- Whether it concerns a person; with subject_id NULL that person has been erased.
    concerns_person boolean NOT NULL DEFAULT false,
    subject_id      uuid REFERENCES people ON DELETE SET NULL,
    course_id       text,
    key_id          text,
    details         jsonb NOT NULL DEFAULT '{}',
    address_enc     bytea,
    count           integer NOT NULL DEFAULT 1,
    -- A hash of what may be entered only once within some time.
    once            bytea UNIQUE
);
CREATE INDEX audit_entries_time ON audit_entries (acted_at, entry_id);
CREATE INDEX audit_entries_course ON audit_entries (course_id, acted_at, entry_id);
CREATE INDEX audit_entries_actor ON audit_entries (actor_id, acted_at, entry_id);
CREATE INDEX audit_entries_subject ON audit_entries (subject_id, acted_at, entry_id);
CREATE INDEX audit_entries_refused ON audit_entries (acted_at) WHERE action = 'sign_in_refused';

-- Enter a refused sign-in: one row for each account and address in 15 minutes, whose count is all that it changes. Of at most 500
-- rows an hour: what an attacker does with more accounts and addresses is counted in one row. With its owner's rights, so that the
-- API may count and change nothing else.
CREATE FUNCTION record_refused_sign_in(entry uuid, who bytea, way text, person uuid, address bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    mark  bytea := sha256(who || convert_to('|' || floor(extract(epoch FROM now()) / 900)::text, 'UTF8'));
    said  jsonb := jsonb_build_object('way', left(way, 20));
BEGIN
    UPDATE audit_entries e SET count = e.count + 1 WHERE e.once = mark AND e.action = 'sign_in_refused';
    IF FOUND THEN
        RETURN;
    END IF;
    -- Erased meanwhile, perhaps.
    person := (SELECT p.person_id FROM people p WHERE p.person_id = person);
    IF (SELECT count(*) FROM (
            SELECT FROM audit_entries e
            WHERE e.action = 'sign_in_refused' AND e.acted_at > now() - interval '1 hour' LIMIT 500) newest) >= 500 THEN
        mark := sha256(convert_to('sign_in_refused|' || floor(extract(epoch FROM now()) / 3600)::text, 'UTF8'));
        said := '{"way": "many"}';
        person := NULL;
        address := NULL;
    END IF;
    INSERT INTO audit_entries AS e (
        entry_id, action, actor_kind, concerns_person, subject_id, details, address_enc, once)
    VALUES (entry, 'sign_in_refused', 'nobody', person IS NOT NULL, person, said, address, mark)
    ON CONFLICT (once) DO UPDATE SET count = e.count + 1;
END $$;

-- Delete entries that are older than some days, 30 at the least, and return how many; call it again after 10,000.
CREATE FUNCTION delete_audit_entries(days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE deleted integer;
BEGIN
    IF days IS NULL OR days < 30 THEN
        RAISE EXCEPTION 'audit entries are kept for 30 days at least' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    DELETE FROM audit_entries WHERE entry_id IN (
        SELECT e.entry_id FROM audit_entries e WHERE e.acted_at < now() - make_interval(days => days)
        ORDER BY e.acted_at LIMIT 10000);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END $$;
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'record_refused_sign_in(uuid, bytea, text, uuid, bytea)', 'delete_audit_entries(integer)'] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', name, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
    END LOOP;
END $$;
