import type { IncomingMessage } from 'node:http'
import { withoutCookies } from '../lib/cookies.ts'
import { headerKey } from '../lib/identity-header.ts'

/**
 * Takes headers out of a request, in every view a proxy may copy from: `headers`, `headersDistinct`
 * and `rawHeaders`. Also from `Connection`: a client that names a header there has the next proxy
 * remove it (RFC 9110 §7.6.1), ours included.
 *
 * @param keys - the names, as `headerKey` spells them
 */
export function stripHeaders(req: IncomingMessage, keys: ReadonlySet<string>): void {
  // Node makes these two from rawHeaders when they are first asked for: before it gets shorter.
  const { headers, headersDistinct } = req
  for (const view of [headers, headersDistinct]) {
    for (const name of Object.keys(view)) if (keys.has(headerKey(name))) delete view[name]
  }
  rewriteRaw(req.rawHeaders, (name, value) => (keys.has(headerKey(name)) ? null : value))
  rewriteHeader(req, 'connection', (options) => {
    const kept = options.split(',').filter((option) => !keys.has(headerKey(option.trim())))
    return kept.join(',').trim()
  })
}

/** Takes cookies out of a request, in the same views. What is left stays as it was. */
export function stripCookies(req: IncomingMessage, names: ReadonlySet<string>): void {
  rewriteHeader(req, 'cookie', (cookies) => withoutCookies(cookies, names))
}

/** Gives a request a header that it does not have. */
export function addHeader(req: IncomingMessage, name: string, value: string): void {
  req.headers[name] = value
  req.headersDistinct[name] = [value]
  req.rawHeaders.push(name, value)
}

/**
 * Changes a header in all views.
 *
 * @param rewrite - what to make of a value; '' when nothing is left of it
 */
function rewriteHeader(
  req: IncomingMessage,
  name: 'connection' | 'cookie',
  rewrite: (value: string) => string,
): void {
  const { headers, headersDistinct } = req
  const joined = rewrite(headers[name] ?? '')
  if (joined === '') delete headers[name]
  else headers[name] = joined
  const distinct = (headersDistinct[name] ?? []).map(rewrite).filter((value) => value !== '')
  if (distinct.length === 0) delete headersDistinct[name]
  else headersDistinct[name] = distinct
  rewriteRaw(req.rawHeaders, (rawName, value) =>
    rawName.toLowerCase() === name ? rewrite(value) || null : value,
  )
}

/** Changes values, or removes them with their names, in place: somebody may hold the list already. */
function rewriteRaw(
  rawHeaders: string[],
  rewrite: (name: string, value: string) => string | null,
): void {
  let kept = 0
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? ''
    const value = rewrite(name, rawHeaders[index + 1] ?? '')
    if (value === null) continue
    rawHeaders[kept++] = name
    rawHeaders[kept++] = value
  }
  rawHeaders.length = kept
}
