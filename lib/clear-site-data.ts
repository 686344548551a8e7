import { ConfigError } from './errors.ts'

/** What a browser can be told to remove (W3C Clear Site Data, §3.1). */
const DIRECTIVES = [
  'cache',
  'clientHints',
  'cookies',
  'executionContexts',
  'prefetchCache',
  'prerenderCache',
  'storage',
  '*',
] as const

/** One kind of data of the site. */
export type SiteData = (typeof DIRECTIVES)[number]

/** Not the cookies: they are the whole registrable domain's, and other apps live there. */
const DEFAULT: readonly SiteData[] = ['cache', 'storage']

/**
 * Checks `clearSiteData` and writes the header of it (OWASP ASVS 5.0 14.3.1).
 *
 * @returns the value of `Clear-Site-Data`, null for none
 * @throws {ConfigError} `invalid_option`
 */
export function parseClearSiteData(option: unknown): string | null {
  if (option === undefined || option === false) return null
  const kinds: unknown = option === true ? DEFAULT : option
  if (!Array.isArray(kinds) || kinds.length === 0 || !kinds.every(isSiteData)) {
    throw new ConfigError(
      'clearSiteData',
      `must be true, false or a list of ${DIRECTIVES.map((kind) => `'${kind}'`).join(', ')}`,
    )
  }
  return [...new Set(kinds)].map((kind) => `"${kind}"`).join(', ')
}

function isSiteData(value: unknown): value is SiteData {
  return DIRECTIVES.some((kind) => kind === value)
}
