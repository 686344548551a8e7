// Everything that can be measured, in one go: npm run bench -- [part …] [--quick | --full]
import { parseArgs } from 'node:util'
import { formatDelay, measureDelay } from './delay.ts'
import { formatHttp, measureHttp } from './http.ts'
import { CONTENDER_NAMES, isContenderName, QUICK_NAMES } from './http/contenders.ts'
import { formatMemory, measureMemory } from './memory.ts'
import { formatMicro, measureMicro } from './micro.ts'
import { formatOperations, measureOperations } from './operations.ts'
import { installPeers } from './peers/install.ts'
import { formatDocument, readResults, saveResults, updateDocument } from './support/document.ts'
import { describeMachine } from './support/machine.ts'
import { pinSelf } from './support/pin.ts'
import { formatTargets } from './targets.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    full: { type: 'boolean', default: false },
    /** Of the contenders these alone. */
    only: { type: 'string', multiple: true },
  },
})

type Scale = 'quick' | 'usual' | 'full'
const scale: Scale = values.full ? 'full' : values.quick ? 'quick' : 'usual'

/** What a part gives: its tables, and what they were made of. */
interface Measured {
  readonly markdown: string
  readonly data: unknown
}

interface Part {
  /** What is measured unless parts are named. */
  readonly from: Scale
  readonly measure: () => Promise<Measured>
}

const on = `${describeMachine()}.`

const PARTS: ReadonlyMap<string, Part> = new Map(
  Object.entries<Part>({
    http: {
      from: 'quick',
      async measure() {
        installPeers()
        const http = {
          quick: { rounds: 1, slices: 1, warmUpSeconds: 3, aloneRounds: 0 },
          usual: { rounds: 1, slices: 2, warmUpSeconds: 3, aloneRounds: 0 },
          full: { rounds: 3, slices: 3, warmUpSeconds: 3, aloneRounds: 3 },
        }[scale]
        const names = scale === 'quick' ? QUICK_NAMES : CONTENDER_NAMES
        const data = await measureHttp(http, values.only?.filter(isContenderName) ?? names)
        const slices = `${http.rounds} × ${http.slices} slices of a second, medians`
        return { markdown: `${formatHttp(data)}\n\n${slices}. ${on}`, data }
      },
    },
    micro: {
      from: 'quick',
      async measure() {
        const data = await measureMicro({ quick: 50, usual: 200, full: 1000 }[scale])
        return { markdown: `${formatMicro(data)}\n\nMedians. ${on}`, data }
      },
    },
    operations: {
      from: 'usual',
      async measure() {
        const { sizes, rounds, calls } = {
          quick: { sizes: [1000], rounds: 1, calls: 200 },
          usual: { sizes: [1000, 10_000], rounds: 2, calls: 500 },
          full: { sizes: [1000, 100_000, 1_000_000], rounds: 5, calls: 2000 },
        }[scale]
        const data = await measureOperations(sizes, rounds, calls)
        const note = `16 calls in flight from one process, ${rounds} rounds, medians. ${on}`
        return { markdown: `${formatOperations(data)}\n\n${note}`, data }
      },
    },
    delay: {
      from: 'usual',
      async measure() {
        const data = await measureDelay({ quick: 10, usual: 40, full: 1000 }[scale])
        return { markdown: `${formatDelay(data)}\n\n${on}`, data }
      },
    },
    memory: {
      from: 'usual',
      async measure() {
        const data = await measureMemory({ quick: 1000, usual: 10_000, full: 100_000 }[scale])
        return { markdown: `${formatMemory(data)}\n\n${on}`, data }
      },
    },
  }),
)

const SCALES: readonly Scale[] = ['quick', 'usual', 'full']
const unknown = positionals.filter((name) => !PARTS.has(name))
if (unknown.length > 0) {
  throw new Error(`no part ${unknown.join(', ')}; there are ${[...PARTS.keys()].join(', ')}`)
}
const isWanted = (name: string, { from }: Part) =>
  positionals.length > 0
    ? positionals.includes(name)
    : SCALES.indexOf(from) <= SCALES.indexOf(scale)

// As apps are run: Express and the peers look at it.
process.env['NODE_ENV'] = 'production'
pinSelf()
// What is quick, or not all, is not worth keeping.
const isKept = scale !== 'quick' && values.only === undefined
for (const [name, part] of PARTS) {
  if (!isWanted(name, part)) continue
  const { markdown, data } = await part.measure()
  console.log(`\n## ${name}\n\n${markdown}`)
  saveResults(!isKept, { [name]: data })
  if (isKept) updateDocument(name, markdown)
}
const targets = formatTargets(readResults(!isKept))
console.log(`\n## targets\n\n${targets}`)
if (isKept) {
  updateDocument('targets', targets)
  formatDocument()
}
