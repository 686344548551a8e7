import { openMemoryStore } from '../../stores/memory/memory-store.ts'
import type { OpenedStore } from './contract.ts'
import { describeStore, testClock } from './contract.ts'
import { describeRotationModel } from './rotation-model.ts'

async function open(): Promise<OpenedStore> {
  const clock = testClock()
  const { store, table } = openMemoryStore({ clock: () => clock.now() })
  return {
    store,
    clock,
    close: () => store.close(),
    async snapshot(sid) {
      const record = table.find(sid, clock.now())
      return async () => {
        if (record !== undefined) table.put(record)
      }
    },
  }
}

describeStore('memoryStore', open)
describeRotationModel('memoryStore', open, 200)
