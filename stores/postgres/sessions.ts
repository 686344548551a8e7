import type { RotationDecision } from '../../lib/rotation.ts'
import { isFeedName } from '../../lib/session-id.ts'
import type { SessionRecord } from '../../lib/session.ts'
import type {
  CreateInput,
  CreateResult,
  DeniedInput,
  DenyInput,
  ListInput,
  Page,
  ReplaceInput,
  RevokeUserInput,
  RevokeUserResult,
  RotateInput,
  RotateResult,
  UpdateInput,
  UpdateResult,
} from '../../lib/store.ts'
import { textsOf } from './array.ts'
import { auditText, openAuditText, rotateAuditText } from './audit-row.ts'
import type { Names } from './names.ts'
import { placeFrom, placeOf } from './place.ts'
import type { Row } from './record.ts'
import { decodeSession, text } from './record.ts'
import { ROTATION_COLUMNS } from './rotate-sql.ts'
import type { Runner } from './runner.ts'
import type { SessionStatements } from './session-statements.ts'
import { sessionStatements } from './session-statements.ts'

/** The operations on sessions: one statement each. What is written is what the functions of lib say. */
export class PostgresSessions {
  readonly #runner: Runner
  readonly #statements: SessionStatements
  readonly #clock: () => number | null
  readonly #tellFeed: () => void

  /**
   * @param clock - a test's clock; null takes the server's
   * @param tellFeed - called when something was added to the feed
   */
  constructor(runner: Runner, names: Names, clock: () => number | null, tellFeed: () => void) {
    this.#runner = runner
    this.#statements = sessionStatements(names, runner.lockTimeout === null)
    this.#clock = clock
    this.#tellFeed = tellFeed
  }

  async create(input: CreateInput): Promise<CreateResult> {
    const result = await this.#open(input, undefined)
    if (result.outcome === 'gone') throw new Error('create answered gone')
    return result
  }

  async replace(input: ReplaceInput): Promise<CreateResult | { readonly outcome: 'gone' }> {
    return this.#open(input, input)
  }

  async rotate(input: RotateInput): Promise<RotateResult> {
    const { sid, policy, onReuse, audit } = input
    const row = await this.#one(this.#statements.rotate, [
      sid,
      input.seedHash,
      input.generation,
      input.attemptHash,
      input.bindingHash,
      policy.reuseGraceMs,
      policy.lostResponseWindowMs,
      input.idleTimeoutMs,
      onReuse,
      audit === undefined ? null : rotateAuditText(audit),
    ])
    const outcome = named(row?.[0])
    if (row === undefined || outcome === 'gone') return { outcome: 'gone' }
    if (outcome === 'seed' || outcome === 'ahead') return { outcome: 'invalid', cause: outcome }
    const [, deviceChanged, distance, ageMs, revoked] = row
    const session = decodeSession(row, ROTATION_COLUMNS)
    switch (outcome) {
      case 'rotated':
      case 'recovered':
        return { outcome, session, deviceChanged: deviceChanged === 't' }
      case 'reused':
        this.#tellFeed()
        return {
          outcome,
          session,
          distance: Number(distance),
          ageMs: Number(ageMs),
          revoked: textsOf(revoked),
        }
      case 'attempt':
      case 'grace':
      case 'lost_response':
        return { outcome: 'replayed', session, cause: outcome }
    }
  }

  async update(input: UpdateInput): Promise<UpdateResult> {
    const { sid } = input
    const audit = auditText(input.audit)
    const isAttributes = 'attributes' in input
    const row = isAttributes
      ? await this.#one(this.#statements.updateAttributes, [
          sid,
          input.ver,
          JSON.stringify(input.attributes),
          audit,
        ])
      : await this.#one(this.#statements.updateData, [
          sid,
          input.dataVer,
          input.data === null ? null : JSON.stringify(input.data),
          audit,
        ])
    if (row === undefined) return { outcome: 'gone' }
    const session = decodeSession(row, 1)
    if (row[0] !== 'updated') return { outcome: 'conflict', session }
    if (isAttributes) this.#tellFeed()
    // What is returned is the caller's: it must not share what the caller may change later.
    const written = isAttributes
      ? { ver: input.ver + 1, attributes: structuredClone(input.attributes) }
      : { dataVer: input.dataVer + 1, data: structuredClone(input.data) }
    return { outcome: 'updated', session: { ...session, ...written } }
  }

  async revokeUser({ user, except, audit }: RevokeUserInput): Promise<RevokeUserResult> {
    const row = await this.#one(this.#statements.revokeUser, [
      user.tenant,
      user.id,
      except ?? null,
      auditText(audit),
    ])
    const revoked = textsOf(row?.[0])
    if (revoked.length > 0) this.#tellFeed()
    return { revoked }
  }

  async list({ user, limit, cursor }: ListInput): Promise<Page<SessionRecord>> {
    const place = cursor === undefined ? [null, null, null] : placeFrom(cursor)
    const values = [this.#clock(), user.tenant, user.id, limit + 1, ...(place ?? [0, 0, ''])]
    const rows = await this.#runner.run(this.#statements.list, values)
    const items = rows.slice(0, limit).map((row) => decodeSession(row, 0))
    const last = items.at(-1)
    return {
      items,
      next: last !== undefined && rows.length > limit ? placeOf(last) : null,
    }
  }

  async deny({ sid, jti, expiresAt }: DenyInput): Promise<void> {
    const isTold = isFeedName(jti)
    const values = [this.#clock(), sid, jti, expiresAt, isTold]
    const rows = await this.#runner.run(this.#statements.deny, values)
    if (isTold && rows.length > 0) this.#tellFeed()
  }

  async isDenied({ sid, jti }: DeniedInput): Promise<boolean> {
    const rows = await this.#runner.run(this.#statements.isDenied, [this.#clock(), sid, jti])
    return rows[0]?.[0] === 't'
  }

  /** The first row of a statement that may wait for a lock. */
  async #one(
    asked: SessionStatements[keyof SessionStatements],
    values: readonly unknown[],
  ): Promise<Row | undefined> {
    const { lockTimeout } = this.#runner
    const rows = await this.#runner.run(asked, [this.#clock(), lockTimeout, ...values])
    return rows[0]
  }

  async #open(
    input: CreateInput,
    replacing: ReplaceInput | undefined,
  ): Promise<CreateResult | { readonly outcome: 'gone' }> {
    const { session, lifetimes, limit, loginAgeMs } = input
    const row = await this.#one(this.#statements.open, [
      session.sid,
      session.user.tenant,
      session.user.id,
      session.seedHash,
      session.bindingHash,
      session.device.label,
      session.device.ip,
      session.remember,
      JSON.stringify(session.attributes),
      session.data === null ? null : JSON.stringify(session.data),
      lifetimes.idleTimeoutMs,
      lifetimes.absoluteTimeoutMs,
      limit.max,
      limit.onLimit,
      loginAgeMs,
      replacing !== undefined,
      replacing?.old.sid ?? null,
      replacing?.old.seedHash ?? null,
      replacing?.orElse ?? null,
      replacing?.keepData ?? null,
      input.audit === undefined ? null : openAuditText(input.audit),
    ])
    if (row === undefined) throw new Error('no answer')
    const outcome = text(row[0])
    if (outcome === 'gone' || outcome === 'session_limit' || outcome === 'stale_login') {
      return { outcome }
    }
    const revoked = textsOf(row[1])
    if (revoked.length > 0) this.#tellFeed()
    return { outcome: 'created', session: decodeSession(row, 2), revoked }
  }
}

type Decided =
  | Exclude<RotationDecision['outcome'], 'invalid' | 'replayed'>
  | Extract<RotationDecision, { readonly cause: string }>['cause']

const DECIDED: readonly Decided[] = [
  'gone',
  'seed',
  'ahead',
  'rotated',
  'recovered',
  'attempt',
  'grace',
  'lost_response',
  'reused',
]

function named(value: string | null | undefined): Decided {
  const found = DECIDED.find((name) => name === value)
  if (found === undefined) throw new Error('an unknown outcome')
  return found
}
