import { fileURLToPath } from 'node:url'
import { createContext, runInContext } from 'node:vm'
import { afterAll, afterEach, describe, expect, it } from '@jest/globals'
import { build, stop } from 'esbuild'
import { generateSigningKey, parseSigningKeys } from '../lib/signing-keys.ts'
import { AUDIENCE, ISSUER, NOW, testClaims } from './support/access-tokens.ts'
import { forge, halves } from './support/forge.ts'
import type { JwksServer } from './support/jwks-server.ts'
import { startJwksServer } from './support/jwks-server.ts'

const ENTRY = fileURLToPath(new URL('../middleware/verifier/index.ts', import.meta.url))

/** What a worker on the edge has, by the common minimum of WinterTC (ECMA-429), and no more. */
const WEB_GLOBALS = [
  'AbortController',
  'AbortSignal',
  'CryptoKey',
  'Headers',
  'Request',
  'Response',
  'TextDecoder',
  'TextEncoder',
  'URL',
  'atob',
  'btoa',
  'clearTimeout',
  'crypto',
  'fetch',
  'performance',
  'queueMicrotask',
  'setTimeout',
  'structuredClone',
] as const

/** The verifier and all it imports as one script, for a platform that has no built-in modules. */
async function bundle(minify: boolean): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [ENTRY],
    bundle: true,
    format: 'iife',
    globalName: 'latchkey',
    legalComments: 'none',
    minify,
    platform: 'neutral',
    mainFields: ['module', 'main'],
    write: false,
  })
  return outputFiles[0]?.text ?? ''
}

const jwk = generateSigningKey()
const { privateKey } = halves(jwk)
const { jwks } = parseSigningKeys([jwk])
const header = { alg: 'ES256', typ: 'at+jwt', kid: jwk.kid }
const valid = forge(header, testClaims(), privateKey)

let server: JwksServer | undefined
afterEach(async () => server?.close())
// Its process would live on.
afterAll(stop)

/** Runs a script beside the verifier in a context that has web globals only; it gives a text. */
async function runOnTheEdge(script: string, given: Record<string, string>): Promise<unknown> {
  const globals: Record<string, unknown> = Object.fromEntries(
    WEB_GLOBALS.map((name) => [name, (globalThis as Record<string, unknown>)[name]]),
  )
  const context = createContext({ ...globals, given: { ...given } })
  runInContext(await bundle(false), context)
  const text: unknown = await runInContext(
    `(async () => JSON.stringify(await (${script})()))()`,
    context,
  )
  return JSON.parse(String(text))
}

const VERIFY = `async () => {
  const { createVerifier, problemOf } = latchkey
  const jwks = given.url ?? JSON.parse(given.jwks)
  const verifier = createVerifier({
    issuer: given.issuer, audience: given.audience, jwks, clock: () => Number(given.now),
  })
  const globals = ['process', 'Buffer', 'require', 'module', 'global'].filter((name) => name in globalThis)
  const results = []
  for (const token of JSON.parse(given.tokens)) {
    try {
      results.push((await verifier.verify(token)).sub)
    } catch (error) {
      const { status, headers, body } = problemOf(error, 'Bearer')
      results.push([status, JSON.parse(body).code, 'WWW-Authenticate' in headers])
    }
  }
  const { ok } = verifier.health()
  await verifier.close()
  return { globals, results, ok }
}`

const tokens = JSON.stringify([
  valid,
  forge(header, testClaims({ iat: NOW / 1000 - 900, exp: NOW / 1000 - 60 }), privateKey),
  forge(header, testClaims(), halves(generateSigningKey()).privateKey),
  forge({ ...header, alg: 'none' }, testClaims(), privateKey),
  'x',
])
const expected = {
  globals: [],
  results: [
    'alice',
    [401, 'token_expired', true],
    [401, 'token_invalid', true],
    [401, 'token_invalid', true],
    [401, 'token_invalid', true],
  ],
  ok: true,
}
const given = {
  issuer: ISSUER,
  audience: AUDIENCE[0],
  jwks: JSON.stringify(jwks),
  now: String(NOW),
  tokens,
}

describe('the verifier where there is no Node', () => {
  it('is one bundle that asks for no built-in module, of less than 64 KiB', async () => {
    const text = await bundle(true)
    expect(text.length).toBeGreaterThan(10_000)
    expect(text.length).toBeLessThan(64 * 1024)
    expect(text).not.toMatch(/\bnode:|\bBuffer\b|\brequire\b|(?<!\.)\bprocess\./)
  })

  it('verifies by keys that it was handed', async () => {
    await expect(runOnTheEdge(VERIFY, given)).resolves.toEqual(expected)
  })

  it('verifies by keys that it fetches', async () => {
    server = await startJwksServer()
    server.publish(jwks.keys)
    await expect(runOnTheEdge(VERIFY, { ...given, url: server.url })).resolves.toEqual(expected)
    expect(server.asked()).toBe(1)
  })
})
