import { describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import { decideRotation, isOver } from '../../lib/rotation.ts'
import type { RotationPolicy, RotationRequest } from '../../lib/rotation.ts'
import type { NewSession, SessionRecord } from '../../lib/session.ts'
import { dueWrite, isStaleLogin, openRecord, rotatedFields } from '../../lib/session.ts'
import type { CreateInput, CreateResult } from '../../lib/store.ts'
import type { UserRef } from '../../lib/user.ts'
import { isSameUser } from '../../lib/user.ts'
import { hash, MINUTE, newSession, newUser, random, readOn } from './contract/support.ts'
import type { OpenedStore, OpenStore } from './contract/support.ts'
import type { Command, LoginAge } from './rotation-commands.ts'
import { commands, everything } from './rotation-commands.ts'

const LIFETIMES = { idleTimeoutMs: 20 * MINUTE, absoluteTimeoutMs: 50 * MINUTE } as const
const { idleTimeoutMs } = LIFETIMES
const MAX_SESSIONS = 3

const POLICIES: readonly RotationPolicy[] = [
  { reuseGraceMs: 10_000, lostResponseWindowMs: 0 },
  { reuseGraceMs: 0, lostResponseWindowMs: 0 },
  { reuseGraceMs: 10_000, lostResponseWindowMs: 5 * MINUTE },
]

/** What the model knows of one session, and of the innocent client that opened it. */
interface Known {
  record: SessionRecord
  readonly opened: SessionRecord
  ended: boolean
  /** The generation the client holds; its own device, its own line of attempts. */
  held: number
  /** The attempt whose answer the client did not hear. */
  pending: string | null
  /** Nobody but the client has used its tokens, and the store has lost nothing. */
  innocent: boolean
  /** Generations that rotations made. No two rotations make the same. */
  made: Set<number>
  denied: Map<string, number>
  snapshot: { record: SessionRecord; restore: () => Promise<void> } | null
}

/**
 * Plays commands against a store and a model of it side by side. The model takes each outcome from
 * the pure functions of lib; the invariants, which know nothing of those, are held on top.
 */
class ModelRun {
  readonly #opened: OpenedStore
  readonly #policy: RotationPolicy
  readonly #seen: Set<string>
  readonly #users: readonly UserRef[] = [newUser(), newUser('acme')]
  readonly #sessions: Known[] = []
  readonly #marks = new Map<UserRef, number>()
  readonly #heard = new Set<string>()
  #appended: string[] = []
  #cursor: string | null = null

  constructor(opened: OpenedStore, policy: RotationPolicy, seen: Set<string>) {
    this.#opened = opened
    this.#policy = policy
    this.#seen = seen
  }

  async play(list: readonly Command[]): Promise<void> {
    this.#cursor = (await readOn(this.#store, null)).cursor
    for (const command of list) {
      await this.#run(command)
      await this.#compareRows()
      await this.#compareFeed()
    }
  }

  get #store() {
    return this.#opened.store
  }

  get #now() {
    return this.#opened.clock.now()
  }

  #user(index: number): UserRef {
    return this.#users[index]!
  }

  #alive(known: Known): boolean {
    return !known.ended && !isOver(known.record, this.#now)
  }

  #liveOf(user: UserRef): Known[] {
    return this.#sessions.filter(
      (known) => this.#alive(known) && isSameUser(known.record.user, user),
    )
  }

  #end(known: Known): void {
    known.ended = true
    this.#appended.push(`${known.record.sid} Infinity`)
  }

  async #run(command: Command): Promise<void> {
    if (command.kind === 'login') return this.#login(command)
    if (command.kind === 'revokeUser') return this.#revokeUser(command)
    if (command.kind === 'pass') return this.#opened.clock.advance(command.ms)
    if (this.#sessions.length === 0) return undefined
    const known = this.#sessions.at(-1 - (command.on % this.#sessions.length))!
    switch (command.kind) {
      case 'client':
        return this.#client(known, command)
      case 'refresh':
        return this.#refresh(known, command)
      case 'check':
        return this.#check(known, command)
      case 'update':
        return this.#update(known, command)
      case 'revoke':
        return this.#revoke(known, command)
      case 'replace':
        return this.#replace(known, command)
      case 'deny':
        return this.#deny(known, command)
      case 'tick':
        return this.#tick(known, command)
      case 'hop':
        return this.#hop(known)
      case 'snapshot':
        return this.#snapshot(known)
      case 'rollback':
        return this.#rollback(known)
    }
  }

  #loginAge(user: UserRef, age: LoginAge): number {
    if (age === 'none') return 0
    const revokedAt = this.#marks.get(user)
    if (age === 'moment' || revokedAt === undefined) return 200
    // Beyond five minutes the mark itself may be over; the contract's own tests look at that.
    return Math.min(5 * MINUTE, Math.max(0, this.#now - revokedAt + age))
  }

  async #login(command: Command & { kind: 'login' }): Promise<void> {
    const user = this.#user(command.user)
    const input: CreateInput = {
      session: newSession(user, command.device ? {} : { bindingHash: null }),
      lifetimes: LIFETIMES,
      limit: { max: MAX_SESSIONS, onLimit: command.onLimit },
      loginAgeMs: this.#loginAge(user, command.age),
    }
    this.#opening(input, input.session, null, await this.#store.create(input))
  }

  async #replace(known: Known, command: Command & { kind: 'replace' }): Promise<void> {
    const own = this.#users.findIndex((user) => isSameUser(user, known.record.user))
    const user = this.#user(command.user === 'own' ? own : 1 - own)
    const input: CreateInput = {
      session: newSession(user, { data: { fresh: true } }),
      lifetimes: LIFETIMES,
      limit: { max: MAX_SESSIONS, onLimit: command.onLimit },
      loginAgeMs: this.#loginAge(user, command.age),
    }
    const { sid, data } = known.record
    const seedHash = command.seed ? known.record.seedHash : hash()
    const { orElse, keepData } = command
    const replaced = this.#alive(known) && command.seed && command.user === 'own' ? known : null
    const result = await this.#store.replace({ ...input, old: { sid, seedHash }, orElse, keepData })
    this.#seen.add(`replace ${result.outcome}`)
    if (replaced === null && orElse === 'refuse') {
      expect(result).toEqual({ outcome: 'gone' })
      return
    }
    const session = replaced && keepData ? { ...input.session, data } : input.session
    expect(result.outcome).not.toBe('gone')
    this.#opening(input, session, replaced, result as CreateResult)
  }

  #opening(
    { limit, loginAgeMs }: CreateInput,
    session: NewSession,
    replaced: Known | null,
    result: CreateResult,
  ): void {
    this.#seen.add(`login ${result.outcome}`)
    const user = this.#users.find((one) => isSameUser(one, session.user))!
    if (isStaleLogin(this.#marks.get(user), loginAgeMs, this.#now)) {
      expect(result).toEqual({ outcome: 'stale_login' })
      return
    }
    const others = this.#liveOf(user).filter((known) => known !== replaced)
    if (others.length >= limit.max && limit.onLimit === 'refuse') {
      expect(result).toEqual({ outcome: 'session_limit' })
      return
    }
    const record = openRecord(session, LIFETIMES, this.#now)
    expect(result).toMatchObject({ outcome: 'created', session: record })
    const revoked = new Set(result.outcome === 'created' ? result.revoked : [])
    // Of several that were last active in the same millisecond, any may go.
    const victims = others.filter(({ record: { sid } }) => revoked.has(sid))
    const kept = others.filter(({ record: { sid } }) => !revoked.has(sid))
    expect(victims).toHaveLength(Math.max(0, others.length - limit.max + 1))
    expect(revoked.size).toBe(victims.length + (replaced === null ? 0 : 1))
    expect(revoked.has(replaced?.record.sid ?? '')).toBe(replaced !== null)
    const lastSeen = (known: Known): number => known.record.lastSeenAt
    expect(Math.max(...victims.map(lastSeen))).toBeLessThanOrEqual(Math.min(...kept.map(lastSeen)))
    for (const known of victims) this.#end(known)
    if (replaced !== null) this.#end(replaced)
    this.#sessions.push({
      record,
      opened: record,
      ended: false,
      held: 0,
      pending: null,
      innocent: true,
      made: new Set([0]),
      denied: new Map(),
      snapshot: null,
    })
  }

  async #client(known: Known, command: Command & { kind: 'client' }): Promise<void> {
    const { record, opened, held, innocent } = known
    const alive = this.#alive(known)
    const retry = command.retry && known.pending !== null
    const attemptHash = retry ? known.pending! : hash()
    const isWithinGrace = this.#now < record.rotatedAt + this.#policy.reuseGraceMs
    // The attempt that made the successor is good for ever; one that was merely replayed is not kept.
    const isFirstAttempt = attemptHash === record.attemptHash
    const forgiven = held === record.generation || isFirstAttempt || isWithinGrace
    const { bindingHash, seedHash } = opened
    const request = { seedHash, generation: held, attemptHash, bindingHash }
    const successor = await this.#rotate(known, request, 'session')
    // An innocent client is never logged out inside the grace.
    if (innocent && alive && forgiven) expect(successor).toBe(held + 1)
    if (successor !== null && command.delivered) {
      known.held = successor
      known.pending = null
    } else if (successor !== null) known.pending = attemptHash
  }

  async #refresh(known: Known, command: Command & { kind: 'refresh' }): Promise<void> {
    const { record } = known
    const { ahead, attempt, device, seed, onReuse } = command
    if (seed) known.innocent = false
    const request: RotationRequest = {
      seedHash: seed ? record.seedHash : hash(),
      generation: Math.max(0, record.generation + ahead),
      attemptHash: attempt === 'same' && record.attemptHash !== null ? record.attemptHash : hash(),
      bindingHash: device === 'own' ? record.rotatedBy : device === 'none' ? null : hash(),
    }
    await this.#rotate(known, request, onReuse)
  }

  /** Presents a token to both sides; returns the successor's generation, null when there is none. */
  async #rotate(
    known: Known,
    request: RotationRequest,
    onReuse: 'session' | 'user',
  ): Promise<number | null> {
    const { record } = known
    const { sid } = record
    const policy = this.#policy
    const alive = this.#alive(known)
    const decision = decideRotation(alive ? record : null, request, policy, this.#now)
    const result = await this.#store.rotate({ ...request, sid, policy, idleTimeoutMs, onReuse })
    const cause = 'cause' in result ? result.cause : ''
    this.#seen.add(`rotate ${result.outcome} ${cause}`.trim())
    this.#holdReuse(known, request, result.outcome)

    if (decision.outcome === 'gone' || decision.outcome === 'invalid') {
      expect(result).toEqual(decision)
      return null
    }
    if (decision.outcome === 'reused') {
      const victims = onReuse === 'user' ? this.#liveOf(record.user) : [known]
      expect(result).toMatchObject({ ...decision, session: record })
      const revoked = result.outcome === 'reused' ? result.revoked : []
      expect(revoked.toSorted()).toEqual(victims.map((one) => one.record.sid).toSorted())
      if (onReuse === 'user') this.#mark(record.user)
      for (const victim of victims) this.#end(victim)
      return null
    }
    if (decision.outcome !== 'replayed') {
      const { generation } = decision
      known.record = {
        ...record,
        ...rotatedFields(record, { ...request, generation, idleTimeoutMs }, this.#now),
      }
      // One live successor a generation: no two rotations make the same one.
      expect(known.made.has(generation)).toBe(false)
      known.made.add(generation)
      const { deviceChanged } = decision
      expect(result).toEqual({ outcome: decision.outcome, session: known.record, deviceChanged })
    } else {
      expect(result).toEqual({ ...decision, session: record })
    }
    // No fork: whoever succeeds with a token gets the same successor.
    expect(known.record.generation).toBe(request.generation + 1)
    return known.record.generation
  }

  /** Every reuse outside the windows is found, and nothing else is taken for reuse. */
  #holdReuse(known: Known, request: RotationRequest, outcome: string): void {
    const { record } = known
    const distance = record.generation - request.generation
    if (!this.#alive(known) || request.seedHash !== record.seedHash || distance < 1) {
      expect(outcome).not.toBe('reused')
      return
    }
    const again = request.attemptHash === record.attemptHash
    const windowMs = Math.max(this.#policy.reuseGraceMs, this.#policy.lostResponseWindowMs)
    const late = this.#now >= record.rotatedAt + windowMs
    if (distance > 1 || (late && !again)) expect(outcome).toBe('reused')
  }

  async #check(known: Known, command: Command & { kind: 'check' }): Promise<void> {
    const { record } = known
    const generation = {
      none: {},
      current: { generation: record.generation },
      old: { generation: record.generation - 1 },
    }[command.generation]
    const seed =
      command.seed === 'none' ? {} : { seedHash: command.seed ? record.seedHash : hash() }
    const jti = [...known.denied.keys()].at(-1)
    const result = await this.#store.check({
      sid: record.sid,
      idleTimeoutMs,
      ...generation,
      ...seed,
      ...(jti !== undefined && { jti }),
    })
    this.#seen.add(`check ${result.outcome}`)
    if (!this.#alive(known)) {
      expect(result).toEqual({ outcome: 'gone' })
      return
    }
    if (command.seed === false) {
      expect(result).toEqual({ outcome: 'invalid' })
      return
    }
    const seen = 'generation' in generation ? generation.generation : undefined
    const denied = jti !== undefined && this.#now < known.denied.get(jti)!
    if (!denied) {
      known.record = { ...record, ...dueWrite(record, idleTimeoutMs, seen, this.#now) }
    }
    expect(result).toEqual({ outcome: 'alive', session: known.record, denied })
  }

  async #update(known: Known, command: Command & { kind: 'update' }): Promise<void> {
    const { record } = known
    const { sid, ver, dataVer } = record
    const off = command.right ? 0 : 1
    const attributes = { ...record.attributes, roles: [random()] }
    const data = { at: random() }
    const result = await this.#store.update(
      command.what === 'attributes'
        ? { sid, ver: ver + off, attributes }
        : { sid, dataVer: dataVer - off, data },
    )
    this.#seen.add(`update ${result.outcome}`)
    if (!this.#alive(known)) {
      expect(result).toEqual({ outcome: 'gone' })
      return
    }
    if (command.right && command.what === 'attributes') {
      known.record = { ...record, ver: ver + 1, attributes }
      this.#appended.push(`${sid} ${ver + 1}`)
    } else if (command.right) known.record = { ...record, dataVer: dataVer + 1, data }
    const outcome = command.right ? 'updated' : 'conflict'
    expect(result).toEqual({ outcome, session: known.record })
  }

  async #revoke(known: Known, command: Command & { kind: 'revoke' }): Promise<void> {
    const { record } = known
    const { sid, user, seedHash } = record
    const { owner, seed } = command
    const alive = this.#alive(known) && owner !== false && seed !== false
    const result = await this.#store.revoke({
      sid,
      ...(owner !== 'none' && { owner: owner ? user : newUser() }),
      ...(seed !== 'none' && { seedHash: seed ? seedHash : hash() }),
    })
    expect(result).toEqual(alive ? { outcome: 'revoked', session: record } : { outcome: 'gone' })
    if (alive) this.#end(known)
  }

  #mark(user: UserRef): void {
    const marked = this.#users.find((one) => isSameUser(one, user))!
    this.#marks.set(marked, this.#now)
  }

  async #revokeUser(command: Command & { kind: 'revokeUser' }): Promise<void> {
    const user = this.#user(command.user)
    const except =
      command.except === null ? undefined : this.#sessions.at(-1 - command.except)?.record.sid
    const victims = this.#liveOf(user).filter(({ record }) => record.sid !== except)
    const { revoked } = await this.#store.revokeUser({
      user,
      ...(except !== undefined && { except }),
    })
    expect(revoked.toSorted()).toEqual(victims.map(({ record }) => record.sid).toSorted())
    this.#mark(user)
    for (const victim of victims) this.#end(victim)
  }

  async #deny(known: Known, { forMs }: Command & { kind: 'deny' }): Promise<void> {
    const jti = random()
    const expiresAt = this.#now + forMs
    await this.#store.deny({ sid: known.record.sid, jti, expiresAt })
    known.denied.set(jti, expiresAt)
  }

  #tick(known: Known, { edge, delta }: Command & { kind: 'tick' }): void {
    const { rotatedAt, lastSeenAt, idleDeadline, absoluteDeadline } = known.record
    const at = {
      grace: rotatedAt + this.#policy.reuseGraceMs,
      lost: rotatedAt + this.#policy.lostResponseWindowMs,
      touch: lastSeenAt + MINUTE,
      idle: idleDeadline,
      absolute: absoluteDeadline,
    }[edge]
    if (at + delta > this.#now) this.#opened.clock.set(at + delta)
  }

  async #hop(known: Known): Promise<void> {
    if (!this.#alive(known)) return
    this.#opened.clock.set(known.record.idleDeadline - 1)
    await this.#check(known, { kind: 'check', on: 0, generation: 'none', seed: true })
    if (known.record.idleDeadline === known.record.absoluteDeadline) this.#seen.add('clamped')
  }

  async #snapshot(known: Known): Promise<void> {
    if (this.#opened.snapshot === undefined || !this.#alive(known)) return
    const restore = await this.#opened.snapshot(known.record.sid)
    known.snapshot = { record: known.record, restore }
  }

  /** The store forgets the newest writes of one row, as after a failover. */
  async #rollback(known: Known): Promise<void> {
    if (known.snapshot === null || !this.#alive(known)) return
    await known.snapshot.restore()
    known.record = known.snapshot.record
    known.innocent = false
    // A successor is derived, not drawn: made once more, it is the same token.
    known.made = new Set([...known.made].filter((made) => made <= known.record.generation))
    this.#seen.add('rollback')
  }

  /** An operation on one session leaves all others as they were; nothing comes back to life. */
  async #compareRows(): Promise<void> {
    for (const user of this.#users) {
      const { items } = await this.#store.list({ user, limit: 100 })
      const live = this.#liveOf(user).map(({ record }) => record)
      expect(bySid(items)).toEqual(bySid(live))
      const activity = items.map(({ lastSeenAt }) => lastSeenAt)
      expect(activity).toEqual(activity.toSorted((a, b) => b - a))
      for (const { sid, absoluteDeadline, idleDeadline, authTime } of items) {
        const { opened } = this.#sessions.find(({ record }) => record.sid === sid)!
        // Whatever happens, the absolute end stays where it was.
        expect(absoluteDeadline).toBe(opened.createdAt + LIFETIMES.absoluteTimeoutMs)
        expect(idleDeadline).toBeLessThanOrEqual(absoluteDeadline)
        expect(authTime).toBe(opened.authTime)
      }
    }
  }

  /** Everything that was appended is delivered, and nothing that was not. */
  async #compareFeed(): Promise<void> {
    const { entries, cursor } = await readOn(this.#store, this.#cursor)
    this.#cursor = cursor
    const mine = new Set(this.#sessions.map(({ record }) => record.sid))
    const heard = entries.filter(({ sid }) => mine.has(sid)).map(({ sid, ver }) => `${sid} ${ver}`)
    expect(heard).toEqual(expect.arrayContaining(this.#appended))
    for (const entry of this.#appended) this.#heard.add(entry)
    expect(heard.filter((entry) => !this.#heard.has(entry))).toEqual([])
    this.#appended = []
  }
}

function bySid(records: readonly SessionRecord[]): Record<string, SessionRecord> {
  return Object.fromEntries(records.map((record) => [record.sid, record]))
}

/** What a run of the model must have met, or it has shown nothing. */
const MUST_SEE = [
  'login created',
  'login session_limit',
  'login stale_login',
  'replace created',
  'replace gone',
  'check alive',
  'check invalid',
  'check gone',
  'update updated',
  'update conflict',
  'update gone',
  'rotate gone',
  'rotate invalid seed',
  'rotate invalid ahead',
  'rotate rotated',
  'rotate recovered',
  'rotate replayed attempt',
  'rotate replayed grace',
  'rotate replayed lost_response',
  'rotate reused',
  'clamped',
]

/** Holds a store to the rotation table and its promises over random histories. */
export function describeRotationModel(name: string, open: OpenStore, numRuns = 100): void {
  describe(`${name} under random histories`, () => {
    it('does what the pure functions say and keeps the promises of rotation', async () => {
      const opened = await open()
      const seen = new Set<string>()
      const histories = fc.asyncProperty(
        commands,
        fc.constantFrom(...POLICIES),
        async (list, policy) => new ModelRun(opened, policy, seen).play(list),
      )
      try {
        await fc.assert(histories, {
          numRuns,
          examples: POLICIES.map((policy) => [everything, policy]),
        })
      } finally {
        await opened.close()
      }
      const expected = opened.snapshot === undefined ? MUST_SEE : [...MUST_SEE, 'rollback']
      expect(expected.filter((what) => !seen.has(what))).toEqual([])
    })
  })
}
