import cluster from 'node:cluster'
import { memoryStore } from '../../../stores/memory.ts'

// Prints what a memory store in a worker of node:cluster finds of itself, as JSON.
if (cluster.isPrimary) {
  const worker = cluster.fork()
  worker.once('message', (found: unknown) => {
    process.stdout.write(JSON.stringify(found))
    worker.disconnect()
  })
} else {
  process.send?.(await memoryStore().inspect())
}
