import type { RequestHandler } from 'express'

/** Where the servers are that contenders may use. */
export interface Servers {
  readonly redis: string
  readonly postgres: string
}

/** The request headers that carry a credential. */
export type Credential = Readonly<Record<string, string>>

/** A way to find out who is asking. */
export interface Contender {
  /** What stands in front of the answer, in this order; each is one layer of the route. */
  readonly handlers: readonly RequestHandler[]
  /** One for each session; empty when nobody is asked for any. */
  readonly good: readonly Credential[]
  /** Must be refused with 401. */
  readonly tampered: readonly Credential[]
  /** Ends the session of the last good credential, where that can be done at all. */
  readonly revokeLast?: () => Promise<unknown>
  /** Whether the server makes requests with the app's prototypes, so that Express need not exchange them. */
  readonly ownPrototypes?: boolean
}

/** Makes a contender, with so many sessions that are open. */
export type Prepare = (servers: Servers, sessions: number) => Promise<Contender>

/** The text with its last character replaced: the signature of whatever ends with one. */
export function flipEnd(text: string): string {
  // Of the last characters of base64 some bits are unused: this one is in the middle of them.
  const at = text.length - 4
  return text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1)
}

/** Forgeries of a JWT: a broken signature, another user, no signature at all. */
export function forgeJwt(token: string): string[] {
  const [header = '', payload = '', signature = ''] = token.split('.')
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const claims: Record<string, unknown> = JSON.parse(Buffer.from(payload, 'base64url').toString())
  const members: Record<string, unknown> = JSON.parse(Buffer.from(header, 'base64url').toString())
  return [
    `${header}.${payload}.${flipEnd(signature)}`,
    `${header}.${encode({ ...claims, sub: 'mallory' })}.${signature}`,
    `${encode({ ...members, alg: 'none' })}.${payload}.`,
  ]
}

/** A JWT as it is sent. */
export function bearer(token: string): Credential {
  return { authorization: `Bearer ${token}` }
}
