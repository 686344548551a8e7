import { decodeJwt } from 'jose'
import request from 'supertest'
import { generateServiceSecret, serviceSecrets } from '../../middleware/index.ts'
import type { KitSetup, TestKit } from './kit.ts'
import { ISSUER, openKit } from './kit.ts'

export const ORDERS_API = 'https://orders.example'
export const STOCK_API = 'https://stock.example'
export const ORDERS = generateServiceSecret()
export const BILLING = generateServiceSecret()

export const TOKEN_TYPES = {
  access: 'urn:ietf:params:oauth:token-type:access_token',
  jwt: 'urn:ietf:params:oauth:token-type:jwt',
  session: 'urn:latchkey:token-type:session',
  refresh: 'urn:ietf:params:oauth:token-type:refresh_token',
} as const
export const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'

/** A kit with two services and two audiences beside its own; alice has scope. */
export async function openServices(setup: KitSetup = {}): Promise<TestKit> {
  const kit = await openKit({
    ...setup,
    options: {
      services: serviceSecrets({
        orders: { hash: ORDERS.hash, scope: ['stock:read', 'stock:write'] },
        billing: { hash: [ORDERS.hash, BILLING.hash], scope: [], audiences: [STOCK_API] },
      }),
      audiences: { [ORDERS_API]: {}, [STOCK_API]: { scope: ['stock:read'], ttl: '1m' } },
      ...setup.options,
    },
  })
  kit.users.set('alice', { id: 'alice', scope: ['stock:read', 'stock:write', 'profile'] })
  return kit
}

/** `Authorization` of a service (RFC 6749 §2.3.1). */
export function basic(id: string, secret: string): string {
  const pair = `${encodeURIComponent(id)}:${encodeURIComponent(secret)}`
  return `Basic ${Buffer.from(pair).toString('base64')}`
}

export const AS_ORDERS = basic('orders', ORDERS.secret)
export const AS_BILLING = basic('billing', BILLING.secret)

/** Posts a form to a route of the kit; as orders, unless `authorization` says otherwise. */
export function postForm(
  kit: Pick<TestKit, 'server'>,
  path: string,
  form: Readonly<Record<string, string>>,
  authorization: string | null = AS_ORDERS,
): request.Test {
  const sent = request(kit.server).post(path).type('form').send(form)
  return authorization === null ? sent : sent.set('Authorization', authorization)
}

/** Exchanges a user's access token as orders does. */
export function exchange(
  kit: Pick<TestKit, 'server'>,
  form: Readonly<Record<string, string>>,
  authorization?: string | null,
): request.Test {
  const whole = { grant_type: EXCHANGE, subject_token_type: TOKEN_TYPES.access, ...form }
  return postForm(kit, '/auth/token', { audience: ORDERS_API, ...whole }, authorization)
}

/** The token in an answer of `/token`, and what it says. */
export function issued(res: request.Response): { token: string; claims: Record<string, unknown> } {
  if (res.status !== 200) throw new Error(`${res.status} ${res.text}`)
  const { access_token: token } = res.body as { access_token: string }
  return { token, claims: decodeJwt(token) }
}

/** A service's own token. */
export async function machineToken(kit: Pick<TestKit, 'server'>, as?: string): Promise<string> {
  const form = { grant_type: 'client_credentials', audience: ISSUER }
  return issued(await postForm(kit, '/auth/token', form, as)).token
}
