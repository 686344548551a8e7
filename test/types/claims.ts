// Compile-only: `npm run types` fails when one of these lines no longer means what it says.
import express from 'express'
import type { Request } from 'express'
import type { Auth, Duration, JsonObject, User } from '../../middleware/index.ts'
import { createLatchkey, memoryStore } from '../../middleware/index.ts'
import type { Equals } from './equals.ts'
import { expectType } from './equals.ts'

interface Claims {
  readonly plan: 'free' | 'pro'
  readonly seats?: number
}

const latchkey = createLatchkey<Claims>({
  issuer: 'https://app.example',
  store: memoryStore(),
  authenticate: async (credentials, req) => {
    expectType<Equals<typeof credentials, JsonObject>>()
    expectType<Equals<typeof req, Request>>()
    return { id: 'alice', claims: { plan: 'pro' } }
  },
  loadUser: (user, session) => {
    expectType<Equals<typeof user.id, string>>()
    expectType<Equals<typeof session.claims, Claims>>()
    return null
  },
  authorizeAdmin: (auth) => auth.claims.plan === 'pro',
})

const app = express()

// Guards keep what Express infers of the path.
app.get('/teams/:team', latchkey.hybridGuard({ sensitive: true }), (req, res) => {
  expectType<Equals<typeof req.params.team, string>>()
  const auth = latchkey.getAuth(req)
  expectType<Equals<typeof auth, Auth<Claims>>>()
  expectType<Equals<typeof auth.claims.plan, 'free' | 'pro'>>()
  expectType<Equals<typeof auth.checked, boolean>>()
  res.json(auth.session?.claims.seats)
})

// Without a guard, req.auth may be missing; its claims are JSON until the app registers its own.
app.get('/', (req, res) => {
  expectType<Equals<typeof req.auth, Auth | undefined>>()
  // @ts-expect-error -- it may be undefined
  res.json(req.auth.userId)
})

app.use(latchkey.requireJwt({ roles: ['admin'], scope: ['read'], optional: true }))
app.use('/auth', latchkey.authRoutes())
app.post('/refresh', latchkey.refreshRoute())

latchkey.requireSession({
  maxAuthAge: '5m',
  level: 'mfa',
  check: (auth) => auth.claims.plan === 'pro',
})

// @ts-expect-error -- only hybridGuard has this choice
latchkey.requireJwt({ sensitive: true })
// @ts-expect-error -- a duration needs its unit
latchkey.hybridGuard({ maxAuthAge: 300 })
// @ts-expect-error -- 'weeks' is no unit
const weeks: Duration = '2weeks'
// @ts-expect-error -- misspelt
createLatchkey({ issuer: 'https://app.example', acessTokenTtl: '5m' })
// @ts-expect-error -- no such choice
createLatchkey({ issuer: 'https://app.example', onReuse: 'nobody' })

// @ts-expect-error -- the claims are the app's own type
const wrongPlan: User<Claims> = { id: 'a', claims: { plan: 'gold' } }
// @ts-expect-error -- a registered claim cannot be the app's
const overriding: User = { id: 'a', claims: { sub: 'admin' } }
const free: User = { id: 'a', claims: { team: ['x', { y: 1 }] } }

export async function changes(): Promise<void> {
  const session = await latchkey.sessions.update('sid', { roles: ['a'], claims: { plan: 'free' } })
  expectType<Equals<typeof session.claims, Claims>>()
  expectType<Equals<typeof session.data, JsonObject | null>>()
  // @ts-expect-error -- what names the login cannot be changed
  await latchkey.sessions.update('sid', { id: 'bob' })
}

export { free, overriding, weeks, wrongPlan }
