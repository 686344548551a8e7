import type { Algorithm } from '../../lib/access-token-format.ts'
import { KeyKeeper } from '../../lib/key-keeper.ts'
import { openKeys } from '../../lib/key-document.ts'
import type { KeySet } from '../../lib/key-set.ts'
import { keyStates, retireKey, rotateKeys } from '../../lib/key-set.ts'
import { managedKeys, timingOf } from '../../lib/managed-keys-options.ts'
import { oneOf } from '../../lib/option-values.ts'
import { generateSigningKey } from '../../lib/signing-keys.ts'
import type { Store } from '../../lib/store.ts'
import type { Command, CommandIo } from './command.ts'
import { parseOptions, UsageError } from './command.ts'
import { readSecrets, STORE_HELP, STORE_OPTIONS, withStore } from './keys-store.ts'

const ALGORITHMS: readonly Algorithm[] = ['ES256', 'EdDSA', 'PS256', 'RS256']
/** The most that the kits' own may be. */
const MAX_CLOCK_SKEW_MS = 60_000

/** `npx latchkey keys` */
export const keysCommand: Command = {
  summary: 'makes a signing key; lists, rotates and retires those that the nodes manage',
  help: `Usage: npx latchkey keys <generate | list | rotate | retire <kid>> [options]

  generate      prints a new private key, a JWK, for signingKeys
  list          lists the managed keys of a store, without their private parts
  rotate        lets a new managed key sign as soon as every verifier knows it
  retire <kid>  takes a managed key away at once, with all tokens that it signed

Nodes that are running hear of it by the feed.

  --alg <alg>            of the new key: ES256, EdDSA, PS256 or RS256 (generate: ES256; rotate: that
                         of the newest key)
${STORE_HELP}
`,
  async run([what, ...args], io) {
    if (what === 'generate') return generate(args, io)
    if (what === 'list') return list(args, io)
    if (what === 'rotate') return rotate(args, io)
    if (what === 'retire') return retire(args, io)
    throw new UsageError('keys does one of generate, list, rotate and retire <kid>')
  },
}

function generate(args: readonly string[], io: CommandIo): void {
  const { alg } = parseOptions(args, { alg: { type: 'string' } })
  io.print(`${JSON.stringify(generateSigningKey(parseAlg(alg) ?? 'ES256'))}\n`)
}

async function list(args: readonly string[], io: CommandIo): Promise<void> {
  const options = parseOptions(args, STORE_OPTIONS)
  const ring = readSecrets(io)
  await withStore(options, io, async (store, place) => {
    const found = await store.keys.load()
    if (found === null) throw none(place)
    const now = await clockOf(store)
    printKeys(openKeys(ring, found).set, now, io)
  })
}

async function rotate(args: readonly string[], io: CommandIo): Promise<void> {
  const options = parseOptions(args, { ...STORE_OPTIONS, alg: { type: 'string' } })
  const alg = parseAlg(options.alg)
  await change(options, io, alg, (keeper, now, timing) =>
    keeper.change((set) => rotateKeys(set, now, timing)),
  )
}

async function retire(args: readonly string[], io: CommandIo): Promise<void> {
  // In front of the options or behind them.
  const at = isKid(args[0]) ? 0 : args.length - 1
  const kid = args[at]
  if (kid === undefined || !isKid(kid)) throw new UsageError('say which: keys retire <kid>')
  const options = parseOptions(args.toSpliced(at, 1), STORE_OPTIONS)
  await change(options, io, undefined, async (keeper, now) => {
    const kept = await keeper.change((set) => retireKey(set, kid, now))
    if (kept.set.retired.some((retired) => retired.kid === kid)) return kept
    throw new Error('there is no such key; npx latchkey keys list shows them')
  })
}

/** A thumbprint may begin with hyphens, as options do. */
function isKid(arg: string | undefined): boolean {
  return arg?.startsWith('--') === false || /^[\w-]{43}$/.test(arg ?? '')
}

async function change(
  options: Parameters<typeof withStore>[0],
  io: CommandIo,
  alg: Algorithm | undefined,
  work: (
    keeper: KeyKeeper,
    now: number,
    timing: ReturnType<typeof timingOf>,
  ) => Promise<{ readonly set: KeySet }>,
): Promise<void> {
  const ring = readSecrets(io)
  await withStore(options, io, async (store, place) => {
    const found = await store.keys.load()
    if (found === null) throw none(place)
    const newest = openKeys(ring, found).set.keys.at(-1)?.jwk.alg ?? 'ES256'
    const timing = timingOf(managedKeys(), 0, MAX_CLOCK_SKEW_MS)
    const now = await clockOf(store)
    const keeper = new KeyKeeper({
      store: store.keys,
      ring,
      timing,
      alg: alg ?? newest,
      now: () => now,
      onChange: () => undefined,
    })
    printKeys((await work(keeper, now, timing)).set, now, io)
  })
}

function none(place: string): Error {
  const remedy = 'say where the app has them, or start a node with managedKeys(), which makes them'
  return new Error(`this store has no managed keys at ${place}: ${remedy}`)
}

/** Instants of the keys are the store's. */
async function clockOf(store: Store): Promise<number> {
  const { signal } = new AbortController()
  return (await store.feed.read({ cursor: null, waitMs: 0, signal })).now
}

function printKeys(set: KeySet, now: number, io: CommandIo): void {
  const states = keyStates(set, now)
  for (const { jwk, activeAt } of set.keys) {
    const state = (states.get(jwk.kid) ?? '').padEnd(8)
    io.print(`${state}  ${jwk.alg}  ${jwk.kid}  signs from ${new Date(activeAt).toISOString()}\n`)
  }
}

function parseAlg(alg: string | undefined): Algorithm | undefined {
  return alg === undefined ? undefined : oneOf('--alg', alg, ALGORITHMS)
}
