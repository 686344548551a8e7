import { setTimeout as sleep } from 'node:timers/promises'
import type { Answer, Node, Tokens } from './node.ts'
import { generationOf } from './node.ts'

/** What a client of the storm is left with. */
export interface Client {
  readonly user: string
  tokens: Tokens
  /** The refresh tokens it got, by generation. More than one of a generation is a fork. */
  readonly successors: Map<number, Set<string>>
  /** How many outages it met. */
  outages: number
  /** The first answer that is neither credentials nor an outage; the client stops there. */
  refused: Answer | undefined
}

/** Clients that refresh again and again, try again after an outage, and stop when they are refused. */
export interface Storm {
  readonly clients: readonly Client[]
  /** How many outages they met. */
  readonly outages: number
  /** The longest that an answer took. */
  readonly longestMs: number
  /** Ends it, and waits for what is under way. */
  stop(): Promise<void>
}

const PAUSE_AFTER_OUTAGE_MS = 40

/** Logs clients in, the first on the first node, and begins. Each goes to the nodes in turn. */
export async function startStorm(
  nodes: readonly Node[],
  users: number | readonly string[],
  pauseMs: number = 0,
): Promise<Storm> {
  const names =
    typeof users === 'number' ? Array.from({ length: users }, (_, n) => `user-${n}`) : users
  const clients = await Promise.all(
    names.map(async (user, place): Promise<Client> => {
      const tokens = await at(nodes, place).login(user)
      return { user, tokens, successors: new Map(), outages: 0, refused: undefined }
    }),
  )
  const state = { longestMs: 0, running: true }

  async function live(client: Client, place: number): Promise<void> {
    for (let turn = place; state.running; turn++) {
      const node = at(nodes, turn)
      const answer = await node.refresh(client.tokens.refresh).catch((error: unknown) => {
        // A test that failed has closed its nodes and left the storm as it was.
        if (node.closed) return null
        throw error
      })
      if (answer === null) return
      state.longestMs = Math.max(state.longestMs, answer.tookMs)
      if (answer.status === 200) {
        client.tokens = answer.tokens
        const { refresh } = answer.tokens
        const generation = generationOf(refresh)
        const known = client.successors.get(generation) ?? new Set()
        client.successors.set(generation, known.add(refresh))
        if (pauseMs > 0) await sleep(pauseMs)
      } else if (answer.status === 503) {
        client.outages += 1
        await sleep(PAUSE_AFTER_OUTAGE_MS)
      } else {
        client.refused = answer
        return
      }
    }
  }

  const lives = clients.map(live)
  return {
    clients,
    get outages() {
      return clients.reduce((sum, { outages }) => sum + outages, 0)
    },
    get longestMs() {
      return state.longestMs
    },
    async stop() {
      state.running = false
      await Promise.all(lives)
    },
  }
}

/** How many successors each generation has at most. */
export function widest(clients: readonly Client[]): number {
  const sizes = clients.flatMap(({ successors }) =>
    [...successors.values()].map(({ size }) => size),
  )
  return Math.max(0, ...sizes)
}

function at(nodes: readonly Node[], turn: number): Node {
  const node = nodes[turn % nodes.length]
  if (node === undefined) throw new Error('there is no node')
  return node
}
