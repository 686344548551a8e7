import { isFeedName, isSameSeedHash } from '../../lib/session-id.ts'
import type { SessionRecord } from '../../lib/session.ts'
import { dueWrite } from '../../lib/session.ts'
import type {
  CheckInput,
  CheckResult,
  CreateInput,
  CreateResult,
  DeniedInput,
  DenyInput,
  ListInput,
  Page,
  ReplaceInput,
  RevokeInput,
  RevokeResult,
  RevokeUserInput,
  RevokeUserResult,
  RotateInput,
  RotateResult,
  UpdateInput,
  UpdateResult,
} from '../../lib/store.ts'
import type { ReplayCause } from '../../lib/rotation.ts'
import type { Keys } from './keys.ts'
import { pageOf } from './page.ts'
import { decodeRecord, encodeAttributes, encodeTail, hexOf } from './record.ts'
import { bytes, list, number, text, texts } from './reply.ts'
import type { Runner } from './run.ts'
import type { ServerClock } from './server-clock.ts'

/** The operations on sessions: one script each, but for checks that write nothing. */
export class RedisSessions {
  readonly #runner: Runner
  readonly #keys: Keys
  readonly #clock: ServerClock

  constructor(runner: Runner, keys: Keys, clock: ServerClock) {
    this.#runner = runner
    this.#keys = keys
    this.#clock = clock
  }

  async create(input: CreateInput): Promise<CreateResult> {
    const result = await this.#open(input, undefined)
    if (result.outcome === 'gone') throw new Error('create answered gone')
    return result
  }

  async replace(input: ReplaceInput): Promise<CreateResult | { readonly outcome: 'gone' }> {
    return this.#open(input, input)
  }

  async check(input: CheckInput): Promise<CheckResult> {
    const { read } = this.#runner
    const now = read === undefined ? undefined : this.#clock.now()
    if (read === undefined || now === undefined) return this.#checkByScript(input)
    const { sid, jti } = input
    const key = this.#keys.sessionOf(sid)
    const [value, denied] = await read(
      jti === undefined ? [key] : [key, this.#keys.deniedOf(sid, jti)],
    )
    return this.#judge(input, now, value ?? null, denied ?? null) ?? this.#checkByScript(input)
  }

  /**
   * The answer to a check by what was read; undefined when something is to be written, which is once a
   * minute and once a refresh. A script costs the server ten times what reading does.
   */
  #judge(
    input: CheckInput,
    now: number,
    value: Buffer | null,
    denied: Buffer | null,
  ): CheckResult | undefined {
    // The server has no more what is over by its clock.
    const isOver = (at: number) => this.#clock.isTest && now >= at
    if (value === null) return { outcome: 'gone' }
    const session = decodeRecord(input.sid, value)
    if (isOver(Math.min(session.idleDeadline, session.absoluteDeadline))) return { outcome: 'gone' }
    if (input.seedHash !== undefined && !isSameSeedHash(input.seedHash, session.seedHash)) {
      return { outcome: 'invalid' }
    }
    if (denied !== null && !isOver(Number(denied))) {
      return { outcome: 'alive', session, denied: true }
    }
    const isQuiet =
      input.peek === true || dueWrite(session, input.idleTimeoutMs, input.generation, now) === null
    return isQuiet ? { outcome: 'alive', session, denied: false } : undefined
  }

  async #checkByScript(input: CheckInput): Promise<CheckResult> {
    const { sid, seedHash, jti, generation, peek, idleTimeoutMs } = input
    const [outcome, value, denied] = await this.#onSession('check', sid, [
      hexOf(seedHash ?? null),
      jti ?? '',
      generation ?? '',
      peek === true ? '1' : '',
      idleTimeoutMs,
    ])
    const named = text(outcome)
    if (named === 'gone' || named === 'invalid') return { outcome: named }
    return {
      outcome: 'alive',
      session: decodeRecord(sid, bytes(value)),
      denied: number(denied) === 1,
    }
  }

  async rotate(input: RotateInput): Promise<RotateResult> {
    const { sid, policy } = input
    const [outcome, second, third, fourth, fifth] = await this.#onSession('rotate', sid, [
      hexOf(input.seedHash),
      input.generation,
      hexOf(input.attemptHash),
      hexOf(input.bindingHash),
      policy.reuseGraceMs,
      policy.lostResponseWindowMs,
      input.idleTimeoutMs,
      input.onReuse,
    ])
    const named = text(outcome)
    if (named === 'gone') return { outcome: named }
    if (named === 'invalid') {
      return { outcome: named, cause: text(second) === 'ahead' ? 'ahead' : 'seed' }
    }
    const session = decodeRecord(sid, bytes(second))
    if (named === 'rotated' || named === 'recovered') {
      return { outcome: named, session, deviceChanged: number(third) === 1 }
    }
    if (named === 'replayed') return { outcome: named, session, cause: replayCause(text(third)) }
    await this.#runner.confirm(this.#keys.baseOf(sid))
    return {
      outcome: 'reused',
      session,
      distance: number(third),
      ageMs: number(fourth),
      revoked: texts(fifth),
    }
  }

  async update(input: UpdateInput): Promise<UpdateResult> {
    const { sid } = input
    const args =
      'attributes' in input
        ? (['a', input.ver, encodeAttributes(input.attributes)] as const)
        : (['d', input.dataVer, input.data === null ? '' : JSON.stringify(input.data)] as const)
    const [outcome, value] = await this.#onSession('update', sid, args)
    const named = text(outcome)
    if (named === 'gone') return { outcome: named }
    const session = decodeRecord(sid, bytes(value))
    return { outcome: named === 'updated' ? named : 'conflict', session }
  }

  async revoke({ sid, owner, seedHash }: RevokeInput): Promise<RevokeResult> {
    const [outcome, value] = await this.#onSession('revoke', sid, [
      owner === undefined ? '' : this.#keys.nameOf(owner),
      hexOf(seedHash ?? null),
    ])
    // Also when it is gone: it may be gone by a call that was not confirmed.
    await this.#runner.confirm(this.#keys.baseOf(sid))
    if (text(outcome) === 'gone') return { outcome: 'gone' }
    return { outcome: 'revoked', session: decodeRecord(sid, bytes(value)) }
  }

  async revokeUser({ user, except }: RevokeUserInput): Promise<RevokeUserResult> {
    const base = this.#keys.baseOfUser(user)
    const name = this.#keys.nameOf(user)
    const [revoked] = await this.#runner.onShard('revokeUser', base, `${base}u${name}`, [
      name,
      except ?? '',
    ])
    await this.#runner.confirm(base)
    return { revoked: texts(revoked) }
  }

  async list({ user, limit, cursor }: ListInput): Promise<Page<SessionRecord>> {
    const base = this.#keys.baseOfUser(user)
    const name = this.#keys.nameOf(user)
    const [rows] = await this.#runner.onShard('list', base, `${base}u${name}`, [name])
    const sessions: SessionRecord[] = []
    const items = list(rows)
    for (let index = 0; index < items.length; index += 2) {
      sessions.push(decodeRecord(text(items[index]), bytes(items[index + 1])))
    }
    return pageOf(sessions, limit, cursor)
  }

  async deny({ sid, jti, expiresAt }: DenyInput): Promise<void> {
    await this.#onSession('deny', sid, [jti, expiresAt, isFeedName(jti) ? '1' : ''])
    await this.#runner.confirm(this.#keys.baseOf(sid))
  }

  async isDenied({ sid, jti }: DeniedInput): Promise<boolean> {
    const [denied] = await this.#onSession('isDenied', sid, [jti])
    return number(denied) === 1
  }

  #onSession(
    name: 'check' | 'rotate' | 'update' | 'revoke' | 'deny' | 'isDenied',
    sid: string,
    args: readonly (string | Buffer | number)[],
  ): Promise<readonly unknown[]> {
    const key = this.#keys.sessionOf(sid)
    return this.#runner.onShard(name, this.#keys.baseOf(sid), key, [sid, ...args])
  }

  async #open(
    input: CreateInput,
    replacing: ReplaceInput | undefined,
  ): Promise<CreateResult | { readonly outcome: 'gone' }> {
    const { session, lifetimes, limit, loginAgeMs } = input
    const base = this.#keys.baseOf(session.sid)
    const name = this.#keys.nameOf(session.user)
    const [fixed, attributes, data] = encodeTail(session)
    // To where the user's other sessions are, should their slot be moving.
    const [outcome, value, revoked] = await this.#runner.onShard(
      'create',
      base,
      `${base}u${name}`,
      [
        session.sid,
        name,
        hexOf(session.seedHash),
        hexOf(session.bindingHash),
        session.remember ? '1' : '',
        fixed,
        lifetimes.idleTimeoutMs,
        lifetimes.absoluteTimeoutMs,
        limit.max,
        limit.onLimit,
        loginAgeMs,
        replacing?.old.sid ?? '',
        hexOf(replacing?.old.seedHash ?? null),
        replacing?.orElse ?? '',
        replacing?.keepData === true ? '1' : '',
        replacing === undefined ? '' : '1',
        attributes,
        data,
      ],
    )
    const named = text(outcome)
    if (named === 'gone' || named === 'session_limit' || named === 'stale_login') {
      return { outcome: named }
    }
    const ended = texts(revoked)
    if (ended.length > 0) await this.#runner.confirm(this.#keys.baseOf(session.sid))
    return {
      outcome: 'created',
      session: decodeRecord(session.sid, bytes(value)),
      revoked: ended,
    }
  }
}

function replayCause(cause: string): ReplayCause {
  return cause === 'attempt' || cause === 'grace' ? cause : 'lost_response'
}
