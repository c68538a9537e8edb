import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import type { TranslationBundle } from '@jupyterlab/translation';

type Property = ISettingRegistry.IProperty;

/**
 * A settings schema with its titles and descriptions in the page's language.
 *
 * Jupyter Server translates them from language packs only, not from an extension's own catalogue.
 */
export function translatedSchema(
  schema: ISettingRegistry.ISchema,
  trans: Pick<TranslationBundle, '__'>
): ISettingRegistry.ISchema {
  const translated = <T extends Property | ISettingRegistry.ISchema>(part: T): T => ({
    ...part,
    ...(part.title === undefined ? {} : { title: trans.__(part.title) }),
    ...(part.description === undefined ? {} : { description: trans.__(part.description) })
  });
  const properties = Object.entries(schema.properties ?? {}).map(([name, property]) => [name, translated(property)]);
  return { ...translated(schema), properties: Object.fromEntries(properties) as Record<string, Property> };
}
