// Everything that can be measured, in one go: npm run bench -- [part …] [--quick | --full]
import { parseArgs } from 'node:util'
import { formatHttp, measureHttp } from './http.ts'
import { isContenderName } from './http/contenders.ts'
import { installPeers } from './peers/install.ts'
import { formatDocument, saveResults, updateDocument } from './support/document.ts'
import { describeMachine } from './support/machine.ts'
import { pinSelf } from './support/pin.ts'

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

const PARTS: ReadonlyMap<string, Part> = new Map(
  Object.entries<Part>({
    http: {
      from: 'quick',
      async measure() {
        installPeers()
        const rounds = { quick: 1, usual: 5, full: 15 }[scale]
        const data = await measureHttp(rounds, values.only?.filter(isContenderName))
        const note = `${rounds} rounds, medians. ${describeMachine()}.`
        return { markdown: `${formatHttp(data)}\n\n${note}`, data }
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
  saveResults({ [name]: data })
  if (isKept) updateDocument(name, markdown)
}
if (isKept) formatDocument()
