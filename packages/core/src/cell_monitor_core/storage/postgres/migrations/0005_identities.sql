-- Identities of people follow in this place.
SELECT;
