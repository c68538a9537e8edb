-- What waits to be replayed is listed and counted by the API, too; rows that were replayed stay.
CREATE INDEX failed_events_waiting ON failed_events (failed_id) WHERE replayed_at IS NULL;
