-- Passwords are their person's own: chosen after a sign-in with a link, changed with the present one.
-- Whether the installation keeps the password in its secrets and sets it at each start, as that of the sample course's instructor.
ALTER TABLE local_accounts ADD COLUMN by_installation boolean NOT NULL DEFAULT false;
-- Whether the sign-in began with a link, and when an access token was last given for it, to within some minutes.
ALTER TABLE sign_ins
    ADD COLUMN by_link boolean NOT NULL DEFAULT false,
    ADD COLUMN used_at timestamptz NOT NULL DEFAULT now();
