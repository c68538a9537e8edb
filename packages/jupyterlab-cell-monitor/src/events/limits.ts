/**
 * Bounds of the capture side. The contract's own caps are LIMITS in `events/types.ts`, in characters;
 * capture applies those of long texts in UTF-8 bytes, which is stricter for any script and keeps an event small.
 * A cap marks what it cut with a `truncated` flag; it never drops a field.
 */
import { LIMITS } from './types';

export const ID_CHARS = LIMITS.cellId;
export const COURSE_CHARS = 63;

/** One event as JSON, in bytes: below the server's 64 KiB, as a proxy may add to it. */
export const EVENT_BYTES = 60 * 1024;

/** Raw characters of one output kept while a cell runs, before control codes are removed. */
export const RAW_OUTPUT_CHARS = 4 * LIMITS.outputText;

/** Runs of one notebook that may be waiting for their kernel at once. */
export const OPEN_RUNS = 2000;
