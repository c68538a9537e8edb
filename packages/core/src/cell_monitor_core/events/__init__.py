"""The events that JupyterLab sends: schemas, the types made from them, and how they are read."""
