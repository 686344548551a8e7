import type { CountedLimit, LimitKey, LimitSubject } from './rate-limit.ts'
import { limitName, rateLimited } from './rate-limit.ts'
import type { RateLimits } from './rate-limits.ts'
import type { JsonObject } from './session.ts'
import type { UserRef } from './user.ts'

/**
 * An attempt that is under way. It counts as a failure from the start, so that no number of parallel
 * ones gets through, and is taken back when it was none.
 */
export interface Attempt {
  /** The credentials were good. Waits for nothing. */
  succeeded(): void
}

const NAMES = ['username', 'email', 'user'] as const

/** What names the account in credentials where the app does not say. All that is there counts. */
export function accountsOf(credentials: JsonObject): readonly string[] {
  return NAMES.flatMap((name) => {
    const text = Object.hasOwn(credentials, name) ? credentials[name] : undefined
    return typeof text === 'string' ? text : []
  })
}

/** Spellings that an app is likely to take for one account are one here. */
function fold(account: string): string {
  return account.normalize('NFKC').trim().toLowerCase()
}

/**
 * Begins a login. Its network and the pair of account and network come first: what they refuse does
 * not count against the account, which strangers could otherwise close for its owner.
 *
 * @param login - `accounts`: what names the account in the credentials; `network`: of {@link networkOf}
 * @throws {AuthError} `rate_limited` (429), the same for accounts that exist and those that do not
 */
export async function beginLogin(
  limits: RateLimits,
  login: {
    readonly accounts: readonly string[]
    readonly network: string
    readonly about: LimitSubject
  },
): Promise<Attempt> {
  const { network, about } = login
  const accounts = [...new Set(login.accounts.map(fold))].filter((account) => account !== '')
  const reserved = new Reserved(about)
  await reserved.take([
    [limits.loginPerNetwork, [network]],
    ...accounts.map((account) => [limits.loginPerAccountAndNetwork, [account, network]] as const),
  ])
  await reserved.take(
    accounts.map((account) => [limits.loginPerAccount, [account]] as const),
    async () => areKnown(limits, accounts, network),
  )
  return {
    succeeded() {
      reserved.giveBack()
      for (const account of accounts) void limits.knownNetworks?.take(knownKey(account, network))
    },
  }
}

/**
 * Begins a step-up. Only who holds the session gets here, so strangers have no say in its limits.
 *
 * @throws {AuthError} `rate_limited` (429)
 */
export async function beginStepUp(
  limits: RateLimits,
  stepUp: {
    readonly sid: string
    readonly user: UserRef
    readonly network: string
    readonly about: LimitSubject
  },
): Promise<Attempt> {
  const { sid, user, network, about } = stepUp
  const reserved = new Reserved(about)
  await reserved.take([
    [limits.loginPerNetwork, [network]],
    [limits.stepUpPerSession, [sid]],
  ])
  await reserved.take([[limits.stepUpPerAccount, [user.tenant, user.id]]])
  return { succeeded: () => reserved.giveBack() }
}

/** Whether somebody has logged in to these accounts from this network (NIST SP 800-63B-4 §3.2.2). */
async function areKnown(
  limits: RateLimits,
  accounts: readonly string[],
  network: string,
): Promise<boolean> {
  const known = await Promise.all(
    accounts.map(async (account) => limits.knownNetworks?.isCounted(knownKey(account, network))),
  )
  return known.every(Boolean)
}

function knownKey(account: string, network: string): string {
  return limitName('knownNetwork', [account, network])
}

type Take = readonly [limit: CountedLimit | null, key: LimitKey]

/** What an attempt has taken of the limits so far. */
class Reserved {
  readonly #about: LimitSubject
  #taken: { readonly limit: CountedLimit; readonly key: LimitKey; readonly until: number }[] = []

  constructor(about: LimitSubject) {
    this.#about = about
  }

  /**
   * Takes one of each limit. Where one is over, the attempt is not made: everything else is given
   * back, and what is over keeps its count.
   *
   * @param exempt - asked when one is over: whether the attempt may be made all the same
   */
  async take(
    takes: readonly Take[],
    exempt: () => Promise<boolean> = async () => false,
  ): Promise<void> {
    const answers = await Promise.all(
      takes.map(async ([limit, key]) => {
        const state = await limit?.take(key, this.#about)
        return limit && state && { limit, key, ...state }
      }),
    )
    const taken = answers.filter((answer) => answer !== null && answer !== undefined)
    const over = taken.filter((answer) => answer.over)
    const isRefused = over.length > 0 && !(await exempt())
    const now = performance.now()
    for (const { limit, key, resetsInMs, over: isOver } of taken) {
      if (!(isRefused && isOver)) this.#taken.push({ limit, key, until: now + resetsInMs })
    }
    if (!isRefused) return
    this.giveBack()
    throw rateLimited(Math.max(...over.map(({ resetsInMs }) => resetsInMs)))
  }

  /** Gives everything back, but what belonged to a window that has ended: the next owes nothing. */
  giveBack(): void {
    const now = performance.now()
    for (const { limit, key, until } of this.#taken) if (now < until) limit.giveBack(key)
    this.#taken = []
  }
}
