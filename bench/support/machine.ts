import { cpus, release, totalmem } from 'node:os'
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
    canPin() ? 'servers on one core, load and databases on another' : 'nothing pinned',
    new Date().toISOString().slice(0, 10),
  ]
  return facts.join(', ')
}
