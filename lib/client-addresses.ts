import { isPrivateAddress, networkOf } from './network.ts'

/** How many requests must show it: the first few may be probes. */
const ENOUGH_REQUESTS = 20
/** How many clients a proxy must have named: one or two may be a developer's own. */
const ENOUGH_CLIENTS = 3

/** Where a request came from, as the app is told and as it could be told. */
export interface Origin {
  /** Express's `req.ip`: what limits count by. */
  readonly ip: string | undefined
  /** Whom `X-Forwarded-For` names, in its order. */
  readonly forwarded: readonly string[]
  /** How many of them `trust proxy` believes, from the right. */
  readonly trusted: number
}

/**
 * Decides whether clients are told apart by their addresses at all. Behind a proxy that the app does not
 * trust every client has the proxy's: a private address that speaks, by `X-Forwarded-For`, for one
 * client after the other.
 */
export class ClientAddresses {
  /** Networks that private addresses spoke for; a few. */
  readonly #clients = new Set<string>()
  #requests = 0
  #watching = true

  /** Whether there is still something to find out. */
  get watching(): boolean {
    return this.#watching
  }

  /** @returns whether it is now clear that the app takes a proxy for its clients */
  observe({ ip, forwarded, trusted }: Origin): boolean {
    // What stands left of the last one that is believed is whom that one speaks for.
    const client = forwarded.at(-1 - trusted)
    if (!this.#watching || client === undefined || !isPrivateAddress(ip)) return false
    this.#requests++
    if (this.#clients.size < ENOUGH_CLIENTS) this.#clients.add(networkOf(client))
    if (this.#requests < ENOUGH_REQUESTS || this.#clients.size < ENOUGH_CLIENTS) return false
    this.#watching = false
    return true
  }
}
