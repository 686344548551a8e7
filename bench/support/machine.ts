import { cpus, release, totalmem } from 'node:os'
import { getuid } from 'node:process'
import { canPin } from './pin.ts'

/** What the figures were taken on, in one line. */
export function describeMachine(): string {
  const models = cpus()
  const memory = Math.round(totalmem() / 2 ** 30)
  const facts = [
    `Node ${process.versions.node}`,
    `${models.length} × ${models.at(0)?.model ?? 'unknown processor'}`,
    `${memory} GiB`,
    `Linux ${release()}`,
    ...primitives(),
    canPin() ? 'servers on one core, load and databases on another' : 'nothing pinned',
    new Date().toISOString().slice(0, 10),
  ]
  return facts.join(', ')
}

/**
 * What this machine takes for what a program cannot do without: on a virtual machine they can be twenty
 * times what they are elsewhere, while arithmetic is as fast.
 */
function primitives(): string[] {
  const pages = 16_384
  const faulting = Buffer.allocUnsafeSlow(pages * PAGE_BYTES)
  const fault = microsOf(pages, (at) => (faulting[at * PAGE_BYTES] = 1))
  const call = microsOf(100_000, () => getuid?.())
  const next = oneCycle(READ_BYTES / Int32Array.BYTES_PER_ELEMENT)
  let at = 0
  const read = microsOf(1_000_000, () => (at = next[at] ?? 0))
  return [
    `a page fault ${fault.toFixed(1)} µs`,
    `a system call ${call.toFixed(1)} µs`,
    `a read of main memory ${(read * 1000).toFixed(0)} ns`,
  ]
}

const PAGE_BYTES = 4096
/** Larger than any cache. */
const READ_BYTES = 128 * 2 ** 20

function microsOf(times: number, act: (count: number) => unknown): number {
  const startedAt = performance.now()
  for (let count = 0; count < times; count++) act(count)
  return ((performance.now() - startedAt) * 1000) / times
}

/** Each number says where to go next, in no order that a processor could guess; all are one cycle. */
function oneCycle(length: number): Int32Array {
  const next = Int32Array.from({ length }, (_, at) => at)
  for (let at = length - 1; at > 0; at--) {
    const other = Math.floor(Math.random() * at)
    const here = next[at] ?? 0
    next[at] = next[other] ?? 0
    next[other] = here
  }
  return next
}
