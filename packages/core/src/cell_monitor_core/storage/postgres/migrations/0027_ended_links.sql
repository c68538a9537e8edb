-- A link that was ended unused is told from one that signed somebody in: when, and by which act, where that is known.
-- Rows of before keep used_at for both; they are deleted within two days.
ALTER TABLE sign_in_links
    ADD COLUMN ended_at timestamptz,
    ADD COLUMN end_cause text CHECK (end_cause IN ('password_changed', 'password_reset', 'signed_out_everywhere')),
    ADD CONSTRAINT sign_in_links_used_or_ended CHECK (used_at IS NULL OR ended_at IS NULL),
    ADD CONSTRAINT sign_in_links_end_cause_when CHECK (end_cause IS NULL OR ended_at IS NOT NULL);
