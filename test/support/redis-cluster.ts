import { allDone, ask, askFields, until } from './redis-commands.ts'
import { startRedis, type RedisServer } from './redis-server.ts'

const SLOTS = 16_384
const KEYS_AT_ONCE = 100
/** No machine stands still for so long: while no failover is waited for, nobody is taken for dead. */
const CALM_MS = 60_000

/** Options of {@link startRedisCluster}. */
export interface RedisClusterOptions {
  /** @defaultValue 3 */
  readonly primaries?: number
  /** Of each primary. @defaultValue 1 */
  readonly replicas?: number
  /**
   * Silence after which a node is suspected, while a failover is waited for, which takes about three
   * times that. @defaultValue 1000
   */
  readonly nodeTimeoutMs?: number
  /** Lines of redis.conf for every node. */
  readonly config?: Readonly<Record<string, string>>
}

/** A process and its name in the cluster. */
export interface RedisClusterNode extends RedisServer {
  /** What CLUSTER MYID says. */
  readonly id: string
}

/** Primaries that share all slots, and their replicas. */
export interface RedisCluster {
  /** The primaries at the start, then their replicas. */
  readonly nodes: readonly RedisClusterNode[]
  /** ioredis's startup nodes. */
  readonly startupNodes: { host: string; port: number }[]
  /** The hash slot of a key. */
  slotOf(key: string): Promise<number>
  /** Who serves a slot, in the eyes of a running node. */
  primaryOf(slot: number): Promise<RedisClusterNode>
  /** The running replicas of whoever serves a slot. */
  replicasOf(slot: number): Promise<RedisClusterNode[]>
  /**
   * Kills it without warning and gives it back, to wait for the failover, which does not begin before
   * that, and to `restart`.
   */
  killPrimaryOf(slot: number): Promise<RedisClusterNode>
  /** Waits until all running nodes agree that another than `from` serves the slot; gives that one. */
  waitForFailover(slot: number, from: RedisClusterNode): Promise<RedisClusterNode>
  /** Has a replica take over in good order (CLUSTER FAILOVER); gives the new primary. */
  demotePrimaryOf(slot: number): Promise<RedisClusterNode>
  /** Opens a slot for migration: from here on its keys may be on either side, and clients get ASK. */
  openMigration(slot: number, to: RedisClusterNode): Promise<SlotMigration>
  /** All of a migration at once; `to` must be a primary. */
  migrateSlot(slot: number, to: RedisClusterNode): Promise<void>
  /** Waits until all running nodes are well, agree on who serves what, and have their primary's data. */
  waitOk(): Promise<void>
  cleanUp(): Promise<void>
}

/** A slot on its way from one primary to another. */
export interface SlotMigration {
  /** Moves up to this many keys; gives how many it moved. @defaultValue all there are */
  moveKeys(count?: number): Promise<number>
  /** Moves what is left and gives the slot to the other primary: clients get MOVED. */
  finish(): Promise<void>
}

/** Starts the nodes and forms the cluster. */
export async function startRedisCluster(options: RedisClusterOptions = {}): Promise<RedisCluster> {
  const { primaries = 3, replicas = 1, nodeTimeoutMs = 1000, config = {} } = options
  const nodes: RedisClusterNode[] = []
  const cluster = control(nodes, nodeTimeoutMs)
  const settings = {
    'cluster-enabled': 'yes',
    'cluster-node-timeout': String(nodeTimeoutMs),
    'cluster-require-full-coverage': 'no',
    // However long a replica was cut off, it may take over; and none changes its primary by itself.
    'cluster-replica-validity-factor': '0',
    'cluster-migration-barrier': '100',
    ...config,
  }
  try {
    await allDone(
      Array.from({ length: primaries * (1 + replicas) }, async () => {
        const node = Object.assign(await startRedis({ config: settings }), { id: '' })
        nodes.push(node)
        node.id = String(await ask(node, 'CLUSTER', 'MYID'))
      }),
    )
    await form(nodes, primaries)
    await cluster.waitOk()
    const startupNodes = nodes.map(({ port }) => ({ host: '127.0.0.1', port }))
    return { ...cluster, startupNodes }
  } catch (error) {
    await cluster.cleanUp()
    throw error
  }
}

async function form(nodes: readonly RedisClusterNode[], count: number): Promise<void> {
  const primaries = nodes.slice(0, count)
  await allDone(
    primaries.map(async (primary, place) => {
      const first = Math.floor((place * SLOTS) / count)
      const end = Math.floor(((place + 1) * SLOTS) / count)
      const slots = Array.from({ length: end - first }, (_, offset) => first + offset)
      await ask(primary, 'CLUSTER', 'SET-CONFIG-EPOCH', place + 1)
      await ask(primary, 'CLUSTER', 'ADDSLOTS', ...slots)
    }),
  )
  // Everybody is introduced to everybody: quicker than waiting for gossip.
  const meetings = nodes.flatMap((node, place) =>
    nodes.slice(place + 1).map(async ({ port }) => ask(node, 'CLUSTER', 'MEET', '127.0.0.1', port)),
  )
  await allDone(meetings)
  await allDone(
    nodes.slice(count).map(async (replica, place) => {
      const { id } = primaries[place % count] as RedisClusterNode
      // Refused until the replica has heard of the primary.
      await until('the replica knows its primary', async () =>
        ask(replica, 'CLUSTER', 'REPLICATE', id),
      )
    }),
  )
}

function control(
  nodes: readonly RedisClusterNode[],
  nodeTimeoutMs: number,
): Omit<RedisCluster, 'startupNodes'> {
  const running = () => nodes.filter((node) => node.running)
  const byId = (id: string) => nodes.find((node) => node.id === id)
  const ownerSeenBy = async (node: RedisClusterNode, slot: number) => {
    const lines = await tableOf(node)
    const line = lines.find(({ slots }) => slots.some(([from, to]) => from <= slot && slot <= to))
    return line && byId(line.id)
  }
  const agreed = async (slot: number) => {
    const [first, ...others] = await Promise.all(
      running().map(async (node) => ownerSeenBy(node, slot)),
    )
    return others.every((other) => other === first) && first
  }
  const primaryOf = async (slot: number) =>
    until(`slot ${slot} has a primary`, async () => agreed(slot))
  const replicasOf = async (slot: number) => {
    const primary = await primaryOf(slot)
    const lines = await tableOf(primary)
    const replicas = lines.filter(({ primaryId }) => primaryId === primary.id)
    return replicas.flatMap(({ id }) => running().find((node) => node.id === id) ?? [])
  }
  const hasAnother = async (slot: number, from: RedisClusterNode) =>
    until(`slot ${slot} has another primary`, async () => {
      const to = await agreed(slot)
      return to !== from && to
    })
  const suspectAfter = async (ms: number) => {
    const told = running().map(async (node) =>
      ask(node, 'CONFIG', 'SET', 'cluster-node-timeout', ms),
    )
    await allDone(told)
  }
  const waitForFailover = async (slot: number, from: RedisClusterNode) => {
    await suspectAfter(nodeTimeoutMs)
    const to = await hasAnother(slot, from)
    await suspectAfter(CALM_MS)
    return to
  }
  const openMigration = async (slot: number, to: RedisClusterNode) => {
    const from = await primaryOf(slot)
    await ask(to, 'CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id)
    await ask(from, 'CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id)
    return migration(slot, from, to, running)
  }
  return {
    nodes,
    primaryOf,
    replicasOf,
    waitForFailover,
    openMigration,
    async slotOf(key) {
      return Number(await ask(running()[0] as RedisClusterNode, 'CLUSTER', 'KEYSLOT', key))
    },
    async killPrimaryOf(slot) {
      const primary = await primaryOf(slot)
      await primary.kill()
      return primary
    },
    async demotePrimaryOf(slot) {
      const from = await primaryOf(slot)
      const [replica] = await replicasOf(slot)
      if (replica === undefined) throw new Error(`nobody could take over slot ${slot}`)
      await ask(replica, 'CLUSTER', 'FAILOVER')
      return hasAnother(slot, from)
    },
    async migrateSlot(slot, to) {
      const opened = await openMigration(slot, to)
      await opened.finish()
    },
    async waitOk() {
      await until('the cluster is ok', async () => {
        const views = await Promise.all(running().map((node) => viewOf(node, running())))
        return views[0] !== undefined && views.every((view) => view === views[0])
      })
      // Whoever has come back is as hasty as at its start.
      await suspectAfter(CALM_MS)
    },
    async cleanUp() {
      await allDone(nodes.map(async (node) => node.cleanUp()))
    },
  }
}

function migration(
  slot: number,
  from: RedisClusterNode,
  to: RedisClusterNode,
  running: () => readonly RedisClusterNode[],
): SlotMigration {
  const moveKeys = async (count = Infinity) => {
    let moved = 0
    while (moved < count) {
      const atOnce = Math.min(count - moved, KEYS_AT_ONCE)
      const keys = (await ask(from, 'CLUSTER', 'GETKEYSINSLOT', slot, atOnce)) as string[]
      if (keys.length === 0) break
      await ask(from, 'MIGRATE', '127.0.0.1', to.port, '', 0, 5000, 'KEYS', ...keys)
      moved += keys.length
    }
    return moved
  }
  return {
    moveKeys,
    async finish() {
      await moveKeys()
      // The new owner first, so that the slot is never nobody's.
      await ask(to, 'CLUSTER', 'SETSLOT', slot, 'NODE', to.id)
      await ask(from, 'CLUSTER', 'SETSLOT', slot, 'NODE', to.id)
      const agree = running().map(async (node) => {
        await until(`slot ${slot} has moved`, async () => {
          const lines = await tableOf(node)
          const owner = lines.find(({ id }) => id === to.id)
          return owner?.slots.some(([first, last]) => first <= slot && slot <= last)
        })
      })
      await allDone(agree)
    },
  }
}

interface TableLine {
  readonly id: string
  readonly flags: readonly string[]
  readonly primaryId: string
  readonly link: string
  readonly slots: readonly (readonly [number, number])[]
}

/** CLUSTER NODES, which every version speaks. */
async function tableOf(node: RedisServer): Promise<TableLine[]> {
  const text = String(await ask(node, 'CLUSTER', 'NODES'))
  const rows = text.trim().split('\n')
  return rows.map((row) => {
    const [id = '', , flags = '', primaryId = '', , , , link = '', ...ranges] = row.split(' ')
    // In brackets is what is on its way.
    const slots = ranges.filter((range) => !range.startsWith('[')).map(readRange)
    return { id, flags: flags.split(','), primaryId, link, slots }
  })
}

function readRange(range: string): [number, number] {
  const [first = '', last = first] = range.split('-')
  return [Number(first), Number(last)]
}

/** How a node sees the running ones, to compare; undefined unless it finds nothing wrong with them. */
async function viewOf(
  node: RedisClusterNode,
  running: readonly RedisClusterNode[],
): Promise<string | undefined> {
  const cluster = await askFields(node, 'CLUSTER', 'INFO')
  const { role, master_link_status: link } = await askFields(node, 'INFO', 'replication')
  const isOk = cluster['cluster_state'] === 'ok' && cluster['cluster_slots_ok'] === String(SLOTS)
  if (!isOk || (role === 'slave' && link !== 'up')) return undefined
  const lines = (await tableOf(node)).filter(({ id }) => running.some((other) => other.id === id))
  return lines.length === running.length && lines.every(isWell) ? viewText(lines) : undefined
}

/** A primary without slots has come back and is about to follow its successor. */
function isWell({ flags, slots, link }: TableLine): boolean {
  const isBad = flags.some((flag) => /^(fail\??|handshake|noaddr)$/.test(flag))
  return !isBad && link === 'connected' && (flags.includes('slave') || slots.length > 0)
}

function viewText(lines: readonly TableLine[]): string {
  const texts = lines.map(({ id, primaryId, slots }) => `${id} ${primaryId} ${slots.join(' ')}`)
  return texts.toSorted().join()
}
