-- Monthly partitions of events, as ranges of UUIDv7: its first 48 bits are milliseconds since 1970 (RFC 9562, 5.7).
-- Functions run with their owner's rights, because a partition can only be attached by the owner of the table and the
-- worker, which calls this every day, owns nothing.

CREATE FUNCTION uuid_v7_floor(at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;

CREATE FUNCTION ensure_event_partition(month date) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '3s' AS $$
DECLARE
    first    date := date_trunc('month', month)::date;
    low      uuid := uuid_v7_floor(first::timestamp AT TIME ZONE 'UTC');
    high     uuid := uuid_v7_floor((first + interval '1 month') AT TIME ZONE 'UTC');
    part     text := format('events_%s', to_char(first, 'YYYY_MM'));
BEGIN
    -- The caller may be the worker: nobody gets a thousand tables out of this.
    IF first < (now() AT TIME ZONE 'UTC')::date - 400 OR first > (now() AT TIME ZONE 'UTC')::date + 400 THEN
        RAISE EXCEPTION 'no event partition for %: more than 400 days from now', first
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF to_regclass(part) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    -- Writers wait at the table's own lock, before they choose a partition: one that had chosen the default partition
    -- while the month's is attached would fail with a check violation. Readers go on.
    LOCK TABLE ONLY events IN SHARE ROW EXCLUSIVE MODE;
    LOCK TABLE events_default IN ACCESS EXCLUSIVE MODE;
    -- Asked again: having waited for a table's lock, and for no other kind, we see what its holder did.
    IF to_regclass(part) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE events INCLUDING ALL)', part);
    EXECUTE format(
        'WITH moved AS (DELETE FROM events_default WHERE event_id >= %1$L AND event_id < %2$L RETURNING *)
         INSERT INTO %3$I SELECT * FROM moved', low, high, part);
    EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, low, high);
    RETURN part;
END
$$;

-- The function's names mean this schema's tables, whatever a caller has in its search path or its temporary schema.
DO $$ BEGIN
    EXECUTE format('ALTER FUNCTION ensure_event_partition(date) SET search_path = %I, pg_temp', current_schema());
END $$;

REVOKE ALL ON FUNCTION ensure_event_partition(date) FROM PUBLIC;
