-- The groups of an OpenID Connect provider may rule in a course, as a JupyterHub's may. A join code never does (docs/adr/0026).
ALTER TABLE courses
    DROP CONSTRAINT courses_ruling_source_check,
    ADD CONSTRAINT courses_ruling_source_check CHECK (ruling_source IN ('roster', 'hub', 'lti', 'oidc'));
