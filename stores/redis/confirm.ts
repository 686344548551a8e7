import { StoreUnavailable } from '../../lib/errors.ts'
import type { Connection } from './connection.ts'

const WAIT_MS = 150
const MARK_MS = 1000

/**
 * Waits until enough replicas have what was written before. WAIT speaks of the writes of its own
 * connection only, so a mark is written first: replication is in order, and who has the mark has
 * everything before it. It has a connection of its own, because WAIT holds up what is behind it.
 *
 * @param key - a key in the slot whose primary took the writes
 * @throws {StoreUnavailable} `revocation_unconfirmed` when too few have it in time
 */
export async function confirmWrites(
  connection: Connection,
  key: string,
  replicas: number,
): Promise<void> {
  await connection.ready()
  const results = await connection.client
    .pipeline()
    .set(key, '', 'PX', MARK_MS)
    .call('WAIT', replicas, WAIT_MS)
    .exec()
  const [, wait] = results ?? []
  const [error, acknowledged] = wait ?? [new Error('no answer')]
  if (error === null && typeof acknowledged === 'number' && acknowledged >= replicas) return
  throw new StoreUnavailable('wait', {
    code: 'revocation_unconfirmed',
    cause: error ?? new Error(`${String(acknowledged)} of ${replicas} replicas`),
  })
}
