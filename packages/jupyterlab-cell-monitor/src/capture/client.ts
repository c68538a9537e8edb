import { capChars, storableText } from '../events/text';
import type { Client } from '../events/types';
import type { ICaptureContext, NotebookDocument } from './context';

/** What a session says of the program that records it: versions, kernel and language. */
export function clientOf(
  document: NotebookDocument,
  { extensionVersion, labVersion }: Pick<ICaptureContext, 'extensionVersion' | 'labVersion'>
): Client {
  const { kernelPreference: preference, session } = document.sessionContext;
  const metadata: Readonly<Record<string, unknown>> = document.model.metadata;
  // A new session has no kernel yet; the notebook names it.
  const kernelspec = named(metadata['kernelspec']);
  const language = named(metadata['language_info'])?.['name'] ?? kernelspec?.['language'] ?? preference.language;
  const kernel = session?.kernel?.name ?? preference.name ?? kernelspec?.['name'];
  return {
    extension_version: extensionVersion,
    lab_version: capChars(labVersion, 64),
    ...(typeof kernel === 'string' && kernel ? { kernel_name: capChars(storableText(kernel), 128) } : {}),
    ...(typeof language === 'string' && language ? { language: capChars(storableText(language), 64) } : {})
  };
}

function named(value: unknown): Record<string, unknown> | null {
  return value && typeof value === 'object' ? (value as Record<string, unknown>) : null;
}
