-- Whether an admin of the site is one by the word of JupyterHub: then only as long as they are one there.
ALTER TABLE people ADD COLUMN admin_by_hub boolean NOT NULL DEFAULT false;
