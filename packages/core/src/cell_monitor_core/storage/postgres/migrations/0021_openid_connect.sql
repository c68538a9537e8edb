-- Sign-in with an OpenID Connect provider, whose groups give roles in courses (docs/adr/0027).
ALTER TABLE memberships
    DROP CONSTRAINT memberships_source_check,
    ADD CONSTRAINT memberships_source_check CHECK (source IN ('roster', 'hub', 'lti', 'oidc'));
