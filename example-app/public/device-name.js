/** First match wins: nearly all of them also name another one. */
const BROWSERS = [
  ['Edge', /Edg(?:e|A|iOS)?\//],
  ['Opera', /OPR\//],
  ['Firefox', /Firefox\/|FxiOS\//],
  ['Chrome', /Chrom(?:e|ium)\/|CriOS\//],
  ['Safari', /Safari\//],
]

const SYSTEMS = [
  ['iPhone', /iPhone/],
  ['iPad', /iPad/],
  ['Android', /Android/],
  ['Windows', /Windows/],
  ['macOS', /Mac OS X|Macintosh/],
  ['Linux', /Linux|X11/],
]

/**
 * A name somebody may recognize a device by, from its `User-Agent`. Anyone can claim to be any
 * browser, so it is for people to read and decides nothing. A program is called by its first word.
 */
export function deviceName(userAgent) {
  if (userAgent === null) return 'Unknown device'
  const browser = nameIn(BROWSERS, userAgent)
  const system = nameIn(SYSTEMS, userAgent)
  if (browser === null) return userAgent.split(/[/ ]/, 1)[0] || 'Unknown device'
  return system === null ? browser : `${browser} on ${system}`
}

function nameIn(names, userAgent) {
  return names.find(([, pattern]) => pattern.test(userAgent))?.[0] ?? null
}
