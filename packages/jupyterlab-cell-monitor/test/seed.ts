import fc from 'fast-check';

/** Loaded before the tests: with a seed, property tests draw the same examples in each run. */
const seed = process.env['PROPERTY_TEST_SEED'];
if (seed !== undefined) {
  fc.configureGlobal({ seed: Number(seed) });
}
