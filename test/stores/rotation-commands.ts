import * as fc from 'fast-check'

/** Which session a command is about, counted from the newest; dead ones included. */
type Pick = number

/** One thing that happens to the sessions of two users. */
export type Command =
  | { kind: 'login'; user: number; device: boolean; onLimit: 'evict' | 'refuse'; age: LoginAge }
  /** The innocent client refreshes with what it holds; the answer may get lost on the way. */
  | { kind: 'client'; on: Pick; delivered: boolean; retry: boolean }
  /** Anybody presents any generation, `ahead` of the stored one. */
  | {
      kind: 'refresh'
      on: Pick
      ahead: number
      attempt: 'same' | 'new'
      device: 'own' | 'other' | 'none'
      seed: boolean
      onReuse: 'session' | 'user'
    }
  | { kind: 'check'; on: Pick; generation: 'none' | 'current' | 'old'; seed: 'none' | boolean }
  | { kind: 'update'; on: Pick; what: 'attributes' | 'data'; right: boolean }
  | { kind: 'revoke'; on: Pick; owner: 'none' | boolean; seed: 'none' | boolean }
  | { kind: 'revokeUser'; user: number; except: Pick | null }
  | {
      kind: 'replace'
      on: Pick
      user: 'own' | 'other'
      seed: boolean
      orElse: 'create' | 'refuse'
      keepData: boolean
      onLimit: 'evict' | 'refuse'
      age: LoginAge
    }
  | { kind: 'deny'; on: Pick; forMs: number }
  /** Time passes until just before, at, or just after something ends. */
  | { kind: 'tick'; on: Pick; edge: Edge; delta: number }
  | { kind: 'pass'; ms: number }
  /** Uses a session in its last millisecond, so that it comes to its absolute end. */
  | { kind: 'hop'; on: Pick }
  | { kind: 'snapshot'; on: Pick }
  | { kind: 'rollback'; on: Pick }

export type Edge = 'grace' | 'lost' | 'idle' | 'absolute' | 'touch'

/** How long a login took: no time, a moment, or since about when the user was last revoked. */
export type LoginAge = 'none' | 'moment' | -1 | 0 | 1

const pick = fc.constantFrom(0, 0, 0, 1, 1, 2, 3, 4, 5)
const user = fc.nat({ max: 1 })
const onLimit = fc.constantFrom('evict' as const, 'evict' as const, 'refuse' as const)
const age = fc.constantFrom<LoginAge[]>('none', 'none', 'moment', -1, 0, 1)
const maybe = fc.constantFrom('none' as const, true, true, false)
const mostly = fc.constantFrom(true, true, true, false)

function command<Kind extends Command['kind'], Fields extends object>(
  kind: Kind,
  fields: { [Key in keyof Fields]: fc.Arbitrary<Fields[Key]> },
): fc.Arbitrary<{ kind: Kind } & Fields> {
  return fc.record(fields).map((values) => Object.assign({ kind }, values as Fields))
}

const commandArbitrary: fc.Arbitrary<Command> = fc.oneof(
  { weight: 4, arbitrary: command('login', { user, device: fc.boolean(), onLimit, age }) },
  {
    weight: 8,
    arbitrary: command('client', { on: pick, delivered: fc.boolean(), retry: fc.boolean() }),
  },
  {
    weight: 8,
    arbitrary: command('refresh', {
      on: pick,
      ahead: fc.oneof(
        { weight: 5, arbitrary: fc.constantFrom(0, 0, 0, -1, -1, -1) },
        { weight: 1, arbitrary: fc.constantFrom(-2, -3, -4, 1, 2, 15, 16, 17) },
      ),
      attempt: fc.constantFrom('same' as const, 'new' as const, 'new' as const),
      device: fc.constantFrom('own' as const, 'own' as const, 'other' as const, 'none' as const),
      seed: fc.constantFrom(true, true, true, true, true, false),
      onReuse: fc.constantFrom('session' as const, 'session' as const, 'user' as const),
    }),
  },
  {
    weight: 5,
    arbitrary: command('check', {
      on: pick,
      generation: fc.constantFrom('none' as const, 'current' as const, 'old' as const),
      seed: maybe,
    }),
  },
  {
    weight: 2,
    arbitrary: command('update', {
      on: pick,
      what: fc.constantFrom('attributes' as const, 'data' as const),
      right: mostly,
    }),
  },
  { weight: 1, arbitrary: command('revoke', { on: pick, owner: maybe, seed: maybe }) },
  {
    weight: 1,
    arbitrary: command('revokeUser', { user, except: fc.option(pick, { nil: null }) }),
  },
  {
    weight: 2,
    arbitrary: command('replace', {
      on: pick,
      user: fc.constantFrom('own' as const, 'own' as const, 'other' as const),
      seed: mostly,
      orElse: fc.constantFrom('create' as const, 'refuse' as const),
      keepData: fc.boolean(),
      onLimit,
      age,
    }),
  },
  {
    weight: 1,
    arbitrary: command('deny', { on: pick, forMs: fc.constantFrom(-1, 0, 1, 60_000, 900_000) }),
  },
  {
    weight: 7,
    arbitrary: command('tick', {
      on: pick,
      edge: fc.constantFrom<Edge[]>(
        'grace',
        'grace',
        'grace',
        'lost',
        'lost',
        'touch',
        'idle',
        'absolute',
      ),
      delta: fc.constantFrom(-1, 0, 1),
    }),
  },
  { weight: 3, arbitrary: command('pass', { ms: fc.constantFrom(1, 1, 1000, 9000, 30_000) }) },
  { weight: 2, arbitrary: command('hop', { on: pick }) },
  { weight: 2, arbitrary: command('snapshot', { on: pick }) },
  { weight: 2, arbitrary: command('rollback', { on: pick }) },
)

export const commands: fc.Arbitrary<Command[]> = fc.array(commandArbitrary, {
  minLength: 1,
  maxLength: 60,
  size: 'max',
})

const LOGIN: Command = { kind: 'login', user: 0, device: true, onLimit: 'evict', age: 'none' }
const REFRESH = {
  kind: 'refresh',
  on: 0,
  ahead: 0,
  attempt: 'new',
  device: 'own',
  seed: true,
  onReuse: 'session',
} as const
const REPLACE = {
  kind: 'replace',
  on: 0,
  user: 'own',
  seed: true,
  orElse: 'refuse',
  keepData: true,
  onLimit: 'evict',
  age: 'none',
} as const

/** A history that meets every outcome there is, so that no run depends on luck for that. */
export const everything: Command[] = [
  LOGIN,
  { kind: 'snapshot', on: 0 },
  { kind: 'check', on: 0, generation: 'current', seed: true },
  { kind: 'check', on: 0, generation: 'none', seed: false },
  { kind: 'update', on: 0, what: 'attributes', right: true },
  { kind: 'update', on: 0, what: 'data', right: false },
  { kind: 'client', on: 0, delivered: false, retry: false },
  { kind: 'client', on: 0, delivered: false, retry: true },
  { kind: 'tick', on: 0, edge: 'grace', delta: -1 },
  { ...REFRESH, ahead: -1 },
  { kind: 'pass', ms: 1 },
  { ...REFRESH, ahead: -1, attempt: 'same' },
  { kind: 'tick', on: 0, edge: 'lost', delta: -1 },
  { ...REFRESH, ahead: -1 },
  // Without a window that was reuse; from here on there is a session again in any case.
  LOGIN,
  { kind: 'snapshot', on: 0 },
  REFRESH,
  { ...REFRESH, seed: false },
  { ...REFRESH, ahead: 16, device: 'other' },
  { ...REFRESH, ahead: 17 },
  { kind: 'rollback', on: 0 },
  REPLACE,
  { ...REPLACE, seed: false },
  { kind: 'deny', on: 0, forMs: 60_000 },
  LOGIN,
  LOGIN,
  LOGIN,
  { ...LOGIN, onLimit: 'refuse' },
  { kind: 'hop', on: 0 },
  { kind: 'hop', on: 0 },
  { kind: 'tick', on: 0, edge: 'absolute', delta: -1 },
  { kind: 'check', on: 0, generation: 'none', seed: 'none' },
  { kind: 'tick', on: 0, edge: 'absolute', delta: 0 },
  { kind: 'check', on: 0, generation: 'none', seed: 'none' },
  { kind: 'update', on: 0, what: 'data', right: true },
  REFRESH,
  LOGIN,
  LOGIN,
  REFRESH,
  REFRESH,
  { ...REFRESH, ahead: -2, onReuse: 'user' },
  { ...LOGIN, age: 'moment' },
  { kind: 'pass', ms: 1 },
  LOGIN,
  { kind: 'revokeUser', user: 0, except: 0 },
  { kind: 'revoke', on: 0, owner: true, seed: true },
]
