// An app in a process of its own, which an error that nobody handles would end. Run with `fork`.

import { closeKits } from '../../support/kit.ts'
import type { Node, NodeSetup } from './node.ts'
import { openNode } from './node.ts'

let node: Node | undefined

process.on('message', (message: NodeSetup | 'close') => {
  void (message === 'close' ? close() : open(message))
})

async function open(setup: NodeSetup): Promise<void> {
  node = await openNode(setup)
  process.send?.({ port: node.port, name: node.name })
}

/** Closes all there is: if anything is left, the process stays. */
async function close(): Promise<void> {
  await node?.close()
  await closeKits()
  process.off('disconnect', die)
  process.disconnect()
}

// Never outlives whoever started it.
process.on('disconnect', die)

function die(): void {
  process.exit()
}
